"""Charts in a real JupyterLab without network: drawn by Vega, chosen in, in the theme's colours."""

from __future__ import annotations

import json
import re

import pytest
from grid_page import GridPage
from places import settled
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

SETUP = """
import vellum_nb as vnb

def score(x: float) -> float:
    return x

def other(x: float) -> float:
    return x + (0.5 if x > 5 else -0.5 if x > 3 else 0)

server = vnb.LocalServer()
server.deploy(score, name="scores", release_tags=["v1"])
server.deploy(other, name="scores", release_tags=["v2"])
server.deploy(score, name="scores", release_tags=["v3"])
ws = vnb.connect(server, history="runs.db")
tags = ["v1", "v2", "v3"]
done = ws.sweep("scores", [{"x": float(x)} for x in range(10)], release_tags=tags, progress=False)
value = vnb.Metric(lambda run: next(iter(run.outputs.values())), name="<b>value</b>")
cmp = ws.compare("scores", release_tags=tags, metrics=value)
chosen = []
"""
VIEWS = [f"cmp.chart({what!r})" for what in ("metric", "latency", "wins")]
GRID = "grid = cmp.view()\ngrid"
SCATTER = """
def choose(ids):
    chosen.append(ids)
    if "grid" in globals():
        grid.choose(ids)

view = cmp.chart("scatter", release="v2", on_select=choose)
view
"""


FITS = """place => {
    const [drawing, all] = [place.querySelector("svg.marks"), place].map(
        node => node.getBoundingClientRect().width);
    return drawing <= all && drawing > all * 0.7;
}"""


def test_the_charts_are_drawn_and_fit_their_place(lab):
    notebook = lab.run_notebook([SETUP, *VIEWS, SCATTER], width=520)
    words = ("95 % interval", "middle half", "against v1", "<b>value</b> on v2")
    for look in ("light-520", "dark-1100", "light-1100"):
        with lab.looking(look):
            for cell, each in enumerate(words, 1):
                output = notebook.output(cell)
                expect(output.locator("svg.marks")).to_contain_text(each)
                lab.page.wait_for_function(FITS, arg=output.element_handle())
            expect(notebook.output(1).locator("b")).to_have_count(0)
            notebook.screenshot(f"charts-{look}")


def test_a_rectangle_in_the_scatter_chooses_cases_and_the_grid_shows_just_those(lab):
    notebook = lab.run_notebook([SETUP, GRID, SCATTER])
    grid = GridPage(notebook, 1)
    expect(grid.count).to_have_text("10 cases, regressions first")
    drawing = notebook.output(2).locator("svg.marks")
    expect(drawing).to_contain_text("value")
    drawing.scroll_into_view_if_needed()
    box = settled(drawing.locator(".background").first)
    mouse = notebook.page.mouse
    mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    mouse.down()
    mouse.move(box["x"] + box["width"] - 10, box["y"] + box["height"] / 2, steps=8)
    mouse.up()
    expect(drawing.locator(".brush_brush path")).to_have_attribute("d", re.compile("h[1-9]"))
    notebook.kernel_becomes("bool(view.selected_ids)", "True")
    code = "import json; print(json.dumps(view.selected['input.x'].tolist()))"
    found = json.loads(notebook.kernel_eval(code))
    assert 0 < len(found) < 10
    assert min(found) > 4
    assert notebook.kernel_eval("chosen[-1] == view.selected_ids") == "True"
    expect(grid.count).to_have_text(f"{len(found)} of 10 cases, regressions first")
    expect(grid.filter("Chosen")).to_have_attribute("aria-pressed", "true")
    assert sorted(grid.numbers()) == sorted(f"case {x + 1:.0f}" for x in found)
    mouse.click(box["x"] + 10, box["y"] + box["height"] - 10)  # beside it: the rectangle goes
    expect(grid.count).to_have_text("10 cases, regressions first")

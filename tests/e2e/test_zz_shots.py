from __future__ import annotations
import os
from pathlib import Path
import pytest
from playwright.sync_api import expect
from test_scripts import *
from test_scripts import _blank_page, blank, history, table, grid
from test_view_scripts import BLIND, SWEEP, rating, sweep, ANSWER
from form_page import FormPage
import vellum_nb as vnb

OUT = Path(os.environ["SHOTS"])
pytestmark = pytest.mark.browser
FREEZE = r"""() => { const w = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); let n;
 while ((n = w.nextNode())) { const t = n.data.replace(/\d+ ms|\d+\.\d+ s\b/g, "5 ms").replace(/\b\d\d:\d\d:\d\d\b/g, "12:00:00").replace(/\d\d Nov/g, "01 Nov"); if (t !== n.data) n.data = t; } }"""


def shots(page, name):
    OUT.mkdir(exist_ok=True, parents=True)
    for theme, colours in (("light", {}), ("dark", DARK)):
        style = "".join(f"{n}: {v};" for n, v in colours.items())
        page.evaluate("(style) => { document.documentElement.style = style; }", style)
        page.evaluate("document.body.style.background = 'var(--jp-layout-color1, #fff)'")
        for width in (1280, 600, 370):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(300)
            page.evaluate(FREEZE)
            page.screenshot(path=OUT / f"{name}-{theme}-{width}.png", animations="disabled")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_table(table):
    table.click(table.row("ticket 243.").locator("label"))
    table.click(table.row("ticket 242.").locator("label"))
    table.press("Enter")
    table.page.get_by_role("button", name="Columns").click()
    shots(table.page, "table")
    table.button("Export…").click()
    shots(table.page, "table-export")


def test_grid(grid):
    shots(grid.page, "grid")
    grid.click(grid.button("Missing 1"))
    grid.button("Export…").click()
    grid.view.error = "The history was closed"
    grid.exchange()
    shots(grid.page, "grid-missing")


def test_sweep(sweep):
    shots(sweep.page, "sweep")
    sweep.set("error", "The history was closed")
    shots(sweep.page, "sweep-error")


def test_blind(rating):
    rating.page.get_by_role("button", name="Add a note…").click()
    shots(rating.page, "blind")
    result = "<h3>v2 was preferred</h3><div class='vnb-blind-sum'><b>v1</b><div class='vnb-blind-bar'><span class='vnb-blind-wins' style='flex-grow:3'></span><span class='vnb-blind-ties' style='flex-grow:1'></span><span class='vnb-blind-losses' style='flex-grow:2'></span></div></div><details open><summary>Which</summary><table class=vnb-rows><thead><tr>"
    result += '<th scope="col">case</th></tr></thead><tbody><tr><th scope="row">1</th></tr></tbody>'
    rating.set(
        "view_model",
        {
            **BLIND,
            "state": "ended",
            "step": 2,
            "unsent": 2,
            "result": f"{result}</table></details>",
        },
    )
    shots(rating.page, "blind-ended")


def test_lab(blank):
    tabs = [{"title": title, "detail": "x"} for title in ("Run", "History", "Compare")]
    blank.render(
        "lab.js",
        "panel.css",
        '<div class="vnb-lab"><div id="el"></div></div>',
        heading="triage",
        source="local",
        count="2 runs",
        status="s",
        tabs=tabs,
        index=0,
    )
    blank.page.add_style_tag(content=asset("lab.css"))
    shots(blank.page, "lab")


def test_overview(blank):
    runs = [
        run(n, tag, outputs={"category": tag, "reply": f"some words {tag} {n}"})
        for n in range(5)
        for tag in TAGS
    ] + [run(6, "a")]
    comparison = Comparison(runs, deployment="triage", release_tags=TAGS, cases=known(*range(7)))
    blank.page.set_content(comparison._repr_html_())
    shots(blank.page, "overview")
    blank.page.set_content(comparison.to_html())
    shots(blank.page, "report")
    from typed_runs import OUTPUTS, TYPES

    more = [
        run(n, tag, outputs=OUTPUTS[t], output_types=TYPES)
        for n, (tag, t) in enumerate((("a", "v1"), ("b", "v2")))
    ]
    blank.page.set_content(side_by_side_html(more))
    shots(blank.page, "outputs")


FORM = """
import vellum_nb as vnb
ws = vnb.connect("local")
form = ws.form("ticket-triage")
form
"""


def test_form(lab):
    names = """
for n in [d for d in ws.deployments()['name'] if d != 'ticket-triage']:
    display(ws.form(n))
"""
    notebook = lab.run_notebook(
        [
            FORM,
            names,
            "ws.lab('ticket-triage')",
            "ws.sweep('ticket-triage', [{'ticket': 'a'}, {'ticket': 'bug'}], release_tags=['v1', 'v2'], progress=False).compare().view()",
        ]
    )
    form = FormPage(notebook)
    form.field("ticket *").fill("I was charged twice for March")
    form.run_on("v1", "v2")
    form.run_and_wait()
    lab.page.wait_for_timeout(1500)
    for look in ("light-1400", "light-560", "dark-1400", "dark-560"):
        with lab.looking(look):
            lab.page.evaluate(FREEZE)
            lab.page.wait_for_timeout(500)
            for at in range(4):
                path = notebook.screenshot(f"zz-{at}-{look}", notebook.output(at))
                OUT.mkdir(exist_ok=True, parents=True)
                path.rename(OUT / f"form-{at}-{look}.png")

"""The grid of a comparison in a real JupyterLab: its room, and the case in full."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from test_scripts import violations

pytestmark = pytest.mark.browser

SETUP = """
import vellum_nb as vnb
from vellum_nb.local.samples import cases
ws = vnb.connect("local", history="runs.db")
tags = ["v1", "v2", "v3"]
options = {"release_tags": tags, "expand_meta": True, "progress": False}
sweep = ws.sweep("ticket-triage", cases("ticket-triage"), **options)
sweep.compare(baseline="v1").view()
"""
OVERFLOW = """root => [...root.querySelectorAll('*')].filter(node => {
    const box = node.getBoundingClientRect();
    const clipped = getComputedStyle(node).clipPath !== 'none';
    return box.width && !clipped && !node.closest('.vnb-view-grid, thead')
        && box.right > root.getBoundingClientRect().right + 1;
}).map(node => node.className)"""

OVERLAPS = """page => [...page.querySelectorAll('.vnb-case-line .vnb-grid-line')]
    .filter(line => line.checkVisibility()).flatMap(line => {
        const boxes = [...line.children].map(cell => cell.getBoundingClientRect());
        return boxes.filter((box, at) => boxes.slice(0, at).some(other =>
            box.left < other.right - 1 && other.left < box.right - 1
            && box.top < other.bottom - 1 && other.top < box.bottom - 1));
    }).length"""


def steps_and_names_a_failure_with_the_mouse(lab, output, case):
    expect(case).to_contain_text("2 of 50")
    expect(case.locator(".vnb-steps")).to_contain_text("v2 against v1")
    case.get_by_role("button", name="Next (j)").click()
    expect(case).to_contain_text("3 of 50")
    expect(case.get_by_role("button", name="Next (j)")).to_be_focused()
    case.get_by_role("button", name="Name a failure").nth(2).click()
    number = (case.locator(".vnb-title").text_content() or "").removeprefix("Case ")
    name = f"Failure of case {number.strip()} on v3"
    expect(output.get_by_role("combobox", name=name)).to_be_focused()
    lab.page.keyboard.type("rude")
    lab.page.keyboard.press("Enter")
    expect(case.locator(".vnb-case-failures").nth(2)).to_contain_text("rude")
    lab.page.keyboard.press("Escape")


def runs_the_case_again_with_the_keyboard(lab, case):
    again = case.get_by_role("button", name="Run this case again on v1, v2, v3")
    again.focus()
    lab.page.keyboard.press("Enter")
    expect(case.get_by_text("running…")).to_have_count(0)
    expect(again).to_be_focused()
    assert violations(lab.page, ".vnb-grid-view") == []


def fits(lab, notebook, output, page):
    """Check the width and the rows of a grid and of its static form at all widths."""
    root = output.locator(".vnb-grid")
    grid = root.get_by_role("grid", name="Cases and releases")
    for look in ("light-520", "dark-520", "dark-1400", "light-1400"):
        with lab.looking(look):
            notebook.screenshot(f"grid-{look}", of=output)
            assert root.evaluate(OVERFLOW) == []
            assert grid.evaluate("grid => grid.scrollWidth - grid.clientWidth") <= 1
            height = grid.locator(".vnb-grid-row").first.evaluate("row => row.offsetHeight")
            assert height == (51 if look.endswith("520") else 36)
            notebook.screenshot(f"comparison-page-{look}", of=page)
            assert page.evaluate("page => page.scrollWidth - page.clientWidth") <= 1
            assert page.locator(".vnb-case-line").first.is_visible()
            assert page.evaluate(OVERLAPS) == 0


def test_case_of_the_grid_is_opened_in_full(lab):
    notebook = lab.run_notebook([SETUP, "sweep.compare(baseline='v1')"])
    output, page = notebook.output(0), notebook.output(1).locator(".vnb-cmp-page")
    grid = output.locator(".vnb-grid").get_by_role("grid", name="Cases and releases")
    rows = grid.locator(".vnb-grid-row")
    expect(rows.first).to_be_visible()
    fits(lab, notebook, output, page)
    case = output.get_by_role("region", name="The case in full")
    grid.focus()
    lab.page.keyboard.press("j")
    lab.page.keyboard.press("Enter")
    number = (rows.first.locator(".vnb-grid-id").text_content() or "").removeprefix("case ")
    expect(case).to_contain_text(f"Case {number.strip()}")
    expect(case.locator(".vnb-case-facts").last).to_contain_text("category ")
    expect(case.locator(".vnb-answers .vnb-out-run")).to_have_count(3)
    expect(case.get_by_role("button", name="Trace of v2")).to_be_visible()
    lab.page.keyboard.press("j")
    second = (rows.nth(1).locator(".vnb-grid-id").text_content() or "").removeprefix("case ")
    expect(case).to_contain_text(f"Case {second.strip()}")
    expect(grid).to_be_focused()
    for look in ("light-520", "dark-520", "dark-1400", "light-1400"):
        with lab.looking(look):
            notebook.screenshot(f"open-case-{look}", of=output)
            assert violations(lab.page, ".vnb-grid-view") == []
            beside, below = case.bounding_box(), rows.nth(1).bounding_box()
            if look.endswith("520"):
                assert abs(beside["y"] - below["y"] - 51) <= 1
            else:
                assert beside["x"] >= below["x"] + grid.evaluate("grid => grid.clientWidth") - 1
    lab.page.keyboard.press("Enter")
    expect(case).to_be_focused()
    lab.page.keyboard.press("Escape")
    expect(case).to_have_count(0)
    expect(grid).to_be_focused()
    rows.nth(1).locator(".vnb-grid-case").click()
    expect(case.get_by_role("button", name="Rate the answer of v2: good")).to_be_visible()
    steps_and_names_a_failure_with_the_mouse(lab, output, case)
    runs_the_case_again_with_the_keyboard(lab, case)
    with lab.looking("light-1400"):
        notebook.screenshot("open-case-failure", of=output)
    case.get_by_role("button", name="Close the case").click()
    expect(case).to_have_count(0)


JUDGED = """
import json
from pathlib import Path
import vellum_nb as vnb
cells = json.loads(Path(NOTEBOOK).read_text())["cells"]
code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
exec("\\n".join(code[:2]))
"""


def test_disagreements_with_a_judge_are_filtered(lab):
    """As in the tutorial, whose judge likes long replies."""
    path = Path(__file__).parents[2] / "notebooks" / "09_a_judge_you_can_trust.ipynb"
    notebook = lab.run_notebook(
        [JUDGED.replace("NOTEBOOK", repr(str(path))), "check", "cmp.view()"]
    )
    output = notebook.output(2)
    expect(output).to_contain_text("The judge reply-judge agrees too little with people: kappa")
    chip = output.get_by_role("button", name="Judge disagrees")
    disputed = int(notebook.kernel_eval("check.frame()['case_id'].nunique()"))
    expect(chip).to_contain_text(str(disputed))
    chip.click()
    rows = output.locator(".vnb-grid-row")
    expect(output.get_by_text(f"{disputed} of 50")).to_be_visible()
    output.get_by_role("button", name="Outputs in full").click()
    expect(rows.first).to_contain_text("reply-judge")
    output.get_by_role("button", name="One line per case").click()  # the browser remembers it
    for look in ("light-1400", "dark-1400"):
        with lab.looking(look):
            notebook.screenshot(f"judge-disagrees-{look}", of=output)
            notebook.screenshot(f"judge-check-{look}", of=notebook.output(1))

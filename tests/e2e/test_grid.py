"""The grid of a comparison in a real JupyterLab: room, the case in full, hostile answers."""

import pytest
from grid_page import SETUP, open_grid
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

OVERFLOW = """root => [...root.querySelectorAll('*')].filter(node => {
    const box = node.getBoundingClientRect();
    const clipped = getComputedStyle(node).clipPath !== 'none';
    return box.width && !clipped && !node.closest('.vnb-view-grid, thead')
        && box.right > root.getBoundingClientRect().right + 1;
}).map(node => node.className)"""


def test_the_grid_has_room_in_wide_and_narrow_pages(lab):
    grid = open_grid(lab, width=520)
    for look in ("light-520", "dark-520", "dark-1400", "light-1400"):
        with lab.looking(look):
            grid.notebook.screenshot(f"grid-{look}", of=grid.output)
            assert grid.root.evaluate(OVERFLOW) == []
            assert grid.grid.evaluate("grid => grid.scrollWidth - grid.clientWidth") <= 1


def test_enter_opens_the_case_in_full_and_escape_closes_it(lab):
    grid = open_grid(lab)
    grid.grid.focus()
    grid.page.keyboard.press("j")
    grid.page.keyboard.press("Enter")
    number = grid.numbers()[0].removeprefix("case ")
    expect(grid.case).to_contain_text(f"Case {number}")
    expect(grid.case).to_contain_text("category (expected)")
    expect(grid.case.locator(".vnb-out-run")).to_have_count(3)
    expect(grid.case.get_by_role("button", name="Trace of v2")).to_be_visible()
    grid.page.keyboard.press("Escape")
    expect(grid.case).to_have_count(0)
    expect(grid.grid).to_be_focused()
    grid.rows.nth(1).locator(".vnb-grid-case").click()
    expect(grid.case.get_by_role("button", name="Rate the answer of v2: good")).to_be_visible()
    grid.case.get_by_role("button", name="Close the case").click()
    expect(grid.case).to_have_count(0)


HOSTILE = f"""{SETUP}
bad = "<img src=x onerror=alert(1)><script>alert(2)</script>"
rtl = "\\u202e\\u05e2\\u05d1\\u05e8\\u05d9\\u05ea\\u202e"
inputs = {{"ticket": bad}}
runs = [
    vnb.Run(id=tag, deployment=bad, release_tag=tag, timestamp=NOON, inputs=inputs,
            case_id=case_id(inputs), state="FULFILLED",
            outputs={{bad: bad + tag, "rtl": rtl + tag, "half": "\\ud83d" + tag,
                      "huge": tag + "x" * 1_000_000}})
    for tag in ("v1", bad, "v3")
]
known = [SweepCase(0, case_id(inputs), inputs, {{bad: bad}}, {{bad: bad}})]
cmp = vnb.Comparison(runs, deployment=bad, release_tags=("v1", bad, "v3"), cases=known)
view = ComparisonView(cmp, HANDS)
view
"""


def test_hostile_answers_stay_text(lab):
    grid = open_grid(lab, HOSTILE)
    expect(grid.rows.first).to_contain_text("<img src=x onerror=alert(1)>")
    grid.rows.first.get_by_role("button", name="show all").first.click()
    expect(grid.case).to_contain_text("characters more")
    expect(grid.root.locator("img, script")).to_have_count(0)
    expect(grid.case.locator("img, script")).to_have_count(0)
    grid.notebook.screenshot("grid-hostile", of=grid.output)

"""The grid of a comparison in a real JupyterLab: what it shows, finds and filters; many cases."""

from __future__ import annotations

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


MANY = f"""{SETUP}
import random
def letters(n, tag):
    return "word " * random.Random(f"{{n}}{{tag}}").randrange(1, 120)
tags = ("v1", "v2", "v3", "v4", "v5")
runs = []
for n in range(10_000):
    inputs = {{"ticket": f"ticket {{n}}"}}
    case = case_id(inputs)
    for tag in tags:
        runs.append(vnb.Run.model_construct(
            id=f"{{tag}}-{{n}}", deployment="d", release_tag=tag, timestamp=NOON, inputs=inputs,
            case_id=case, state="FULFILLED", outputs={{"reply": letters(n, tag)}},
        ))
cmp = vnb.Comparison(runs, deployment="d", release_tags=tags)
view = ComparisonView(cmp)
view
"""


def test_ten_thousand_cases_are_paged_to_the_end_and_back(lab):
    grid = open_grid(lab, MANY)
    expect(grid.count).to_contain_text("10,000 cases, those that differ first")
    grid.grid.focus()
    grid.page.keyboard.press("End")
    expect(grid.where).to_have_text("9,976\u201310,000 of 10,000")
    expect(grid.active()).to_be_visible()
    row = grid.page.locator(".vnb-grid-row:has(.vnb-view-active)")
    expect(row).to_have_attribute("aria-rowindex", "10001")
    expect(grid.rows).to_have_count(25)
    for _ in range(5):
        grid.page.keyboard.press("k")
    expect(row).to_have_attribute("aria-rowindex", "9996")
    grid.page.keyboard.press("Home")
    expect(grid.where).to_have_text("1\u201325 of 10,000")
    expect(row).to_have_attribute("aria-rowindex", "2")


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

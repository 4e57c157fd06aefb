"""The grid of a comparison in a real JupyterLab: what it shows, finds and filters; many cases."""

from __future__ import annotations

import re

import pytest
from grid_page import SETUP, open_grid
from places import settled
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

OVERFLOW = """root => [...root.querySelectorAll('*')].filter(node => {
    const box = node.getBoundingClientRect();
    const clipped = getComputedStyle(node).clipPath !== 'none';
    return box.width && !clipped && !node.closest('.vnb-grid-rows, thead')
        && box.right > root.getBoundingClientRect().right + 1;
}).map(node => node.className)"""


def test_the_grid_has_room_in_wide_and_narrow_pages(lab):
    grid = open_grid(lab, width=520)
    for look in ("light-520", "dark-520", "dark-1400", "light-1400"):
        with lab.looking(look):
            grid.notebook.screenshot(f"grid-{look}", of=grid.output)
            assert grid.root.evaluate(OVERFLOW) == []
            assert grid.grid.evaluate("grid => grid.scrollWidth - grid.clientWidth") <= 1


def test_the_summary_tells_each_release_against_the_baseline(lab):
    grid = open_grid(lab)
    row = grid.summary.locator("tr[data-release='v2']")
    expect(row).to_contain_text("30 better · 8 same · 2 worse")
    expect(row).to_contain_text("larger than the noise floor")
    expect(row).to_contain_text("= production")
    expect(row.get_by_role("img")).to_have_attribute("aria-label", re.compile("95 % interval"))
    expect(grid.summary.locator("tr[data-release='v3']")).to_contain_text("1 missing")
    expect(grid.summary.locator("tr[data-release='v1']")).to_contain_text("noise floor ±")
    expect(grid.count).to_have_text("40 cases, regressions first")


def test_cases_chosen_elsewhere_are_shown_alone(lab):
    grid = open_grid(lab)
    expect(grid.count).to_have_text("40 cases, regressions first")
    grid.notebook.kernel_eval("view.choose([case.case_id for case in cmp.cases[:3]])")
    expect(grid.count).to_have_text("3 of 40 cases, regressions first")
    grid.filter("Chosen").click()
    expect(grid.count).to_have_text("40 cases, regressions first")


def test_filters_show_fewer_cases_and_say_how_many(lab):
    grid = open_grid(lab)
    grid.filter("Regressions").click()
    expect(grid.filter("Regressions")).to_have_attribute("aria-pressed", "true")
    expect(grid.count).to_have_text("10 of 40 cases, regressions first")
    grid.filter("Missing").click()
    expect(grid.count).to_have_text("11 of 40 cases, regressions first")
    grid.filter("refund").click()
    expect(grid.count).to_have_text(re.compile(r"^\d of 40 cases"))
    for chip in grid.rows.locator(".vnb-grid-case .vnb-grid-chip:not(.vnb-grid-is-warn)").all():
        assert chip.inner_text() == "refund"
    grid.filter("refund").click()
    grid.filter("Regressions").click()
    expect(grid.rows).to_have_count(1)
    expect(grid.rows).to_contain_text("Counted as missing, never as a pass.")
    grid.filter("Missing").click()
    expect(grid.count).to_have_text("40 cases, regressions first")


def test_a_text_is_searched_while_it_is_typed(lab):
    grid = open_grid(lab)
    grid.search.press_sequentially("colleague who has no company address? (29)")
    expect(grid.count).to_have_text("1 of 40 cases, regressions first")
    expect(grid.row(29)).to_be_visible()
    grid.search.fill("nobody wrote this")
    expect(grid.root.get_by_text("No case is in these filters.")).to_be_visible()
    grid.search.press("Escape")
    expect(grid.count).to_have_text("40 cases, regressions first")
    expect(grid.rows.first).to_be_visible()


def test_words_are_searched_in_whatever_order_as_in_the_table(lab):
    grid = open_grid(lab)
    for text, cases in (("ADDRESS colleag 29", 1), ('"has no company" 29', 1), ("olleague 29", 0)):
        grid.search.fill(text)
        expect(grid.count).to_have_text(f"{cases} of 40 cases, regressions first")
    grid.notebook.screenshot("grid-searched-by-words", of=grid.output)


def test_regressions_stand_first_and_same_ones_last(lab):
    grid = open_grid(lab)
    expect(grid.rows.first.locator(".vnb-grid-verdict").first).to_contain_text("worse")
    grid.grid.focus()
    grid.page.keyboard.press("End")
    expect(grid.where).to_have_text(re.compile("of 40$"))
    expect(grid.where).to_have_text(re.compile("\u201340 of 40"))
    expect(grid.rows.last.locator(".vnb-grid-at-worse")).to_have_count(0)


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


def test_ten_thousand_cases_scroll_to_the_end_and_back(lab):
    grid = open_grid(lab, MANY)
    expect(grid.count).to_contain_text("10,000 cases, those that differ first")
    grid.grid.focus()
    grid.page.keyboard.press("End")
    expect(grid.where).to_have_text(re.compile("\u201310,000 of 10,000$"))
    expect(grid.active()).to_be_visible()
    expect(grid.page.locator(".vnb-grid-row:has(.vnb-grid-active)")).to_have_attribute(
        "aria-rowindex", "10001"
    )
    ends = grid.grid.evaluate("""grid => {
        const last = grid.querySelector('.vnb-grid-row:has(.vnb-grid-active)');
        return grid.getBoundingClientRect().bottom - last.getBoundingClientRect().bottom;
    }""")
    assert -2 <= ends <= 20
    assert grid.rows.count() < 40
    for _ in range(5):
        grid.page.keyboard.press("k")
    expect(grid.page.locator(".vnb-grid-row:has(.vnb-grid-active)")).to_have_attribute(
        "aria-rowindex", "9996"
    )
    grid.page.keyboard.press("Home")
    expect(grid.where).to_have_text(re.compile(r"^cases 1\u2013"))


def test_what_is_read_stays_where_it_is_while_rows_above_are_measured(lab):
    grid = open_grid(lab, MANY.replace("10_000", "1_000"))
    expect(grid.count).to_contain_text("those that differ first")
    grid.grid.evaluate("grid => { grid.scrollTop = 20_000; }")
    loaded = grid.page.locator(".vnb-grid-row:has([role='rowheader'])")
    expect(loaded.nth(3)).to_be_visible()
    settled(loaded.nth(2))
    name = loaded.nth(2).locator(".vnb-grid-caption").inner_text()
    seen = grid.rows.filter(has=grid.page.get_by_text(name, exact=True))
    before = settled(seen)["y"]
    grid.grid.evaluate("grid => { grid.scrollTop -= 40; }")
    grid.page.wait_for_timeout(300)  # for the rows above, which are measured once they are there
    after = settled(seen)["y"]
    assert abs(after - before - 40) <= 2, (before, after, settled(grid.grid))


def test_the_baseline_stays_pinned_beside_many_releases(lab):
    grid = open_grid(lab, MANY.replace("10_000", "12"))
    grid.grid.evaluate("grid => { grid.scrollLeft = grid.scrollWidth; }")
    assert grid.grid.evaluate("grid => grid.scrollLeft") > 50
    left = settled(grid.grid)["x"]
    for role, of in (("columnheader", grid.grid), ("gridcell", grid.rows.first)):
        cell = of.get_by_role(role).filter(has_text="v1").first
        assert abs(settled(cell)["x"] - left - 176) <= 1
    last = settled(grid.grid.get_by_role("columnheader", name="v5"))
    assert last["x"] + last["width"] <= left + settled(grid.grid)["width"] + 1
    grid.grid.focus()
    grid.page.keyboard.press("j")  # the first release beside the baseline is the chosen one
    assert settled(grid.active())["x"] >= left + 385


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

"""The grid of a comparison in a real JupyterLab: filters, keys, rating, baseline, many cases."""

from __future__ import annotations

import re

import pytest
from grid_page import SETUP, GridPage
from places import settled
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

SHOWN = f"{SETUP}\ncmp = compared()\nview = ComparisonView(cmp, HANDS)\nview"
FIRST = re.compile(r"^case ")


def open_grid(lab, code=SHOWN, **look):
    return GridPage(lab.run_notebook([code], **look))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 520])
def test_the_grid_has_room_in_wide_and_narrow_pages(lab, theme, width):
    grid = open_grid(lab, theme=theme, width=width)
    grid.notebook.screenshot(f"grid-{theme}-{width}", of=grid.output)
    overflow = grid.root.evaluate("""root => [...root.querySelectorAll('*')].filter(node => {
        const box = node.getBoundingClientRect();
        const clipped = getComputedStyle(node).clipPath !== 'none';
        return box.width && !clipped && !node.closest('.vnb-grid-rows, thead')
            && box.right > root.getBoundingClientRect().right + 1;
    }).map(node => node.className)""")
    assert overflow == []
    sideways = grid.grid.evaluate("grid => grid.scrollWidth - grid.clientWidth")
    assert sideways <= 1


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


KEPT = """
import vellum_nb as vnb
ws = vnb.connect("local", history=":memory:")
for ticket in ("I was charged twice", "Uploads fail with 503"):
    for tag in ("v1", "v2"):
        run = ws.run("ticket-triage", {"ticket": ticket}, release_tag=tag)
view = ws.compare("ticket-triage").view()
view
"""


def test_a_run_that_is_deleted_is_missing_until_it_is_brought_back(lab):
    grid = open_grid(lab, KEPT)
    expect(grid.summary.locator("tr[data-release='v2']")).not_to_contain_text("missing")
    grid.row(2).click()
    expect(grid.case).to_be_visible()
    grid.notebook.kernel_eval("ws.history.delete([run]) == 1")
    expect(grid.summary.locator("tr[data-release='v2']")).to_contain_text("1 missing")
    expect(grid.row(2)).to_contain_text("Counted as missing, never as a pass.")
    grid.notebook.screenshot("grid-run-deleted", of=grid.output)
    grid.notebook.kernel_eval("len(ws.history.undelete().runs)")
    expect(grid.summary.locator("tr[data-release='v2']")).not_to_contain_text("missing")


def test_regressions_stand_first_and_same_ones_last(lab):
    grid = open_grid(lab)
    expect(grid.rows.first.locator(".vnb-grid-verdict").first).to_contain_text("worse")
    grid.grid.focus()
    grid.page.keyboard.press("End")
    expect(grid.where).to_have_text(re.compile("of 40$"))
    expect(grid.where).to_have_text(re.compile("\u201340 of 40"))
    expect(grid.rows.last.locator(".vnb-grid-at-worse")).to_have_count(0)


def test_keys_go_from_case_to_case_and_release_to_release(lab):
    grid = open_grid(lab)
    order = grid.numbers()
    grid.grid.focus()
    press = grid.page.keyboard.press
    press("j")
    row = grid.page.locator(".vnb-grid-row:has(.vnb-grid-active)")
    expect(row).to_contain_text(order[0])
    press("j")
    expect(row).to_contain_text(order[1])
    expect(grid.active()).to_have_attribute("aria-colindex", "3")
    press("l")
    expect(grid.active()).to_have_attribute("aria-colindex", "4")
    press("h")
    press("h")
    expect(grid.active()).to_have_class(re.compile("vnb-grid-at-baseline"))
    press("k")
    expect(row).to_contain_text(order[0])
    active = grid.active().get_attribute("id")
    expect(grid.grid).to_have_attribute("aria-activedescendant", active)
    for _ in range(12):
        press("j")
    expect(grid.active()).to_be_in_viewport()


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


def test_digits_rate_the_answer_that_is_chosen(lab):
    grid = open_grid(lab)
    grid.grid.focus()
    grid.page.keyboard.press("j")
    grid.page.keyboard.press("4")
    expect(grid.active()).to_contain_text("rated 0.75")
    number = grid.numbers()[0].removeprefix("case ")
    status = grid.root.get_by_text(f"Case {number} on v2: rated 0.75")
    expect(status).to_have_attribute("role", "status")
    grid.page.keyboard.press("l")
    grid.page.keyboard.press("1")
    expect(grid.active()).to_contain_text("rated 0.00")
    at = int(number) - 1
    grid.notebook.kernel_becomes("rated", f"[('v2-{at}-2', 0.75), ('v3-{at}-2', 0.0)]")
    thumbs = grid.case.get_by_role("button", name="Rate the answer of v2: good")
    grid.page.keyboard.press("Enter")
    thumbs.click()
    expect(thumbs).to_have_attribute("aria-pressed", "true")
    expect(grid.rows.first.locator("[data-column='2']")).to_contain_text("rated 1.00")


def test_another_baseline_turns_the_comparison_round(lab):
    grid = open_grid(lab)
    grid.root.get_by_label("Baseline", exact=True).select_option("v2")
    header = grid.grid.get_by_role("columnheader")
    expect(header.nth(1)).to_contain_text("v2")
    expect(header.nth(1)).to_contain_text("pinned baseline")
    row = grid.summary.locator("tr[data-release='v1']")
    expect(row).to_contain_text("2 better · 8 same · 30 worse")
    expect(grid.filter("Regressions")).to_contain_text(re.compile(r"\d\d"))
    grid.notebook.kernel_becomes("view.comparison.baseline", "'v2'")


def test_a_missing_case_is_run_from_its_cell(lab):
    grid = open_grid(lab)
    grid.filter("Missing").click()
    grid.notebook.screenshot("grid-missing", of=grid.output)
    grid.rows.get_by_role("button", name="Run this case on v3").click()
    expect(grid.rows.first.locator("[data-column='3']")).not_to_contain_text("missing")
    expect(grid.rows.first.locator("[data-column='3']")).to_contain_text("score")
    expect(grid.filter("Missing")).to_contain_text("0")
    expect(grid.summary.locator("tr[data-release='v3']")).not_to_contain_text("missing")


def test_export_writes_beside_the_notebook_and_says_where(lab):
    grid = open_grid(lab)
    grid.root.get_by_role("button", name="Export…").click()
    name = grid.root.get_by_label("File to write")
    expect(name).to_have_value("ticket-triage-compared.csv")
    name.press("Enter")
    expect(grid.root.get_by_text("Wrote 40 cases to")).to_be_visible()
    assert (grid.notebook.folder / "ticket-triage-compared.csv").exists()
    name.press("Enter")
    expect(grid.root.get_by_text("exists already")).to_be_visible()
    grid.root.get_by_label("Format").select_option("html")
    expect(name).to_have_value("ticket-triage-compared.html")
    name.press("Escape")
    expect(grid.root.get_by_role("button", name="Export…")).to_be_focused()


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
    grid = open_grid(lab, MANY)
    expect(grid.count).to_contain_text("those that differ first")
    grid.grid.evaluate("grid => { grid.scrollTop = 200_000; }")
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


def test_a_comparison_of_a_workspace_shows_its_grid(lab):
    code = """
import vellum_nb as vnb
ws = vnb.connect("local", history=":memory:")
cases = [{"ticket": text, "expected.category": "billing"} for text in ("charged twice", "a bug")]
sweep = ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"], progress=False)
view = sweep.compare().view()
view
"""
    grid = open_grid(lab, code)
    expect(grid.rows).to_have_count(2)
    grid.grid.focus()
    grid.page.keyboard.press("j")
    grid.page.keyboard.press("5")
    expect(grid.active()).to_contain_text("rated 1.00")
    grid.notebook.kernel_becomes("ws.history.frame()['quality'].dropna().tolist()", "[1.0]")
    grid.page.keyboard.press("Enter")
    grid.case.get_by_role("button", name="Trace of v2").click()
    expect(grid.case.locator(".vnb-trace").first).to_be_visible()


def test_a_grid_without_its_kernel_says_so(lab):
    grid = open_grid(lab)
    grid.notebook.kill_kernel()
    grid.grid.focus()
    grid.page.keyboard.press("End")
    expect(grid.root.get_by_role("alert")).to_contain_text("is gone, so nothing here answers")
    grid.filter("Regressions").click()
    grid.notebook.screenshot("grid-without-kernel", of=grid.output)
    grid.notebook.run(0)
    again = GridPage(grid.notebook)
    expect(again.root.get_by_role("alert")).to_be_hidden()
    expect(again.rows.first).to_contain_text("worse")

"""The grid of a comparison in a real JupyterLab: keys, rating, replay, baseline, export, loss."""

from __future__ import annotations

import re

import pytest
from grid_page import GridPage, open_grid
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


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
    expect(grid.output).to_contain_text("Deleted of what was compared: 1 run, see history.del")
    grid.notebook.screenshot("grid-run-deleted", of=grid.output)
    grid.notebook.kernel_eval("len(ws.history.undelete().runs)")
    expect(grid.summary.locator("tr[data-release='v2']")).not_to_contain_text("missing")


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

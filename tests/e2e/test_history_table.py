"""The history table in a real JupyterLab: mouse, keyboard, live rows, hostile text."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from table_page import SETUP, TablePage

pytestmark = pytest.mark.browser


@pytest.fixture
def table(lab):
    return TablePage(lab.run_notebook([SETUP]))


def test_the_table_fits_its_place(lab):
    table = TablePage(lab.run_notebook([SETUP], width=500))
    table.filter.fill("charged")
    expect(table.rows.first.locator("b").first).to_have_text("charged")
    table.rows.nth(0).get_by_role("checkbox").click()
    table.rows.nth(1).get_by_role("checkbox").click()
    table.shows_selected(2)
    for look in ("light-500", "dark-500", "dark-1400", "light-1400"):
        with lab.looking(look):
            assert table.grid.evaluate("grid => grid.clientWidth - grid.scrollWidth") >= 0
            table.notebook.screenshot(f"history-table-{look}", table.root)


def test_two_runs_are_selected_and_stand_side_by_side(table):
    button = table.root.get_by_role("button", name="Side by side", exact=True)
    expect(button).to_be_disabled()
    table.row("ticket 198").locator(".vnb-table-time").click()
    table.row("ticket 196").locator(".vnb-table-time").click(modifiers=["Control"])
    table.shows_selected(2)
    table.selects("run-198 run-196")
    button.click()
    expect(table.side).to_contain_text("Thanks for ticket 198")
    expect(table.side.locator("ins", has_text="196")).to_be_visible()
    table.side.get_by_role("button", name="Close side by side").click()
    expect(table.side).to_be_hidden()
    table.root.get_by_role("button", name="Clear", exact=True).click()
    table.shows_selected(0)


def test_the_keyboard_alone_does_it_all(table):
    keys = table.notebook.page.keyboard
    table.filter.focus()
    keys.press("ArrowDown")
    expect(table.grid).to_be_focused()
    keys.press("Space")
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    keys.press("Space")
    table.shows_selected(2)
    table.selects("run-199 run-197")
    keys.press("End")
    expect(table.row("ticket 0")).to_be_visible()
    keys.press("Shift+ArrowUp")
    table.shows_selected(2)
    table.selects("run-1 run-0")
    keys.press("Home")
    expect(table.grid.locator(".vnb-view-active")).to_contain_text("ticket 199")
    keys.press("PageDown")
    keys.press("PageUp")
    keys.press("Enter")
    expect(table.side).to_be_visible()
    keys.press("Escape")
    table.shows_selected(0)
    cells = table.notebook.scope.locator(".jp-CodeCell")
    expect(cells).to_have_count(1)


def test_a_recorded_run_comes_in_by_itself_and_moves_nothing_else(table):
    table.filter.fill("charged")
    expect(table.rows.first.locator("b").first).to_be_visible()
    table.rows.nth(2).get_by_role("checkbox").click()
    table.shows_selected(1)
    table.selects("run-197")
    header = table.header("release_tag").element_handle()
    table.notebook.kernel_eval("record(200)")
    expect(table.rows.first).to_contain_text("ticket 200")
    assert header.evaluate("cell => cell.isConnected")  # it may be under a click
    expect(table.status).to_have_text(re.compile("^201 runs"))
    table.selects("run-197")
    expect(table.filter).to_have_value("charged")
    expect(table.rows.nth(3)).to_have_attribute("aria-selected", "true")


def test_hostile_text_stays_text(table):
    table.notebook.kernel_eval("""
for at, text in enumerate(["<img src=x onerror=alert(1)>", "<script>alert(2)</script>"]):
    record(300 + 2 * at, ticket=text, outputs={"reply": text}, state="FULFILLED", error=None)
""")
    expect(table.row("<img src=x onerror=alert(1)>")).to_be_visible()
    table.filter.fill("alert(")
    expect(table.status).to_have_text("2 of 202 runs")
    table.rows.nth(0).get_by_role("checkbox").click()
    table.rows.nth(1).get_by_role("checkbox").click()
    table.root.get_by_role("button", name="Side by side", exact=True).click()
    expect(table.side).to_contain_text("<img src=x onerror=alert(1)>")
    assert table.root.locator("img, script").count() == 0

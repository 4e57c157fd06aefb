"""The history table in a real JupyterLab: mouse, keyboard, live rows, hostile text."""

import pytest
from playwright.sync_api import expect
from table_page import SETUP, TablePage

pytestmark = pytest.mark.browser


@pytest.fixture
def table(lab):
    return TablePage(lab.run_notebook([SETUP]))


def test_the_table_fits_its_place(lab):
    table = TablePage(lab.run_notebook([SETUP], width=500))
    table.filter.fill("thanks")
    expect(table.rows.first.locator("b").first).to_have_text("Thanks")
    table.rows.nth(0).get_by_role("checkbox").click()
    table.rows.nth(1).get_by_role("checkbox").click()
    table.shows_selected(2)
    for look in ("light-520", "dark-520", "dark-880", "light-880", "dark-1300", "light-1300"):
        with lab.looking(look):
            assert table.grid.evaluate("grid => grid.clientWidth - grid.scrollWidth") >= 0
            expect(table.header("outputs")).to_be_visible()
            table.notebook.screenshot(f"history-table-{look}", table.root)


def test_an_open_export_counts_what_the_filter_finds(table):
    table.root.get_by_role("button", name="Export…").click()
    amount = table.root.locator(".vnb-view-form > span").first
    expect(amount).to_have_text("200 runs as")
    table.rows.nth(0).get_by_role("checkbox").click()
    everything = table.root.get_by_role("checkbox", name="Select all runs found")
    table.filter.fill("ticket found nowhere")
    expect(amount).to_have_text("0 runs as")
    expect(everything).not_to_be_checked()
    table.filter.fill("")
    expect(amount).to_have_text("200 runs as")


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


def test_table_survives_a_reload_of_the_page(lab, table):
    table.filter.fill("charged")
    expect(table.rows.first.locator("b").first).to_be_visible()
    table.header("latency_s").get_by_role("button").click()
    expect(table.header("latency_s")).to_have_attribute("aria-sort", "descending")
    table.row("ticket 198").get_by_role("checkbox").click()
    table.shows_selected(1)
    again = TablePage(lab.reload(table.notebook))
    expect(again.filter).to_have_value("charged")
    expect(again.header("latency_s")).to_have_attribute("aria-sort", "descending")
    again.shows_selected(1)
    expect(again.row("ticket 198")).to_have_attribute("aria-selected", "true")
    again.selects("run-198")

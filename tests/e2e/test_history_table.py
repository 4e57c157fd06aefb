"""The history table in a real JupyterLab: mouse, keyboard, live rows, hostile text."""

from __future__ import annotations

import re

import pytest
from places import settled
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


def test_runs_of_several_deployments_fit_a_narrow_place_too(lab):
    several = """
import vellum_nb as vnb
ws = vnb.connect("local", history=":memory:")
ws.run("ticket-triage", {"ticket": "I was charged twice"})
ws.run("summarise", {"text": "A tag moves."})
ws.history.view()
"""
    table = TablePage(lab.run_notebook([several], width=500))
    expect(table.row("summarise")).to_be_visible()
    expect(table.row("ticket-triage")).to_be_visible()
    assert table.grid.evaluate("grid => grid.clientWidth - grid.scrollWidth") >= 0


def test_states_are_words_beside_their_icons_and_errors_stand_under_outputs(table):
    expect(table.rows.first).to_contain_text("FAILED")
    expect(table.row("no plan for 199").locator(".vnb-table-bad")).to_be_visible()
    expect(table.row("ticket 195").locator(".vnb-table-moved")).to_contain_text("moved")
    expect(table.row("ticket 194").locator(".vnb-table-seconds")).to_have_text("—")
    expect(table.row("ticket 198").locator(".vnb-table-quality")).to_have_text("1")
    clock = table.rows.first.locator(".vnb-table-time")
    expect(clock).to_have_attribute("title", "2026-07-01T12:03:19+00:00")


def test_a_click_on_a_header_sorts_and_a_second_one_turns_it_round(table):
    expect(table.header("timestamp")).to_have_attribute("aria-sort", "descending")
    button = table.header("latency_s").get_by_role("button")
    button.click()
    expect(table.header("latency_s")).to_have_attribute("aria-sort", "descending")
    expect(table.rows.first).to_contain_text("1.99")
    button.click()
    expect(table.header("latency_s")).to_have_attribute("aria-sort", "ascending")
    expect(table.rows.first).to_contain_text("0.00")
    expect(table.header("timestamp")).to_have_attribute("aria-sort", "none")
    assert table.notebook.kernel_eval("view.order_by, view.descending") == "('latency_s', False)"


def test_the_name_of_a_column_is_whole_beside_its_arrow(table):
    for name in ("state", "release_tag", "timestamp", "latency_s", "quality"):
        header = table.header(name)
        header.get_by_role("button").click()
        expect(header).not_to_have_attribute("aria-sort", "none")
        room = "name => name.clientWidth - name.scrollWidth"
        assert header.get_by_text(name).evaluate(room) >= 0, name


def test_all_of_a_header_sorts_not_its_name_alone(table):
    header = table.header("release_tag")
    box = settled(header)
    header.click(position={"x": box["width"] - 12, "y": box["height"] / 2})
    expect(header).to_have_attribute("aria-sort", "ascending")


def test_the_filter_finds_marks_and_is_cleared(table):
    table.filter.fill("TICKET 19")
    expect(table.status).to_have_text("11 of 200 runs")
    expect(table.rows.first.locator("b")).to_have_text(["ticket", "199", "199"])
    table.root.get_by_role("button", name="Clear the filter").click()
    expect(table.status).to_have_text("200 runs")
    expect(table.filter).to_be_focused()
    table.filter.fill("(nothing like [this")
    expect(table.root.get_by_text("No run matches the filter.")).to_be_visible()


def test_the_filter_goes_by_words_while_a_run_arrives(table):
    table.filter.fill('"charged twice" 20')
    expect(table.status).to_have_text("1 of 200 runs")
    table.notebook.kernel_eval("record(200, ticket='CHARGED twice, ticket 2001')")
    expect(table.status).to_have_text("2 of 201 runs")
    found = table.row("ticket 2001").locator("b")
    expect(found).to_have_text(["CHARGED twice", "2001", "200"])
    expect(found.first).to_have_css("font-weight", "600")
    table.filter.fill("arged")
    expect(table.status).to_have_text("0 of 201 runs")


def test_scrolling_to_the_end_loads_what_is_there(table):
    table.grid.evaluate("grid => { grid.scrollTop = grid.scrollHeight; }")
    expect(table.row("ticket 0")).to_be_visible()
    expect(table.rows.filter(has_text="…").filter(has_not_text="ticket")).to_have_count(0)
    assert table.rows.count() < 40


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


def test_shift_selects_a_range_and_the_head_selects_all(table):
    table.row("ticket 199").get_by_role("checkbox").click()
    table.row("ticket 196").locator(".vnb-table-time").click(modifiers=["Shift"])
    table.shows_selected(4)
    table.root.get_by_label("Select all runs shown").click()
    table.shows_selected(0)
    table.root.get_by_label("Select all runs shown").click()
    table.shows_selected(200)


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
    active = table.grid.get_attribute("aria-activedescendant")
    expect(table.grid.locator(f"[id='{active}']")).to_contain_text("ticket 199")
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


def test_what_is_read_stays_in_sight_when_runs_come_in(table):
    table.grid.evaluate("grid => { grid.scrollTop = 50 * 28; }")
    expect(table.row("ticket 145")).to_be_visible()
    before = settled(table.row("ticket 145"))
    table.notebook.kernel_eval("record(200); record(201)")
    expect(table.status).to_have_text("202 runs")
    assert settled(table.row("ticket 145")) == before


def test_columns_are_chosen_by_hand(table):
    table.root.get_by_role("button", name=re.compile("^Columns 7 of")).click()
    table.root.get_by_label("output.reply", exact=True).check()
    expect(table.header("output.reply")).to_be_visible()
    expect(table.row("ticket 198")).to_contain_text("Thanks for ticket 198")
    table.root.get_by_label("latency_s", exact=True).uncheck()
    expect(table.header("latency_s")).to_have_count(0)
    assert "output.reply" in table.notebook.kernel_eval("view.columns")
    table.root.get_by_role("button", name="Default columns").click()
    expect(table.header("latency_s")).to_be_visible()


def test_what_is_found_is_exported_and_nothing_is_written_over(table):
    table.filter.fill("ticket 19")
    expect(table.status).to_have_text("11 of 200 runs")
    table.root.get_by_role("button", name="Export…").click()
    table.root.get_by_label("File to write").fill("found.csv")
    save = table.root.get_by_role("button", name="Save CSV")
    save.click()
    expect(table.root.get_by_text("Wrote 11 runs to")).to_be_visible()
    assert (table.notebook.folder / "found.csv").is_file()
    save.click()
    expect(table.root.get_by_text("exists already")).to_be_visible()


def test_code_and_table_show_the_same(table):
    table.notebook.kernel_eval("view.search = 'ticket 19'; view.selected_ids = ['run-19']")
    expect(table.filter).to_have_value("ticket 19")
    expect(table.status).to_have_text("11 of 200 runs·1 selected")
    table.notebook.kernel_eval("view.show_side_by_side()")
    expect(table.side).to_contain_text("v2")


def test_trouble_is_said_in_the_table(table):
    table.notebook.kernel_eval("history.close()")
    table.header("latency_s").get_by_role("button").click()
    expect(table.root.get_by_role("alert")).to_contain_text("was closed")


def test_a_search_that_fails_does_not_seem_to_go_on(table):
    table.notebook.kernel_eval("""
import pathlib, threading, time

def hold():
    with history._store._reader.lock:
        while not pathlib.Path("go").exists():
            time.sleep(0.05)
        history.close()

threading.Thread(target=hold).start()
""")
    table.filter.fill("ticket 19")
    expect(table.status).to_have_text("Searching…")
    (table.notebook.folder / "go").touch()
    expect(table.root.get_by_role("alert")).to_contain_text("was closed")
    expect(table.status).to_have_text("200 runs")


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

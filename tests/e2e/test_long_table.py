"""A long table in a real JupyterLab: it shows what it has found or sorted so far, and goes on."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from table_page import SETUP, TablePage

pytestmark = pytest.mark.browser

# Two hundred runs count as many. The newest sixty are read; nobody reads on while the lock is held.
LONG = """
from vellum_nb.history.searching import index
from vellum_nb.widgets import table_pages
index.SLICE = 60
table_pages.LONG = 0
"""
READ_SOME = """
preparing = history.prepare(search="charged")
next(preparing), next(preparing)
lock = history._store.write()
lock.__enter__()
"""
READ_ON = "lock.__exit__(None, None, None)"

SORT_SOME = """
import threading
from vellum_nb.history.reading import stretches
from vellum_nb.widgets import table_answers
stretches._STRETCH, table_answers._FIRST_S = 60, 0
answers, gate, readings = stretches._answers, threading.Event(), []

def held(*asked):
    readings.append(asked)
    for number, found in enumerate(answers(*asked)):
        if number == 1:
            gate.wait(60)
        yield found

stretches._answers = held
"""


@pytest.fixture
def show(lab):
    """Return how to show a table whose search has not read all."""

    def show():
        code = LONG + SETUP.replace("view = ", READ_SOME + "view = ")
        return TablePage(lab.run_notebook([code]))

    return show


def test_a_first_search_shows_what_it_has_found_and_goes_on(lab, show):
    table = show()
    table.filter.fill("charged plan")
    so_far = table.root.get_by_role("progressbar", name="Searched so far")
    expect(so_far).to_have_text("30 % searched so far")
    table.rows.nth(1).click()
    for look in ("light-520", "dark-520", "dark-1400", "light-1400"):
        with lab.looking(look):
            expect(so_far).to_have_text("30 % searched so far")
            expect(table.status).to_contain_text("26+ of 200 runs")
            table.notebook.screenshot(f"long-table-{look}", table.root)
    second = table.rows.nth(1).text_content()
    table.notebook.kernel_eval(READ_ON)
    expect(so_far).to_be_hidden()
    expect(table.status).to_have_text("86 of 200 runs·1 selected")
    assert table.rows.nth(1).text_content() == second


def test_nothing_found_so_far_is_said_and_a_new_search_takes_its_place(show):
    table = show()
    table.filter.fill("nobody wrote this")
    expect(table.root.get_by_text("Nothing found so far.")).to_be_visible()
    table.notebook.kernel_eval(READ_ON)
    table.filter.fill("charged")
    expect(table.rows.first.locator("b").first).to_have_text("charged")
    expect(table.status).to_have_text("200 runs")
    table.filter.fill("")
    expect(table.status).to_have_text("200 runs")
    expect(table.root.get_by_role("progressbar", name="Searched so far")).to_be_hidden()


def test_a_first_sort_shows_what_comes_first_so_far_and_goes_on(lab):
    code = LONG + SETUP.replace("view = ", SORT_SOME + "view = ")
    table = TablePage(lab.run_notebook([code]))
    table.header("ticket").get_by_role("button").click()
    so_far = table.root.get_by_role("progressbar", name="Sorted so far")
    expect(so_far).to_have_text("30 % sorted so far")
    expect(table.rows.first).to_be_visible()
    expect(table.status).to_have_text("200 runs")
    table.notebook.screenshot("long-table-sorted-so-far", table.root)
    table.rows.first.click()
    table.grid.press("End")
    expect(table.row("…").last).to_be_visible()
    table.notebook.kernel_eval("gate.set()")
    expect(so_far).to_be_hidden()
    expect(table.status).to_have_text("200 runs·1 selected")
    expect(table.rows.last).to_contain_text("ticket 99")
    table.notebook.kernel_becomes("print(len(readings))", "1")

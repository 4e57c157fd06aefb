"""A long table in a real JupyterLab: a search shows what it has found so far, and goes on."""

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


@pytest.fixture
def show(lab):
    """Return how to show a table whose search has not read all."""

    def show(**options):
        return TablePage(
            lab.run_notebook([LONG + SETUP.replace("view = ", READ_SOME + "view = ")], **options)
        )

    return show


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 520])
def test_a_first_search_shows_what_it_has_found_and_goes_on(show, theme, width):
    table = show(theme=theme, width=width)
    table.filter.fill("charged plan")
    so_far = table.root.get_by_role("progressbar", name="Searched so far")
    expect(so_far).to_have_text("30 % searched so far")
    expect(table.status).to_contain_text("26+ of 200 runs")
    table.rows.nth(1).click()
    second = table.rows.nth(1).text_content()
    table.notebook.screenshot(f"long-table-{theme}-{width}", table.root)
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

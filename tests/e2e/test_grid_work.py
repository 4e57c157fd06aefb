"""The grid of a comparison in a real JupyterLab: keys, rating, replay, baseline, export, loss."""

from __future__ import annotations

import pytest
from grid_page import open_grid
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


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

"""Differences of every type in a comparison, as a browser shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

RECORD = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import typed_runs
import vellum_nb as vnb
typed_runs.record("typed.db")
ws = vnb.connect("local", history="typed.db")
"""
COMPARE = "ws.compare('orders', release_tags=['v1', 'v2'])"


def test_every_type_shows_its_differences_and_stays_in_its_column(lab):
    notebook = lab.run_notebook([RECORD, COMPARE])
    output = notebook.output(1)
    answer = output.locator("table.vnb-cmp td").nth(1)
    whole = answer.get_by_text("the whole value").first
    for look in ("light-1400", "dark-1400", "dark-500", "light-500"):
        with lab.looking(look):
            for words in ("2 of 3 turns differ", "moved from result", "lines the same", "by +0.3"):
                expect(answer.get_by_text(words).first).to_be_visible()
            changes = answer.locator(".vnb-change").all()
            assert len(changes) > 15
            for change in changes:
                expect(change).to_have_css("white-space-collapse", "preserve")
                assert change.evaluate("part => part.scrollWidth <= part.clientWidth + 1")
            whole.click()
            expect(whole.locator("..")).to_have_attribute("open", "")
            notebook.screenshot(f"types-{look}", output)
            whole.click()
            expect(whole.locator("..")).not_to_have_attribute("open", "")

"""Conversations in a real JupyterLab: the turns side by side, in an open case and in a report."""

import pytest
from playwright.sync_api import expect
from test_scripts import violations

pytestmark = pytest.mark.browser

SETUP = """
import vellum_nb as vnb
ws = vnb.connect("local", history="runs.db")
talks = [
    {
        "turns": ["Hello", "My order A-1234 is broken", "What can you do?", "I want a refund"],
        "expected.status": "refund",
    },
    {
        "turns": ["Where is my order B-2345?", "Send me another, please"],
        "expected.status": "replacement",
    },
    {"turns": ["My order C-3456 is late", " ", "A refund, please"], "expected.status": "refund"},
]
sweep = ws.sweep("support-bot", talks, release_tags=["v1", "v2"], repeats=2, progress=False)
cmp = sweep.compare()
cmp.view()
"""


def test_turns_are_side_by_side_in_an_open_case(lab):
    notebook = lab.run_notebook([SETUP])
    output = notebook.output(0)
    rows = output.locator(".vnb-grid-row")
    expect(rows.first).to_be_visible()
    rows.first.locator(".vnb-grid-case").click()
    case = output.get_by_role("region", name="The case in full")
    turns = case.get_by_role("region", name="Turn ")
    expect(turns).to_have_count(4)
    for look in ("light-520", "dark-520", "dark-1300", "light-1300"):
        with lab.looking(look):
            notebook.screenshot(f"conversation-{look}", of=output)
            assert violations(lab.page, ".vnb-grid-view") == []

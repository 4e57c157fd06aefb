"""Runs in doubt in a real JupyterLab: shown and looked up, in the form and in the history table."""

from pathlib import Path

import pytest
from form_page import FormPage
from playwright.sync_api import expect
from table_page import TablePage

pytestmark = pytest.mark.browser

FOLDER = Path(__file__).parents[1] / "workspace"
SETUP = f"""
import sys
sys.path.insert(0, {str(FOLDER)!r})
import vellum_nb as vnb
from costing_server import KEY, CostingServer

server = CostingServer().start()
server.held, server.lag = True, 1e6
ws = vnb.connect(server.url, api_key=KEY)

def end():
    server.lag = 0.0
    server.release()

form = ws.form("count")
form
"""
LOOKS = ("light-500", "dark-500", "dark-1400", "light-1400")


def cancelled(form, text):
    """Run the form on `text`, and cancel once the server executes it."""
    count = int(form.kernel("len(server.executed)"))
    form.field("text *").fill(text)
    form.run.click()
    form.notebook.kernel_becomes("len(server.executed)", str(count + 1))
    form.cancel.click()
    expect(form.answers).to_contain_text("Cancelled; it may still have run.")
    form.wait()


def test_cancelled_run_is_looked_up_in_the_form(lab):
    form = FormPage(lab.run_notebook([SETUP]))
    cancelled(form, "hello")
    keys = form.notebook.page.keyboard
    look_up = form.act("Look up whether the run of v1 was executed")
    look_up.focus()
    keys.press("Enter")
    expect(form.root.get_by_text("The server lists no execution of it yet.")).to_be_visible()
    expect(look_up).to_be_focused()
    for look in LOOKS:
        with lab.looking(look):
            form.notebook.screenshot(f"form-in-doubt-{look}", form.root)
    form.kernel("end()")
    look_up.focus()
    keys.press("Enter")
    expect(form.answers).to_contain_text("v1 hello")
    expect(form.answers).to_contain_text("$0.25")
    expect(look_up).to_be_hidden()
    expect(form.root.get_by_text("Looked up: it ended as FULFILLED.")).to_be_visible()
    expect(form.act("Copy the outputs of v1")).to_be_focused()
    assert form.kernel("[run.state for run in form.runs], len(server.executed)") == (
        "(['FULFILLED'], 1)"
    )


def test_run_in_doubt_is_looked_up_in_the_history_table(lab):
    notebook = lab.run_notebook([SETUP, "ws.history.view()"])
    form = FormPage(notebook)
    cancelled(form, "hello")
    table = TablePage(notebook, cell=1)
    row = table.rows.first
    expect(row).to_contain_text("CANCELLED, in doubt")
    expect(row).to_contain_text("cancelled; it may still have run")
    expect(table.status).to_have_text("1 run· 1 in doubt")
    look_up = table.root.get_by_role("button", name="Look up")
    expect(look_up).to_be_disabled()
    row.click()
    expect(look_up).to_be_enabled()
    look_up.click()
    expect(table.root.get_by_text("The server lists no execution of it yet.")).to_be_visible()
    for look in LOOKS:
        with lab.looking(look):
            notebook.screenshot(f"history-in-doubt-{look}", table.root)
    form.kernel("end()")
    table.grid.focus()
    notebook.page.keyboard.press("l")
    expect(row).to_contain_text("FULFILLED")
    expect(row).to_contain_text("v1 hello")
    expect(look_up).to_be_hidden()
    expect(table.root.get_by_text("Looked up: it ended as FULFILLED.")).to_be_visible()

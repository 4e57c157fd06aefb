"""An open run of the history table in a real JupyterLab: it follows the rows and runs again."""

import pytest
from playwright.sync_api import expect
from table_page import TablePage

pytestmark = pytest.mark.browser

SETUP = """
import vellum_nb as vnb
ws = vnb.connect("local", history="open-run.db")
for number in range(6):
    for tag in ("v1", "v2"):
        ticket = f"ticket {number}: I was charged twice for March and nobody answers my mails."
        ws.run("ticket-triage", {"ticket": ticket}, release_tag=tag)
view = ws.history.view(deployment="ticket-triage")
view
"""
LOOKS = ("light-1300", "dark-1300", "dark-520", "light-520")


def test_open_run_follows_the_rows_and_runs_again(lab):
    table = TablePage(lab.run_notebook([SETUP]))
    notebook, keys = table.notebook, lab.page.keyboard
    case = notebook.output(0).get_by_role("region", name="The run in full")
    table.row("ticket 5").first.locator(".vnb-table-outputs").click()
    expect(case).to_contain_text("ticket-triage · v2")
    expect(case).to_contain_text("ticket 5: I was charged twice")
    expect(case.locator(".vnb-answers")).to_contain_text("billing")
    expect(table.grid).to_be_focused()
    keys.press("j")
    expect(case).to_contain_text("ticket-triage · v1")
    for look in LOOKS:
        with lab.looking(look):
            notebook.screenshot(f"open-run-{look}", of=notebook.output(0))
    keys.press("Enter")
    expect(case).to_be_focused()
    case.get_by_role("button", name="Run again…").click()
    field = case.get_by_label("ticket *")
    expect(field).to_have_value(
        "ticket 5: I was charged twice for March and nobody answers my mails."
    )
    field.fill("where is my invoice?")
    table.grid.focus()
    keys.press("j")  # the form stays with its run
    expect(case).to_contain_text("ticket 4")
    expect(field).to_have_count(0)
    keys.press("k")
    expect(field).to_have_value("where is my invoice?")
    case.get_by_role("button", name="Run on 1").click()
    expect(table.rows).to_have_count(13)
    expect(case.locator(".vnb-form .vnb-out-run")).to_be_visible()
    notebook.kernel_becomes("print(ws.history.count())", "13")
    for look in LOOKS:
        with lab.looking(look):
            notebook.screenshot(f"run-again-{look}", of=notebook.output(0))
    case.get_by_role("button", name="Hide the form").focus()
    keys.press("Escape")
    expect(case).to_have_count(0)
    expect(table.grid).to_be_focused()
    table.root.get_by_label("release_tag").select_option("v1")
    expect(table.status).to_contain_text("7 of 13 runs")
    table.root.get_by_role("button", name="Remove the filter release_tag v1").click()
    expect(table.status).not_to_contain_text("of")

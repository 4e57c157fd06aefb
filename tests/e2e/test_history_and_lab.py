"""The history table and the lab panel in a real JupyterLab."""

from __future__ import annotations

import pytest
from form_page import FormPage
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

RUNS = """
import vellum_nb as vnb
ws = vnb.connect("local")
for ticket in ("I was charged twice", "The site is down"):
    for tag in ("v1", "v2"):
        ws.run("ticket-triage", {"ticket": ticket}, release_tag=tag)
view = ws.history.view()
"""


def test_runs_are_filtered_selected_and_put_side_by_side(lab):
    notebook = lab.run_notebook([RUNS + "view"])
    table = notebook.output(0)
    rows = table.get_by_role("checkbox", name="Select row")
    expect(rows).to_have_count(4)
    table.get_by_label("Filter runs").fill("charged")
    expect(rows).to_have_count(2)
    for row in range(2):
        rows.nth(row).check(force=True)
    expect(table.get_by_text("2 selected")).to_be_visible()
    assert notebook.kernel_eval("[run.release_tag for run in view.selected]") == "['v2', 'v1']"
    table.get_by_role("button", name="Side by side").click()
    expect(table.locator(".vnb-out").locator("ins, del").first).to_be_visible()


def test_a_run_made_elsewhere_appears_in_the_table_that_is_shown(lab):
    notebook = lab.run_notebook([RUNS + "view"])
    rows = notebook.output(0).get_by_role("checkbox", name="Select row")
    expect(rows).to_have_count(4)
    notebook.kernel_eval("_ = ws.run('summarise', {'text': 'One thing. Another thing.'})")
    expect(rows).to_have_count(5)


def test_the_lab_panel_carries_a_run_from_the_form_to_history_and_comparison(lab):
    notebook = lab.run_notebook([RUNS + 'ws.lab("ticket-triage")'])
    panel = notebook.output(0)
    form = FormPage(notebook)
    form.field("ticket *").fill("Where is my invoice?")
    form.run_on("v1", "v2")
    form.run.click()
    expect(form.column("v2")).to_contain_text("FULFILLED")
    panel.get_by_role("tab", name="History").click()
    expect(form.run).to_be_hidden()
    row = panel.get_by_role("row").filter(has_text="Where is my invoice?")
    expect(row).to_have_count(2)
    panel.get_by_role("tab", name="Compare").click()
    expect(panel.get_by_text("Where is my invoice?").locator("visible=true")).not_to_have_count(0)
    expect(panel.locator("ins:visible, del:visible")).not_to_have_count(0)
    notebook.screenshot("lab-compare-light-1400")

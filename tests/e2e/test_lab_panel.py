"""The lab panel in a real JupyterLab: run, find the runs, select two, compare; narrow too."""

import re

import pytest
from form_page import FormPage
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

SETUP = """
import vellum_nb as vnb
ws = vnb.connect("local", history="lab.db")
lab = ws.lab("ticket-triage")
form = lab.form
lab
"""


def tab(root, name):
    return root.get_by_role("tab", name=re.compile(f"^{name}"))


def run_two(notebook):
    form = FormPage(notebook)
    form.field("ticket *").fill("I was charged twice for March")
    form.run_on("v1", "v2")
    form.run_and_wait()
    return notebook.output(0).locator(".vnb-lab")


def test_what_the_form_ran_is_found_selected_and_compared(lab):
    notebook = lab.run_notebook([SETUP])
    root = run_two(notebook)
    expect(tab(root, "History")).to_have_text("History2")
    tab(root, "History").click()
    expect(root.get_by_role("tabpanel", name=re.compile("^History"))).to_be_visible()
    expect(root.locator(".vnb-form")).to_be_hidden()
    boxes = root.locator(".vnb-table-row").get_by_role("checkbox")
    expect(boxes).to_have_count(2)
    boxes.nth(0).click()
    boxes.nth(1).click()
    expect(tab(root, "Compare")).to_have_text("Compare2 selected")
    tab(root, "Compare").click()
    panel = root.get_by_role("tabpanel", name=re.compile("^Compare"))
    expect(panel.get_by_role("heading", name="Selected runs")).to_be_visible()
    expect(panel.locator("ins").first).to_be_visible()

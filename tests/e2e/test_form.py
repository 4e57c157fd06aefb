"""The form in a real JupyterLab, on the sample deployments: from a name to answers and rows."""

import pytest
from form_page import FormPage, open_form
from playwright.sync_api import expect
from test_scripts import violations

pytestmark = pytest.mark.browser

TRIAGE = """
import vellum_nb as vnb
ws = vnb.connect("local")
form = ws.form("ticket-triage")
"""
RATED = "ws.history.frame()[['release_tag', 'quality']].sort_values('release_tag').values.tolist()"
TICKET = "I was charged twice for March and nobody answers my mails."


def test_answers_of_two_release_tags_are_rated(lab):
    notebook = lab.run_notebook([TRIAGE + "form", "ws.history.view()"])
    form = FormPage(notebook)
    table = notebook.output(1)
    form.field("ticket *").fill(TICKET)
    form.run_on("v2")
    places = form.places()
    form.run_on("v1", "v2")
    expect(form.root.locator(".vnb-notices")).to_contain_text("v1 lacks the inputs")
    assert form.places() == places
    form.run_and_wait()
    expect(form.column("v1")).to_contain_text("FULFILLED")
    expect(form.column("v2")).to_contain_text("billing")
    expect(form.column("v2").locator("ins").first).to_be_visible()
    expect(form.column("v1").locator("del").first).to_be_visible()
    expect(form.column("v2").locator("del")).to_have_count(0)
    expect(form.column("v1").locator("ins")).to_have_count(0)
    expect(form.root.locator(".vnb-count")).to_contain_text("2 runs")
    form.thumb("v1", "bad").click()
    form.thumb("v2", "good").focus()
    lab.page.keyboard.press("Enter")
    expect(form.thumb("v2", "good")).to_have_attribute("aria-pressed", "true")
    notebook.kernel_becomes(RATED, "[['v1', 0.0], ['v2', 1.0]]")
    expect(form.thumb("v2", "good")).to_be_focused()
    lab.page.keyboard.press("Tab")
    lab.page.keyboard.press("Space")
    expect(form.thumb("v2", "bad")).to_have_attribute("aria-pressed", "true")
    expect(form.thumb("v2", "good")).to_have_attribute("aria-pressed", "false")
    form.thumb("v1", "bad").click()
    notebook.kernel_becomes(RATED, "[['v1', nan], ['v2', 0.0]]")
    for tag in ("v1", "v2"):
        cell = lab.page.get_by_role("gridcell", name=tag, exact=True)
        row = table.get_by_role("row").filter(has=cell)
        expect(row).to_contain_text("FULFILLED")
    frame = "ws.history.frame()[['release_tag', 'state', 'input.ticket']].values.tolist()"
    assert sorted(eval(form.kernel(frame))) == [  # noqa: S307
        ["v1", "FULFILLED", TICKET],
        ["v2", "FULFILLED", TICKET],
    ]


def test_form_is_run_by_keyboard_alone(lab):
    form = open_form(lab, TRIAGE)
    form.run_on("v2")
    keyboard = lab.page.keyboard
    form.field("ticket *").focus()
    keyboard.type(TICKET)
    keyboard.press("Tab")
    order = []
    for _ in range(12):
        focused = lab.page.evaluate(FOCUSED)
        order.append(focused)
        if focused == "Run on 2":
            break
        if focused == "v1":
            keyboard.press("Space")
            expect(form.run).to_have_text("Run on 2")
        keyboard.press("Tab")
    assert order == ["sla_hours", "customer_tier", "vip", "v1", "v2", "v3", "Run on 2"]
    keyboard.press("Enter")
    expect(form.column("v1")).to_contain_text("FULFILLED")
    expect(form.column("v2")).to_contain_text("billing")


FOCUSED = """() => {
    const at = document.activeElement;
    const label = at.labels?.[0] ?? at;
    return label.innerText.trim();
}"""


def test_form_fits_its_page_in_every_look(lab):
    notebook = lab.run_notebook([TRIAGE + "form", "ws.history.view()"], width=500)
    form = FormPage(notebook)
    form.run_on("v1", "v2", "v3")
    form.field("ticket *").fill(TICKET)
    form.run_and_wait()
    expect(form.column("v3")).to_contain_text("FULFILLED")
    form.field("context").fill('{"plan": ')
    expect(form.problem("context")).to_be_visible()
    for look in ("light-500", "dark-500", "dark-1400", "light-1400"):
        with lab.looking(look):
            notebook.screenshot(f"form-{look}", notebook.output(0))
            notebook.screenshot(f"history-{look}", notebook.output(1))
            assert form.root.evaluate("node => node.scrollWidth - node.clientWidth") <= 0
            assert violations(lab.page, ".vnb-form") == []


def test_ctrl_enter_runs_the_form_and_not_its_cell(lab):
    form = open_form(lab, TRIAGE)
    text = form.field("ticket *")
    text.fill(TICKET)
    text.press("Control+Enter")
    form.notebook.kernel_becomes("(len(form.runs), form.busy)", "(1, False)")
    expect(text).to_be_focused()
    form.tag("v3").press("Control+Enter")  # where JupyterLab would run the cell
    form.notebook.kernel_becomes("(ws.history.count(), form.busy)", "(2, False)")
    expect(form.root.locator(".vnb-count")).to_contain_text("2 runs")
    form.kernel("_ = ws.run('ticket-triage', {'ticket': 'from a cell'})")
    expect(form.root.locator(".vnb-count")).to_contain_text("3 runs")

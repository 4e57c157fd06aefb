"""A page so busy that anywidget gives its models up before they have loaded: they hear again."""

import re

import pytest
from form_page import FormPage
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

# What anywidget does after 2 s: here at once, so that no module is ever there in time.
TOO_LATE = """() => {
    const usual = AbortSignal.timeout.bind(AbortSignal);
    window.givenUp = 0;
    window.inTimeAgain = () => { AbortSignal.timeout = usual; };
    AbortSignal.timeout = (milliseconds) => {
        if (milliseconds !== 2000) return usual(milliseconds);
        const controller = new AbortController();
        queueMicrotask(() => { window.givenUp += 1; controller.abort(); });
        return controller.signal;
    };
}"""
LAB = """
import vellum_nb as vnb
ws = vnb.connect("local", history="lab.db")
lab = ws.lab("ticket-triage")
form = lab.form
lab
"""


@pytest.fixture
def late(lab):
    lab.page.evaluate(TOO_LATE)
    yield lab
    lab.page.evaluate("window.inTimeAgain()")


def test_widgets_that_loaded_late_hear_the_kernel_all_the_same(late):
    notebook = late.run_notebook([LAB, "lab"])
    assert late.page.evaluate("window.givenUp") > 0
    form, other = FormPage(notebook), FormPage(notebook, cell=1)
    for view in (form, other):
        expect(view.field("ticket *")).to_be_visible()
    form.field("ticket *").fill("I was charged twice for March")
    form.run_and_wait()
    form.thumb("v3", "good").click()
    expect(other.thumb("v3", "good")).to_have_attribute("aria-pressed", "true")
    for cell in (0, 1):
        root = notebook.output(cell).locator(".vnb-lab")
        expect(root.get_by_role("tab", name=re.compile("^History"))).to_have_text("History1")
    root.get_by_role("tab", name=re.compile("^History")).click()
    expect(root.locator(".vnb-table-row")).to_have_count(1)
    form.kernel("ws.run('ticket-triage', {'ticket': 'Once more'})")
    expect(root.locator(".vnb-table-row")).to_have_count(2)

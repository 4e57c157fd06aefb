"""The lab panel: runs are found and compared; a page too busy, and a cell that is run again."""

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
AGAIN = """
form.close()
form = ws.form("ticket-triage")
form.value = {"ticket": f"form {next(number)}"}
form
"""


def tab(root, name):
    return root.get_by_role("tab", name=re.compile(f"^{name}"))


def test_runs_of_the_form_are_compared(lab):
    notebook = lab.run_notebook([SETUP])
    form = FormPage(notebook)
    form.field("ticket *").fill("I was charged twice for March")
    form.run_on("v1", "v2")
    form.run_and_wait()
    root = notebook.output(0).locator(".vnb-lab")
    expect(tab(root, "History")).to_have_text("History2")
    tab(root, "History").click()
    expect(root.get_by_role("tabpanel", name=re.compile("^History"))).to_be_visible()
    expect(root.locator(".vnb-form")).to_be_hidden()
    boxes = root.locator(".vnb-table-row").get_by_role("checkbox")
    expect(boxes).to_have_count(2)
    boxes.nth(0).click()
    boxes.nth(1).click()
    expect(root.locator(".vnb-lab-bar")).to_contain_text("2 selected")
    tab(root, "Compare").click()
    panel = root.get_by_role("tabpanel", name=re.compile("^Compare"))
    expect(panel.get_by_role("heading", name="Selected runs")).to_be_visible()
    expect(panel.locator("ins").first).to_be_visible()


def test_open_case_of_a_sweep_has_its_heading(lab):
    notebook = lab.run_notebook([f"open('cases.csv', 'w').write('ticket\\nA refund\\n'){SETUP}"])
    FormPage(notebook).run_on("v1", "v3")
    root = notebook.output(0).locator(".vnb-lab")
    root.get_by_role("radio", name="File of cases", exact=True).check()
    root.get_by_role("radio", name="Path", exact=True).check()
    path = root.get_by_placeholder("cases.csv")
    path.fill("cases.csv")
    path.press("Tab")
    run = root.locator("button.vnb-case-run")
    expect(run).to_have_text("Run 2 calls")
    run.click()
    root.get_by_role("button", name="Compare", exact=True).click()
    root.locator(".vnb-grid-line .vnb-grid-case").last.click()
    root.get_by_role("grid").press("Enter")
    expect(root.locator(".vnb-case").get_by_text("Case 1", exact=True)).to_be_visible()


@pytest.fixture
def late(lab):
    lab.page.evaluate(TOO_LATE)
    yield lab
    lab.page.evaluate("window.inTimeAgain()")


def test_widgets_that_loaded_late_receive_the_state_all_the_same(late):
    notebook = late.run_notebook([SETUP, "lab"])
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
        expect(tab(root, "History")).to_have_text("History1")
    tab(root, "History").click()
    expect(root.locator(".vnb-table-row")).to_have_count(1)
    form.kernel("ws.run('ticket-triage', {'ticket': 'Once more'})")
    expect(root.locator(".vnb-table-row")).to_have_count(2)


def test_repeated_cell_leaves_one_form(lab):
    setup = "import itertools, threading; number = itertools.count()" + SETUP + "lab.close()"
    notebook = lab.run_notebook([setup, AGAIN])
    text = FormPage(notebook, cell=1).field("ticket *")
    widgets = "__import__('ipywidgets').widgets.widget._instances.__len__()"
    before = notebook.kernel_eval(widgets)
    for number in range(1, 21):
        notebook.run(1)
        expect(text).to_have_value(f"form {number}")  # a reader runs a cell again when it is there
        expect(text).to_have_attribute("aria-required", "true")
    assert notebook.kernel_eval(widgets) == before
    ours = "[t.name for t in threading.enumerate() if 'vellum' in t.name]"
    notebook.kernel_becomes(ours, "['vellum_nb-server']")

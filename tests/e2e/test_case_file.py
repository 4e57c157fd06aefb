"""A file of cases run from the form, in a real JupyterLab: plan, problems, Run, the history."""

import pytest
from form_page import open_form
from playwright.sync_api import expect
from sweep_page import GATE, SweepPage
from test_scripts import violations

pytestmark = pytest.mark.browser

FORM = GATE + 'form = ws.form("triage")'
TRIAGE = """
import vellum_nb as vnb
ws = vnb.connect("local", history=":memory:")
form = ws.form("ticket-triage")
"""
DOUBTFUL = (
    "ticket,customer_tier,expected.priority,expected.categroy,language,category\n"
    "charged twice,pro,high,billing,en,billing\nno login,free,low,access,de,how-to\n"
)
GOOD = "ticket,expected.category,who\ncharged twice,billing,ann\nno login,access,bob\nbad,none,cy\n"


def test_uploaded_csv_is_run_as_a_sweep(lab):
    form = open_form(lab, FORM)
    cases = form.root
    run, plan = cases.locator("button.vnb-case-run"), cases.locator(".vnb-case-state")
    expect(run).to_have_count(0)
    cases.get_by_role("radio", name="File of cases", exact=True).check()
    expect(form.run).to_be_hidden()
    expect(run).to_be_disabled()
    file = {"name": "cases.csv", "mimeType": "text/csv", "buffer": GOOD.encode()}
    cases.get_by_label("Choose a file for cases…").set_input_files(file)
    expect(plan).to_contain_text("3 cases × 2 release tags = 6 calls")  # noqa: RUF001
    assert form.kernel("form.release_tags") == "['v1', 'v2']"
    repeats = cases.get_by_label("Repeats", exact=True)
    repeats.fill("2")
    repeats.press("Enter")
    expect(plan).to_contain_text("3 cases × 2 release tags × 2 repeats = 12 calls")  # noqa: RUF001
    assert form.kernel("ws.history.count(), len(ws.sweeps())") == "(0, 0)"

    expect(run).to_have_text("Run 12 calls")
    run.focus()
    run.press("Enter")
    view = SweepPage(form.notebook)
    expect(run).to_have_text("Running…")
    expect(run).to_be_disabled()
    expect(view.button("Pause")).to_be_focused()
    assert form.kernel("1 + 1") == "2"  # the kernel is not blocked
    view.let(12)
    expect(view.status).to_have_text("done: 8 fulfilled, 4 failed")
    compare = view.button("Compare")
    expect(compare).to_be_focused()
    expect(view.root.locator(".vnb-sweep-verdicts")).to_contain_text("v2: cannot tell yet.")
    compare.press("Enter")
    grid = form.root.locator(".vnb-grid")
    expect(grid.locator(".vnb-grid-row")).to_have_count(3)
    verdicts = view.root.locator(".vnb-sweep-verdicts")
    expect(verdicts).to_be_hidden()  # the grid has them
    view.button("Hide comparison").click()
    expect(grid).to_have_count(0)
    expect(verdicts).to_be_visible()
    expect(run).to_have_text("Run 12 calls again")
    expect(form.root.locator(".vnb-count")).to_contain_text("12 runs")
    counted = "sorted(form.sweep.frame().groupby('release_tag', observed=True).size().items())"
    assert form.kernel(counted) == "[('v1', 6), ('v2', 6)]"
    assert form.kernel("sorted(set(form.sweep.frame()['label.who']))") == "['ann', 'bob', 'cy']"
    assert form.kernel("ws.history.count(sweep_id=form.sweep.id)") == "12"


def test_cases_that_would_decide_are_run_from_the_grid(lab):
    form = open_form(lab, TRIAGE)
    form.root.get_by_role("radio", name="File of cases", exact=True).check()
    form.tag("v1").click()
    rows = "".join(f"charged twice {number},billing\n" for number in range(6))
    file = {"name": "six.csv", "mimeType": "text/csv"}
    file["buffer"] = f"ticket,expected.category\n{rows}".encode()
    form.root.get_by_label("Choose a file for cases…").set_input_files(file)
    first = form.root.get_by_label("Cases", exact=True)
    first.fill("2")
    first.press("Enter")
    run = form.root.locator("button.vnb-case-run")
    expect(run).to_have_text("Run 4 calls")
    run.click()
    view = SweepPage(form.notebook)
    verdict = view.root.locator(".vnb-sweep-verdicts .vnb-verdict")
    expect(verdict.get_by_role("button")).to_have_text("Run 4 more")
    expect(verdict).to_contain_text("8 calls")
    form.notebook.screenshot("more-cases", form.root)
    view.button("Compare").press("Enter")
    grid = form.root.locator(".vnb-grid")
    expect(grid.locator(".vnb-grid-row")).to_have_count(2)
    grid.get_by_role("button", name="Run 4 more").press("Enter")
    expect(run).to_have_text("Run 12 calls again")
    expect(first).to_have_value("")
    expect(verdict.get_by_role("button")).to_have_text("Show 6 differences")
    assert form.kernel("ws.history.count(), len(form.sweep.frame())") == "(12, 12)"


def test_doubtful_columns_are_decided_before_a_run(lab):
    form = open_form(lab, TRIAGE)
    cases = form.root
    cases.get_by_role("radio", name="File of cases", exact=True).check()
    file = {"name": "tickets.csv", "mimeType": "text/csv", "buffer": DOUBTFUL.encode()}
    cases.get_by_label("Choose a file for cases…").set_input_files(file)
    wrong = cases.get_by_role("group", name="Column expected.categroy", exact=True)
    doubtful = cases.get_by_role("group", name="Column category", exact=True)
    run = cases.locator("button.vnb-case-run")
    expect(wrong.get_by_role("alert")).to_contain_text("Did you mean category?")
    expect(doubtful.get_by_role("status")).to_contain_text("use it as the expected value?")
    expect(cases.locator(".vnb-case-state")).to_have_text("1 column to correct: expected.categroy")
    expect(run).to_have_text("Check again")
    for look in ("dark-520", "light-520", "dark-1300", "light-1300"):
        with lab.looking(look):
            form.notebook.screenshot(f"columns-{look}", form.root)
            assert form.root.evaluate("node => node.scrollWidth - node.clientWidth") <= 0
            assert violations(lab.page, ".vnb-form") == []

    use = wrong.get_by_role("radio", name="Use expected.category", exact=True)
    use.focus()
    lab.page.keyboard.press("Space")
    expect(wrong).to_contain_text("is read as expected.category; the file is not changed")
    expect(doubtful).to_be_hidden()  # the output has its expected value
    expect(use).to_be_focused()
    expect(run).to_have_text("Run 4 calls")
    form.notebook.screenshot("columns-decided", form.root)
    assert form.kernel("ws.history.count(), len(ws.sweeps())") == "(0, 0)"
    run.click()
    form.notebook.kernel_becomes("form.sweep and form.sweep.state", "'done'")
    expect(cases.locator(".vnb-case-run")).to_have_text("Run 4 calls again")
    form.notebook.screenshot("columns-done", form.root)
    assert form.kernel("form.release_tags") == "['v2', 'v3']"
    columns = "form.sweep.frame()[['expected.category', 'label.category']]"
    stored = f"sorted({columns}.drop_duplicates().values.tolist())"
    assert form.kernel(stored) == "[['access', 'how-to'], ['billing', 'billing']]"

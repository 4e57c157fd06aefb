"""A file of cases run from the form, in a real JupyterLab: plan, problems, Run, the history."""

import pytest
from cases_page import CasesPage
from form_page import open_form
from playwright.sync_api import expect
from sweep_page import GATE, SweepPage

pytestmark = pytest.mark.browser

FORM = GATE + 'form = ws.form("triage")'
GOOD = "ticket,expected.category,who\ncharged twice,billing,ann\nno login,access,bob\nbad,none,cy\n"


def under_way(cases):
    return SweepPage(cases.form.notebook)


def test_a_csv_is_uploaded_planned_run_and_in_the_history(lab):
    cases = CasesPage(open_form(lab, FORM))
    form = cases.form
    cases.upload("cases.csv", GOOD)
    expect(cases.plan).to_contain_text("3 cases × 1 release tag = 3 calls")  # noqa: RUF001
    expect(cases.plan).to_contain_text("time and cost are not known yet")
    cases.tick("v1")
    cases.repeats.fill("2")
    cases.repeats.press("Enter")
    expect(cases.plan).to_contain_text("3 cases × 2 release tags × 2 repeats = 12 calls")  # noqa: RUF001
    assert form.kernel("ws.history.count(), len(ws.sweeps())") == "(0, 0)"

    expect(cases.run).to_have_text("Run 12 calls")
    cases.run.click()
    view = under_way(cases)
    expect(cases.run).to_have_text("Running…")
    expect(cases.run).to_be_disabled()
    assert form.kernel("1 + 1") == "2"  # it holds up nobody
    view.let(12)
    expect(view.status).to_have_text("done: 8 fulfilled, 4 failed")
    expect(cases.run).to_have_text("Run 12 calls again")
    expect(form.root.locator(".vnb-count")).to_contain_text("12 runs")
    counted = "sorted(form.sweep.frame().groupby('release_tag', observed=True).size().items())"
    assert form.kernel(counted) == "[('v1', 6), ('v2', 6)]"
    assert form.kernel("sorted(set(form.sweep.frame()['label.who']))") == "['ann', 'bob', 'cy']"
    assert form.kernel("ws.history.count(sweep_id=form.sweep.id)") == "12"

"""A file of cases run from the form, in a real JupyterLab: plan, problems, Run, the history."""

from __future__ import annotations

import pytest
from cases_page import CasesPage
from form_page import open_form
from playwright.sync_api import expect
from sweep_page import GATE, SweepPage

pytestmark = pytest.mark.browser

FORM = GATE + 'form = ws.form("triage")'
GOOD = "ticket,expected.category,who\ncharged twice,billing,ann\nno login,access,bob\nbad,none,cy\n"
BAD = "ticket,urgent\ncharged twice,yes\n,no\nno login,no\n,yes\n"


def under_way(cases: CasesPage) -> SweepPage:
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


def test_what_does_not_fit_is_told_as_a_table_before_anything_runs(lab):
    cases = CasesPage(open_form(lab, FORM))
    cases.upload("bad <i>.csv", BAD)
    expect(cases.problem).to_contain_text(
        "bad <i>.csv: 2 values do not fit triage; nothing was sent"
    )
    assert cases.problems() == [
        ["2", "ticket", "a value is required: text"],
        ["4", "ticket", "a value is required: text"],
    ]
    assert cases.form.kernel("ws.history.count()") == "0"
    cases.upload("cases.txt", GOOD)
    expect(cases.problem).to_contain_text("its name must end in one of .csv")
    cases.upload("cases.csv", GOOD)
    expect(cases.run).to_have_text("Run 3 calls")
    expect(cases.problem).to_have_count(0)
    cases.repeats.fill("many")
    cases.repeats.press("Enter")
    expect(cases.problem).to_contain_text("Repeats is “many”; give a whole number from 1 on")
    expect(cases.repeats).to_have_value("many")
    expect(cases.run).to_be_disabled()


def test_a_path_is_checked_again_and_a_stopped_sweep_goes_on(lab):
    cases = CasesPage(open_form(lab, FORM))
    form = cases.form
    cases.way("Path")
    cases.path.fill("cases.csv")
    cases.path.press("Enter")
    expect(cases.problem).to_contain_text("cases.csv cannot be read: No such file")
    form.kernel(f"open('cases.csv', 'w').write({GOOD!r})")
    expect(cases.run).to_have_text("Check again")
    cases.run.click()
    expect(cases.run).to_have_text("Run 3 calls")
    form.kernel("open('cases.csv', 'a').writelines(f'ticket {n},,\\n' for n in range(17))")
    cases.tick("v1")
    cases.tick("v1")
    expect(cases.run).to_have_text("Run 20 calls")
    cases.run.click()
    view = under_way(cases)
    view.let(2)
    view.ended("2 of 20")
    view.button("Stop").click()
    expect(view.button("Cut off")).to_be_visible()
    view.let(16)
    expect(view.status).to_have_text("stopped at 18 of 20; resume goes on from here")
    expect(cases.plan).to_contain_text("goes on with the unfinished sweep of ")
    expect(cases.plan).to_contain_text("18 runs found, none of them is sent again")
    first = form.kernel("form.sweep.id")
    expect(cases.run).to_have_text("Go on: 2 calls")
    cases.run.click()
    expect(view.root).to_contain_text("resumed: 18 runs found in the history, 0 sent twice")
    view.let(2)
    expect(view.status).to_have_text("done: 19 fulfilled, 1 failed")
    assert form.kernel("form.sweep.id, ws.history.count()") == f"({first}, 20)"
    cases.way("Upload")
    expect(cases.plan).to_have_text("")
    expect(cases.run).to_be_disabled()
    cases.way("Path")
    expect(cases.path).to_have_value("cases.csv")


def test_it_fits_its_place(lab):
    looks = ("light-1400", "dark-1400", "light-500")
    cases = CasesPage(open_form(lab, FORM))
    picture = cases.form.notebook.screenshot
    cases.upload("bad.csv", BAD)
    expect(cases.problem).to_be_visible()
    for look in looks:
        with lab.looking(look):
            picture(f"cases-bad-{look}", cases.form.root)
    cases.upload("cases.csv", GOOD)
    cases.tick("v1")
    expect(cases.run).to_have_text("Run 6 calls")
    for look in looks:
        with lab.looking(look):
            picture(f"cases-plan-{look}", cases.form.root)
    cases.run.click()
    view = under_way(cases)
    view.let(4)
    view.ended("4 of 6")
    for look in looks:
        with lab.looking(look):
            for root in (cases.form.root, cases.root):
                assert root.evaluate("root => root.scrollWidth - root.clientWidth") <= 0
            picture(f"cases-run-{look}", cases.form.root)
    view.let(2)
    expect(cases.run).to_have_text("Run 6 calls again")

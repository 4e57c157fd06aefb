"""The lab panel: three tabs on one deployment, over a real server and a real history."""

import ipywidgets
import pytest
from dom_kit import text_of, texts
from form_kit import classes, parts
from html_kit import assert_harmless
from runs_kit import bundle_of, html_of
from wire_kit import Page, changed


@pytest.fixture
def lab(ws):
    lab = ws.lab("answer")
    yield lab
    lab.close()


def run(lab, ticket="help"):
    lab.form.value = {"ticket": ticket}
    lab.form.release_tags = ["v1", "v2"]
    lab.form.submit()
    return lab.form.wait(20)


def html(lab):
    return "".join(each.value for each in parts(lab, "vnb-lab-compare"))


def cases(lab):
    return [case.number for case in lab.comparison_view.comparison.cases]


def hidden(lab):
    return ["vnb-lab-hidden" in classes(pane) for pane in parts(lab, "vnb-lab-pane")]


def head(lab):
    return lab.children[0]


def compared(lab):
    return parts(lab, "vnb-lab-pane")[2].children


def details(lab):
    return [tab["detail"] for tab in head(lab).tabs]


def click_tab(lab, index):
    Page(head(lab)).set(index=index)


def test_state_can_be_embedded_without_defaults(lab):
    states = ipywidgets.Widget.get_manager_state(drop_defaults=True)["state"]
    assert lab.model_id in states


def test_lab_opens_on_the_form(lab):
    assert repr(lab) == bundle_of(lab)["text/plain"] == "LabPanel('answer', Run)"
    assert "History: no runs." in text_of(html_of(lab))
    assert (lab.tab, hidden(lab)) == ("Run", [False, True, True])


@pytest.mark.parametrize("index", [3, -1, "1", None, True, 1.0])
def test_unknown_tab_is_ignored(lab, index):
    click_tab(lab, index)
    assert (lab.tab, hidden(lab)) == ("Run", [False, True, True])


def test_lab_shows_one_tab(lab):
    click_tab(lab, 1)
    assert (lab.tab, hidden(lab)) == ("History", [True, False, True])
    lab.tab = "Compare"
    assert (head(lab).index, hidden(lab)) == (2, [True, True, False])


def test_tab_counts_the_runs_of_the_history(lab):
    assert details(lab)[1] == "0"
    run(lab)
    assert changed(head(lab), "tabs", lambda tabs: tabs[1]["detail"] == "2")
    assert head(lab).count == "2 runs"


def test_compare_shows_the_grid_of_the_forms_tags(lab):
    run(lab)
    assert lab.comparison_view is None
    lab.tab = "Compare"
    assert details(lab)[2] == "v1 · v2"
    assert lab.comparison_view in compared(lab)
    assert cases(lab) == [1]
    assert html(lab) == ""


def test_compare_of_one_tag_says_that_another_is_needed(lab):
    run(lab)
    lab.form.release_tags = ["v1"]
    lab.tab = "Compare"
    (notice,) = parts(lab, "vnb-lab-notice")
    assert "tick another to compare them" in notice.value
    lab.form.release_tags = ["v1", "v2"]
    lab.compare_again()
    assert notice.value == ""


def test_new_runs_are_compared_on_request(lab):
    run(lab, "first")
    lab.tab = "Compare"
    grid = lab.comparison_view
    run(lab, "second")
    assert changed(lab.history_view, "recorded", lambda count: count == 4)
    assert lab.comparison_view is grid
    (again,) = parts(lab, "vnb-lab-again")
    again.click()
    assert cases(lab) == [1, 2]
    assert grid.comm is None
    assert not parts(lab, "vnb-lab-again")


def test_new_runs_are_compared_when_the_tab_is_opened(lab):
    run(lab, "first")
    lab.tab = "Compare"
    grid = lab.comparison_view
    lab.tab = "Run"
    lab.tab = "Compare"
    assert lab.comparison_view is grid  # nothing has changed
    lab.tab = "Run"
    run(lab, "second")
    assert changed(lab.history_view, "recorded", lambda count: count == 4)
    lab.tab = "Compare"
    assert cases(lab) == [1, 2]


def test_lab_escapes_hostile_text(lab):
    hostile = "<img src=x onerror=alert(1)>"
    runs = run(lab, hostile)
    lab.history_view.selected_ids = [run.id for run in runs]
    lab.tab = "Compare"
    assert hostile in text_of(html(lab))
    assert_harmless(html(lab))
    assert_harmless(html_of(lab))


def test_error_of_a_comparison_is_shown(ws, lab):
    run(lab)
    ws.history.close()
    lab.tab = "Compare"
    (notice,) = parts(lab, "vnb-lab-notice")
    [alert] = texts(notice.value, '[role="alert"]')
    assert "was closed" in alert

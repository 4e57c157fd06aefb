"""An open run of the history table: what it shows, and running it again on the local server."""

import threading
import time

import comm
import pytest
from dom_kit import text_of
from ipywidgets.widgets.widget import _instances
from wire_kit import Page, Wire

import vellum_nb as vnb
from vellum_nb.widgets.results import AnswerBars

pytestmark = pytest.mark.slow


@pytest.fixture
def page(ws, monkeypatch):
    """Return a page of the table of two runs, the first of which is open."""
    monkeypatch.setattr(comm, "create_comm", Wire)
    for tag in ("v1", "v2"):
        ws.run("answer", {"ticket": f"<b>to {tag}</b>"}, release_tag=tag)
    view = ws.history.view()
    page = Page(view)
    page.send(kind="open", id=ws.history.runs()[-1].id)
    yield page
    view.close()


def parts(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from parts(child)


def text(page):
    """Return the text of the panel without the style sheets."""
    values = [each.value for each in parts(page.view.details) if hasattr(each, "value")]
    return " ".join(text_of(value) for value in values if isinstance(value, str))


def named(page, description):
    return next(
        each
        for each in parts(page.view.details)
        if getattr(each, "description", None) == description and hasattr(each, "on_click")
    )


def form(page):
    """Return the form of the open run, which is made in a thread."""
    named(page, "Run again…").click()
    assert bars(page).wait(60)
    (made,) = forms(page)
    return made


def forms(page):
    """Return the displayed forms."""
    return [each for each in parts(page.view.details) if isinstance(each, vnb.RunForm)]


def bars(page):
    """Return the bars of the panel, whose thread also makes the forms."""
    return next(each for each in parts(page.view.details) if isinstance(each, AnswerBars))


def test_open_run_has_inputs_and_outputs(ws, page):
    assert page.view.opened == ws.history.runs()[-1].id
    assert "answer · v1" in text(page)
    assert "ticket <b>to v1</b>" in text(page)
    assert "reply calm <b>to v1</b>" in text(page)


def test_form_of_an_open_run_has_no_widgets_of_folded_parts(page):
    before = len(_instances)
    form(page)
    assert len(_instances) - before < 180


def test_unknown_run_cannot_be_opened(page):
    page.send(kind="open", id="<script>")
    assert "The history has no run '<script>'" in page.view.error


def test_trace_of_an_open_run_is_fetched(page):
    named(page, "Read the trace").click()
    assert bars(page).wait(60)
    assert "Trace" in text(page)


def test_run_again_uses_the_inputs_and_the_chosen_tag(ws, page):
    again = form(page)
    assert (again.value, again.release_tags) == ({"ticket": "<b>to v1</b>"}, ["v1"])
    again.release_tags = ["v2"]
    again.submit()
    again.wait(60)
    newest = ws.history.runs()[0]
    assert ws.history.count() == 3
    assert (newest.release_tag, newest.outputs) == ("v2", {"reply": "loud <b>to v1</b>"})


def test_form_stays_with_its_run(ws, page):
    again = form(page)
    again.value = {"ticket": "edited"}
    first, second = (run.id for run in reversed(ws.history.runs()))
    page.send(kind="open", id=second)
    assert not forms(page)
    page.send(kind="close")
    page.send(kind="open", id=first)
    assert forms(page) == [again]
    assert again.value == {"ticket": "edited"}
    named(page, "Hide the form").click()
    assert not forms(page)
    assert not again.is_closed


def test_second_click_on_run_again_keeps_the_first_form(ws, page):
    thread, begins, goes_on = bars(page), threading.Event(), threading.Event()
    first, second = (run.id for run in reversed(ws.history.runs()))
    thread.submit(lambda: begins.wait(60))
    named(page, "Run again…").click()
    thread.submit(lambda: goes_on.wait(60))
    for run_id in (second, first):  # which resets the button
        page.send(kind="open", id=run_id)
    named(page, "Run again…").click()
    begins.set()
    while not forms(page):
        time.sleep(0.01)
    (again,) = forms(page)
    again.value = {"ticket": "edited"}
    goes_on.set()
    assert thread.wait(60)
    assert forms(page) == [again]


def test_form_that_is_made_while_the_table_is_closed_is_closed(page):
    began, ends, made = threading.Event(), threading.Event(), []
    make_form, thread = page.view._make_form, bars(page)

    def slow(deployment):
        began.set()
        assert ends.wait(60)
        made.append(make_form(deployment))
        return made[0]

    page.view._make_form = slow
    named(page, "Run again…").click()
    assert began.wait(60)
    page.view.close()
    ends.set()
    assert thread.wait(60)
    assert made[0].is_closed


def test_request_of_an_open_run_is_cancelled_with_the_table(page, ws):
    began, ends = threading.Event(), threading.Event()

    def slow(ticket: str) -> dict[str, object]:
        began.set()
        ends.wait(60)
        return {"reply": ticket}

    ws.server.deploy(slow, name="answer", release_tags=["v3"])
    again = form(page)
    again.release_tags = ["v3"]
    again.submit()
    assert began.wait(60)
    assert page.view.busy
    page.view.close()
    ends.set()
    assert ws.history.runs()[0].state == "CANCELLED"


def test_inputs_that_a_deployment_lost_are_named(page, ws):
    ws.history.merge([ws.history.runs()[-1].model_copy(update={
        "id": "old", "external_id": None, "execution_id": None, "release_tag": "v0",
        "inputs": {"ticket": "a", "colour": "red"},
    })])  # fmt: skip
    page.send(kind="open", id="old")
    again = form(page)
    assert again.value == {"ticket": "a"}
    assert "v0" in text(page)
    assert "- colour: " in text(page)


def test_inputs_that_only_another_release_knows_stay_in_the_form(tmp_path, monkeypatch):
    monkeypatch.setattr(comm, "create_comm", Wire)

    def calm(ticket: str) -> dict[str, object]:
        return {"reply": ticket}

    def loud(ticket: str, volume: int = 1) -> dict[str, object]:
        return {"reply": ticket.upper() * volume}

    with vnb.LocalServer() as server:
        server.deploy(calm, name="answer", release_tags=["v1"])
        server.deploy(loud, name="answer", release_tags=["v2"])
        with vnb.connect(server, history=tmp_path / "runs.db") as ws:
            case = {"ticket": "a", "volume": 2}
            ws.sweep("answer", [case], release_tags=["v1", "v2"], progress=False)
            page = Page(ws.history.view(release_tag="v1"))
            page.send(kind="open", id=ws.history.runs(release_tag="v1")[0].id)
            again = form(page)
            assert (again.value, again.release_tags) == ({"ticket": "a"}, ["v1"])
            assert "- volume: " not in text(page)
            again.release_tags = ["v2"]
            assert again.value == case
            page.view.close()


def test_deleted_run_is_closed(page, ws):
    ws.history.delete([page.view.opened])
    page.view.refresh()
    assert page.view.opened == ""


def test_filters_offer_the_values_of_the_runs(page, ws):
    menus = {menu["name"]: menu["values"] for menu in page.state("_head")["filters"]}
    assert list(menus) == ["state", "release_tag", "rating"]
    assert dict(menus["release_tag"]) == {"v1": "v1", "v2": "v2"}
    page.send(kind="filter", name="release_tag", value="v2")
    head = page.state("_head")
    assert head["chips"] == [{"name": "release_tag", "text": "release_tag v2"}]
    assert [menu["name"] for menu in head["filters"]] == ["state", "rating"]
    page.view.refresh()
    assert [row["cells"][1] for row in page.state("_first")["rows"]] == ["v2"]
    page.send(kind="filter", name="state", value="<script>")
    assert "'<script>' is not offered as a filter 'state'" in page.view.error


def test_side_by_side_has_the_inputs(ws, page):
    page.view.selected_ids = [run.id for run in ws.history.runs()]
    shown = text_of(page.view.selected_html())
    assert "v1 inputs ticket <b>to v1</b>" in shown
    assert "v2 inputs ticket <b>to v2</b>" in shown


def test_equal_inputs_are_shown_once_side_by_side(ws):
    runs = [ws.run("answer", {"ticket": "same"}, release_tag=tag) for tag in ("v1", "v2")]
    with_runs = ws.history.view()
    with_runs.selected_ids = [run.id for run in runs]
    assert text_of(with_runs.selected_html()).count("inputs of all runs ticket same") == 1


def test_run_without_a_workspace_is_read_only(ws):
    run = ws.run("answer", {"ticket": "x"}, release_tag="v1")
    view = vnb.HistoryView(ws.history)
    view.open_run(run.id)
    assert not [
        each for each in parts(view.details) if getattr(each, "description", "") == "Run again…"
    ]
    view.close()


def test_run_again_repeats_conversation_and_metadata(ws, page):
    first = ws.history.runs()[-1]
    metadata = {"node_output_mocks": []}
    run = ws.run(
        "answer",
        {"ticket": "a"},
        release_tag="v1",
        previous_execution_id=first.execution_id,
        metadata=metadata,
    )
    page.send(kind="open", id=run.id)
    again = form(page)
    again.submit()
    (newest,) = again.wait(60)
    assert (newest.id != run.id, newest.case_id) == (True, run.case_id)
    assert (newest.previous_execution_id, newest.metadata) == (first.execution_id, metadata)

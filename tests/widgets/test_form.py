"""The form without a browser: requests, displayed text, values and errors."""

import threading
from dataclasses import replace

import pytest
from dom_kit import text_of, texts
from form_kit import (
    OLDER,
    PATIENCE,
    SPEC,
    TICKET,
    VIP,
    answer,
    box,
    click,
    page,
    parts,
    ran,
    release,
    shown,
    tick,
    variable,
)
from ipywidgets.widgets.widget import _instances
from runs_kit import bundle_of, html_of
from wire_kit import changed

from vellum_nb.errors import APIConnectionError, InputError
from vellum_nb.models import RunError, WorkflowDeploymentRelease
from vellum_nb.widgets.form import RunForm
from vellum_nb.widgets.spec import TagChoice

TURNED, WRITTEN = "v1\u202e2v", "v1[U+202E]2v"


def raiser(exc):
    def call(*_):
        raise exc

    return call


def until_cancelled(request, cancel):
    assert cancel.wait(PATIENCE)
    return answer(request, state="CANCELLED", outputs={})


def test_form_starts_on_the_newest_release(make):
    form, _ = make()
    assert form.release_tags == ["v2"]
    assert repr(form) == "RunForm('ticket-triage', run on: v2)"


def test_heading_has_the_number_of_stored_runs(make):
    form, _ = make(rate=print)
    assert "2 releases · history: 0 runs" in shown(form)


def test_click_runs_the_values_on_the_selected_tags(make):
    form, recorder = make()
    changes = []
    form.observe(lambda change: changes.append(change["new"]), ["value", "runs"])
    form.release_tags = ["LATEST"]
    form.value = {"ticket": "charged twice", "sla_hours": 8}
    click(form)
    (run,) = form.wait(PATIENCE)
    inputs = {"ticket": "charged twice", "sla_hours": 8, "vip": False}
    assert changes[-2:] == [inputs, (run,)]
    assert [(r.release_tag, r.inputs) for r in recorder.requests] == [("v2", inputs)]
    assert "from v2" in shown(form)


def test_answer_is_marked_while_the_inputs_are_edited(make):
    form, _ = make()
    ran(form)
    for ticket, is_edited in (("hi", False), ("hi there", True), ("hi", False)):
        form.value = {"ticket": ticket}
        assert ("inputs edited since" in shown(form)) is is_edited


@pytest.mark.parametrize(
    ("tags", "hours", "errors"),
    [
        (["v1", "v2"], {"sla_hours": 8}, "v1: the number 8 is given; text is expected"),
        (["v1", "v2"], {}, "v1: A value is required."),
        (["v2"], {"sla_hours": 8}, None),
    ],
)
def test_values_are_checked_against_each_selected_release(make, tags, hours, errors):
    form, _ = make()
    form.release_tags = ["v1", "v2"]
    form.value = {"ticket": "hi", "vip": True, "mood": "cross"} | hours
    form.release_tags = tags
    assert form.errors == ({"sla_hours": errors} if errors else {})


def test_inputs_that_a_release_lacks_are_listed(make):
    form, _ = make()
    form.release_tags = ["v1", "v2"]
    assert "lacks the inputs vip, context" in shown(form)


def test_input_that_a_release_lacks_is_not_sent_to_it(make):
    older = WorkflowDeploymentRelease.model_validate(
        {"id": "r1", "workflow_version": {"input_variables": [{"key": "ticket", "type": "STRING"}]}}
    )
    form, recorder = make(spec=replace(SPEC, variables=(TICKET, VIP)), read=lambda _: older)
    form.release_tags = ["v1", "v2"]
    ran(form, ticket="hi", vip=True)
    assert "v1 lacks the input vip: it is not sent" in shown(form)
    assert {r.release_tag: r.not_sent for r in recorder.requests} == {"v1": ("vip",), "v2": ()}
    assert all(r.inputs == {"ticket": "hi", "vip": True} for r in recorder.requests)


@pytest.mark.parametrize(
    "difference",
    [
        "v1 differs from LATEST",
        "it also has mood",
        "it lacks vip, context",
        "sla_hours is STRING (LATEST: NUMBER)",
    ],
)
def test_differences_of_an_older_release_are_listed(make, difference):
    form, _ = make()
    form.release_tags = ["v1"]
    assert difference in shown(form)


def test_values_are_kept_while_another_release_is_selected(make):
    form, _ = make()
    form.value = {"ticket": "hi", "sla_hours": 8, "context": {"a": 1}}
    form.release_tags = ["v1"]
    assert form.value == {"ticket": "hi", "sla_hours": "8"}
    form.release_tags = ["v2"]
    assert form.value == {"ticket": "hi", "sla_hours": 8, "vip": False, "context": {"a": 1}}


def test_value_that_is_cleared_on_another_release_stays_cleared(make):
    form, _ = make()
    form.value = {"ticket": "hi", "sla_hours": 8, "context": {"a": 1}}
    form.release_tags = ["v1"]
    form.value = {"ticket": "hi"}
    form.release_tags = ["v2"]
    assert form.value == {"ticket": "hi", "vip": False, "context": {"a": 1}}


def test_release_that_cannot_be_read_is_named_but_can_be_run(make):
    form, recorder = make(read=raiser(APIConnectionError("the server <refused>")))
    tick(form, "v1")
    assert "v1 could not be read" in shown(form)
    assert "the server <refused>" in shown(form)
    assert len(ran(form)) == 2
    assert recorder.requests[0].not_sent == ()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("value", {"nope": 1}, "nope.*ticket, sla_hours, vip, context"),
        ("release_tags", ["v9"], "v9.*v1, v2, production, LATEST"),
    ],
)
def test_unknown_input_or_tag_is_refused(make, name, value, message):
    form, _ = make()
    with pytest.raises(InputError, match=message):
        setattr(form, name, value)
    assert (form.value, form.release_tags) == ({"vip": False}, ["v2"])


def test_form_without_a_selected_tag_runs_nothing(make):
    form, recorder = make()
    form.release_tags = []
    assert parts(form, "vnb-run")[0].disabled
    assert ran(form) == ()
    assert recorder.requests == []
    assert repr(form) == "RunForm('ticket-triage', run on: nothing)"


def test_empty_required_field_is_only_counted_before_a_run_is_tried(make):
    form, _ = make()
    assert "1 field to fill" in shown(form)
    assert "A value is required." not in shown(form)


def test_empty_required_field_is_reported_after_a_run_is_tried(make):
    form, recorder = make()
    click(form)
    assert "A value is required." in shown(form)
    assert (recorder.requests, form.busy) == ([], False)
    assert form.errors == {"ticket": "A value is required."}
    form.value = {"ticket": "hi"}
    assert not parts(form, "vnb-fix")[0].children
    assert "A value is required." not in shown(form)


def test_invalid_json_is_not_sent(make):
    form, recorder = make()
    form.value = {"ticket": "hi"}
    box(form, "context").value = '{"a": 1,}'
    assert "1 field to fix" in shown(form)
    click(form)
    assert (recorder.requests, box(form, "context").value) == ([], '{"a": 1,}')
    box(form, "context").value = '{"a": 1}'
    click(form)
    assert form.wait(PATIENCE)[0].inputs["context"] == {"a": 1}


def test_metadata_other_than_an_object_is_not_sent(make):
    form, recorder = make()
    form.value = {"ticket": "hi"}
    parts(form, "vnb-fold")[0].value = True
    box(form, "metadata").value = "[1]"
    click(form)
    assert recorder.requests == []
    assert "[1] is given; a dict is expected" in shown(form)
    box(form, "metadata").value = "{}"
    click(form)
    assert len(form.wait(PATIENCE)) == 1


def test_options_are_sent_with_each_run_under_a_unique_external_id(make):
    form, recorder = make(spec=replace(SPEC, variables=OLDER["v1"]))
    form.release_tags = ["v1", "v2"]
    typed = {"external id": "case-7", "metadata": '{"by": "ann"}', "previous execution": "e-1"}
    parts(form, "vnb-fold")[0].value = True
    for name, text in typed.items():
        box(form, name).value = text
    ran(form, ticket="hi", sla_hours="8")
    assert sorted(str(r.external_id) for r in recorder.requests) == ["case-7-v1", "case-7-v2"]
    assert {r.previous_execution_id for r in recorder.requests} == {"e-1"}
    assert all(r.metadata == {"by": "ann"} for r in recorder.requests)


def test_static_form_is_the_same_for_equal_forms(make):
    form, other = make()[0], make()[0]
    bundle = bundle_of(form)
    assert bundle["text/html"] == html_of(other)
    assert bundle["text/plain"] == repr(form)


def test_static_form_shows_the_description_and_the_inputs(make):
    html = html_of(make()[0])
    assert {"Ticket <triage>", "Sorts & answers"} <= set(texts(html, "b, p"))
    assert {"ticket *", "STRING"} <= set(texts(html, "td"))


def test_static_form_shows_inputs_and_outputs_of_a_run(make):
    form, _ = make()
    ran(form, ticket="<script>alert(1)</script>")
    text = text_of(html_of(form))
    assert "<script>alert(1)</script>" in text
    assert "from v2" in text


def test_older_releases_are_folded_until_one_is_selected(make):
    tags = tuple(TagChoice(f"r{n}", (f"t{n}",)) for n in range(30))
    form, _ = make(spec=replace(SPEC, tags=tags, latest_release_id="r29"))

    def offered():
        names = [check.description for check in parts(form, "vnb-check")]
        return [name for name in names if name.startswith("t")]

    assert offered() == [f"t{n}" for n in range(18, 30)]
    form.release_tags = ["t3"]
    assert len(offered()) == 30


def test_names_that_reverse_text_are_escaped(make):
    variables = (variable(TURNED), variable("chat\u200f", "CHAT_HISTORY", required=False))
    tags = (TagChoice("r1", (TURNED, "x\u2066y")),)
    spec = replace(SPEC, label=TURNED, tags=tags, variables=variables, latest_release_id="r1")
    form, recorder = make(spec=spec)
    assert parts(form, "vnb-chip")[0].children[0].description == WRITTEN
    assert "x[U+2066]y" in shown(form)
    assert box(form, f"{WRITTEN} *")
    (run,) = ran(form, **{TURNED: "hi"})
    assert (run.release_tag, recorder.requests[0].inputs) == (TURNED, {TURNED: "hi"})
    assert page(form).select(f'[aria-label="{WRITTEN}"]')


def test_click_while_running_is_ignored(make):
    gate = threading.Event()

    def slow(request, _):
        assert gate.wait(PATIENCE)
        return answer(request)

    form, recorder = make(slow)
    form.value = {"ticket": "hi"}
    click(form)
    run, cancel = parts(form, "vnb-run")[0], parts(form, "vnb-cancel")[0]
    assert (run.disabled, run.description, cancel.disabled) == (True, "Running…", False)
    click(form)
    form.submit()
    gate.set()
    form.wait(PATIENCE)
    assert (len(recorder.requests), form.busy) == (1, False)
    assert (run.disabled, run.description, cancel.disabled) == (False, "Run on 1", True)
    assert "1 of 1" in shown(form)


def test_cancel_keeps_runs_that_have_ended(make):
    meeting = threading.Barrier(2, timeout=PATIENCE)
    shows_one = threading.Event()

    def run(request, cancel):
        meeting.wait()
        return answer(request) if request.release_tag == "v1" else until_cancelled(request, cancel)

    form, _ = make(run, read=lambda _: release("v2"))
    form.release_tags = ["v1", "v2"]
    form.value = {"ticket": "hi"}
    [progress] = parts(form, "vnb-progress")
    progress.observe(lambda now: "1 of 2" in now["new"] and shows_one.set(), "value")
    form.submit()
    assert shows_one.wait(PATIENCE)
    click(form, "vnb-cancel")
    assert [run.state for run in form.wait(PATIENCE)] == ["FULFILLED", "CANCELLED"]
    assert "cancelled · 2 of 2" in shown(form)


@pytest.mark.parametrize(
    ("exc", "words"),
    [
        (InputError("The inputs do not fit <now>", []), "The inputs do not fit <now>"),
        (ZeroDivisionError("planted"), "ZeroDivisionError: planted"),
    ],
)
def test_exception_while_running_is_shown(make, exc, words):
    form, _ = make(raiser(exc))
    form.observe(lambda _: form.wait(PATIENCE), "runs")  # it never waits for itself
    assert ran(form) == ()
    (alert,) = page(form).select('[role="alert"]')
    assert words in text_of(alert)
    assert parts(form, "vnb-run")[0].description == "Run on 1"


def test_error_of_a_failed_run_is_shown(make):
    error = RunError(code="CONNECTION", message="refused by <host>")
    form, _ = make(lambda r, _: answer(r, state="FAILED", outputs={}, error=error))
    assert ran(form)[0].state == "FAILED"
    assert "refused by <host>" in shown(form)


def test_fault_while_reading_a_release_is_shown(make, monkeypatch):
    failed = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: failed.set())
    form, _ = make(read=raiser(ZeroDivisionError("v1")))
    check = next(b for b in parts(form, "vnb-check") if b.description == "v1")
    check.value = True
    assert failed.wait(PATIENCE)
    assert "ZeroDivisionError: v1" in shown(form)
    assert not check.value
    assert parts(form, "vnb-run")[0].description == "Run on 1"


def test_click_while_a_release_is_read_runs_on_the_ticked_tags(make):
    gate, done = threading.Event(), threading.Event()

    def slow(tag):
        assert gate.wait(PATIENCE)
        return release("v2")

    form, recorder = make(read=slow)
    form.observe(lambda _: done.set(), "runs")
    form.value = {"ticket": "hi"}
    next(b for b in parts(form, "vnb-check") if b.description == "v1").value = True
    assert parts(form, "vnb-run")[0].description == "Reading…"
    click(form)
    assert recorder.requests == []
    gate.set()
    assert done.wait(PATIENCE)
    assert [run.release_tag for run in form.wait(PATIENCE)] == ["v1", "v2"]


def test_closed_form_leaves_nothing_behind():
    before, threads = set(_instances), threading.active_count()
    form = RunForm(SPEC, run=lambda r, _: answer(r), release=release)
    for tag in ("v1", "v2"):
        form.release_tags = [tag]
    ran(form)
    form.close()
    form.close()
    assert set(_instances) == before
    for thread in threading.enumerate():
        if thread.name.startswith("vellum-nb") and thread.is_alive():
            thread.join(PATIENCE)
    assert threading.active_count() <= threads


def test_head_counts_the_runs_of_the_workspace(ws):
    form = ws.form("answer")
    assert "history: 0 runs" in shown(form)
    head = parts(form, "vnb-header")[0]
    run = ws.run("answer", {"ticket": "hi"}, release_tag="v1")
    assert changed(head, "value", lambda html: "history: 1 run<" in html)
    ws.history.delete([run.id])
    assert changed(head, "value", lambda html: "history: 0 runs" in html)
    form.close()
    ws.run("answer", {"ticket": "hi"}, release_tag="v1")
    assert "history: 0 runs" in head.value

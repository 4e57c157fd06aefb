"""The form without a browser: what is sent, what is shown, what is kept."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import pytest
from ipywidgets.widgets.widget import _instances

from vellum_nb.errors import APIConnectionError, InputError
from vellum_nb.models import (
    Cancellation,
    Run,
    RunError,
    RunRequest,
    VellumVariable,
    WorkflowDeploymentRelease,
    case_id,
)
from vellum_nb.widgets import RunForm
from vellum_nb.widgets.job import Job
from vellum_nb.widgets.spec import FormSpec, TagChoice

PATIENCE = 10
Execute = Callable[[RunRequest, Cancellation], Run]


def variable(key: str, type_: str = "STRING", **more: Any) -> VellumVariable:
    return VellumVariable.model_validate({"key": key, "type": type_, **more})


TICKET = variable("ticket")
HOURS = variable("sla_hours", "NUMBER", required=False, schema={"minimum": 1, "maximum": 72})
VIP = variable("vip", "JSON", required=False, schema={"type": "boolean"})
CONTEXT = variable("context", "JSON", required=False)
LATEST = (TICKET, HOURS, VIP, CONTEXT)
OLDER = {"v1": (TICKET, variable("sla_hours"), variable("mood", required=False))}
SPEC = FormSpec(
    name="ticket-triage",
    label="Ticket <triage>",
    description="Sorts & answers",
    source="local server",
    variables=LATEST,
    latest_release_id="r2",
    tags=(TagChoice("r1", ("v1",)), TagChoice("r2", ("v2", "production", "LATEST"))),
)


def release(tag: str) -> WorkflowDeploymentRelease:
    variables = [v.model_dump(by_alias=True) for v in OLDER.get(tag, LATEST)]
    return WorkflowDeploymentRelease.model_validate(
        {"id": tag, "workflow_version": {"input_variables": variables}}
    )


def answer(request: RunRequest, **more: Any) -> Run:
    inputs = dict(request.inputs)
    fields = {"state": "FULFILLED", "outputs": {"reply": f"from {request.release_tag}"}, **more}
    return Run(
        id=request.release_tag,
        deployment=request.deployment,
        release_tag=request.release_tag,
        timestamp=datetime.now(UTC),
        latency_s=0.004,
        inputs=inputs,
        not_sent=request.not_sent,
        case_id=case_id(inputs),
        **fields,
    )


class Recorder:
    """Keeps what it was asked to run."""

    def __init__(self, execute: Execute) -> None:
        self.requests: list[RunRequest] = []
        self._execute = execute

    def __call__(self, request: RunRequest, cancel: Cancellation) -> Run:
        self.requests.append(request)
        return self._execute(request, cancel)


@pytest.fixture
def make() -> Iterator[Callable[..., tuple[RunForm, Recorder]]]:
    forms: list[RunForm] = []

    def make(
        execute: Execute = lambda request, _: answer(request),
        *,
        spec: FormSpec = SPEC,
        read: Callable[[str], WorkflowDeploymentRelease] = release,
    ) -> tuple[RunForm, Recorder]:
        recorder = Recorder(execute)
        forms.append(RunForm(spec, run=recorder, release=read, count=lambda: 128))
        return forms[-1], recorder

    yield make
    for form in forms:
        form.close()


def parts(form: Any, css: str) -> list[Any]:
    """Return every widget of the form that bears a CSS class."""
    found, todo = [], [form]
    while todo:
        widget = todo.pop(0)
        found += [widget] if css in widget._dom_classes else []
        todo += getattr(widget, "children", ())
    return found


def shown(form: Any) -> str:
    """Return all HTML that the form shows, but for its style."""
    todo, texts = [form], []
    while todo:
        widget = todo.pop(0)
        if "vnb-style" not in widget._dom_classes:
            todo += getattr(widget, "children", ())
            texts.append(str(getattr(widget, "value", "")))
    return "\n".join(texts)


def tick(form: RunForm, tag: str, *, value: bool = True) -> None:
    """Tick a release tag by hand, and wait until the form has taken it up."""
    taken = threading.Event()
    form.observe(lambda _: taken.set(), "release_tags")
    box = next(b for b in parts(form, "vnb-check") if b.description == tag)
    box.value = value
    assert taken.wait(PATIENCE)


def click(form: RunForm, css: str = "vnb-run") -> None:
    parts(form, css)[0].click()


def test_the_newest_release_alone_is_ticked(make):
    form, _ = make()
    assert form.release_tags == ["v2"]
    assert repr(form) == "RunForm('ticket-triage', run on: v2)"


def test_a_click_runs_the_values_on_the_chosen_tags(make):
    form, recorder = make()
    form.release_tags = ["LATEST"]
    form.value = {"ticket": "charged twice", "sla_hours": 8}
    click(form)
    (run,) = form.wait(PATIENCE)
    assert run.state == "FULFILLED"
    assert [r.release_tag for r in recorder.requests] == ["v2"]
    assert recorder.requests[0].inputs == {"ticket": "charged twice", "sla_hours": 8, "vip": False}
    assert "from v2" in shown(form)


def test_what_was_taken_away_under_one_release_does_not_come_back_under_another(make):
    form, _ = make()
    form.value = {"ticket": "hi", "sla_hours": 8}
    form.release_tags = ["v1"]
    assert form.value == {"ticket": "hi", "sla_hours": "8"}
    form.value = {"ticket": "hi"}
    form.release_tags = ["v2"]
    assert form.value == {"ticket": "hi", "vip": False}


def test_inputs_that_a_release_does_not_know_are_not_sent_to_it_and_the_form_says_so(make):
    form, recorder = make()
    form.release_tags = ["v1", "v2"]
    form.value = {"ticket": "hi", "sla_hours": 8, "vip": True, "mood": "cross"}
    assert form.errors == {"sla_hours": "v1: the number 8 is given; text is expected"}
    form.value = {"ticket": "hi", "vip": True, "mood": "cross"}
    assert form.errors == {"sla_hours": "v1: A value is required."}
    assert "has no inputs <code>vip</code>, <code>context</code>" in shown(form)
    form.release_tags = ["v2"]
    form.release_tags = ["v1"]
    form.value = {"ticket": "hi", "sla_hours": "8", "mood": "cross"}
    form.submit()
    form.wait(PATIENCE)
    assert recorder.requests[0].not_sent == ()


def test_not_sent_names_what_each_release_lacks(make):
    spec = FormSpec(**{**SPEC.__dict__, "variables": (TICKET, VIP)})
    older = WorkflowDeploymentRelease.model_validate(
        {"id": "r1", "workflow_version": {"input_variables": [{"key": "ticket", "type": "STRING"}]}}
    )
    form, recorder = make(spec=spec, read=lambda _: older)
    form.release_tags = ["v1", "v2"]
    form.value = {"ticket": "hi", "vip": True}
    assert "<b><code>v1</code></b> has no input <code>vip</code>: it is not sent" in shown(form)
    form.submit()
    form.wait(PATIENCE)
    assert {r.release_tag: r.not_sent for r in recorder.requests} == {"v1": ("vip",), "v2": ()}
    assert all(r.inputs == {"ticket": "hi", "vip": True} for r in recorder.requests)


def test_one_older_tag_shows_its_own_inputs_names_the_differences_and_keeps_the_text(make):
    form, _ = make()
    form.value = {"ticket": "hi", "sla_hours": 8, "context": {"a": 1}}
    form.release_tags = ["v1"]
    text = shown(form)
    assert "<b><code>v1</code></b> differs from LATEST" in text
    assert "it also has <code>mood</code>" in text
    assert "it has no <code>vip</code>, <code>context</code>" in text
    assert "<code>sla_hours</code> is STRING (LATEST: NUMBER)" in text
    assert form.value == {"ticket": "hi", "sla_hours": "8"}
    form.release_tags = ["v2"]
    assert form.value == {"ticket": "hi", "sla_hours": 8, "vip": False, "context": {"a": 1}}


def test_a_release_that_cannot_be_read_is_told_and_the_form_stays_usable(make):
    def unreadable(tag: str) -> WorkflowDeploymentRelease:
        msg = "the server <refused>"
        raise APIConnectionError(msg)

    form, recorder = make(read=unreadable)
    tick(form, "v1")
    assert "v1 could not be read" in shown(form)
    assert "the server &lt;refused&gt;" in shown(form)
    form.value = {"ticket": "hi"}
    form.submit()
    assert len(form.wait(PATIENCE)) == 2
    assert recorder.requests[0].not_sent == ()


def test_an_unknown_input_is_refused_with_the_known_ones_and_changes_nothing(make):
    form, _ = make()
    form.value = {"ticket": "hi"}
    with pytest.raises(InputError, match="nope.*ticket, sla_hours, vip, context"):
        form.value = {"nope": 1}
    assert form.value == {"ticket": "hi", "vip": False}


def test_an_unknown_release_tag_is_refused_with_the_known_ones(make):
    form, _ = make()
    with pytest.raises(InputError, match="v9.*v1, v2, production, LATEST"):
        form.release_tags = ["v9"]
    assert form.release_tags == ["v2"]


def test_values_may_be_observed(make):
    form, _ = make()
    seen: list[Any] = []
    form.observe(lambda change: seen.append(change["new"]), "value")
    form.value = {"ticket": "hi"}
    assert seen[-1] == {"ticket": "hi", "vip": False}
    form.observe(lambda change: seen.append([run.state for run in change["new"]]), "runs")
    form.submit()
    form.wait(PATIENCE)
    assert seen[-1] == ["FULFILLED"]


def test_an_empty_required_field_sends_nothing_and_is_named_only_after_a_try(make):
    form, recorder = make()
    assert "1 field to fill" in shown(form)
    assert "A value is required." not in shown(form)
    click(form)
    assert "A value is required." in shown(form)
    assert recorder.requests == []
    assert not form.busy
    assert form.errors == {"ticket": "A value is required."}
    form.value = {"ticket": "hi"}
    assert not parts(form, "vnb-mend")[0].children
    assert "A value is required." not in shown(form)


def test_bad_json_sends_nothing_and_the_reason_stands_beside_run(make):
    form, recorder = make()
    form.value = {"ticket": "hi"}
    control = next(w for w in parts(form, "vnb-control") if w.description == "context")
    control.value = '{"a": 1,}'
    assert "1 field to mend" in shown(form)
    click(form)
    assert recorder.requests == []
    assert control.value == '{"a": 1,}'
    control.value = '{"a": 1}'
    click(form)
    assert form.wait(PATIENCE)[0].inputs["context"] == {"a": 1}


def test_a_click_while_running_is_ignored_and_the_buttons_come_back(make):
    gate = threading.Event()

    def slow(request: RunRequest, _: Cancellation) -> Run:
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
    assert len(recorder.requests) == 1
    assert (run.disabled, run.description, cancel.disabled) == (False, "Run on 1", True)
    assert not form.busy
    assert "1 of 1" in shown(form)


def test_cancel_ends_slow_runs(make):
    started = threading.Event()

    def slow(request: RunRequest, cancel: Cancellation) -> Run:
        started.set()
        assert cancel.wait(PATIENCE)
        error = RunError(code="CANCELLED", message="cancelled before an answer came")
        return answer(request, state="CANCELLED", outputs={}, error=error)

    form, _ = make(slow)
    form.value = {"ticket": "hi"}
    form.submit()
    assert started.wait(PATIENCE)
    click(form, "vnb-cancel")
    assert [run.state for run in form.wait(PATIENCE)] == ["CANCELLED"]
    assert "cancelled · 1 of 1" in shown(form)


def test_an_interrupt_while_waiting_cancels_the_runs(make):
    def slow(request: RunRequest, cancel: Cancellation) -> Run:
        assert cancel.wait(PATIENCE)
        return answer(request, state="CANCELLED", outputs={})

    form, _ = make(slow)
    form.value = {"ticket": "hi"}
    form.submit()
    thread = threading.Thread(target=interrupt_waiting, args=(threading.get_ident(),))
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        form.wait(PATIENCE)
    thread.join()
    assert [run.state for run in form.wait(PATIENCE)] == ["CANCELLED"]


def interrupt_waiting(thread: int) -> None:
    """Interrupt a thread as soon as it waits for a job."""
    pause = threading.Event()
    while not any(f.f_code is Job.wait.__code__ for f in frames(thread)):
        pause.wait(0.01)
    signal.pthread_kill(thread, signal.SIGINT)


def frames(thread: int) -> Iterator[FrameType]:
    frame = sys._current_frames()[thread]
    while frame is not None:
        yield frame
        frame = frame.f_back


def test_inputs_that_are_refused_at_the_last_moment_are_told_in_place(make):
    def refuse(request: RunRequest, _: Cancellation) -> Run:
        msg = f"The inputs do not fit {request.release_tag} <now>"
        raise InputError(msg, [])

    form, _ = make(refuse)
    form.value = {"ticket": "hi"}
    form.submit()
    assert form.wait(PATIENCE) == ()
    assert "The inputs do not fit v2 &lt;now&gt;" in shown(form)
    assert parts(form, "vnb-run")[0].description == "Run on 1"


def test_a_fault_while_running_is_shown_with_its_type(make):
    def faulty(request: RunRequest, _: Cancellation) -> Run:
        raise ZeroDivisionError(request.release_tag)

    form, _ = make(faulty)
    form.value = {"ticket": "hi"}
    form.submit()
    form.wait(PATIENCE)
    assert "ZeroDivisionError: v2" in shown(form)
    assert 'role="alert"' in shown(form)


def test_a_fault_while_reading_a_release_is_shown_and_the_tick_taken_back(make, monkeypatch):
    heard = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: heard.set())

    def broken(tag: str) -> WorkflowDeploymentRelease:
        raise ZeroDivisionError(tag)

    form, _ = make(read=broken)
    box = next(b for b in parts(form, "vnb-check") if b.description == "v1")
    box.value = True
    assert heard.wait(PATIENCE)
    assert "ZeroDivisionError: v1" in shown(form)
    assert not box.value
    assert parts(form, "vnb-run")[0].description == "Run on 1"


def test_a_click_on_run_while_a_release_is_read_runs_on_what_is_ticked(make):
    gate, done = threading.Event(), threading.Event()

    def slow(tag: str) -> WorkflowDeploymentRelease:
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


def test_failed_runs_are_shown_in_place(make):
    def failing(request: RunRequest, _: Cancellation) -> Run:
        error = RunError(code="CONNECTION", message="refused by <host>")
        return answer(request, state="FAILED", outputs={}, error=error)

    form, _ = make(failing)
    form.value = {"ticket": "hi"}
    form.submit()
    assert form.wait(PATIENCE)[0].state == "FAILED"
    assert "refused by &lt;host&gt;" in shown(form)


def test_answers_say_when_the_inputs_were_edited_since(make):
    form, _ = make()
    form.value = {"ticket": "hi"}
    form.submit()
    form.wait(PATIENCE)
    assert "inputs edited since" not in shown(form)
    form.value = {"ticket": "hi there"}
    assert "inputs edited since" in shown(form)
    form.value = {"ticket": "hi"}
    assert "inputs edited since" not in shown(form)


def test_options_go_with_every_run_and_an_external_id_stays_unique(make):
    spec = FormSpec(**{**SPEC.__dict__, "variables": OLDER["v1"]})
    form, recorder = make(spec=spec)
    form.release_tags = ["v1", "v2"]
    form.value = {"ticket": "hi", "sla_hours": "8"}
    typed = {"external id": "case-7", "metadata": '{"by": "ann"}', "previous execution": "e-1"}
    for control in parts(form, "vnb-control"):
        control.value = typed.get(control.description, control.value)
    form.submit()
    form.wait(PATIENCE)
    assert sorted(str(r.external_id) for r in recorder.requests) == ["case-7-v1", "case-7-v2"]
    assert {r.previous_execution_id for r in recorder.requests} == {"e-1"}
    assert all(r.metadata == {"by": "ann"} for r in recorder.requests)


def test_metadata_that_is_no_object_sends_nothing(make):
    form, recorder = make()
    form.value = {"ticket": "hi"}
    next(w for w in parts(form, "vnb-control") if w.description == "metadata").value = "[1]"
    click(form)
    assert recorder.requests == []
    assert "Metadata is a JSON object" in shown(form)


def test_without_a_tick_nothing_runs(make):
    form, recorder = make()
    form.value = {"ticket": "hi"}
    form.release_tags = []
    assert parts(form, "vnb-run")[0].disabled
    form.submit()
    assert form.wait(PATIENCE) == ()
    assert recorder.requests == []
    assert repr(form) == "RunForm('ticket-triage', run on: nothing)"


def test_the_static_form_says_what_would_be_run_and_never_changes_before_a_run(make):
    form, other = make()[0], make()[0]
    html = form._repr_mimebundle_()["text/html"]
    assert html == other._repr_mimebundle_()["text/html"]
    assert form._repr_mimebundle_()["text/plain"] == repr(form)
    assert "Ticket &lt;triage&gt;" in html
    assert "Sorts &amp; answers" in html
    assert "<td>ticket *</td><td>STRING</td>" in html
    form.value = {"ticket": "<script>alert(1)</script>"}
    form.submit()
    form.wait(PATIENCE)
    html = form._repr_mimebundle_()["text/html"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "from v2" in html


def test_names_and_descriptions_of_a_deployment_stay_text(make):
    form, _ = make()
    assert "Ticket &lt;triage&gt;" in shown(form)
    assert "Ticket <triage>" not in shown(form)


def test_the_header_counts_releases_and_runs(make):
    form, _ = make()
    assert "2 releases · history: 128 runs" in shown(form)


def test_many_releases_are_folded_and_the_newest_are_shown(make):
    tags = tuple(TagChoice(f"r{n}", (f"t{n}",)) for n in range(30))
    form, _ = make(spec=FormSpec(**{**SPEC.__dict__, "tags": tags, "latest_release_id": "r29"}))
    names = [box.description for box in parts(form, "vnb-check") if box.description != "Markdown"]
    assert names[0] == "t18"
    assert names[-1] == "t29"
    form.release_tags = ["t3"]
    assert len([b for b in parts(form, "vnb-check") if b.description.startswith("t")]) == 30


def test_closing_a_form_leaves_no_widget_and_no_thread():
    before, threads = set(_instances), threading.active_count()
    form = RunForm(SPEC, run=lambda r, _: answer(r), release=release)
    form.value = {"ticket": "hi"}
    form.release_tags = ["v1"]
    form.release_tags = ["v2"]
    form.submit()
    form.wait(PATIENCE)
    form.close()
    form.close()
    assert set(_instances) == before
    for thread in threading.enumerate():
        if thread.name.startswith("vellum-nb"):
            thread.join(PATIENCE)
    assert threading.active_count() <= threads

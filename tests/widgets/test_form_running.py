"""The form while runs are under way, and when they go wrong."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import pytest
from form_kit import (
    PATIENCE,
    SPEC,
    answer,
    click,
    parts,
    release,
    shown,
)
from ipywidgets.widgets.widget import _instances

from vellum_nb.errors import InputError
from vellum_nb.models import (
    Cancellation,
    Run,
    RunError,
    RunRequest,
    WorkflowDeploymentRelease,
)
from vellum_nb.widgets import RunForm
from vellum_nb.widgets.results import FormRuns


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
    while not any(f.f_code is FormRuns.wait.__code__ for f in frames(thread)):
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


def test_without_a_tick_nothing_runs(make):
    form, recorder = make()
    form.value = {"ticket": "hi"}
    form.release_tags = []
    assert parts(form, "vnb-run")[0].disabled
    form.submit()
    assert form.wait(PATIENCE) == ()
    assert recorder.requests == []
    assert repr(form) == "RunForm('ticket-triage', run on: nothing)"


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

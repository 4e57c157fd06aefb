"""Runs side by side: progress, cancelling, and what goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from vellum_nb.models import Cancellation, Run, RunRequest, case_id
from vellum_nb.widgets.job import Job, Progress
from vellum_nb.widgets.markup import alert_html

PATIENCE = 10


def request(tag: str) -> RunRequest:
    return RunRequest(deployment="d", inputs={}, release_tag=tag)


def answer(request: RunRequest, state: str = "FULFILLED") -> Run:
    return Run(
        id=request.release_tag,
        deployment=request.deployment,
        release_tag=request.release_tag,
        timestamp=datetime.now(UTC),
        inputs={},
        case_id=case_id({}),
        state=state,
    )


def until_cancelled(request: RunRequest, cancel: Cancellation) -> Run:
    assert cancel.wait(PATIENCE)
    return answer(request, "CANCELLED")


def finished(run: Callable[[RunRequest, Cancellation], Run], *tags: str) -> list[Progress]:
    reports: list[Progress] = []
    job = Job(run, [request(tag) for tag in tags], report=reports.append)
    job.start()
    assert job.wait(PATIENCE)
    return reports


def test_the_last_report_holds_every_run_in_the_order_of_the_requests() -> None:
    last = finished(lambda r, _: answer(r), "v1", "v2", "v3")[-1]
    assert last.finished
    assert [run.release_tag for run in last.runs] == ["v1", "v2", "v3"]


def test_runs_go_on_side_by_side() -> None:
    meeting = threading.Barrier(3, timeout=PATIENCE)

    def run(request: RunRequest, _: Cancellation) -> Run:
        meeting.wait()
        return answer(request)

    assert len(finished(run, "v1", "v2", "v3")[-1].runs) == 3


def test_progress_tells_what_has_come_while_the_rest_is_under_way() -> None:
    seen_one = threading.Event()

    def run(request: RunRequest, _: Cancellation) -> Run:
        if request.release_tag == "slow":
            assert seen_one.wait(PATIENCE)
        return answer(request)

    def report(progress: Progress) -> None:
        if progress.done == 1:
            assert [r.release_tag for r in progress.runs] == ["fast"]
            assert not progress.finished
            seen_one.set()

    job = Job(run, [request("fast"), request("slow")], report=report)
    job.start()
    assert job.wait(PATIENCE)
    assert seen_one.is_set()


def test_reports_come_from_one_thread() -> None:
    threads = set()
    job = Job(
        lambda r, _: answer(r),
        [request(str(number)) for number in range(8)],
        report=lambda _: threads.add(threading.get_ident()),
    )
    job.start()
    assert job.wait(PATIENCE)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_cancelling_ends_what_is_under_way_and_keeps_what_has_ended() -> None:
    reports: list[Progress] = []

    def run(request: RunRequest, cancel: Cancellation) -> Run:
        return answer(request) if request.release_tag == "v1" else until_cancelled(request, cancel)

    def report(progress: Progress) -> None:
        reports.append(progress)
        if progress.done == 1:
            job.cancel()

    job = Job(run, [request("v1"), request("v2")], report=report)
    job.start()
    assert job.wait(PATIENCE)
    assert [run.state for run in reports[-1].runs] == ["FULFILLED", "CANCELLED"]
    assert reports[-1].cancelled


def test_an_exception_of_one_run_is_its_outcome_and_stops_no_other() -> None:
    def run(request: RunRequest, _: Cancellation) -> Run:
        if request.release_tag == "v1":
            msg = "planted"
            raise ZeroDivisionError(msg)
        return answer(request)

    last = finished(run, "v1", "v2")[-1]
    assert repr(last.outcomes[0]) == "ZeroDivisionError('planted')"
    assert [run.release_tag for run in last.runs] == ["v2"]


def test_ended_is_called_once_after_the_last_report() -> None:
    order: list[str] = []
    job = Job(
        lambda r, _: answer(r),
        [request("v1")],
        report=lambda progress: order.append(f"finished: {progress.finished}"),
        ended=lambda: order.append("ended"),
    )
    job.start()
    assert job.wait(PATIENCE)
    assert order[-2:] == ["finished: True", "ended"]


def test_no_thread_is_left_behind() -> None:
    before = set(threading.enumerate())
    finished(lambda r, _: answer(r), "v1", "v2")
    names = ("vellum-nb-form", "vellum-nb-run")
    own = [each for each in set(threading.enumerate()) - before if each.name.startswith(names)]
    for thread in own:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in own)


def test_the_reporting_thread_never_waits_for_itself() -> None:
    waited: list[bool] = []
    job = Job(
        lambda r, _: answer(r), [request("v1")], report=lambda _: waited.append(job.wait(PATIENCE))
    )
    job.start()
    assert job.wait(PATIENCE)
    assert waited
    assert not any(waited)


class SpeechlessError(RuntimeError):
    def __str__(self) -> str:
        msg = "no words"
        raise ValueError(msg)


def test_an_exception_that_cannot_say_what_it_is_is_shown_by_its_kind() -> None:
    assert "SpeechlessError (a fault in the form" in alert_html(SpeechlessError())

"""What follows from an attempt at a planned run: it ended, or how it goes on. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from vellum_nb.errors import APIError, APIStatusError
from vellum_nb.experiments.sweep.work import Again, Ended, Looks, Task
from vellum_nb.models import ExecuteWorkflowResponse, RunError
from vellum_nb.workspace.finding import Gone
from vellum_nb.workspace.outcome import answered, unanswered
from vellum_nb.workspace.verdict import Verdict, is_busy, said, verdict

__all__ = [
    "answer_of",
    "ended_as",
    "failed_as",
    "fate_of",
    "lost",
    "not_looked_up",
    "not_uploaded",
    "running",
    "sent",
    "unknown",
    "untold",
]

_SENDS = 6  # whose fate was doubtful each time
_LAG = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between look-ups: a server may read a call, or tell of its execution, so much later."""

_SILENT = 12  # look-ups without a usable answer, until the server counts as one that cannot tell
_WATCHES = 150  # about an hour
_SLOWEST = 30.0  # seconds between two of them


def answer_of(task: Task, reply: ExecuteWorkflowResponse, seconds: float) -> Ended:
    """Return how a run ended that was answered after so many seconds."""
    return ended_as(task, {"latency_s": round(seconds, 6), **answered(reply)})


def sent(task: Task) -> Task:
    """Return `task` after an attempt to send it."""
    again = task.resent or task.doubt is not None
    return replace(task, tries=task.tries + 1, resent=again)


def lost(task: Task, why: str) -> Again:
    """Return how a task goes on whose attempt may have got anywhere, and told nothing."""
    sends = max(task.sends, int(task.doubt is not None)) + 1
    error = RunError(code="WORKER_LOST", message=f"{why}, {sends} times")
    refused = error if sends >= _SENDS else None
    unsure = replace(
        task, doubt=why, tries=task.tries + 1, sends=sends, refused=refused, looks=Looks()
    )
    return Again(unsure, why, wait=0.0)


def fate_of(task: Task, exc: APIError) -> Ended | Again:
    """Return what follows from an attempt that brought no answer."""
    task = sent(task)
    fate = verdict(exc)
    if fate is Verdict.AGAIN:
        return Again(task, said(exc), wait=_wished(exc), busy=is_busy(exc))
    if fate is Verdict.HOPELESS:
        return Again(task, str(exc), hopeless=True)
    error: RunError = unanswered(exc)["error"]
    if fate is Verdict.FINAL:
        return failed_as(task, error)
    refused = fate is Verdict.REFUSED or task.sends + 1 >= _SENDS
    unsure = replace(
        task,
        doubt=said(exc),
        sends=max(task.sends, int(task.doubt is not None)) + 1,
        refused=error if refused else None,
        looks=Looks(),
    )
    return Again(unsure, said(exc), wait=0.0, answered=True)


def running(task: Task) -> Ended | Again:
    """Return what follows from an execution that is still under way."""
    count = task.looks.running
    if count >= _WATCHES:
        return untold(task, Gone.RUNNING.value)
    after = replace(task, looks=Looks(running=count + 1), refused=None)
    return Again(after, Gone.RUNNING.value, wait=min(0.1 * 1.3**count, _SLOWEST), answered=True)


def unknown(task: Task) -> Again | None:
    """Return what follows when no execution is known; None: it never ran."""
    count = task.looks.unknown
    first_refusal = task.refused is not None and task.sends <= 1
    if count >= len(_LAG) or (first_refusal and not _names_external_id(task)):
        return None
    after = replace(task, looks=Looks(unknown=count + 1))
    return Again(after, f"{task.doubt}; {Gone.UNKNOWN.value}", wait=_LAG[count], answered=True)


def not_looked_up(task: Task, exc: APIError) -> Ended | Again:
    """Return what follows from a look-up without a usable answer."""
    if is_busy(exc):
        return Again(task, said(exc), wait=_wished(exc), busy=True)
    if verdict(exc) is Verdict.HOPELESS:
        return Again(task, str(exc), hopeless=True)
    silent = task.looks.silent + 1
    if silent >= _SILENT:
        return untold(task, said(exc))
    after = replace(task, looks=task.looks._replace(silent=silent))
    return Again(after, said(exc), wait=min(0.125 * 2**silent, _SLOWEST / 3))


def not_uploaded(task: Task, exc: APIError) -> Ended | Again:
    """Return what follows from a file that did not arrive: nothing was executed."""
    task = replace(task, tries=task.tries + 1)
    fate = verdict(exc)
    if fate is Verdict.HOPELESS:
        return Again(task, str(exc), hopeless=True)
    if fate is Verdict.AGAIN:
        return Again(task, said(exc), wait=_wished(exc), busy=is_busy(exc))
    if fate is Verdict.DOUBTFUL and task.sends + 1 < _SENDS:
        return Again(replace(task, sends=task.sends + 1), said(exc))
    return failed_as(task, unanswered(exc)["error"])


def untold(task: Task, why: str) -> Ended:
    """Return how a run ends of which the server cannot tell what became."""
    message = f"{task.doubt}; and the server cannot tell what became of it: {why}"
    return failed_as(task, RunError(code="UNKNOWN_FATE", message=message))


def failed_as(task: Task, error: RunError) -> Ended:
    """Return how a run ends that failed with `error`."""
    return ended_as(task, {"state": "FAILED", "error": error})


def ended_as(task: Task, how: dict[str, Any], *, found: bool = False) -> Ended:
    """Return how a run ended, from fields of `Run`."""
    fields = {**how, "finished_at": how.get("finished_at") or datetime.now(UTC)}
    return Ended(task.run.model_copy(update=fields), found=found, resent=task.resent)


def _wished(exc: APIError) -> float | None:
    return exc.retry_after if isinstance(exc, APIStatusError) else None


def _names_external_id(task: Task) -> bool:
    return task.refused is not None and "external" in task.refused.message.lower()

"""One attempt at a planned run: looked up where it may have run already, else sent once.

An attempt never waits: what needs time is handed back as `Again`, and no slot is held meanwhile.
It may be made in another process, to which it travels as a pickle.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from vellum_nb.client import ClientSettings
from vellum_nb.errors import APIError, APIStatusError, VellumNBError
from vellum_nb.experiments.sweep.work import Again, Ended, Looks, Task
from vellum_nb.models import Cancellation, RunError, SlimWorkflowExecutionRead
from vellum_nb.workspace.executions import told
from vellum_nb.workspace.finding import Finder, Gone, UntoldError
from vellum_nb.workspace.line import Line, line_of, new_line
from vellum_nb.workspace.outcome import unanswered
from vellum_nb.workspace.sending import executed, streamed
from vellum_nb.workspace.verdict import Verdict, is_busy, said, verdict

__all__ = ["Caller", "lost"]

_SENDS = 6  # whose fate was doubtful each time
_LAG = (0.2, 0.5)  # seconds between look-ups: events may be told a little after the execution
_SILENT = 12  # look-ups without a usable answer, until the server counts as one that cannot tell
_WATCHES = 150  # about an hour
_SLOWEST = 30.0  # seconds between two of them


class Caller:
    """Sends the runs of a sweep to one deployment, and takes over what ran already.

    Only what certainly did not run is sent again without a question.

    Parameters
    ----------
    settings
        What the client of a process is made from; it tries once.
    deployment_id
        Where executions are looked up; None where the key may not read it.
    expand_meta
        Whether runs are streamed with their nodes, so that they tell tokens and cost.
    """

    __name__ = "vellum_nb_call"  # a cluster calls its tasks so

    def __init__(
        self, settings: ClientSettings, deployment_id: str | None, *, expand_meta: bool = False
    ) -> None:
        self._settings = settings
        self._deployment_id = deployment_id
        self._expand_meta = expand_meta
        self._own: Line | None = None

    def __call__(self, task: Task, cancel: Cancellation | None = None) -> Ended | Again:
        """Make one attempt at `task`."""
        line = self._own or line_of(self._settings)
        if task.doubt is not None:
            known = self._looked_up(task, line, cancel)
            if known is not None:
                return known
        if task.refused is not None:
            return _failed(task, task.refused)
        return self._sent(task, line, cancel)

    def open(self) -> Caller:
        """Take connections of its own, which `close` ends; a pickle of it has none."""
        self._own = new_line(self._settings)
        return self

    def close(self) -> None:
        """Close its own connections."""
        if self._own is not None:
            self._own.client.close()

    def __repr__(self) -> str:
        return f"<{self.__name__} to {self._settings.base_url}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_own": None}

    def _sent(self, task: Task, line: Line, cancel: Cancellation | None) -> Ended | Again:
        again = task.resent or task.doubt is not None
        after = replace(task, tries=task.tries + 1, resent=again)
        send = streamed if self._expand_meta else executed
        try:
            inputs = line.uploads.sent(task.inputs, cancel)
        except APIError as exc:
            return _not_uploaded(after, exc)
        try:
            how = send(line.client, task.run, inputs, cancel)
        except APIError as exc:
            return _fate(after, exc)
        except VellumNBError as exc:
            return _failed(task, RunError(code="BAD_REQUEST", message=str(exc)))
        return _ended(after, how)

    def _looked_up(
        self, task: Task, line: Line, cancel: Cancellation | None
    ) -> Ended | Again | None:
        """Return what became of `task`; None when it certainly never ran."""
        finder = Finder(line.client, self._deployment_id)
        try:
            found = finder.find(str(task.run.external_id), cancel)
        except UntoldError as exc:
            return _untold(task, str(exc))
        except APIError as exc:
            return _not_looked_up(task, exc)
        if isinstance(found, SlimWorkflowExecutionRead):
            return _ended(task, told(found), found=True)
        return _running(task) if found is Gone.RUNNING else _unknown(task)


def lost(task: Task, why: str) -> Again:
    """Return how a task goes on whose attempt may have got anywhere, and told nothing."""
    sends = max(task.sends, int(task.doubt is not None)) + 1
    error = RunError(code="WORKER_LOST", message=f"{why}, {sends} times")
    refused = error if sends >= _SENDS else None
    unsure = replace(
        task, doubt=why, tries=task.tries + 1, sends=sends, refused=refused, looks=Looks()
    )
    return Again(unsure, why, wait=0.0)


def _fate(task: Task, exc: APIError) -> Ended | Again:
    """Return what follows from an attempt that brought no answer."""
    fate = verdict(exc)
    if fate is Verdict.AGAIN:
        return Again(task, said(exc), wait=_wished(exc), busy=is_busy(exc))
    if fate is Verdict.HOPELESS:
        return Again(task, str(exc), hopeless=True)
    error: RunError = unanswered(exc)["error"]
    if fate is Verdict.FINAL:
        return _failed(task, error)
    refused = fate is Verdict.REFUSED or task.sends + 1 >= _SENDS
    unsure = replace(
        task,
        doubt=said(exc),
        sends=max(task.sends, int(task.doubt is not None)) + 1,
        refused=error if refused else None,
        looks=Looks(),
    )
    return Again(unsure, said(exc), wait=0.0, answered=True)


def _running(task: Task) -> Ended | Again:
    count = task.looks.running
    if count >= _WATCHES:
        return _untold(task, Gone.RUNNING.value)
    after = replace(task, looks=Looks(running=count + 1), refused=None)
    return Again(after, Gone.RUNNING.value, wait=min(0.1 * 1.3**count, _SLOWEST), answered=True)


def _unknown(task: Task) -> Again | None:
    count = task.looks.unknown
    first_refusal = task.refused is not None and task.sends <= 1
    if count >= len(_LAG) or (first_refusal and not _names_external_id(task)):
        return None
    after = replace(task, looks=Looks(unknown=count + 1))
    return Again(after, f"{task.doubt}; {Gone.UNKNOWN.value}", wait=_LAG[count], answered=True)


def _not_looked_up(task: Task, exc: APIError) -> Ended | Again:
    """Return what follows from a look-up without a usable answer."""
    if is_busy(exc):
        return Again(task, said(exc), wait=_wished(exc), busy=True)
    if verdict(exc) is Verdict.HOPELESS:
        return Again(task, str(exc), hopeless=True)
    silent = task.looks.silent + 1
    if silent >= _SILENT:
        return _untold(task, said(exc))
    after = replace(task, looks=task.looks._replace(silent=silent))
    return Again(after, said(exc), wait=min(0.125 * 2**silent, _SLOWEST / 3))


def _not_uploaded(task: Task, exc: APIError) -> Ended | Again:
    """Return what follows from a file that did not arrive: nothing was executed."""
    fate = verdict(exc)
    if fate is Verdict.HOPELESS:
        return Again(task, str(exc), hopeless=True)
    if fate is Verdict.AGAIN:
        return Again(task, said(exc), wait=_wished(exc), busy=is_busy(exc))
    if fate is Verdict.DOUBTFUL and task.sends + 1 < _SENDS:
        return Again(replace(task, sends=task.sends + 1), said(exc))
    return _failed(task, unanswered(exc)["error"])


def _untold(task: Task, why: str) -> Ended:
    message = f"{task.doubt}; and the server cannot tell what became of it: {why}"
    return _failed(task, RunError(code="UNKNOWN_FATE", message=message))


def _failed(task: Task, error: RunError) -> Ended:
    return _ended(task, {"state": "FAILED", "error": error})


def _ended(task: Task, how: dict[str, Any], *, found: bool = False) -> Ended:
    fields = {**how, "finished_at": how.get("finished_at") or datetime.now(UTC)}
    run = task.run.model_copy(update=fields)
    return Ended(run, found=found, resent=task.resent)


def _wished(exc: APIError) -> float | None:
    return exc.retry_after if isinstance(exc, APIStatusError) else None


def _names_external_id(task: Task) -> bool:
    return task.refused is not None and "external" in task.refused.message.lower()

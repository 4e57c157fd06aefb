"""One attempt at a planned run: sent once, and looked up where it may have run already."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from vellum_nb.client import Client
from vellum_nb.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    RateLimitError,
    ServerError,
)
from vellum_nb.experiments.sweep.work import Again, Ended, Task
from vellum_nb.models import Cancellation, Run, RunError, SlimWorkflowExecutionRead
from vellum_nb.workspace.executions import told
from vellum_nb.workspace.outcome import answered, unanswered

__all__ = ["Caller"]

_SENDS = 6
_LAG = (0.0, 0.2, 0.5)  # seconds; events may be told a little after the execution
_RUNNING = 120.0  # seconds; how long an execution is watched that goes on


class Caller:
    """Sends the runs of a sweep to one deployment.

    Only what certainly did not run is sent again without a question. What is in doubt is looked up
    by its external id, and taken over where it ran.
    """

    def __init__(self, client: Client, deployment_id: str | None) -> None:
        self._client = client
        self._deployment_id = deployment_id

    def __call__(self, task: Task, cancel: Cancellation | None = None) -> Ended | Again:
        """Make one attempt at `task`."""
        if task.doubt is not None:
            known = self._looked_up(task, cancel)
            if known is not None:
                return known
        return self._sent(task, cancel)

    def _sent(self, task: Task, cancel: Cancellation | None) -> Ended | Again:
        run, clock = task.run, time.perf_counter()
        after = replace(task, tries=task.tries + 1, doubt=None)
        try:
            reply = self._client.execute_workflow(
                task.inputs,
                workflow_deployment_name=run.deployment,
                release_tag=run.release_tag,
                external_id=run.external_id,
                metadata=run.metadata,
                cancel=cancel,
            )
        except APIError as exc:
            return self._fate(after, exc, cancel)
        latency = round(time.perf_counter() - clock, 6)
        return Ended(_ended(run, {"latency_s": latency, **answered(reply)}))

    def _fate(self, task: Task, exc: APIError, cancel: Cancellation | None) -> Ended | Again:
        """Return what follows from an attempt that brought no answer."""
        if not _may_have_run(exc):
            wait = exc.retry_after if isinstance(exc, APIStatusError) else None
            return Again(task, _said(exc), wait=wait, busy=isinstance(exc, APIStatusError))
        if isinstance(exc, AuthenticationError):
            return Again(task, _said(exc), hopeless=True)
        doubtful = replace(task, doubt=_said(exc))
        if cancel is not None and cancel.cancelled:
            return Again(doubtful, "cut off")
        if isinstance(exc, BadRequestError) and task.tries > 1:
            known = self._looked_up(doubtful, cancel)  # it may say that the external id was used
            return known or Ended(_ended(task.run, unanswered(exc)))
        if isinstance(exc, APIStatusError) and not isinstance(exc, ServerError):
            return Ended(_ended(task.run, unanswered(exc)))
        known = self._looked_up(doubtful, cancel)
        if known is not None:
            return known
        if task.tries >= _SENDS:
            return Ended(_ended(task.run, unanswered(exc)))
        return Again(replace(task, doubt=None), _said(exc))

    def _looked_up(self, task: Task, cancel: Cancellation | None) -> Ended | Again | None:
        """Return what became of `task`; None when it certainly never ran."""
        if self._deployment_id is None:
            return self._untold(task, "executions cannot be looked up with this key")
        try:
            for found in self._found(task, cancel):
                if found is None:
                    continue
                if found.end is not None or found.error is not None:
                    return Ended(_ended(task.run, told(found)), found=True)
                return Again(replace(task, tries=task.tries + 1), "it is still running")
        except (APIConnectionError, RateLimitError, ServerError) as exc:
            if task.tries < _SENDS:
                return Again(replace(task, tries=task.tries + 1), _said(exc))
            return self._untold(task, _said(exc))
        except APIError as exc:
            return self._untold(task, _said(exc))
        return None

    def _found(
        self, task: Task, cancel: Cancellation | None
    ) -> Iterator[SlimWorkflowExecutionRead | None]:
        for pause in _LAG:
            if cancel.wait(pause) if cancel is not None else time.sleep(pause):
                return
            page = self._client.list_workflow_deployment_event_executions(
                str(self._deployment_id), filters=_by_external_id(task.run), limit=1
            )
            yield from page.results
            yield None

    def _untold(self, task: Task, why: str) -> Ended:
        message = f"{task.doubt}; and the server cannot tell what became of it: {why}"
        error = RunError(code="UNKNOWN_FATE", message=message)
        return Ended(_ended(task.run, {"state": "FAILED", "error": error}))


def _may_have_run(exc: APIError) -> bool:
    if isinstance(exc, RateLimitError) or not exc.sent:
        return False
    unavailable = HTTPStatus.SERVICE_UNAVAILABLE
    is_unavailable = isinstance(exc, APIStatusError) and exc.status_code == unavailable
    return not (is_unavailable and exc.retry_after is not None)  # type: ignore[attr-defined]


def _said(exc: APIError) -> str:
    if isinstance(exc, APIStatusError):
        return f"HTTP {exc.status_code}"
    return str(exc)


def _ended(run: Run, how: dict[str, Any]) -> Run:
    return run.model_copy(update={"finished_at": datetime.now(UTC), **how})


def _by_external_id(run: Run) -> dict[str, Any]:
    condition = {
        "type": "LOGICAL_CONDITION",
        "lhs_variable": {"type": "STRING", "value": "external_id"},
        "operator": "==",
        "rhs_variable": {"type": "STRING", "value": run.external_id},
    }
    return {
        "type": "LOGICAL_CONDITION_GROUP",
        "combinator": "AND",
        "negated": False,
        "conditions": [condition],
    }

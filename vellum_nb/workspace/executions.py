"""Executions as Vellum keeps them: their nodes, and those made elsewhere as runs of a history.

Handed to a history, which knows no client.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any

from vellum_nb.client import Client
from vellum_nb.errors import APIError, HistoryError
from vellum_nb.history import History, SyncReport
from vellum_nb.models import (
    NodeRun,
    Run,
    RunError,
    SlimWorkflowExecutionRead,
    VellumSpan,
    WorkflowExecutionDetail,
    case_id,
    new_run_id,
    nodes_of_spans,
    usage_totals,
)
from vellum_nb.models.base import utc
from vellum_nb.workspace.lookup import Lookup, all_of

_AT_ONCE = 200
_MOST_PAGES = 1_000


def nodes_of(client: Client, run: Run) -> Sequence[NodeRun]:
    """Read the nodes of `run`.

    Raises
    ------
    HistoryError
        The run has no execution id.
    APIError
        The execution cannot be read.
    """
    if run.execution_id is None:
        msg = f"Run {run.id} has no trace: it is {run.state}, and no execution id ever came"
        raise HistoryError(msg)
    found: dict[str, VellumSpan] = {}
    last: str | None = None
    for _ in range(_MOST_PAGES):
        page = client.retrieve_workflow_execution_detail(run.execution_id, prev_span_id=last)
        news = {span.span_id: span for span in page.spans if span.span_id not in found}
        if not news:
            break
        found |= news
        last = page.spans[-1].span_id
    return nodes_of_spans(list(found.values()))


class Synchroniser:
    """Brings executions of a deployment into a history."""

    def __init__(self, client: Client, lookup: Lookup) -> None:
        self._client = client
        self._lookup = lookup

    def __call__(
        self,
        history: History,
        deployment: str,
        *,
        since: datetime | date | str | None = None,
        until: datetime | date | str | None = None,
        limit: int | None = None,
    ) -> SyncReport:
        """Take over the executions that began in this time, the newest first."""
        given: object = limit
        if limit is not None and not (isinstance(given, int) and given >= 0):
            msg = f"limit={limit!r:.60} brings no runs; give a number from 0, or None for all"
            raise HistoryError(msg)
        known = self._lookup.deployment(deployment)
        found = self._client.iter_workflow_deployment_event_executions(
            known.id, filters=_filters(since, until), limit=_AT_ONCE, ordering="-timestamp"
        )
        chosen = islice(found, limit)
        environments: dict[str, str | None] = {}
        report, seen = SyncReport(), set[str]()
        while page := list(islice(chosen, _AT_ONCE)):
            # Pages shift while new executions begin: each is taken once.
            batch = {each.execution_id: each for each in page if each.execution_id not in seen}
            seen |= set(batch)
            ended = [each for each in batch.values() if each.status != "INITIATED"]
            runs = [self._run(each, known.name, environments) for each in ended]
            report += history.merge(runs)
            report = replace(report, running=report.running + len(batch) - len(ended))
        return report

    def _run(
        self,
        execution: SlimWorkflowExecutionRead,
        deployment: str,
        environments: dict[str, str | None],
    ) -> Run:
        context = execution.parent_context
        release_id = context and context.deployment_history_item_id
        if release_id and release_id not in environments:
            environments[release_id] = None
            with suppress(APIError):
                release = self._lookup.release(deployment, release_id)
                if release.environment is not None:
                    environments[release_id] = release.environment.name
        inputs = {item.name: item.value for item in execution.inputs}
        try:
            case = case_id(inputs)
        except ValueError:  # NaN, which canonical JSON has not, counts as its name
            case = case_id({"": json.dumps(inputs, sort_keys=True)})
        return Run(
            id=new_run_id(),
            external_id=context and context.external_id,
            deployment=deployment,
            release_tag=(context and context.release_tag_name) or "",
            environment=environments.get(release_id or ""),
            timestamp=execution.start or execution.end or datetime.now(UTC),
            inputs=inputs,
            case_id=case,
            metadata=dict(context.metadata) if context and context.metadata else None,
            **{**run_fields(execution), **_rating(execution)},
        )


def run_fields(
    execution: SlimWorkflowExecutionRead | WorkflowExecutionDetail,
) -> dict[str, Any]:
    """Return what an execution that has ended adds to its run."""
    context, took = execution.parent_context, execution.duration_s
    found: dict[str, Any] = {
        "execution_id": execution.execution_id,
        "state": execution.status,
        "finished_at": execution.end,
        "latency_s": None if took is None else round(took, 6),
        **usage_totals(execution.usage_results),
    }
    if context is not None and context.deployment_history_item_id:
        found["release_id"] = context.deployment_history_item_id
    if execution.error is not None:
        error = RunError(code=execution.error.code, message=execution.error.message)
        return {**found, "error": error}
    return {
        **found,
        "outputs": {item.name: item.value for item in execution.outputs},
        "output_types": {item.name: item.type for item in execution.outputs},
    }


def _rating(execution: SlimWorkflowExecutionRead) -> dict[str, Any]:
    actual = execution.latest_actual
    if actual is None:
        return {}
    output = actual.output
    if output is None or output.value is None:
        return {"quality": actual.quality}
    types = {item.name: item.type for item in execution.outputs}
    value = output.value
    if isinstance(value, str) and types.get(output.name, "STRING") != "STRING":
        # Numbers and lists are sent as JSON text, see `actuals`.
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    return {"quality": actual.quality, "desired": {output.name: value}}


def _filters(
    since: datetime | date | str | None, until: datetime | date | str | None
) -> dict[str, Any] | None:
    """Return the filter of the API; executions are found by when they began."""
    conditions = []
    for operator, name, value in ((">=", "since", since), ("<", "until", until)):
        if value is None:
            continue
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError as exc:
            msg = f"{name}={value!r} is no time; write it like '2026-07-01' or '2026-07-01T09:30Z'"
            raise HistoryError(msg) from exc
        conditions.append(("timestamp", operator, utc(moment).isoformat()))
    return all_of(*conditions) if conditions else None

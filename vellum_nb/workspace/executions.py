"""Executions at Vellum: their nodes, imports into the history, and ratings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cache
from hashlib import sha256
from heapq import nsmallest
from itertools import islice
from typing import Any

from vellum_nb.client import Client
from vellum_nb.clock import from_micros, micros
from vellum_nb.errors import APIError, HistoryError, InputError, InputProblem
from vellum_nb.history import History, SyncReport, moment, set_nodes
from vellum_nb.models import (
    ActualRequest,
    NodeRun,
    Run,
    SlimWorkflowExecutionRead,
    VellumSpan,
    canonical_json,
    new_run_id,
    nodes_of_spans,
)
from vellum_nb.models.checks import check_integer, refuse
from vellum_nb.models.inputs import plain, unknown_name
from vellum_nb.workspace.lookup import all_of, case_of, run_fields
from vellum_nb.workspace.runner import Runner

_RUNS_PER_BATCH = 200
_MAX_PAGES = 1_000
_LATEST = micros(datetime.max.replace(tzinfo=UTC))


def read_nodes(client: Client, history: History, run: Run) -> Sequence[NodeRun]:
    """Return the nodes of `run` from the history, or fetch them from Vellum and store them."""
    if run.nodes:
        return run.nodes
    stored_runs = history.runs(ids=[run.id], skip_damaged=True)
    if stored_runs and stored_runs[0].nodes:
        return stored_runs[0].nodes
    nodes = _fetch_nodes(client, run)
    if nodes and stored_runs and run.state != "STARTED":
        set_nodes(history, run.id, nodes)
    return nodes


def _fetch_nodes(client: Client, run: Run) -> Sequence[NodeRun]:
    """Fetch the nodes of `run`; raise a `HistoryError` without an execution id."""
    if run.execution_id is None:
        msg = f"Run {run.id} has no trace: it is {run.state}, and has no execution id"
        raise HistoryError(msg)
    spans: dict[str, VellumSpan] = {}
    last: str | None = None
    for _ in range(_MAX_PAGES):
        page = client.retrieve_workflow_execution_detail(run.execution_id, prev_span_id=last)
        news = {span.span_id: span for span in page.spans if span.span_id not in spans}
        if not news:
            break
        spans |= news
        last = page.spans[-1].span_id
    return nodes_of_spans(list(spans.values()))


def synchronise(
    runner: Runner,
    deployment: str,
    *,
    since: datetime | date | str | None,
    until: datetime | date | str | None,
    limit: int | None,
    sample: int | None = None,
) -> SyncReport:
    """Import the executions that began in a period, newest first, or a random sample of them."""
    check_integer("limit", limit, optional=True, error=HistoryError)
    check_integer("sample", sample, least=1, optional=True, error=HistoryError)
    conditions = [
        ("timestamp", operator, from_micros(min(max(0, moment(name, value)), _LATEST)).isoformat())
        for operator, name, value in ((">=", "since", since), ("<", "until", until))
        if value is not None
    ]
    target = runner.lookup.deployment(deployment)
    executions = runner.client.iter_workflow_deployment_event_executions(
        target.id,
        filters=all_of(*conditions) if conditions else None,
        limit=_RUNS_PER_BATCH,
        ordering="-timestamp",
    )

    @cache
    def environment(release_id: str) -> str | None:
        with suppress(APIError):
            environment_of = runner.lookup.release(target.name, release_id).environment
            return None if environment_of is None else environment_of.name
        return None

    chosen: Iterator[SlimWorkflowExecutionRead] = islice(executions, limit)
    if sample is not None:
        chosen = iter(_sampled(chosen, sample))
    report, seen = SyncReport(), set[str]()
    while page := list(islice(chosen, _RUNS_PER_BATCH)):
        # Pages shift while new executions begin: skip duplicates.
        batch = {e.execution_id: e for e in page if e.execution_id not in seen}
        seen |= set(batch)
        ended = [execution for execution in batch.values() if execution.status != "INITIATED"]
        runs = [_run(execution, target.name, environment) for execution in ended]
        report += runner.history.merge(runs)
        report = replace(report, running=report.running + len(batch) - len(ended))
    return report


def _sampled(
    executions: Iterable[SlimWorkflowExecutionRead], size: int
) -> list[SlimWorkflowExecutionRead]:
    """Return a random sample of executions, by the hashes of their ids.

    The same period has the same sample, and pages that shift do not change it.
    """
    smallest: dict[str, tuple[bytes, SlimWorkflowExecutionRead]] = {}
    for execution in executions:
        digest = sha256(execution.execution_id.encode()).digest()
        smallest[execution.execution_id] = digest, execution
        if len(smallest) >= 2 * size:  # limits the memory
            smallest = dict(nsmallest(size, smallest.items(), key=lambda item: item[1][0]))
    sample = nsmallest(size, smallest.values(), key=lambda item: item[0])
    return [execution for _, execution in sample]


def _run(
    execution: SlimWorkflowExecutionRead,
    deployment: str,
    environment: Callable[[str], str | None],
) -> Run:
    context = execution.parent_context
    release_id = context and context.deployment_history_item_id
    return Run(
        id=new_run_id(),
        external_id=context and context.external_id,
        deployment=deployment,
        release_tag=(context and context.release_tag_name) or "",
        environment=environment(release_id) if release_id else None,
        timestamp=execution.start or execution.end or datetime.now(UTC),
        inputs={item.name: item.value for item in execution.inputs},
        case_id=case_of(execution),
        metadata=dict(context.metadata) if context and context.metadata else None,
        **{**run_fields(execution), **_rating(execution)},
    )


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


def find_run(history: History, run: Run | str) -> Run:
    """Return the stored run; a `Run` that is not stored is returned unchanged."""
    if isinstance(run, Run):
        return next(iter(history.runs(ids=[run.id], limit=1)), run)
    if not isinstance(run, str):
        refuse("run", run, "a Run or a text")
    for kind in ({"ids": [run]}, {"execution_id": run}, {"external_id": run}):
        if runs := history.runs(**kind, limit=1):
            return runs[0]
    msg = (
        f"The history has no run with the id, execution id or external id {run!r}; "
        "ws.sync(deployment) imports runs that were made elsewhere"
    )
    raise HistoryError(msg)


def rate_run(
    runner: Runner,
    run: Run | str,
    *,
    quality: float | None,
    desired: Mapping[str, object] | None,
    metadata: Mapping[str, Any] | None,
    author: str | None = None,
) -> Run:
    """Send a rating of `run`, then record it; return the rated run."""
    history, run = runner.history, find_run(runner.history, run)
    for argument, value in (("desired", desired), ("metadata", metadata)):
        if not isinstance(value, Mapping | None):
            refuse(argument, value, "a dict")
    if quality is not None:
        quality = _checked_quality(quality)
    elif not desired:
        msg = "Nothing to rate this run with: give quality=, desired=, or both"
        raise InputError(msg)
    names = [name for name in run.outputs or _output_names(runner, run) if name]
    checked = _checked_desired(desired or {}, names, run)
    if not (checked or names):
        msg = f"This run of {run.deployment} has no output to rate; nothing was sent"
        raise InputError(msg)
    actuals = [
        ActualRequest(
            output_key=name,
            quality=quality,
            metadata=plain(metadata),
            **_desired_fields(checked.get(name), run.output_types.get(name, "")),
        )
        for name in checked or names
    ]
    external_id = None if run.execution_id is not None else run.external_id
    runner.client.submit_workflow_execution_actuals(
        actuals, execution_id=run.execution_id, external_id=external_id
    )
    fields: dict[str, Any] = {} if quality is None else {"quality": quality}
    if checked:
        fields["desired"] = {**(run.desired or {}), **checked}
    if not history.count(ids=[run.id]):
        return run.model_copy(update=fields)
    history.annotate(run.id, **fields, author=author)
    return history.get(run.id)


def _output_names(runner: Runner, run: Run) -> list[str]:
    release = runner.lookup.readable_release(run.deployment, run.release_id or run.release_tag)
    return [v.key for v in release.workflow_version.output_variables] if release else []


def _checked_quality(quality: object) -> float:
    with suppress(InputError):  # NaN; refused below
        value = plain(quality)
        if isinstance(value, int | float) and 0 <= value <= 1:
            return float(value)
    refuse("quality", quality, "a number from 0 (bad) to 1 (good), or None")


def _checked_desired(
    desired: Mapping[str, object], outputs: Sequence[str], run: Run
) -> dict[str, Any]:
    """Return `desired` as plain values; raise for names that are not outputs."""
    values: dict[str, Any] = {}
    problems = []
    for name, value in desired.items():
        try:
            values[name] = plain(value)
        except InputError as exc:
            problems.append(InputProblem(name, str(exc)))
        if name not in outputs:
            problems.append(unknown_name(str(name), outputs, "an output"))
    if problems:
        msg = f"The desired outputs of this run of {run.deployment} do not fit; nothing was sent:"
        raise InputError(msg, problems)
    return values


def _desired_fields(value: Any, type_: str) -> dict[str, Any]:
    """Return a desired value as sent: text, object or chat; others as JSON text."""
    kind = "STRING"
    if type_ == "CHAT_HISTORY" and isinstance(value, list | None):
        kind = type_
    elif isinstance(value, dict) or (value is None and type_ not in {"", "STRING"}):
        kind = "JSON"
    elif not isinstance(value, str | None):
        value = canonical_json(value)
    return {"output_type": kind, "desired_output_value": value}

"""Sends one execution, whole or as a stream, and returns how it ended as fields of `Run`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from vellum_nb.client import Client
from vellum_nb.errors import APIConnectionError
from vellum_nb.models import Cancellation, Run
from vellum_nb.workspace.gathering import Gathering
from vellum_nb.workspace.outcome import answered

__all__ = ["EVERYTHING", "check_external_id", "executed", "options_of", "streamed"]

Inputs = Sequence[Mapping[str, Any]]
EVERYTHING = {"usage": True, "cost": True, "model_name": True}
"""What `expand_meta` asks of nodes."""


def executed(
    client: Client, run: Run, inputs: Inputs, cancel: Cancellation | None
) -> dict[str, Any]:
    """Execute `run` and wait for its outputs."""
    clock = time.perf_counter()
    reply = client.execute_workflow(inputs, **options_of(run), cancel=cancel)
    check_external_id(run, reply.external_id)
    return {"latency_s": round(time.perf_counter() - clock, 6), **answered(reply)}


def streamed(
    client: Client, run: Run, inputs: Inputs, cancel: Cancellation | None
) -> dict[str, Any]:
    """Execute `run` with the events of its nodes, which tell tokens, models and cost."""
    gathered = Gathering()
    execution_id = None
    clock = time.perf_counter()
    with client.execute_workflow_stream(
        inputs,
        **options_of(run),
        event_types=["NODE", "WORKFLOW"],
        expand_meta=EVERYTHING,
        cancel=cancel,
    ) as events:
        for event in events:
            check_external_id(run, event.external_id)
            execution_id = execution_id or event.execution_id
            gathered.take(event)
    if gathered.end is None:
        msg = "The stream was closed before the run had ended; the server may go on with it."
        raise APIConnectionError(msg)
    latency = round(time.perf_counter() - clock, 6)
    return {"execution_id": execution_id, "latency_s": latency, **gathered.fields()}


def check_external_id(run: Run, external_id: str | None) -> None:
    """Refuse an answer that has another external id than `run`.

    Raises
    ------
    APIConnectionError
        It is the answer to another run.
    """
    if external_id is not None and external_id != run.external_id:
        msg = (
            f"The answer has the external id {external_id!r:.80}, which is not that of this run, "
            f"{run.external_id!r:.80}: it is another run's. This one may have been executed."
        )
        raise APIConnectionError(msg)


def options_of(run: Run) -> dict[str, Any]:
    """Return what every way to execute `run` is told."""
    return {
        "workflow_deployment_name": run.deployment,
        "release_tag": run.release_tag,
        "external_id": run.external_id,
        "metadata": run.metadata,
        "previous_execution_id": run.previous_execution_id,
    }

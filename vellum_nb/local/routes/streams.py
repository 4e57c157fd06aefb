"""Events as the lines of ``execute-workflow-stream``.

Source: https://docs.vellum.ai/developers/client-sdk/workflows/execute-workflow-stream
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from vellum_nb.local.callables.signature import variable_id
from vellum_nb.local.engine.events import (
    WORKFLOW_FULFILLED,
    WORKFLOW_INITIATED,
    WORKFLOW_REJECTED,
    WORKFLOW_STREAMING,
    Event,
    event_error,
)
from vellum_nb.local.ledger.ledger import ExecutionRecord
from vellum_nb.local.routes.node_results import node_data
from vellum_nb.models import ExpandMeta, WorkflowOutput

__all__ = ["WorkflowStream"]

# The contract has no others here; the last event has the outputs of every type.
_STREAMED = frozenset(
    {"STRING", "NUMBER", "JSON", "CHAT_HISTORY", "SEARCH_RESULTS", "ARRAY", "FUNCTION_CALL"}
) | {"ERROR"}


class WorkflowStream:
    """Makes the lines of one execution from its events.

    The text of an output is told whole: whatever its events left out comes as one more delta.

    Parameters
    ----------
    record : ExecutionRecord
        The execution.
    event_types : collection of str
        NODE, WORKFLOW, or both.
    expand_meta : ExpandMeta, optional
        What the results of prompt nodes tell of what they used.
    """

    def __init__(
        self,
        record: ExecutionRecord,
        *,
        event_types: Collection[str] = ("WORKFLOW",),
        expand_meta: ExpandMeta | None = None,
    ) -> None:
        self._record = record
        self._types = frozenset(event_types)
        self._expand = expand_meta or ExpandMeta()
        self._texts: dict[str, list[str]] = {}
        self._id = str(uuid.uuid4())

    def lines(self, event: Event) -> Iterator[dict[str, Any]]:
        """Return the lines that tell `event`."""
        if event.name.startswith("node."):
            data = node_data(event, self._record, self._expand) if "NODE" in self._types else None
            if data is not None:
                yield self._line("NODE", data)
        elif "WORKFLOW" in self._types:
            for data in self._workflow(event):
                yield self._line("WORKFLOW", data)

    def _line(self, type_: str, data: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "execution_id": self._record.execution_id,
            "run_id": None,
            "external_id": self._record.external_id,
            "type": type_,
            "data": data,
        }

    def _workflow(self, event: Event) -> Iterator[dict[str, Any]]:
        if event.name == WORKFLOW_INITIATED:
            yield self._data(event, "INITIATED", inputs=self._inputs())
        elif event.name == WORKFLOW_STREAMING:
            for output in self._outputs(event):
                yield self._data(event, "STREAMING", output=output)
        elif event.name == WORKFLOW_FULFILLED:
            outputs = [output.model_dump(mode="json") for output in event.outputs]
            yield self._data(event, "FULFILLED", outputs=outputs)
        elif event.name == WORKFLOW_REJECTED:
            yield self._data(event, "REJECTED", error=event_error(event))

    def _data(self, event: Event, state: str, **more: Any) -> dict[str, Any]:
        return {
            "id": self._id,
            "state": state,
            "ts": event.timestamp.isoformat(),
            "output": None,
            "error": None,
            "outputs": None,
            "inputs": None,
            **more,
        }

    def _inputs(self) -> list[dict[str, Any]]:
        return [
            {"id": variable_id("input", i.name), **i.model_dump(mode="json")}
            for i in self._record.inputs
        ]

    def _outputs(self, event: Event) -> Iterator[dict[str, Any]]:
        told = event.body.get("output", {})
        for output in event.outputs[:1]:
            if output.type not in _STREAMED:
                return
            if "value" in told:
                yield from self._complete(output)
            elif isinstance(told.get("delta"), str):
                yield from self._grown(output, told["delta"])
            else:
                yield from self._begun(output)

    def _begun(self, output: WorkflowOutput) -> Iterator[dict[str, Any]]:
        if output.type == "STRING" and output.name not in self._texts:
            self._texts[output.name] = []
            yield _progress(output, "INITIATED")

    def _grown(self, output: WorkflowOutput, delta: str) -> Iterator[dict[str, Any]]:
        yield from self._begun(output)
        if output.type == "STRING":
            self._texts[output.name].append(delta)
            yield _progress(output, "STREAMING", delta=delta)

    def _complete(self, output: WorkflowOutput) -> Iterator[dict[str, Any]]:
        if output.type == "STRING" and isinstance(output.value, str):
            yield from self._begun(output)
            told = "".join(self._texts[output.name])
            if output.value != told and output.value.startswith(told):
                yield from self._grown(output, output.value[len(told) :])
        yield _progress(output, "FULFILLED", value=output.value)


def _progress(
    output: WorkflowOutput, state: str, *, delta: str | None = None, value: Any = None
) -> dict[str, Any]:
    return {
        "id": output.id or variable_id("output", output.name),
        "name": output.name,
        "state": state,
        "node_id": None,
        "delta": delta,
        "type": output.type,
        "value": value,
    }

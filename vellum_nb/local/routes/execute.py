"""Routes that execute workflows and prompts: requests, streams, status."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from fastapi import Request, Response
from starlette.background import BackgroundTask

from vellum_nb.local.callables.signature import variable_id
from vellum_nb.local.engine.events import Event, Usage, event_error, new_id, values_by_name
from vellum_nb.local.engine.executions import LiveExecution
from vellum_nb.local.engine.requests import (
    DeploymentExecuteStreamRequest,
    ExecuteBody,
    ExecuteWorkflowStreamRequest,
    parse_request,
    parse_stream_request,
)
from vellum_nb.local.ledger import ExecutionRecord
from vellum_nb.local.prompts import ExecutePromptRequest, PromptEvent, prompt_events
from vellum_nb.local.refusals import Refused
from vellum_nb.local.routes.common import (
    JSON,
    Body,
    Lines,
    Named,
    Served,
    json_line,
    lines_of,
    new_router,
    on_hang_up,
)
from vellum_nb.models import ExpandMeta, contract
from vellum_nb.models.inputs import plain_type
from vellum_nb.models.types import value_type

router = new_router()
_HUNG_UP = "The client hung up"
_PIECE = 256 * 1024  # bytes
_NO_VALUES = DeploymentExecuteStreamRequest()
_Json = dict[str, Any]
_STATES = frozenset({"INITIATED", "STREAMING", "FULFILLED", "REJECTED"})


@router.post("/v1/execute-workflow", response_model=contract.ExecuteWorkflowResponse)
async def execute_workflow(request: Request, state: Served, body: Body[ExecuteBody]) -> JSON:
    """Run a release and answer at its end; a disconnect cancels the run."""
    live = state.executions.start(parse_request(state.registry, body))
    with on_hang_up(request.receive, lambda: live.cancel(_HUNG_UP)):
        record = await live.result()
    ids = {"execution_id": record.execution_id, "external_id": record.external_id, "run_id": None}
    outcome = {"outputs": record.outputs} if record.error is None else {"error": record.error}
    data = {"id": new_id(), "state": record.status, "ts": record.end, **outcome}
    return JSON({**ids, "data": data})


@router.post("/v1/execute-workflow-stream", **lines_of(contract.WorkflowStreamEvent))
async def execute_workflow_stream(
    state: Served, body: Body[ExecuteWorkflowStreamRequest]
) -> Response:
    """Run a release and send its events as they happen."""
    live = await state.executions.begin(parse_request(state.registry, body))
    return _streamed(live, WorkflowStream(live.record, body).lines)


@router.post("/v1/execute-workflow-async")
async def execute_workflow_async(
    state: Served, body: Body[ExecuteBody]
) -> contract.ExecuteWorkflowAsyncResponse:
    """Start a run of a release and answer at once."""
    live = await state.executions.begin(parse_request(state.registry, body))
    return contract.ExecuteWorkflowAsyncResponse(execution_id=live.record.execution_id)


@router.get("/v1/workflows/executions/{execution_id}/status")
def workflow_execution_status(
    state: Served, execution_id: str
) -> contract.CheckWorkflowExecutionStatusResponse:
    """Return the state of an execution, with its outputs or its error."""
    record = state.execution(execution_id)
    error = record.error
    return contract.CheckWorkflowExecutionStatusResponse(
        status=record.status,
        execution_id=record.execution_id,
        outputs=values_by_name(record.outputs) if record.status == "FULFILLED" else None,
        error=error and contract.WorkflowEventError(message=error.message, code=error.code),
        execution_detail_url=None,
    )


@router.post("/v1/workflow-deployments/{id}/execute-stream", **lines_of(contract.WorkflowEvent))
async def execute_stream(
    state: Served, deployment: Named, body: Body[DeploymentExecuteStreamRequest] = _NO_VALUES
) -> Response:
    """Run a release with plain values, and send its events in their envelopes."""
    live = await state.executions.begin(parse_stream_request(deployment, body))
    return _streamed(live, lambda event: iter((event.envelope(),)))


def _streamed(live: LiveExecution, lines: Callable[[Event], Iterator[dict[str, Any]]]) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        async for batch in live.batches():
            text = b"".join(json_line(line) for event in batch for line in lines(event))
            for start in range(0, len(text), _PIECE):  # every piece is copied
                yield text[start : start + _PIECE]

    # The background task runs after the end or a disconnect, which cancels the run.
    return Lines(chunks(), background=BackgroundTask(live.cancel, _HUNG_UP))


# Routes for prompt nodes of the Workflows SDK


@router.post("/v1/ad-hoc/execute-prompt")
async def adhoc_execute_prompt(
    request: Request, state: Served, body: Body[ExecutePromptRequest]
) -> PromptEvent:
    """Run a prompt and answer with its last event."""

    async def last() -> PromptEvent:
        return [event async for event in prompt_events(state.models, body, stream=False)][-1]

    task = asyncio.ensure_future(last())
    try:
        with on_hang_up(request.receive, task.cancel):  # stops the model
            return await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise
        raise Refused(408, _HUNG_UP) from None  # the client has disconnected


@router.post("/v1/ad-hoc/execute-prompt-stream", **lines_of(PromptEvent))
async def adhoc_execute_prompt_stream(state: Served, body: Body[ExecutePromptRequest]) -> Response:
    """Run a prompt and send its events as they happen."""

    async def lines() -> AsyncIterator[bytes]:
        async for event in prompt_events(state.models, body, stream=True):
            yield json_line(event.model_dump(mode="json", exclude_unset=True))

    return Lines(lines())


@router.post("/v1/execute-prompt")
@router.post("/v1/execute-prompt-stream")
async def execute_prompt() -> PromptEvent:
    """Refuse a prompt deployment, which a local server cannot have."""
    msg = (
        "The local server has no prompt deployments; use an InlinePromptNode, whose prompt is part "
        "of the workflow"
    )
    raise Refused(404, msg)


# Lines of a stream:
# https://docs.vellum.ai/developers/client-sdk/workflows/execute-workflow-stream


class WorkflowStream:
    """Converts the events of an execution to lines.

    The text of an output is complete: text without an event is sent as another delta.
    """

    def __init__(self, record: ExecutionRecord, body: ExecuteWorkflowStreamRequest) -> None:
        self._record = record
        self._types = body.event_types or ("WORKFLOW",)
        self._expand = body.expand_meta or ExpandMeta()
        self._texts: dict[str, list[str]] = {}
        self._id = new_id()

    def lines(self, event: Event) -> Iterator[_Json]:
        """Return the lines of one event."""
        type_ = "NODE" if event.name.startswith("node.") else "WORKFLOW"
        if type_ not in self._types:
            return
        node = [node_data(event, self._record, self._expand)] if type_ == "NODE" else []
        ids = {"execution_id": self._record.execution_id, "external_id": self._record.external_id}
        for data in filter(None, node) if type_ == "NODE" else self._workflow(event):
            yield {**ids, "run_id": None, "type": type_, "data": data}

    def _workflow(self, event: Event) -> Iterator[_Json]:
        state = _state(event)
        fields = dict.fromkeys(("output", "error", "outputs", "inputs"))
        data = {"id": self._id, "state": state, "ts": event.timestamp.isoformat(), **fields}
        if state == "INITIATED":
            values = self._record.inputs
            inputs = [{"id": variable_id("input", value.name), **dict(value)} for value in values]
            yield {**data, "inputs": inputs}
        elif state == "STREAMING":
            yield from ({**data, "output": output} for output in self._outputs(event))
        elif state == "FULFILLED":
            yield {**data, "outputs": event.outputs}
        elif state == "REJECTED":
            yield {**data, "error": event_error(event)}

    def _outputs(self, event: Event) -> Iterator[_Json]:
        part = event.body.get("output", {})
        output = next(iter(event.outputs), None)
        if output is None or value_type(output.type).streams != "workflow":
            return
        progress = dict.fromkeys(("node_id", "delta", "value"))
        progress |= {"id": output.id, "name": output.name, "type": output.type}
        if output.type == "STRING" and ("value" not in part or isinstance(output.value, str)):
            if output.name not in self._texts:
                self._texts[output.name] = []
                yield {**progress, "state": "INITIATED"}
            delta = part.get("delta")
            if "value" in part:
                sent = "".join(self._texts[output.name])
                delta = output.value[len(sent) :] if output.value.startswith(sent) else ""
            if isinstance(delta, str) and (delta or "value" not in part):
                self._texts[output.name].append(delta)
                yield {**progress, "state": "STREAMING", "delta": delta}
        if "value" in part:
            yield {**progress, "state": "FULFILLED", "value": output.value}


def _state(event: Event) -> str:
    return event.name.rpartition(".")[2].upper()


def node_data(event: Event, record: ExecutionRecord, expand: ExpandMeta) -> _Json | None:
    """Return the data of a NODE event; None for other events, such as logs."""
    state = _state(event)
    if state not in _STATES:
        return None
    definition = event.body.get("node_definition") or {}
    data = {
        "id": event.span_id,
        "node_id": definition.get("id", ""),
        "node_result_id": event.span_id,
        "state": state,
        "ts": event.timestamp.isoformat(),
        "data": None,
        "source_execution_id": event.source_execution_id,
        "node_name": definition.get("name", ""),
        "parent_span_id": _outer_span(event, record),
    }
    if state == "INITIATED":
        inputs = (event.body.get("inputs") or {}).items()
        data["input_values"] = [
            {"node_input_id": _id(event, k), "key": k, "type": plain_type(v), "value": v}
            for k, v in inputs
        ]
    elif state == "STREAMING":
        data |= _streaming(event)
    else:
        values = _values(event) if state == "FULFILLED" else ()
        if state == "FULFILLED" or event.kind in {"SUBWORKFLOW", "MAP"}:
            result = _result(event, values, expand)
            data["data"] = result and {"type": event.kind, "data": result}
        if state == "REJECTED":
            return {**data, "error": event_error(event)}
        data["output_values"] = [
            {"node_output_id": v["id"], "key": v["name"], "state": state}
            | {"type": v["type"], "value": v["value"]}
            for v in values
        ]
        data["mocked"] = bool(event.body.get("mocked"))
    return data


def _outer_span(event: Event, record: ExecutionRecord) -> str:
    """Return the span of the outer node, or of the execution."""
    parent = event.parent
    while isinstance(parent, Mapping) and parent.get("span_id") != record.execution_id:
        if parent.get("type") == "WORKFLOW_NODE":
            return str(parent.get("span_id", ""))
        parent = parent.get("parent")
    return record.execution_id


def _streaming(event: Event) -> _Json:
    part = event.body.get("output") or {}
    value = part.get("delta", part.get("value"))
    is_delta = "STREAMING" if "delta" in part else "INITIATED"
    output = {
        "node_output_id": _id(event, part.get("name", "")),
        "state": "FULFILLED" if "value" in part else is_delta,
        "type": "STRING" if value is None else plain_type(value),
        "value": value,
    }
    more: _Json = {"output": output, "output_index": None}
    if event.kind == "PROMPT" and isinstance(part.get("delta"), str):
        more["data"] = {"type": "PROMPT", "data": _prompt(event, None, delta=part["delta"])}
    return more


def _values(event: Event) -> list[_Json]:
    outputs = [(o.id, o.name, o.type, o.value) for o in event.outputs]
    if not outputs:
        values_of_event = (event.body.get("outputs") or {}).items()
        outputs = [
            (_id(event, name), name, plain_type(value), value) for name, value in values_of_event
        ]
    return [
        {
            "id": id_,
            "name": name,
            "type": type_ if value_type(type_).streams != "none" else "JSON",
            "value": value,
        }
        for id_, name, type_, value in outputs
    ]


def _result(event: Event, values: Sequence[_Json], expand: ExpandMeta) -> _Json | None:
    by_name = {item["name"]: item["value"] for item in values}
    first = {"id": _id(event, "output"), "name": "output", "type": "JSON", "value": None}
    first.update(values[0] if values else {})
    type_ = "JSON" if first["type"] == "THINKING" else first["type"]
    output = {"output": {"id": first["id"], "type": type_, "value": first["value"]}}
    text = next((item["value"] for item in values if item["type"] == "STRING"), None)
    ports: Sequence[_Json] = event.body.get("invoked_ports") or ({},)

    def named(*names: str) -> _Json:
        return {
            **{f"{name}_output_id": _id(event, name) for name in names},
            **{name: by_name.get(name) for name in names},
        }

    kinds: Mapping[str, Callable[[], _Json]] = {
        "SUBWORKFLOW": lambda: {"execution_id": next(iter(event.execution_ids), None)},
        "MAP": lambda: {
            "execution_ids": list(event.execution_ids),
            "iteration_state": _state(event),
        },
        "PROMPT": lambda: {**_prompt(event, text), "execution_meta": _meta(event, expand)},
        "SEARCH": lambda: named("results", "text") | {"results": by_name.get("results") or []},
        "API": lambda: (
            named("text", "json", "status_code")
            | {"status_code": int(by_name.get("status_code") or 0)}
        ),
        "TEMPLATING": lambda: output,
        "CODE_EXECUTION": lambda: {**output, "log_output_id": None},
        "CONDITIONAL": lambda: {"source_handle_id": ports[0].get("name")},
        "TERMINAL": lambda: {"output": first},
        "MERGE": lambda: {"paused_node_data": None},
    }
    return kinds[event.kind]() if event.kind in kinds else None


def _prompt(event: Event, text: str | None, *, delta: str | None = None) -> _Json:
    return {
        "execution_meta": None,
        "output_id": _id(event, "text"),
        "array_output_id": _id(event, "results"),
        "execution_id": None,
        "text": text,
        "delta": delta,
    }


def _meta(event: Event, expand: ExpandMeta) -> _Json | None:
    if not event.usage or not (expand.usage or expand.cost or expand.model_name):
        return None
    usage: _Json = dict.fromkeys(contract.MlModelUsage.model_fields)
    usage["output_token_count"] = Usage.total(event.usage, "tokens_out")
    usage["input_token_count"] = Usage.total(event.usage, "tokens_in")
    cost = Usage.total(event.usage, "cost_usd")
    names = dict.fromkeys(used.model for used in event.usage)
    return {
        "usage": usage if expand.usage else None,
        "cost": {"value": cost, "unit": "USD"} if expand.cost and cost is not None else None,
        "model_name": ", ".join(names) if expand.model_name else None,
    }


def _id(event: Event, name: str) -> str:
    """Return the id of an input or output of a node, which is the same in every run."""
    node = (event.body.get("node_definition") or {}).get("id", "")
    text = f"{node}\n{name}".encode("utf-8", "replace").decode()
    return str(uuid.uuid5(uuid.NAMESPACE_OID, text))

"""NODE events: what each kind of node tells, and that the official client knows it all."""

import json
import warnings
from dataclasses import replace

import pytest
from execution_kit import record

from vellum_nb.local.engine.events import (
    NODE_FULFILLED,
    NODE_INITIATED,
    NODE_REJECTED,
    NODE_STREAMING,
    Event,
    Usage,
)
from vellum_nb.local.routes.execute import node_data
from vellum_nb.local.routes.executions import usage_body
from vellum_nb.models import ExpandMeta

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it warns about on import is not ours
    from vellum.client import types as official

NODE = {"id": "00000000-0000-4000-8000-00000000000a", "name": "Node", "module": ["m"]}
EXECUTION = "00000000-0000-4000-8000-00000000000e"
INNER = "00000000-0000-4000-8000-00000000000c"
RECORD = record(execution_id=EXECUTION)
ALL = ExpandMeta(usage=True, cost=True, model_name=True)


def event(name, kind="", usage=(), span=EXECUTION, **body):
    return Event(
        name=name,
        span_id="00000000-0000-4000-8000-00000000000b",
        trace_id=EXECUTION,
        body={"node_definition": NODE, **body},
        parent={"type": "WORKFLOW", "span_id": span},
        kind=kind,
        usage=usage,
    )


def fulfilled(kind, outputs, usage=(), **body):
    return event(NODE_FULFILLED, kind, usage, outputs=outputs, **body)


def data(what, expand=ALL):
    found = node_data(what, RECORD, expand)
    json.dumps(found, allow_nan=False)
    return found


def parsed(found):
    """Return the class that the official client takes a NODE event and its result for."""
    line = {"execution_id": EXECUTION, "type": "NODE", "data": found}
    known = official.WorkflowExecutionNodeResultEvent.model_validate(line).data
    return type(known).__name__, type(known.data).__name__


@pytest.mark.parametrize(
    ("kind", "outputs", "expected"),
    [
        ("PROMPT", {"text": "hi", "results": ["hi"]}, "PromptNodeResult"),
        ("PROMPT", {}, "PromptNodeResult"),
        ("SEARCH", {"results": [], "text": "t"}, "SearchNodeResult"),
        ("TEMPLATING", {"result": "x"}, "TemplatingNodeResult"),
        ("CODE_EXECUTION", {"result": [1], "log": ""}, "CodeExecutionNodeResult"),
        ("CODE_EXECUTION", {}, "CodeExecutionNodeResult"),
        ("CONDITIONAL", {}, "ConditionalNodeResult"),
        ("API", {"json": {"a": 1}, "status_code": 200, "text": ""}, "ApiNodeResult"),
        ("TERMINAL", {"value": 3}, "TerminalNodeResult"),
        ("MERGE", {}, "MergeNodeResult"),
        ("SUBWORKFLOW", {"a": None}, "SubworkflowNodeResult"),
        ("MAP", {"mapped": [{"a": 1}]}, "MapNodeResult"),
        ("", {"any": True}, "NoneType"),
        ("SOMETHING_NEW", {"any": True}, "NoneType"),
    ],
)
def test_the_official_client_knows_the_result_of_each_kind(kind, outputs, expected):
    result = data(fulfilled(kind, outputs))
    assert parsed(result) == ("FulfilledWorkflowNodeResultEvent", expected)
    assert [value["value"] for value in result["output_values"]] == list(outputs.values())


def test_a_node_begins_with_its_typed_inputs():
    result = data(event(NODE_INITIATED, inputs={"a": "x", "b": 1, "c": None, "d": True}))
    assert parsed(result)[0] == "InitiatedWorkflowNodeResultEvent"
    types = [(value["key"], value["type"]) for value in result["input_values"]]
    assert types == [("a", "STRING"), ("b", "NUMBER"), ("c", "JSON"), ("d", "JSON")]


def test_an_image_of_a_node_is_json():
    from vellum_nb.models import WorkflowOutput

    image = WorkflowOutput(id="i", name="shot", type="IMAGE", value={"src": "data:,"})
    result = data(replace(fulfilled("CODE_EXECUTION", {}), outputs=(image,)))
    assert result["output_values"][0]["type"] == "JSON"
    assert parsed(result)[1] == "CodeExecutionNodeResult"


@pytest.mark.parametrize(
    ("output", "state", "value"),
    [
        ({"name": "text"}, "INITIATED", None),
        ({"name": "text", "delta": "h"}, "STREAMING", "h"),
        ({"name": "text", "value": "hi"}, "FULFILLED", "hi"),
    ],
)
def test_a_node_streams_its_output(output, state, value):
    result = data(event(NODE_STREAMING, "PROMPT", output=output))
    assert parsed(result)[0] == "StreamingWorkflowNodeResultEvent"
    assert (result["output"]["state"], result["output"]["value"]) == (state, value)
    delta = result["data"] and result["data"]["data"]["delta"]
    assert delta == ("h" if state == "STREAMING" else None)


def test_a_rejected_node_has_the_error_code_of_executions():
    error = {"message": "m", "code": "PROVIDER_ERROR", "raw_data": None}
    result = data(event(NODE_REJECTED, error=error, stacktrace="t"))
    assert parsed(result)[0] == "RejectedWorkflowNodeResultEvent"
    assert result["error"] == {**error, "code": "LLM_PROVIDER", "stacktrace": "t"}


def test_a_node_is_in_the_trace_of_its_own_execution():
    outer = {"type": "WORKFLOW_NODE", "span_id": INNER, "parent": None}
    asked = {"type": "WORKFLOW", "span_id": EXECUTION, "parent": outer}
    result = data(replace(event(NODE_INITIATED), parent=asked))
    assert result["parent_span_id"] == EXECUTION


USED = (
    Usage(model="big", tokens_in=3, tokens_out=5, cost_usd=0.5),
    Usage(model="small", tokens_in=1),
)


def meta(expand, used=USED):
    """Return the figures of a prompt that used these models."""
    body = data(fulfilled("PROMPT", {"text": "hi"}, used), expand)
    return body["data"]["data"]["execution_meta"]


def test_a_prompt_sums_the_usage_of_its_models():
    whole = meta(ALL)
    assert whole["usage"]["input_token_count"] == 4
    assert whole["model_name"] == "big, small"
    assert meta(ALL, USED[:1])["cost"] == {"value": 0.5, "unit": "USD"}


def test_a_prompt_has_no_sum_of_figures_that_one_model_lacks():
    whole = meta(ALL)
    assert (whole["usage"]["output_token_count"], whole["cost"]) == (None, None)
    assert meta(ExpandMeta(cost=True), (Usage(model="free"),))["cost"] is None


def test_a_prompt_has_only_the_figures_that_were_requested():
    part = meta(ExpandMeta(cost=True))
    assert (part["usage"], part["model_name"]) == (None, None)
    assert meta(ExpandMeta()) is None


def test_a_prompt_without_a_model_has_no_figures():
    assert meta(ALL, ()) is None


KNOWN = [Usage("a", 1, 2, 0.0), Usage("b", 3, 4, 0.5)]


@pytest.mark.parametrize(
    ("usage", "tokens", "cost"),
    [
        ([Usage("m", 3, 4, 0.5), Usage("m", None, 1, None)], [("m", None, 5)], []),
        (KNOWN, [("a", 1, 2), ("b", 3, 4)], [{"value": 0.5, "unit": "USD"}]),
    ],
)
def test_a_figure_that_is_known_in_part_is_not_known(usage, tokens, cost):
    body = usage_body(usage)
    assert body is not None
    found = [(each["ml_model_name"], *each["ml_model_usage"].values()) for each in body["usage"]]
    assert found == tokens
    assert body["cost"] == cost

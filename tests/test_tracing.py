"""Nodes of events and spans, and their costs."""

from datetime import UTC, datetime

import pytest

from vellum_nb.models import (
    NodeRun,
    VellumSpan,
    WorkflowStreamEvent,
    nodes_of_spans,
    nodes_of_stream,
    totals,
    usage_totals,
)
from vellum_nb.models.contract import WorkflowExecutionUsageResult


def at(second):
    return f"2026-01-15T09:30:{second:09.6f}Z"


def node(state, key="n1", **data):
    fields = {"id": key, "node_id": f"{key}-definition", "node_result_id": key, "state": state}
    return WorkflowStreamEvent.model_validate(
        {"execution_id": "e-1", "type": "NODE", "data": fields | data}
    )


def prompt(**meta):
    return {"type": "PROMPT", "data": {"output_id": "o", "execution_meta": meta}}


def test_events_of_a_node_become_one_node_which_has_no_end_before_it_has_ended():
    cost = {"value": 0.25, "unit": "USD"}
    usage = {"input_token_count": 12, "output_token_count": 5}
    (node_run,) = nodes_of_stream(
        [
            WorkflowStreamEvent.model_validate({"execution_id": "e-1", "data": {"state": "X"}}),
            node("INITIATED", ts=at(1)),
            node("STREAMING", ts=at(2), data={"type": "PROMPT", "data": {"delta": "He"}}),
            node("FULFILLED", ts=at(3.5), data=prompt(model_name="gpt-4o", cost=cost, usage=usage)),
        ]
    )
    assert node_run == NodeRun(
        name="PROMPT n1-defin",
        span_id="n1",
        parent_span_id="e-1",
        kind="PROMPT",
        state="FULFILLED",
        start=datetime(2026, 1, 15, 9, 30, 1, tzinfo=UTC),
        end=datetime(2026, 1, 15, 9, 30, 3, 500_000, tzinfo=UTC),
        model="gpt-4o",
        tokens_in=12,
        tokens_out=5,
        cost_usd=0.25,
        outputs={},
        is_named=False,
    )
    assert node_run.duration_s == 2.5
    begun, failed = nodes_of_stream(
        [
            node("INITIATED", ts=at(1).rstrip("Z")),  # which is UTC
            node("INITIATED", "n2", ts=at(2)),
            node("REJECTED", "n2", ts=at(3), error={"code": "NODE_EXECUTION", "message": "boom"}),
        ]
    )
    assert (begun.state, begun.end, begun.duration_s) == ("INITIATED", None, None)
    assert begun.start == datetime(2026, 1, 15, 9, 30, 1, tzinfo=UTC)
    assert (failed.state, failed.error, failed.duration_s) == ("REJECTED", "boom", 1.0)


def test_nodes_are_named_by_the_server_or_their_kind():
    answer = {"type": "TERMINAL", "data": {"output": {"name": "answer", "type": "STRING"}}}
    nodes = nodes_of_stream(
        [
            node("FULFILLED", "a", node_name="Classify", parent_span_id="b"),
            node("FULFILLED", "b", data=answer, source_execution_id="inner"),
            node("FULFILLED", "c", data={"type": "MAP", "data": None}),
            node("FULFILLED", "d"),
        ]
    )
    assert [each.name for each in nodes] == ["Classify", "answer", "MAP c-defini", "d-defini"]
    assert [each.parent_span_id for each in nodes] == ["b", "inner", "e-1", "e-1"]


def values(*items):
    return [
        {"node_output_id": "i", "key": key, "type": type_, "value": v} for key, type_, v in items
    ]


def test_values_of_a_node_are_plain_and_without_secrets():
    inputs = values(("q", "STRING", "why"), ("k", "SECRET", {"name": "MY_KEY"}))
    answer = [{"type": "STRING", "value": "x"}, {"type": "SECRET", "value": {"name": "MY_KEY"}}]
    (node_run,) = nodes_of_stream(
        [
            node("INITIATED", input_values=inputs),
            node("FULFILLED", output_values=values(("a", "ARRAY", answer), (None, "NUMBER", 2.0))),
        ]
    )
    assert node_run.inputs == {"q": "why", "k": "(secret)"}
    assert node_run.outputs == {"a": ["x", "(secret)"], "output 2": 2}


def test_values_of_spans_are_those_of_streams():
    begun = {"name": "node.execution.initiated", "body": {"inputs": {"q": "why"}}}
    ended = {"name": "node.execution.fulfilled", "body": {"outputs": {"a": [1]}}}
    (of_span,) = nodes_of_spans([span("a", events=[begun, ended])])
    (of_stream,) = nodes_of_stream(
        [
            node("INITIATED", input_values=values(("q", "STRING", "why"))),
            node("FULFILLED", output_values=values(("a", "JSON", [1]))),
        ]
    )
    for name, expected in {"inputs": {"q": "why"}, "outputs": {"a": [1]}}.items():
        assert getattr(of_span, name) == getattr(of_stream, name) == expected
    assert of_span.outputs_hash == of_stream.outputs_hash


@pytest.mark.parametrize("more", [{}, {"id": "1"}, {"name": "key"}])
def test_secrets_at_any_depth_are_masked_but_not_in_the_hash(more):
    def traced(secret):
        hidden = {"type": "SECRET", "value": secret} | more
        call = {"name": "pay", "arguments": {"key": hidden}}
        outputs = values(("a", "JSON", {"type": "FUNCTION_CALL", "value": call}))
        return nodes_of_stream([node("FULFILLED", output_values=outputs)])[0]

    first, second = traced("sk-1"), traced("sk-2")
    assert first.outputs == {"a": {"name": "pay", "arguments": {"key": "(secret)"}}}
    assert first.calls == ({"name": "pay", "arguments": {"key": "(secret)"}},)
    assert first.outputs_hash != second.outputs_hash


def test_values_of_the_same_name_are_all_stored():
    outputs = values(("a", "STRING", "one"), ("a", "STRING", "two"))
    (node_run,) = nodes_of_stream([node("FULFILLED", output_values=outputs)])
    assert node_run.outputs == {"a": "one", "a (2)": "two"}


def test_long_values_of_nodes_are_cut_and_keep_a_hash_of_the_rest():
    long = values(("text", "STRING", "a" * 10_001), ("list", "JSON", ["é" * 20_000]))
    (node_run,) = nodes_of_stream([node("FULFILLED", output_values=long)])
    text = node_run.outputs["text"]
    assert text.startswith("a" * 10_000 + "… cut after 10,000 of 10,001 characters, hash ")
    assert node_run.outputs["list"].startswith('["ééé')
    assert "cut after 10,000 of 20,004 characters" in node_run.outputs["list"]
    other = values(("text", "STRING", "a" * 10_000 + "b"))
    (other_run,) = nodes_of_stream([node("FULFILLED", output_values=other)])
    assert other_run.outputs["text"] != text


def test_last_nodes_of_a_very_long_trace_have_no_values():
    outputs = values(*((f"o{n}", "STRING", "a" * 9_000) for n in range(20)))
    events = [node("FULFILLED", f"n{n}", output_values=outputs) for n in range(8)]
    nodes = nodes_of_stream(events)
    assert [each.outputs is not None for each in nodes] == [True] * 5 + [False] * 3
    assert len({each.outputs_hash for each in nodes}) == 1


def span(id_, kind="node", parent="e-1", **more):
    start = more.pop("start_ts", at(0))
    events = [{"name": f"{kind}.execution.initiated", "span_id": id_}]
    if "ended" in more:
        ended = more.pop("ended")
        events.append({"name": f"{kind}.execution.{ended}", "body": more.pop("body", {})})
    fields = {"name": f"{kind}.execution", "span_id": id_, "parent_span_id": parent}
    times = {"start_ts": start, "end_ts": at(9)}
    return VellumSpan.model_validate(fields | times | {"events": events} | more)


def test_nodes_of_spans_are_ordered_by_start():
    used = {"usage": [{"ml_model_name": "m", "ml_model_usage": {"input_token_count": 3}}]}
    first, second, rejected, strange = nodes_of_spans(
        [
            span("e-1", "workflow", None, ended="fulfilled"),
            span("b", start_ts=at(2), ended="fulfilled", attributes={"label": "B", "kind": "MAP"}),
            span("a", start_ts=at(1), ended="fulfilled", attributes={"label": "A"}),
            span("c", start_ts=at(3), ended="rejected", body={"error": {"message": "boom"}}),
            span("x", start_ts=None, events=[], usage_result=used),
        ]
    )
    assert [first.name, second.name] == ["A", "B"]
    assert [first.kind, second.kind] == ["", "MAP"]
    assert (first.duration_s, second.duration_s) == (8.0, 7.0)
    assert (rejected.state, rejected.error) == ("REJECTED", "boom")
    found = (strange.name, strange.state, strange.start, strange.end)
    assert found == ("x", "INITIATED", None, None)
    assert (strange.model, strange.tokens_in) == ("m", 3)


def test_node_of_an_inner_workflow_is_inside_the_outer_node():
    spans = [
        span("e-1", "workflow", None),
        span("outer"),
        span("inner", "workflow", "outer"),
        span("deep", parent="inner"),
        span("lost", parent="elsewhere"),
    ]
    parents = {each.span_id: each.parent_span_id for each in nodes_of_spans(spans)}
    assert parents == {"outer": "e-1", "deep": "outer", "lost": "elsewhere"}
    circle = [span("w1", "workflow", "w2"), span("w2", "workflow", "w1"), span("a", parent="w1")]
    assert len(nodes_of_spans([*circle, span("w3", "workflow", "w3"), span("b", parent="w3")])) == 2


def test_known_costs_of_nodes_are_summed():
    nodes = [
        NodeRun(name="a", model="gpt", tokens_in=3, tokens_out=1, cost_usd=0.1),
        NodeRun(name="b", model="claude", tokens_in=4, cost_usd=0.2),
        NodeRun(name="c", model="gpt"),
    ]
    sums = totals(nodes)
    assert sums.pop("cost_usd") == pytest.approx(0.3)
    assert sums == {"tokens_in": 7, "tokens_out": 1, "model": "gpt, claude"}
    assert set(totals([]).values()) == {None}


def test_known_costs_of_usage_results_are_summed():
    used = ({"input_token_count": 12}, None)
    usage = [{"ml_model_name": "gpt", "ml_model_usage": each} for each in used]
    cost = [{"value": 0.5, "unit": "USD"}, {"value": None}]
    result = WorkflowExecutionUsageResult.model_validate({"usage": usage, "cost": cost})
    failed = WorkflowExecutionUsageResult.model_validate({"error": {"code": "UNKNOWN"}})
    figures = {"cost_usd": 0.5, "tokens_in": 12, "tokens_out": None, "model": "gpt"}
    assert usage_totals([result, failed]) == figures
    assert set(usage_totals(None).values()) == {None}

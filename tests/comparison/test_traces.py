"""Metrics on traces, the first node that differs, and what one passed case costs."""

import numpy as np
import pandas as pd
import pytest
from report_kit import compared, run, wanted
from scipy.stats import ttest_1samp

import vellum_nb as vnb
from vellum_nb import Run
from vellum_nb.comparison.statistics import mean_interval, mean_ratio
from vellum_nb.models import NodeRun, WorkflowStreamEvent, nodes_of_spans, nodes_of_stream
from vellum_nb.models.contract import VellumSpan

m = vnb.metrics


def traced(*names, tag="v1", text="a", **fields):
    """Return a run of these nodes; "name=1" says what a node returned, "a/b" is b inside a."""
    nodes = []
    for at, name in enumerate(names):
        path, _, answer = name.partition("=")
        parent, _, own = path.rpartition("/")
        state = "REJECTED" if answer == "!" else "FULFILLED"
        found = {"name": own, "span_id": path, "parent_span_id": parent or None, "state": state}
        start = f"2026-07-01T00:00:{at:02}Z"
        nodes.append(NodeRun(**found, start=start, outputs_hash=answer or "0"))
    return run(tag, text, nodes=tuple(nodes), **fields)


@pytest.mark.parametrize(
    ("metric", "names", "value"),
    [
        (m.nodes(["a", "c"]), ("c", "b", "a"), True),
        (m.nodes(contains=["a", "c"], in_order=True), ("c", "b", "a"), False),
        (m.nodes(["a", "c"], in_order=True), ("a", "b", "c"), True),
        (m.nodes(["a", "a"], in_order=True), ("a", "b"), False),
        (m.nodes("a/b"), ("a", "a/b"), False),
        (m.nodes("b"), ("a", "a/b"), True),
        (m.node_count("b"), ("a", "x/b", "b"), 2),
        (m.node_count("z"), ("a",), 0),
    ],
)
def test_metric_reads_the_trace(metric, names, value):
    assert metric(traced(*names)) == value


def called(name, arguments=None):
    return {"nodes": (NodeRun(name="n", calls=({"name": name, "arguments": arguments},)),)}


CALL = {"type": "FUNCTION_CALL", "value": {"name": "refund", "arguments": {"order": 7, "why": "x"}}}
TEXT_CALL = {"name": "refund", "arguments": '{"order": 7}', "id": "1"}


@pytest.mark.parametrize(
    ("fields", "arguments", "value"),
    [
        ({"outputs": {"chat": [{"role": "ASSISTANT", "content": CALL}]}}, None, True),
        ({"outputs": {"chat": [{"role": "ASSISTANT", "content": CALL}]}}, {"order": 7.0}, True),
        ({"outputs": {"chat": [CALL]}, "nodes": (NodeRun(name="n"),)}, {"order": 8}, False),
        ({"outputs": {"c": TEXT_CALL}, "output_types": {"c": "FUNCTION_CALL"}}, {"order": 7}, True),
        (called("refund"), None, True),
        (called("refund"), {"a": 1}, False),
        (called("pay", {}), None, False),
    ],
)  # fmt: skip
def test_function_calls_are_read_from_outputs_or_nodes(fields, arguments, value):
    assert m.calls("refund", arguments=arguments)(run("v1", **fields)) is value


def test_unknown_node_is_noted():
    runs = [traced("a", "b", tag=tag) for tag in ("v1", "v2")]
    found = compared(*runs, metrics=[m.node_count("a"), m.nodes(["b", "misspelt"])])
    note = "No run has a node 'misspelt'; available: a, b"
    assert found.figures.notes == (note,)
    assert note in str(found)
    assert "No run has" not in compared(*runs, metrics=m.node_count("b")).to_html()


@pytest.mark.parametrize("metric", [m.nodes(["a"]), m.node_count("a"), m.calls("a")])
def test_missing_trace_is_an_error_of_the_metric(metric):
    value, problem = metric.evaluate(run("v1"), {})
    assert value is None
    assert "ws.trace(run) reads it, expand_meta=True records it" in problem


def test_metrics_on_traces_need_names():
    with pytest.raises(vnb.InputError, match="contains must be names of nodes"):
        m.nodes([])
    with pytest.raises(vnb.InputError, match=r"give vnb\.metrics\.calls\(\.\.\.\)"):
        compared(run("v1"), metrics=m.calls)


@pytest.mark.parametrize(
    ("base", "other", "first"),
    [
        (("a=1", "b=2"), ("a=1", "b=2"), ""),
        (("a=1", "b=2"), ("b=2", "a=1"), ""),  # at once, in another order
        (("a=1", "b=2", "c=3"), ("a=1", "b=9", "c=9"), "b"),
        (("a=1", "c=3"), ("a=1", "b=2", "c=9"), "b"),
        (("a=1", "b=2", "c=3"), ("a=1", "c=9"), "b"),
        (("a=1", "a=2"), ("a=1", "a=3", "z=1"), "a"),
        (("a=1", "s=1", "s/in=1", "s/then=2"), ("a=1", "s=2", "s/in=1", "s/then=3"), "then"),
        (("a=1",), ("s=1", "s/in=1", "a=1"), "s"),
        (("a=1", "b=1"), ("a=1", "b=!"), "b"),
        (("a=1",), ("x=1",), "x"),
        (("m=1", "m/n=1", "m/n=2", "m/n=3"), ("m=1", "m/n=3", "m/n=1", "m/n=2"), ""),  # at once
        (("m=1", "m/n=1", "m/n=2"), ("m=2", "m/n=2", "m/n=9"), "n"),
    ],
)
def test_first_changed_node_is_in_the_frame(base, other, first):
    cmp = compared(traced(*base), traced(*other, tag="v2"))
    assert cmp.frame()["first_changed_node@v2"].tolist() == [first]


def test_unknown_outputs_are_no_difference():
    old = (NodeRun(name="a", model="x"), NodeRun(name="b", error="boom", state="REJECTED"))
    new = (NodeRun(name="a", outputs_hash="1"), NodeRun(name="b", state="FULFILLED"))
    cmp = compared(run("v1", nodes=old), run("v2", nodes=new))
    assert cmp.frame()["first_changed_node@v2"].tolist() == ["b"]


def test_circular_or_deep_traces_are_compared():
    twins = [NodeRun(name="n", span_id="a", parent_span_id="a") for _ in range(30)]
    deep = [NodeRun(name="d", span_id=str(n), parent_span_id=str(n - 1)) for n in range(1, 3_000)]
    nodes = (NodeRun(name="n", span_id="a"), *twins, NodeRun(name="d", span_id="0"), *deep)
    cmp = compared(run("v1", nodes=nodes), run("v2", nodes=(*nodes, NodeRun(name="z"))))
    assert cmp.frame()["first_changed_node@v2"].tolist() == ["z"]


def test_cases_are_counted_by_first_changed_node(tmp_path):
    runs = [traced("a=1", "b=1", text=text) for text in "pqrs"]
    answers = {"p": ("a=1", "b=2"), "q": ("a=1", "b=3"), "r": ("a=2", "b=3"), "s": ("a=1", "b=1")}
    runs += [traced(*names, tag="v2", text=text) for text, names in answers.items()]
    cmp = compared(*runs, run("v1", "t"), run("v2", "t"), tags=("v1", "v2", "v3"))
    found = cmp.summary(columns="all").set_index("release")
    columns = ["traced", "first_changed.b", "first_changed.a"]
    assert [name for name in found if "first_changed" in name or name == "traced"] == columns
    assert found.loc["v2", columns].tolist() == [4, 2, 1]
    assert found.loc["v3", columns].tolist() == [0, 0, 0]
    assert found.loc["v1", columns].isna().all()
    frame = cmp.frame()
    assert frame["first_changed_node@v2"].tolist()[:4] == ["b", "b", "a", ""]
    assert pd.isna(frame["first_changed_node@v2"].iloc[4])
    assert "first_changed_node@v3" not in frame
    assert vnb.read_csv(cmp.to_csv(tmp_path / "a.csv")).equals(frame)
    assert not [name for name in compared(run("v1")).summary(columns="all") if "traced" in name]


@pytest.fixture
def streamed_and_read():
    """Return the same node from a stream, without a name, and from a span."""
    typed = [{"type": "THINKING", "value": {"type": "STRING", "value": "hmm"}}]
    outputs = [{"type": "ARRAY", "value": typed}, {"type": "NUMBER", "value": 2.0}]
    data = {"node_id": "n", "state": "FULFILLED", "output_values": outputs}
    event = {"execution_id": "e", "type": "NODE", "data": data}
    (unnamed,) = nodes_of_stream([WorkflowStreamEvent.model_validate(event)])
    body = {"outputs": {"size": 2, "steps": ["hmm"]}}
    span = {"name": "node.execution", "span_id": "s", "attributes": {"label": "Think"}}
    span["events"] = [{"name": "node.execution.fulfilled", "body": body}]
    (read,) = nodes_of_spans([VellumSpan.model_validate(span)])
    return unnamed, read


def test_typed_outputs_equal_plain_ones(streamed_and_read):
    unnamed, read = streamed_and_read
    assert unnamed.outputs_hash == read.outputs_hash is not None
    named = unnamed.model_copy(update={"is_named": True, "name": "Think"})
    cmp = compared(run("v1", nodes=(named,)), run("v2", nodes=(read,)))
    assert cmp.frame()["first_changed_node@v2"].tolist() == [""]


def test_nodes_without_names_are_not_compared(streamed_and_read):
    unnamed, read = streamed_and_read
    cmp = compared(run("v1", nodes=(unnamed,)), run("v2", nodes=(read,)))
    assert "first_changed_node@v2" not in cmp.frame()


@pytest.mark.parametrize("seed", range(4))
def test_interval_of_a_ratio_matches_that_of_the_difference(seed):
    rng = np.random.default_rng(seed)
    costs, passes = rng.gamma(2.0, 0.01, 40), rng.integers(0, 2, 40).astype(float)
    found = mean_ratio(costs, passes)
    assert found.mean == pytest.approx(costs.sum() / passes.sum())
    low, high = (mean_interval(costs - end * passes) for end in (found.low, found.high))
    assert [low.low, high.high] == pytest.approx([0, 0], abs=1e-9)
    # It is a little wider than Fieller's, which a paired t test gives.
    assert ttest_1samp(costs - found.low * passes, 0).pvalue < 0.05
    assert ttest_1samp(costs - found.high * passes, 0).pvalue < 0.05 + 1e-9
    clusters = np.repeat(np.arange(10), 4)
    assert mean_ratio(costs, passes, clusters=clusters).low != found.low


def test_interval_of_a_ratio_with_equal_costs():
    passes = np.arange(30) % 3 > 0.0
    found, near = (
        mean_ratio(0.01 + each * np.cos(np.arange(30)), passes.astype(float)) for each in (0, 1e-7)
    )
    assert [found.low, found.high] == pytest.approx([near.low, near.high], rel=1e-4)
    assert 0.01 < found.low < found.mean == pytest.approx(0.015)
    assert np.isnan(mean_ratio(0.01 * passes, passes.astype(float)).low)  # what fails is free


@pytest.mark.slow
@pytest.mark.parametrize(("number", "rate"), [(20, 0.8), (50, 0.5)])
def test_coverage_of_the_interval_of_a_ratio(number, rate):
    rng = np.random.default_rng(number)
    held = 0
    for _ in range(300):
        passes = (rng.random(number) < rate).astype(float)
        found = mean_ratio(rng.gamma(1.0, 1.0, number) * (1 + passes), passes)
        held += found.low <= (1 + rate) / rate <= found.high
    assert held / 300 > 0.93 - 0.02


def test_ratio_of_few_cases_has_no_interval():
    for number, passes in ((19, np.ones(19)), (40, np.arange(40) == 7)):
        found = mean_ratio(np.arange(number) + 1.0, passes.astype(float))
        assert found.mean > 0
        assert np.isnan([found.low, found.high]).all()
    assert np.isnan(mean_ratio(np.ones(40), np.zeros(40)).mean)
    assert np.isnan(mean_ratio(np.ones(40), np.ones(40)).low)  # costs that never differ
    assert np.isnan(mean_ratio(np.array([]), np.array([])).mean)


def test_summary_has_the_cost_per_pass():
    texts = "abcdefghijklmnopqrstuvwx"
    runs: list[Run] = [
        run(tag, text, "yes" if at % 2 or tag == "v2" else "no", cost_usd=0.01 * (at % 8 + 1))
        for at, text in enumerate(texts)
        for tag in ("v1", "v2")
    ]
    cmp = compared(*runs, cases=wanted(dict.fromkeys(texts, "yes")), metrics=["latency_s", "exact"])
    found = cmp.summary(columns="all")
    assert found["cost_per_pass"].tolist() == pytest.approx([0.09, 0.045])
    assert found["cost_per_pass.n"].tolist() == [24, 24]
    assert (found["cost_per_pass.low"] < found["cost_per_pass"]).all()
    without = compared(*runs, metrics="latency_s").summary(columns="all")
    assert without["cost_per_pass"].isna().all()
    assert without["cost_per_pass.n"].tolist() == [0, 0]

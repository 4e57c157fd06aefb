"""Values of metrics, their errors and their options."""

from typing import Any

import pandas as pd
import pytest
from report_kit import compared, failed
from report_kit import run as kit_run

import vellum_nb as vnb
from vellum_nb.comparison.metrics import Metric, as_metrics
from vellum_nb.errors import InputError
from vellum_nb.models import Run, case_id
from vellum_nb.models.sweeps import SweepCase

m = vnb.metrics


def run(outputs: dict[str, Any] | None = None, tag: str = "v1", **fields: Any) -> Run:
    return kit_run(tag, outputs=outputs or {}, **fields)


@pytest.mark.parametrize(
    ("metric", "outputs", "expected", "value"),
    [
        (m.exact(), {"a": 1, "b": "x"}, {"a": 1.0}, True),
        (m.exact(), {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, False),
        (m.exact("a"), {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, True),
        (m.exact(), {}, {"a": None}, False),
        (m.exact(), {"a": True}, {"a": 1}, False),
        (m.exact(), {"a": 1}, {}, None),
        (m.score(), {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, 0.5),
        (m.score(), {"a": 1}, {}, None),
        (m.contains("Sorry"), {"a": "we are sorry"}, {}, True),
        (m.contains("Sorry", ignore_case=False), {"a": "we are sorry"}, {}, False),
        (m.contains("x", "b"), {"a": "x"}, {}, False),
        (m.contains("tag"), {"a": {"tags": ["tag"]}}, {}, True),
        (m.regex(r"\d{3}"), {"a": "no 123"}, {}, True),
        (m.regex(r"^\d{3}$", "a"), {"a": "no 123"}, {}, False),
        (m.json_valid(), {"a": '{"x": 1}', "b": [1]}, {}, True),
        (m.json_valid("a"), {"a": "{x}", "b": [1]}, {}, False),
        (m.json_valid(), {}, {}, False),
        (m.json_schema({"type": "object", "required": ["x"]}), {"a": '{"x": 1}'}, {}, True),
        (m.json_schema({"type": "object", "required": ["x"]}), {"a": {"y": 1}}, {}, False),
        (m.json_schema({"type": "object"}), {"a": "no json"}, {}, False),
        (m.numeric_close(rel=0.01), {"a": 100.5}, {"a": 100}, True),
        (m.numeric_close(rel=0.01), {"a": "102"}, {"a": 100}, False),
        (m.numeric_close(abs=3), {"a": "102"}, {"a": 100}, True),
        (m.numeric_close(), {"a": 1}, {"a": "one"}, None),
        (m.numeric_close(), {"a": "many"}, {"a": 1}, False),
        (m.numeric_close(), {"a": True}, {"a": 1}, False),
        (m.similarity(), {"a": "abcd"}, {"a": "abxd"}, 0.75),
        (m.similarity(), {"a": "same"}, {"a": "same"}, 1.0),
        (m.similarity(), {}, {"a": "same"}, 0.0),
        (m.similarity("a"), {"a": "same"}, {"b": "same"}, None),
        (m.length(), {"a": "abc", "b": "de"}, {}, 5),
        (m.length("a"), {"a": "abc", "b": "de"}, {}, 3),
    ],
)
def test_value_of_a_metric(metric, outputs, expected, value):
    assert metric(run(outputs), expected) == value
    assert metric.evaluate(run(outputs), expected) == (value, None)


def test_figures_of_the_run_itself():
    known = run(latency_s=0.5, cost_usd=0.01, quality=0.75)
    assert [each()(known) for each in (m.latency_s, m.cost_usd, m.quality)] == [0.5, 0.01, 0.75]
    assert [each().sign for each in (m.latency_s, m.cost_usd, m.length, m.quality)] == [
        -1,
        -1,
        -1,
        1,
    ]


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda run: run.outputs["no"], "KeyError: 'no'"),
        (lambda _: "good", "the text 'good' is neither a bool nor a number"),
        (lambda _: float("nan"), "nan is not a finite number"),
        (lambda _: 1e308, "1e+308 is too large to compare"),
        (lambda _: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_exception_of_a_metric_is_reported(fn, message):
    assert Metric(fn).evaluate(run(), {}) == (None, message)


def test_interrupt_is_raised():
    def stop(run: Run) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Metric(stop).evaluate(run(), {})


def test_function_of_a_run_and_its_expected_outputs_is_a_metric():
    def distance(run: Run, expected: dict[str, Any]) -> float:
        return abs(run.outputs["n"] - expected["n"])

    distance.lower_is_better = True
    metric = as_metrics(distance)[0]
    assert repr(metric) == "<Metric distance: lower is better>"
    assert metric(run({"n": 5}), {"n": 3}) == 2


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["exact", m.latency_s, m.contains("x"), Metric(len)], "exact latency_s contains len"),
        ("score", "score"),
    ],
)
def test_metrics_are_given_by_name_or_function(given, names):
    assert [metric.name for metric in as_metrics(given)] == names.split()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("accuracy", "there is no metric 'accuracy'; available: "),
        (m.contains, "vnb.metrics.contains has required arguments"),
        ([m.exact(), m.exact()], "2 metrics are called exact"),
        (3, "metrics must be a metric or a list of metrics, not 3"),
        ([3], "metrics must be a metric, its name, a function of a run, or .*, not 3"),
        (lambda: True, "it is called with a run"),
    ],
)
def test_invalid_metric_is_refused(given, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        as_metrics(given)


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (m.nodes, {"contains": 5}),
        (m.node_count, {"name": 5}),
        (m.calls, {"function": 5}),
        (m.calls, {"function": "refund", "arguments": 5}),
        (m.judge, {"deployment": "grader", "threshold": "high"}),
    ],
)
def test_invalid_option_of_a_metric_is_refused(make, given):
    with pytest.raises(InputError, match=f"{list(given)[-1]}.* must be "):
        make(**given)


def test_invalid_pattern_or_schema_is_refused():
    with pytest.raises(InputError, match="is not a regular expression"):
        m.regex("(")
    with pytest.raises(InputError, match="this is not a JSON schema"):
        m.json_schema({"type": "text"})


@pytest.mark.parametrize(
    "metric",
    [m.contains("x", "reply"), m.regex("x", "reply"), m.json_valid("reply"),
     m.json_schema({}, "reply"), m.length("reply")],
    ids=str,
)  # fmt: skip
def test_unknown_output_is_an_error(metric):
    runs = [run({"answer": "x", "n": 1}, tag) for tag in ("v1", "v2")]
    with pytest.warns(UserWarning, match="failed on 3 of 3 runs, see cmp.errors"):
        found = compared(*runs, failed("v2", state="REJECTED"), metrics=metric)
    assert found.result("v2").error == 1
    message = "no run has an output called 'reply'; available: answer, n"
    assert set(found.errors()["message"]) == {message}
    with pytest.raises(vnb.RegressionError, match="nothing could be compared"):
        found.assert_no_regressions()


def test_output_missing_on_one_release_is_worse():
    runs = [run({"reply": "x"}, "v1"), run({"other": "x"}, "v2")]
    found = compared(*runs, metrics=m.contains("x", "reply"))
    assert found.result("v2").worse == 1
    assert found.errors().empty


def test_lone_surrogates_are_replaced(tmp_path):
    half = "a\ud83d"

    def echo(found: Run) -> bool:
        raise ValueError(found.outputs[half])

    runs = [run({half: half}, tag, inputs={}) for tag in ("v1", "v2")]
    known = [SweepCase(0, case_id({}), {}, {half: half}, {half: half})]
    with pytest.warns(UserWarning, match="First: ValueError: a\ufffd"):
        found = compared(*runs, metrics=[echo, "score"], cases=known)
    assert {"expected.a\ufffd", "label.a\ufffd", "output.a\ufffd@v1"} <= set(found.frame())
    assert found.errors()["message"].tolist() == ["ValueError: a\ufffd"] * 2
    for rows, frame in (("cases", found.frame()), ("runs", found.frame(rows="runs"))):
        path = found.to_csv(tmp_path / f"{rows}.csv", rows=rows)
        pd.testing.assert_frame_equal(vnb.read_csv(path), frame)
    for write in (found.to_html, found.to_markdown, found.to_junit):
        write(tmp_path / "report")

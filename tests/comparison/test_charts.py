"""Figures of charts, and their pictures."""

import sys
from typing import Any

import pytest
from dom_kit import dom
from IPython.core.formatters import DisplayFormatter
from report_kit import compared as of_runs
from report_kit import run

from vellum_nb.comparison import Comparison, Metric
from vellum_nb.errors import HistoryError, InputError
from vellum_nb.models import case_id
from vellum_nb.models.sweeps import SweepCase

value = Metric(lambda run: run.outputs["answer"], name="value")


def compared(number: int = 10, tags: tuple[str, ...] = ("v1", "v2", "v3")) -> Comparison:
    more = {"v1": 0, "v2": 1, "v3": -1}
    runs = [
        run(tag, at, at + (more.get(tag, 0) if at % 2 else 0), latency_s=0.1 * (at + 1))
        for at in range(number)
        for tag in tags
    ]
    return of_runs(*runs, tags=tags, metrics=value)


def values_of(chart: Any) -> list[dict[str, Any]]:
    datasets = chart.to_dict()["datasets"]
    return max(datasets.values(), key=lambda rows: (len(rows), len(rows[0])))


def test_metric_chart_has_the_figures_of_the_summary():
    cmp = compared()
    rows = values_of(cmp.chart("metric").chart)
    summary = cmp.summary()
    assert [row["mean"] for row in rows] == summary["metric.value"].tolist()
    assert [row["low"] for row in rows] == summary["metric.value.low"].tolist()
    assert [row["kind"] for row in rows] == ["baseline", "release", "release"]


def test_metric_chart_leaves_room_beside_the_intervals():
    metric = compared().chart("metric").chart.to_dict()
    scales = [layer["encoding"].get("x", {}).get("scale", {}) for layer in metric["layer"]]
    assert max(scale.get("padding", 0) for scale in scales) > 0


def test_wins_fill_the_bar():
    rows = values_of(compared().chart("wins").chart)
    assert [(row["release"], row["verdict"], row["cases"]) for row in rows] == [
        ("v2", "better", 5), ("v2", "tie", 5), ("v3", "tie", 5), ("v3", "worse", 5),
    ]  # fmt: skip
    assert {row["to"] for row in rows} >= {10}
    assert "5 ties" in {row["text"] for row in rows}


def test_scatter_counts_each_case_once():
    points = values_of(compared(5_000).chart("scatter", release="v3").chart)
    assert sum(point["cases"] for point in points) == 5_000
    assert len(points) < 200
    assert {point["verdict"] for point in points} == {"tie", "worse"}


def priced(**costs: float) -> Comparison:
    """Return a comparison of releases with these costs and the answers of `compared`."""
    tags = tuple(costs)
    runs = [
        run(tag, at, at + (5 if at % 2 and tag != "v1" else 0), cost_usd=cost * (1 + at % 3))
        for at in range(12)
        for tag, cost in costs.items()
    ]
    cases = [
        SweepCase(at, case_id({"text": at}), {"text": at}, {}, {"topic": "ab"[at % 2]})
        for at in range(12)
    ]
    return of_runs(*runs, tags=tags, metrics=[value, "latency_s"], cases=cases)


def test_frontier_marks_unbeaten_releases():
    cmp = priced(v1=0.01, v2=0.02, v3=0.05)
    rows = values_of(cmp.chart("frontier", x="cost_usd", y="value").chart)
    kinds = {row["release"]: row["kind"] for row in rows}
    assert kinds == {"v1": "on the frontier", "v2": "on the frontier", "v3": "beaten"}
    found = cmp.summary().set_index("release").loc["v2"]
    row = next(each for each in rows if each["release"] == "v2")
    assert [row["y"], row["y_low"], row["y_high"]] == [
        found[f"metric.value{end}"] for end in ("", ".low", ".high")
    ]
    assert row["x"] == pytest.approx(0.04)
    assert row["x_low"] < row["x"] < row["x_high"]
    assert row["text"] == "v2, n = 12"


def test_label_has_a_frontier_for_each_value():
    rows = values_of(priced(v1=0.01, v2=0.02).chart("frontier", label="topic").chart)
    assert sorted((row["label"], row["text"], row["kind"]) for row in rows) == [
        ("a", "v1, n = 6", "on the frontier"), ("a", "v2, n = 6", "beaten"),
        ("b", "v1, n = 6", "on the frontier"), ("b", "v2, n = 6", "on the frontier"),
    ]  # fmt: skip


def test_failures_are_counted_by_release():
    tags = ("failure:rude",)
    cmp = of_runs(run("v1", "a"), run("v2", "a", tags=tags), run("v1", "b"), run("v2", "b"))
    rows = values_of(cmp.chart("failures").chart)
    assert [row["text"] for row in rows] == ["v1: 0 of 2", "v2: 1 of 2"]
    assert cmp.chart("failures", release="v2").svg().startswith("<svg")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["metric", "latency", "wins", "scatter", "frontier"])
def test_charts_are_saved_as_pictures_without_network(what, tmp_path):
    view = (priced(v1=0.01, v2=0.02) if what == "frontier" else compared()).chart(what)
    assert view.save(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    svg = view.save(tmp_path / "a.svg").read_text("utf-8")
    assert svg.startswith("<svg")
    assert "http" not in svg.replace("http://www.w3.org", "")
    bundle, metadata = DisplayFormatter().format(view)
    pixels = int.from_bytes(bundle["image/png"][16:20], "big")
    assert metadata["image/png"] == {"width": pixels // 2}  # sharp, not twice as large
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert bundle["text/plain"] == repr(view)
    with pytest.raises(InputError, match=r"neither \.png nor \.svg"):
        view.save(tmp_path / "a.pdf")
    with pytest.raises(HistoryError):
        view.save(tmp_path / "no" / "folder" / "a.png")


def test_names_are_drawn_as_text():
    svg = dom(compared(1, ("v1", "<script>x</script>\x1b\ufffe\ud800")).chart("metric").svg())
    assert not svg.select("script")
    assert "<script>x</script>" in svg.text


ONE_RELEASE = compared(tags=("v1",))
WITHOUT_LATENCY = of_runs(run("v1", latency_s=None))


@pytest.mark.parametrize(
    ("cmp", "kind", "options", "message"),
    [
        (compared(), "pie", {}, "no chart 'pie'; available: metric"),
        (ONE_RELEASE, "wins", {}, "only the release v1"),
        (compared(), "scatter", {"release": "v1"}, "v1 is the baseline"),
        (compared(), "metric", {"metric": "x"}, "this comparison has no metric 'x'"),
        (WITHOUT_LATENCY, "latency", {}, "no run has a latency"),
        (
            priced(v1=0.01),
            "frontier",
            {"label": "no"},
            "no case has a label 'no'; available: topic",
        ),
        (compared(), "frontier", {}, "cost_usd and value .expand_meta=True records"),
        (compared(), "frontier", {"x": "no"}, "no metric 'no'; available: value, cost_usd, lat"),
        (compared(), "failures", {}, "named .in the grid, key f names one., so there is"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_chart_that_cannot_be_drawn_is_refused(cmp, kind, options, message):
    with pytest.raises(InputError, match=message):
        cmp.chart(kind, **options)


def test_missing_altair_is_reported(monkeypatch):
    monkeypatch.delitem(sys.modules, "vellum_nb.comparison.charts", raising=False)
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(InputError, match=r"pip install 'vellum-nb\[charts\]'"):
        compared().chart("metric")

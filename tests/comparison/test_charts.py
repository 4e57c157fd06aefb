"""Figures of charts, and their pictures."""

import sys
from typing import Any

import pytest
from dom_kit import dom, texts
from IPython.core.formatters import DisplayFormatter
from report_kit import compared as of_runs
from report_kit import judged, run

from vellum_nb.comparison import Comparison, Metric
from vellum_nb.comparison.forest import DARK, LIGHT, Axis, forest_svg
from vellum_nb.errors import HistoryError, InputError
from vellum_nb.models import case_id
from vellum_nb.models.sweeps import SweepCase
from vellum_nb.rendering.format import signed

value = Metric(lambda run: run.outputs["answer"], name="value")


def compared(number: int = 10, tags: tuple[str, ...] = ("v1", "v2", "v3")) -> Comparison:
    more = {"v1": 0, "v2": 1, "v3": -1}
    runs = [
        run(tag, at, at + (more.get(tag, 1) if at % 2 else 0), latency_s=0.1 * (at + 1))
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


def domain(chart: Any) -> list[float]:
    """Return the ends of the axis of the means."""
    layers = (layer["encoding"].get("x", {}) for layer in chart.to_dict()["layer"])
    return next(x["scale"]["domain"] for x in layers if "scale" in x)


def test_metric_chart_leaves_room_beside_the_intervals():
    chart = compared().chart("metric").chart
    low, high = domain(chart)
    assert low < min(row["low"] for row in values_of(chart))
    assert high > max(row["high"] for row in values_of(chart))


@pytest.mark.parametrize(("right", "ends"), [(12, (0.0, 1.0)), (11, (0.0, 1.0))])
def test_axis_of_scores_ends_at_their_bounds(right, ends):
    cmp = judged({"v1": ["no"] * 12, "v2": ["yes"] * right + ["no"] * (12 - right)})
    chart = cmp.chart("metric").chart
    assert tuple(domain(chart)) == ends
    assert all(0 <= row["low"] <= row["high"] <= 1 for row in values_of(chart))


@pytest.mark.parametrize("value", [0.0, 0.25, -3.0])
def test_equal_figures_have_an_axis(value):
    runs = [run(tag, str(at), value) for tag in ("v1", "v2") for at in range(8)]
    same = Metric(lambda run: run.outputs["answer"], name="same")
    low, high = domain(of_runs(*runs, metrics=same).chart("metric").chart)
    assert low <= value <= high
    assert low < high


def test_wins_fill_the_bar():
    rows = values_of(compared().chart("wins").chart)
    assert [(row["release"], row["verdict"], row["cases"]) for row in rows] == [
        ("v2", "better", 5), ("v2", "tie", 5), ("v3", "tie", 5), ("v3", "worse", 5),
    ]  # fmt: skip
    assert {row["text"] for row in rows} == {"↑ 5", "= 5", "↓ 5"}
    assert {row["from"] for row in rows if row["verdict"] == "better"} == {0}
    assert {row["to"] for row in rows if row["cases"] == 5} == {279, 560}


def test_parts_of_a_bar_are_wide_enough_for_their_counts():
    runs = [
        run(tag, at, at if tag == "v1" or at else 1) for tag in ("v1", "v2") for at in range(99)
    ]
    better, tie = values_of(of_runs(*runs, metrics=value).chart("wins").chart)
    assert (better["cases"], tie["cases"]) == (1, 98)
    assert better["to"] - better["from"] >= 26
    assert tie["to"] == pytest.approx(560)


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
    assert dom(bundle["text/html"]).img["alt"] == view.text
    with pytest.raises(InputError, match=r"neither \.png nor \.svg"):
        view.save(tmp_path / "a.pdf")
    with pytest.raises(HistoryError):
        view.save(tmp_path / "no" / "folder" / "a.png")


@pytest.mark.parametrize("what", ["metric", "forest"])
def test_names_are_drawn_as_text(what):
    svg = dom(compared(6, ("v1", "<script>x</script>\x1b\ufffe\ud800")).chart(what).svg())
    assert not svg.select("script")
    assert "<script>x</script>" in svg.text


def test_forest_plot_is_saved_as_a_picture(tmp_path):
    view = compared().chart("forest")
    assert view.save(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "http" not in view.svg().replace("http://www.w3.org", "")
    assert "var(" not in view.svg()  # which other programs do not read
    assert view.chart is None


def test_dark_chart_has_no_ground():
    light, dark = (compared().chart("wins").svg(theme) for theme in ("light", "dark"))
    assert 'fill="#ffffff"' in light
    assert "#ffffff" not in dark
    assert DARK["better"] in dark
    assert LIGHT["better"] not in dark


def by_topic(*topics: str, stopped: bool = False) -> Comparison:
    """Return releases of which v2 is always right, v3 as often as v1, by topic of the case."""
    answers = {"v1": "yn", "v2": "yy", "v3": "ny"}
    right = {"y": "yes", "n": "no"}
    texts = [str(at) for at in range(12 * len(topics))]
    runs = [
        run(tag, text, right[each[at % 2]])
        for at, text in enumerate(texts)
        for tag, each in answers.items()
    ]
    cases = [
        SweepCase(at, case_id({"text": text}), {"text": text}, {"answer": "yes"}, labels)
        for at, text in enumerate(texts)
        for labels in ({"topic": topics[at // 12], "id": text},)
    ]
    if not stopped:
        return of_runs(*runs, tags=tuple(answers), cases=cases, metrics="exact")
    more = SweepCase(len(texts), case_id({"text": "more"}), {"text": "more"}, {"answer": "yes"})
    order = [case.case_id for case in (*cases, more)]
    options: Any = {"cases": [*cases, more], "order": order, "stopped_by": "exact"}
    return of_runs(*runs, tags=tuple(answers), metrics="exact", **options)


def forest(cmp: Comparison, **options: Any) -> list[str]:
    return texts(forest_svg(cmp.figures, **options), "text")


def test_forest_plot_has_the_differences_of_the_releases():
    cmp = by_topic("a", "b")
    found = forest(cmp)
    for release in ("v2", "v3"):
        delta = cmp.result(release).delta
        assert delta is not None
        assert signed(delta.mean, digits=2) in found
        assert f"{signed(delta.low, digits=2)} to {signed(delta.high, digits=2)}" in found
    assert "v1" not in found


def test_forest_plot_has_a_row_for_each_value_of_a_label_that_groups_cases():
    found = forest(by_topic("billing", "refund"))
    assert [found.count(name) for name in ("billing", "refund", "0")] == [2, 2, 1]  # 0: a tick
    assert found.count("12") == 4
    assert "billing" not in forest(by_topic("billing", "refund"), label="")


def test_values_of_a_label_have_the_statistics_of_their_cases():
    cmp = by_topic("a", "b")
    alone = by_topic("a").result("v2").delta
    assert alone is not None
    assert f"{signed(alone.low, digits=2)} to {signed(alone.high, digits=2)}" in forest(cmp)


def test_value_of_a_label_whose_cases_have_no_cluster_has_a_row():
    cases, runs = [], []
    for at in range(16):
        labels = {"topic": "billing"} if at % 2 else {"topic": "refund", "customer": at // 4}
        cases.append(SweepCase(at, case_id({"text": at}), {"text": at}, {}, labels))
        runs += [run(tag, at, at + (tag == "v2")) for tag in ("v1", "v2")]
    cmp = of_runs(*runs, metrics=value, cases=cases, cluster="label.customer")
    assert {"billing", "refund"} <= set(forest(cmp, label="topic"))


def test_stopped_sweep_has_no_rows_by_label():
    assert "billing" not in forest(by_topic("billing", "refund", stopped=True))


def test_points_are_hollow_unless_decided():
    svg = dom(forest_svg(by_topic("a", "b").figures, colours=LIGHT))
    fills = [path["fill"] for path in svg.select("path")]
    of_labels = [LIGHT["page"]] * 2  # no decision is made by label
    assert fills == [LIGHT["brand"], *of_labels, LIGHT["page"], *of_labels]


def test_better_is_on_the_left_if_lower_is_better():
    cmp = of_runs(
        *[
            run(tag, at, latency_s=at + 1 + (tag == "v2"))
            for tag in ("v1", "v2")
            for at in range(8)
        ],
        metrics="latency_s",
        margin={"latency_s": 0.5},
    )
    assert forest(cmp)[:2] == ["← better", "worse →"]
    assert len(dom(forest_svg(cmp.figures)).select("rect")) == 1  # the margin


def test_axis_of_differences_ends_at_the_bounds():
    axis = Axis.of([-0.9, 1.2, 0.0], (-1.0, 1.0))
    assert axis is not None
    assert (axis.low, axis.high) == (-1.0, 1.0)
    assert axis.at(1.2) == axis.at(1.0) == 100
    assert all(-1 <= tick <= 1 for tick in axis.ticks)
    assert Axis.of([2.0, 2.0]) is None


def test_forest_plot_draws_a_limited_number_of_releases():
    tags = ("v1", *(f"tag-{at}" for at in range(20)))
    found = forest(compared(6, tags))
    assert [name for name in found if name.startswith("tag-")] == list(tags[1:13])
    assert "and 8 other releases" in found


def test_comparison_without_a_metric_or_a_difference_has_no_forest_plot():
    assert forest_svg(of_runs(run("v1"), run("v2")).figures) == ""
    assert (
        forest_svg(of_runs(run("v1", answer=5), run("v2", answer=5), metrics=value).figures) == ""
    )


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

"""Verdicts of cases and of releases: better, worse, same, noise."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from report_kit import against, failed, run
from report_kit import compared as of_runs

from vellum_nb.comparison import Comparison, Metric
from vellum_nb.errors import InputError
from vellum_nb.models import Run, case_id
from vellum_nb.models.sweeps import SweepCase


def value(run: Run) -> Any:
    return run.outputs["answer"]


def compared(*tags: list[Any], **options: Any) -> Comparison:
    """Compare v1, v2, ...; each a list of cases, a case one value or a list of repeats."""
    runs = [
        run(f"v{number}", case, each)
        for number, values in enumerate(tags, 1)
        for case, found in enumerate(values)
        for each in (found if isinstance(found, list) else [found])
    ]
    names = [f"v{number}" for number in range(1, len(tags) + 1)]
    return of_runs(*runs, tags=names, **{"metrics": value} | options)


def verdicts(comparison: Comparison, release: str = "v2") -> list[str]:
    return comparison.frame()[f"verdict@{release}"].tolist()


@pytest.mark.parametrize(
    ("metric", "base", "other", "expected"),
    [
        (value, [1, 2, 3], [2, 2, 1], ["better", "same", "worse"]),
        (Metric(value, lower_is_better=True), [1, 2, 3], [2, 2, 1], ["worse", "same", "better"]),
        (Metric(value, tolerance=0.5), [1.0, 1.0], [1.4, 1.6], ["same", "better"]),
    ],
)
def test_verdict_follows_direction_and_tolerance(metric, base, other, expected):
    assert verdicts(compared(base, other, metrics=metric)) == expected


def test_repeats_are_compared_by_their_mean():
    found = compared([[0, 0, 0, 0]] * 2, [[1, 1, 1, 1], [0, 0, 0, 0]])
    assert found.figures.value(found.cases[0], "v2", found.metrics[0].name) == 1.0
    assert [n for n in against(found, "v2").counts.values() if n] == [1, 1]


@pytest.mark.parametrize(
    ("base", "other", "verdict"),
    [
        ([1, 1], [1, 0], "noise"),  # one failure of two can be chance
        ([1, 0], [0, 0], "noise"),
        ([1, 1], [0, 0], "worse"),
        ([1, 1, 1, 1, 1], [0, 0, 0, 0, 1], "worse"),
        ([0.5, 0.5], [0.5, 0.5], "same"),
        ([10.0, 10.2], [10.1, 10.15], "noise"),
    ],
)
def test_difference_within_repeats_is_noise(base, other, verdict):
    assert verdicts(compared([base], [other])) == [verdict]


@pytest.fixture(scope="module")
def coins():
    """Return a comparison of two equal coins, v1 and v2, with a better one, v3."""
    rng = np.random.default_rng(5)
    throws = [
        [(rng.random(5) < share).astype(int).tolist() for _ in range(80)]
        for share in (0.7, 0.7, 0.9)
    ]
    return compared(*throws)


def test_equal_coins_differ_within_the_noise(coins):
    result = coins.result("v2")
    assert result.verdict == "noise"
    assert result.remark == "within the noise: repeats alone cause differences up to 0.063"


def test_better_coin_is_better_on_average(coins):
    result = coins.result("v3")
    assert result.verdict == "better"
    # Most cases alone are within the noise of five throws; their mean is not.
    assert result.sign_p > 0.05
    assert result.remark == (
        "better on average: unlikely to be chance, larger than the noise of repeats (0.056); "
        "80 cases, Student's paired test"
    )
    assert "· p < 0.00001 ·" in result.line  # of the test that decides


def test_noise_floor_is_the_share_of_repeats_that_differ(coins):
    # two flips of a coin of 0.7 differ 42 times of 100
    assert coins.result("v2").noise_floor == pytest.approx(0.42, abs=0.05)
    summary = coins.summary(columns="all").set_index("release")
    assert summary.loc["v1", "noise_floor_pct"] == pytest.approx(42, abs=6)
    assert abs(summary.loc["v2", "metric.value.delta"]) <= summary.loc["v2", "metric.value.noise"]


INCOMPLETE = [
    run("v1", "0"), run("v2", "0"),
    run("v1", "1"),
    run("v1", "2"), failed("v2", "2"),
    run("v1", "3"), run("v2", "3", outputs={}),
    run("v1", "4", outputs={"other": 1}), run("v2", "4", outputs={"other": 1}),
    run("v1", "5"), failed("v2", "5", state="REJECTED"),
]  # fmt: skip


@pytest.fixture
def incomplete():
    def careful(run: Run) -> bool | None:
        return None if "other" in run.outputs else bool(run.outputs["answer"])

    return of_runs(*INCOMPLETE, metrics=careful)


def test_missing_unscored_and_failed_cases_are_no_pass(incomplete):
    assert verdicts(incomplete) == ["same", "missing", "missing", "error", "unscored", "worse"]
    assert incomplete.result("v2").line == (
        "v2: 0 better · 1 worse · 1 same · 2 without an answer · 1 unscored · 1 error · p = 0.25 · "
        "no repeats"
    )


def test_summary_counts_missing_and_failed_cases(incomplete):
    row = incomplete.summary(columns="all").set_index("release").loc["v2"]
    names = ["cases", "n", "missing", "failed", "rejected", "wins", "losses", "ties", "errors"]
    assert row[names].tolist() == [6, 4, 1, 1, 1, 0, 1, 1, 1]


def test_case_that_the_baseline_lacks_is_missing(incomplete):
    turned = incomplete.with_baseline("v2")
    assert turned.result("v1").missing == 2
    assert "2 without an answer" in repr(turned)


def test_errors_of_a_metric_are_listed(incomplete):
    assert len(incomplete.errors()) == 2
    assert incomplete.frame(rows="runs")["metric_error.careful"].notna().sum() == 2


def test_comparison_without_a_metric_counts_answers():
    plain = of_runs(*INCOMPLETE)
    assert repr(plain).endswith("6 cases: v2 2 differs, 2 identical, 2 without an answer>")
    assert "same" not in repr(plain) + str(plain)


MINUS = "\N{MINUS SIGN}"
FEW = "not enough data: too few cases to show a difference"


@pytest.mark.parametrize(
    ("tags", "remark"),
    [
        (
            ([0] * 12, [1] * 2 + [0] * 10),
            f"could be chance: the 95 % interval, {MINUS}0.12 to 0.45, includes 0; 12 cases",
        ),
        (([0, 0], [1, 1]), f"{FEW}; 2 cases, McNemar's mid-p test"),
        (([[0, 0]] * 6, [[1, 1]] * 6, [[1, 1]] * 6), f"{FEW}; 6 cases"),
        (  # four worse and none better: Tango's interval excludes 0, McNemar's test does not decide
            ([1] * 12, [0] * 4 + [1] * 8),
            f"could be chance: the 95 % interval, {MINUS}0.61 to {MINUS}0.01, excludes 0, but p",
        ),
        (  # of numbers six values are enough
            ([0.0] * 6, [0.0, 1, 2, 2, 3, 0.5], [0.0, 1, 2, 2, 3, 0.5]),
            "could be chance: the 95 % interval, 0.2 to 2.7, excludes 0, but p = 0.05 after corre",
        ),
        # most cases, and not on average
        (
            ([0.0] * 20, [1.0] * 18 + [-60.0, 0.0]),
            f"could be chance on average: the 95 % interval, {MINUS}21 to 4, includes 0",
        ),
    ],
)
def test_undecided_result_has_the_reason(tags, remark):
    found = compared(*tags)
    assert found.result("v2").verdict == "undecided"
    assert found.result("v2").remark.startswith(remark)


def test_needed_cases_depend_on_the_correction():
    base, other = [0] * 12, [1] * 2 + [0] * 10
    two, three = (compared(base, *others) for others in ([other], [other, other]))
    needed = [made.decide(margin=0.1)["v2"].more for made in (two, three)]
    assert 12 < needed[0] < needed[1]
    assert FEW in compared([0] * 4, [1] * 4).result("v2").remark
    assert compared([0] * 5, [1] * 5).result("v2").verdict == "better"  # p = 1 / 2**5
    assert FEW in compared([0] * 5, [1] * 5, [0] * 5).result("v2").remark


@pytest.mark.parametrize("alpha", [0, 1, -0.1, "0.05", True, None, float("nan")])
def test_invalid_alpha_is_refused(alpha):
    with pytest.raises(InputError, match="alpha must be a number"):
        compared([1], [1], alpha=alpha)


def test_result_counts_verdicts_and_answers():
    result = compared([1, 2], [1, 3]).result("v2")
    assert (result.same, result.better, result.unchanged, result.changed) == (1, 1, 1, 1)
    assert (result.release, result.metric, result.verdict) == ("v2", "value", "undecided")
    assert (result.delta.mean, result.delta.n, result.delta.p) == (0.5, 2, result.p)


def test_a_result_without_a_metric_counts_answers_only():
    found = of_runs(run("v1", 0, 1), run("v2", 0, 2), run("v1", 1, 1), run("v2", 1, 1))
    result = found.result("v2")
    assert (result.changed, result.unchanged, result.missing) == (1, 1, 0)
    assert (result.metric, result.verdict, result.delta, result.p) == (None, None, None, None)
    assert result.line == "v2 1 differs, 1 identical"


def test_the_baseline_has_no_result():
    with pytest.raises(InputError, match="v1 is the baseline; available: v2"):
        compared([1], [1]).result("v1")


@pytest.mark.parametrize("order", [None, [case_id({"text": at}) for at in range(9)]])
def test_rounding_is_no_difference(order):
    one, other = [0.3 + at for at in range(9)], [0.1 * 3 + at for at in range(9)]
    assert one != other
    assert clustered(one, other, [""] * 9, order=order).result("v2").verdict == "same"
    runs = [run("v1", at, 0.1) for at in range(9) for _ in range(3)]  # whose mean is above 0.1
    found = of_runs(*runs, *(run("v2", at, 0.1) for at in range(9)), metrics=value, order=order)
    assert found.result("v2").verdict == "same"


def test_release_without_common_cases_has_no_verdict():
    found = of_runs(run("v1", "a"), run("v2", "b"), metrics=lambda _: 1)
    assert found.result("v2").verdict == "missing"
    assert found.result("v2").line.startswith(
        "v2: 0 better · 0 worse · 0 same · 2 without an answer · p unknown"
    )


def test_equal_values_are_no_difference():
    runs = [run(tag, n) for tag in ("v1", "v2") for n in range(7)]
    found = of_runs(*runs, metrics=lambda _: 3)
    assert found.result("v2").remark == "no difference; 7 cases, all alike"


@pytest.mark.parametrize("ask", ["regressions", "assert_no_regressions"])
def test_comparison_without_runs_is_refused(ask):
    with pytest.raises(InputError, match="words has no stored runs on v1, v2"):
        getattr(of_runs(), ask)()


def test_p_values_are_corrected_for_the_number_of_releases():
    base, good = [0] * 8 + [1] * 2, [1] * 8 + [1] * 2
    alone, three = compared(base, good), compared(base, good, good, base)
    assert alone.result("v2").p == pytest.approx(1 / 2**8)
    assert three.result("v2").p == pytest.approx(3 / 2**8)
    assert three.result("v4").p == 1.0


LENGTH = Metric(lambda run: -value(run), name="length")


@pytest.mark.parametrize(
    ("metric", "options", "cases"),
    [
        (None, {}, [2, 1, 0]),
        (None, {"release": "v2"}, [1, 0]),
        ("length", {"release": "v2"}, [2]),
    ],
)
def test_largest_regressions_are_listed_first(metric, options, cases):
    found = compared([5, 5, 5], [4, 1, 6], [5, 5, 0], metrics=[value, LENGTH])
    frame = found.regressions(metric, **options)
    assert frame["input.text"].tolist() == cases
    assert frame.columns.tolist() == found.frame().columns.tolist()


def test_frame_of_better_cases():
    found = compared([5, 5, 5], [4, 1, 6], metrics=value)
    assert found.frame("better")["input.text"].tolist() == [2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "cost"}, "no metric 'cost'; available: value, length"),
        ({"release": "v1"}, "v1 is the baseline; available: v2, v3"),
    ],
)
def test_regressions_of_an_unknown_metric_or_release_are_refused(options, message):
    found = compared([5], [4], [3], metrics=[value, LENGTH])
    with pytest.raises(InputError, match=message):
        found.regressions(**options)


def test_cases_with_different_repeats_are_unstable():
    found = compared([[1, 1], [1, 2]], [[3, 3], [4, 4]])
    assert found.frame("unstable")["input.text"].tolist() == [1]


def test_short_summary_fits_a_screen(coins):
    short, everything = coins.summary(), coins.summary(columns="all")
    assert len(short.columns) <= 20
    assert set(short) >= {"release", "missing", "metric.value", "metric.value.delta", "decision"}
    pd.testing.assert_frame_equal(short, everything[list(short)])
    assert list(everything)[-3:] == ["release_tag", "release_id", "environment"]
    with pytest.raises(InputError, match="columns must be 'short' or 'all', not 'long'"):
        coins.summary(columns="long")


def test_summary_has_latency_and_cost():
    runs = [run("v1", n, latency_s=float(n), cost_usd=0.01) for n in range(101)]
    row = of_runs(*runs, tags=["v1"]).summary(columns="all").iloc[0]
    assert (row["latency_p50"], row["latency_p95"]) == (50.0, 95.0)
    assert row["cost_usd"] == pytest.approx(0.01)
    one = [run("v1", n, cost_usd=float(n == 5)) for n in range(9)]
    assert of_runs(*one, tags=["v1"]).summary(columns="all")["cost_usd.low"].tolist() == [0.0]


REPEATS = st.lists(st.floats(-9e99, 9e99) | st.booleans() | st.integers(-9, 9), max_size=3)


@pytest.mark.slow
@given(st.lists(st.tuples(REPEATS, REPEATS), max_size=7))
def test_summary_counts_each_case_once_in_both_directions(cases):
    sides = [one for one, _ in cases], [other for _, other in cases]
    found = compared(*sides)
    if not found.cases:
        return
    row = found.summary(columns="all").set_index("release").loc["v2"]
    names = ["wins", "ties", "losses", "unscored", "errors"]
    assert row[names].sum() + found.result("v2").missing == len(found.cases)
    assert not row["metric.value.delta_low"] > row["metric.value.delta_high"]
    assert len(found.frame()) == len(found.cases)
    turned = {"better": "worse", "worse": "better"}
    back = verdicts(compared(*sides, baseline="v2"), "v1")
    assert [turned.get(each, each) for each in verdicts(found)] == back


@pytest.mark.slow
@given(st.lists(st.tuples(REPEATS, REPEATS), max_size=7))
def test_result_of_a_release_agrees_with_its_verdicts(cases):
    comparison = compared([one for one, _ in cases], [other for _, other in cases])
    if not comparison.cases:
        return
    result = comparison.result("v2")
    counts = Counter(verdicts(comparison))
    names = ["better", "same", "worse", "noise", "missing", "unscored", "error"]
    assert {name: getattr(result, name) for name in names} == {name: counts[name] for name in names}
    pairs = sum(counts[name] for name in ("better", "same", "worse", "noise"))
    assert pairs == (result.delta.n if result.delta else 0)
    assert (result.sign_p is None) == (pairs == 0)
    assert result.p == (result.delta.p if result.delta else None)
    assert result.line.startswith("v2: ")


def clustered(
    one: list[float], other: list[float], labels: list[Any], **options: Any
) -> Comparison:
    runs = [run(f"v{n}", at, each) for n, v in ((1, one), (2, other)) for at, each in enumerate(v)]
    cases = [
        SweepCase(at, case_id({"text": at}), {"text": at}, {}, {"document": label})
        for at, label in enumerate(labels)
    ]
    return of_runs(*runs, cases=cases, **{"metrics": value} | options)


_RNG = np.random.default_rng(3)
DOCUMENTS = np.repeat(np.arange(8), 5)
BEFORE = _RNG.normal(0, 1, 40)
AFTER = BEFORE + np.array([1.05, -0.55, 0.85, -0.35, 0.6, -0.1, 0.4, 0.1])[DOCUMENTS]
AFTER += (_RNG.normal(0, 0.1, (4, 1, 5)) * [[1], [-1]]).ravel()  # differences are not skewed
SCORES = BEFORE.tolist(), AFTER.tolist()
DOCUMENT_LABELS = [f"d{number}" for number in DOCUMENTS]


def test_shared_labels_are_noted_if_a_cluster_would_change_the_verdict():
    plain = clustered(*SCORES, DOCUMENT_LABELS)
    named = clustered(*SCORES, DOCUMENT_LABELS, cluster="label.document")
    assert (plain.result("v2").verdict, named.result("v2").verdict) == ("better", "undecided")
    note = "use cluster='label.document', and the verdict is 'undecided'"
    assert plain.result("v2").remark.endswith(note)
    with pytest.warns(UserWarning, match="v2: cases share label.document"):
        plain.summary()
    plain.view()  # has the remark, and warns of nothing


def test_clustered_interval_equals_that_of_cluster_robust_regression():
    named = clustered(*SCORES, DOCUMENT_LABELS, cluster="label.document")
    change = named.result("v2").delta
    robust = sm.OLS(AFTER - BEFORE, np.ones(40)).fit(
        cov_type="cluster", cov_kwds={"groups": DOCUMENTS}, use_t=True
    )
    assert [change.low, change.high] == pytest.approx(robust.conf_int()[0], abs=1e-9)
    assert named.result("v2").p == pytest.approx(robust.pvalues[0], abs=1e-9)
    row = named.summary(columns="all").set_index("release").loc["v2"]
    assert (row["clusters"], row["n"]) == (8, 40)


def test_sign_test_is_replaced_if_cases_are_clustered():
    plain = clustered(*SCORES, DOCUMENT_LABELS)
    named = clustered(*SCORES, DOCUMENT_LABELS, cluster="label.document")
    assert named.result("v2").sign_p == named.result("v2").p > plain.result("v2").sign_p


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(list(range(40)), id="one case each"),
        pytest.param([case % 2 for case in range(40)], id="too few clusters"),
        pytest.param([None] * 40, id="no values"),
    ],
)
def test_labels_that_make_no_clusters_are_not_noted(labels):
    assert "share" not in clustered(*SCORES, labels).result("v2").remark


def test_clusters_of_one_case_each_change_no_interval():
    values = [0.0] * 6, [1.0, 2, 3, 4, 5, 6], [None] * 6
    by_input = clustered(*values, cluster="text").result("v2").delta
    plain = clustered(*values).result("v2").delta
    assert (by_input.low, by_input.high, by_input.p) == pytest.approx(
        (plain.low, plain.high, plain.p)
    )


def test_an_unknown_cluster_is_refused():
    with pytest.raises(InputError, match=r"cluster='label.page': no case .*label.document, input"):
        clustered([0.0], [1.0], ["a"], cluster="label.page")
    with pytest.raises(InputError, match="cluster must be .*, not 5"):
        clustered([0.0], [1.0], ["a"], cluster=5)


def test_one_cluster_is_not_enough_data():
    after = [0.1 * case + 1 for case in range(9)]
    one = clustered([0.0] * 9, after, ["a"] * 9, cluster="label.document")
    remark = (
        f"{FEW.replace('cases', 'clusters')}; 9 cases in 1 cluster, Student's test over clusters"
    )
    assert one.result("v2").remark == remark

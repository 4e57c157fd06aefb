"""Sweeps that stop early: error rates, confidence sequences, and how views mark them."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from report_kit import compared, failed, run, wanted
from report_kit import planned as of_sweep
from runs_kit import html_of

import vellum_nb as vnb
from vellum_nb import InconclusiveError
from vellum_nb.comparison.statistics import confidence_sequence, gain_evidence, sequential_test

YES, NO = "yes", "no"
MARGIN, PLANNED, TIMES = 0.1, 150, 200
REJECTED = math.log(1 / 0.05)


def pass_or_fail(rng: np.random.Generator, mean: float) -> np.ndarray:
    """Return differences of cases of which one in five differs."""
    chances = [0.1 - mean / 2, 0.8, 0.1 + mean / 2]
    return rng.choice([-1.0, 0.0, 1.0], p=chances, size=PLANNED)


def skewed_scores(rng: np.random.Generator, mean: float) -> np.ndarray:
    """Return differences of scores with a long tail of losses."""
    return 0.05 + mean - 0.5 * (rng.random(PLANNED) < 0.1)


def stop_at(differences: np.ndarray, margin: float) -> int | None:
    """Return after how many cases a sweep with a margin stops."""
    reached = np.flatnonzero(gain_evidence(differences + margin, margin - 1) >= REJECTED)
    worse = sequential_test(differences)
    ends = [int(reached[0]) + 1] if len(reached) else []
    ends += [worse.cases] if worse.side < 0 else []
    return min(ends, default=None)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [pass_or_fail, skewed_scores])
def test_release_that_loses_the_margin_rarely_passes(draw):
    rng = np.random.default_rng(1)
    passes = 0
    for _ in range(TIMES):
        gains = draw(rng, -MARGIN) + MARGIN
        passes += gain_evidence(gains, MARGIN - 1)[-1] >= REJECTED
    assert passes / TIMES <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("mean", [-0.2, -MARGIN, 0.0, 0.15])
def test_confidence_sequence_holds_after_a_stop(mean):
    rng = np.random.default_rng(2)
    holds, stops = 0, 0
    for _ in range(TIMES):
        differences = pass_or_fail(rng, mean)
        if stop := stop_at(differences, MARGIN):
            low, high = confidence_sequence(differences[:stop], (-1.0, 1.0))
            stops, holds = stops + 1, holds + (low <= mean <= high)
    assert stops - holds <= 0.05 * TIMES


def test_confidence_sequence_excludes_a_mean_if_its_evidence_suffices():
    rng = np.random.default_rng(3)
    differences = pass_or_fail(rng, 0.1)
    low, high = confidence_sequence(differences, (-1.0, 1.0))
    below, above = low - 1e-6, high + 1e-6
    assert gain_evidence(differences - below, -1 - below)[-1] >= REJECTED
    assert gain_evidence(differences - low - 1e-6, -1 - low - 1e-6)[-1] < REJECTED
    assert gain_evidence(above - differences, above - 1)[-1] >= REJECTED


def test_confidence_sequence_of_equal_values_at_an_end_reaches_it():
    assert confidence_sequence(np.zeros(5), (0.0, 1.0))[0] == 0.0
    low, high = confidence_sequence(np.ones(50), (0.0, 1.0))
    assert high == 1.0
    assert 0.85 < low < 1.0


def stopped(
    old: list[str | None], new: list[str | None], planned: int = 200, **options: Any
) -> vnb.Comparison:
    """Compare the cases that a sweep of `planned` cases had run when it stopped.

    `yes` is right, and None an answer that was lost.
    """
    texts = [str(n) for n in range(planned)]
    runs = [
        failed(tag, text) if answer is None else run(tag, text, answer)
        for tag, answers in (("v1", old), ("v2", new))
        for text, answer in zip(texts, answers, strict=False)
    ]
    known = {"metrics": "exact", "stopped_by": "exact", **of_sweep(texts)}
    return compared(*runs, **known | options)


EQUAL = stopped([YES] * 100, [YES] * 100)
WORSE = stopped([YES] * 12, [NO] * 12)


def test_equal_releases_pass_once_the_margin_is_excluded():
    decision = EQUAL.decide(margin=0.05)["v2"]
    assert decision.sentence == (
        "v2 may replace v1: no difference larger than 0.05 (95 % confidence sequence, 100 cases)."
    )
    assert -0.05 < decision.delta.low < 0 < decision.delta.high < 0.05
    few = stopped([YES] * 80, [YES] * 80).decide(margin=0.05)["v2"]
    assert few.verdict == "cannot tell yet"
    assert "before 120 cases were run: the 95 % confidence sequence is " in few.sentence


def test_interval_of_a_stopped_sweep_excludes_zero_if_its_test_decides():
    worse = WORSE.result("v2")
    assert worse.p < 0.05
    assert worse.delta.high < -0.2
    assert WORSE.decide()["v2"].sentence.endswith(", 95 % confidence sequence).")
    six = stopped([YES] * 10, [NO] * 6 + [YES] * 4).result("v2")
    assert six.delta.high >= 0
    assert "the 95 % confidence sequence, " in six.remark


def test_later_cases_do_not_turn_a_release_that_was_worse():
    """A loss within the margin, decided as worse before the margin was excluded."""
    old, new = [YES] * 900, [NO] * 8 + [YES] * 892
    cmp = stopped(old, new, planned=1000)
    assert cmp.result("v2").delta.low > -0.05
    assert cmp.decide(margin=0.05)["v2"].verdict == "should not replace"


@pytest.mark.parametrize("margin", [0.05, "5%"])
def test_lost_answers_count_as_failures_after_a_stop(margin):
    lost = stopped([YES] * 150, [None] * 5 + [YES] * 145).decide(margin=margin)["v2"]
    assert lost.verdict == "cannot tell yet"
    both = stopped([None] * 5 + [YES] * 95, [None] * 5 + [YES] * 95).decide(margin=margin)["v2"]
    assert (both.verdict, both.n) == ("may replace", 95)


def test_cases_without_a_figure_are_no_evidence_for_a_release():
    metric = vnb.Metric(lambda run: 1 / (int(run.inputs["text"]) % 5), name="m", bounds=(0, 1))
    cmp = stopped([YES] * 150, [YES] * 150, metrics=metric, stopped_by="m")
    decision = cmp.decide()["v2"]
    assert decision.verdict == "cannot tell yet"
    assert "30 of 150 cases left out (a figure is missing)" in decision.sentence


def test_clusters_make_a_confidence_sequence_wider():
    texts = [str(n) for n in range(200)]
    cases = wanted(dict.fromkeys(texts, YES))
    cases = [replace(case, labels={"page": at // 10}) for at, case in enumerate(cases)]
    new = [NO if at // 10 in {0, 3, 5, 6} else YES for at in range(100)]
    plain, clustered = (
        stopped([YES] * 100, new, cases=cases, **options).result("v2").delta
        for options in ({}, {"cluster": "label.page"})
    )
    assert clustered.low <= plain.low
    assert clustered.high >= plain.high


def test_metric_chosen_after_a_stop_has_no_p_value():
    ratio = vnb.Metric(lambda run: float(run.outputs["answer"] == YES), name="ratio")
    cmp = stopped([YES] * 12, [NO] * 12, metrics=[ratio, "exact"])
    result = cmp.result("v2")
    assert (result.p, result.sign_p, result.verdict) == (None, None, "undecided")
    assert result.remark.startswith("no p value: this metric did not stop the sweep; ")
    assert result.test == "no test, because exact stopped the sweep"
    assert cmp.decide("ratio")["v2"].verdict == "cannot tell yet"
    assert "it was not ratio that stopped it" in cmp.decide("ratio")["v2"].sentence
    assert cmp.decide("exact")["v2"].verdict == "should not replace"
    with pytest.raises(InconclusiveError):
        cmp.assert_no_regressions("ratio", max_regressions=None, max_missing=None)


def test_metric_without_bounds_has_no_interval_after_a_stop():
    seconds = stopped([YES] * 20, [YES] * 20, metrics="latency_s", stopped_by=None).result("v2")
    assert math.isnan(seconds.delta.low)


@pytest.mark.parametrize(
    "view",
    [
        str,
        html_of,
        vnb.Comparison.to_markdown,
        vnb.Comparison.to_html,
        lambda cmp: str(cmp.decide()),
        lambda cmp: cmp.summary(columns="all")["interval"][1],
        lambda cmp: cmp.result("v2").interval,
        lambda cmp: cmp.to_junit(margin=0.05),
    ],
)
@pytest.mark.parametrize("cmp", [EQUAL, WORSE])
def test_every_view_of_a_stopped_sweep_names_the_confidence_sequence(cmp, view):
    assert "confidence sequence" in view(cmp)


def test_complete_sweep_has_intervals_for_its_number_of_cases():
    complete = stopped([YES] * 100, [YES] * 100, planned=100)
    assert complete.result("v2").interval == "interval"
    assert "interval" not in complete.summary(columns="all")
    views = (str(complete), complete.to_html(), complete.to_markdown())
    assert not any("confidence sequence" in view for view in views)

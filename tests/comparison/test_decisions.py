"""Whether a release may replace its baseline: verdicts, lost answers, and the gate."""

import math
import warnings
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from dom_kit import texts
from report_kit import compared, failed, judged, planned, run, wanted
from runs_kit import html_of

import vellum_nb as vnb
from vellum_nb import InconclusiveError, RegressionError

YES, NO = "yes", "no"
WITHIN = "not worse by more than 0.05 (95 %)."
REPLACE, KEEP, OPEN = "may replace", "should not replace", "cannot tell yet"


def timed(number: int = 60, factor: float = 1.0, **options: Any) -> vnb.Comparison:
    """Compare releases whose latencies differ by a factor and some noise."""
    rng = np.random.default_rng(3)
    runs = [
        run(tag, str(case), latency_s=float(second * rng.normal(1, 0.05)))
        for case, base in enumerate(rng.gamma(20, 0.05, number))
        for tag, second in (("v1", base), ("v2", factor * base))
    ]
    return compared(*runs, **{"metrics": "latency_s"} | options)


def lost(losing: range, *, wrong: range = range(0), number: int = 20, **options: Any) -> Any:
    """Compare cases of which v1 gets some wrong, and v2 loses some."""
    runs = [run("v1", str(case), NO if case in wrong else YES) for case in range(number)]
    runs += [
        failed("v2", str(case)) if case in losing else run("v2", str(case))
        for case in range(number)
    ]
    cases = wanted({str(case): YES for case in range(number)})
    return compared(*runs, cases=cases, **{"metrics": "exact"} | options)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            [NO] * 31 + [YES] * 9,
            [YES] * 40,
            "v2 may replace v1: better on 31 of 40 cases, not worse by more than 0.05 (95 %).",
        ),
        (
            [YES] * 100,
            [YES] * 100,
            "v2 may replace v1: no difference larger than 0.05 (95 %, 100 cases).",
        ),
        (
            [YES] * 190 + [NO] * 10,
            [NO] + [YES] * 199,
            "v2 may replace v1: better on 10 of 200 cases, not worse by more than 0.05 (95 %).",
        ),
        (
            [YES] * 192 + [NO] * 8,
            [NO] * 3 + [YES] * 197,
            f"v2 may replace v1: 8 better, 3 worse of 200 cases, {WITHIN}",
        ),
        (
            [YES] * 50,
            [NO] * 20 + [YES] * 30,
            "v2 should not replace v1: worse on 20 of 50 cases, by 0.40 (0.28 to 0.54, 95 %).",
        ),
        (
            [YES] * 40,
            [YES] * 40,
            "v2: cannot tell yet. 0 better, 0 worse of 40 cases; about 69 more cases would decide.",
        ),
        (
            [YES] * 6,
            [YES] * 5 + [NO],
            "v2: cannot tell yet. 0 better, 1 worse of 6 cases; about 710 more cases would decide.",
        ),
    ],
)
def test_verdict_is_a_sentence(old, new, sentence):
    cmp = judged({"v1": old, "v2": new})
    decision = cmp.decide()["v2"]
    assert decision.sentence == str(cmp.decide()) == sentence
    assert sentence.startswith(decision.head)
    assert decision.verdict in sentence
    assert decision.n == len(old)
    assert (decision.more is None) == (decision.verdict != OPEN)
    assert cmp.result("v2").decision.sentence == sentence


def test_every_report_has_the_same_sentence(tmp_path):
    cmp = judged({"v1": [NO] * 31 + [YES] * 9, "v2": [YES] * 40})
    sentence = cmp.decide()["v2"].sentence
    head, tail = "v2 may replace v1", sentence.removeprefix("v2 may replace v1")
    assert sentence in str(cmp)
    assert f"<b>{head}</b>{tail}" in cmp.to_html()
    assert f"<b>{head}</b>{tail}" in html_of(cmp)
    assert f"**{head}**{tail}" in cmp.to_markdown()
    assert sentence in cmp.to_junit(margin=0.05)
    assert cmp.summary()["decision"].tolist()[1:] == [REPLACE]


def test_a_small_margin_needs_more_cases():
    cmp = judged({"v1": [YES] * 100, "v2": [YES] * 100})
    assert [cmp.decide(margin=m)["v2"].verdict for m in (0.1, 0.05, 0.02)] == [
        REPLACE,
        REPLACE,
        OPEN,
    ]
    named = cmp.decide(margin={"exact": 0.02})["v2"]
    assert (named.margin, named.verdict) == (0.02, OPEN)


def test_alpha_is_the_level_of_the_decision():
    old, new = [YES] * 100, [YES] * 100
    strict = judged({"v1": old, "v2": new}, alpha=0.01).decide()["v2"]
    assert strict.verdict == OPEN
    assert strict.reason.endswith("excludes a loss of 0.05, but not at alpha=0.01")
    assert (
        "(99 %, 200 cases)"
        in judged({"v1": old * 2, "v2": new * 2}, alpha=0.01).decide()["v2"].sentence
    )


def test_a_significant_loss_smaller_than_the_margin_is_accepted():
    cmp = judged({"v1": [YES] * 400, "v2": [NO] * 6 + [YES] * 394})
    assert cmp.result("v2").verdict == "worse"
    assert cmp.decide()["v2"].verdict == REPLACE
    assert cmp.decide(margin=0.01)["v2"].verdict == KEEP


@pytest.mark.parametrize(
    ("factor", "margin", "verdict"),
    [(1.0, "10%", REPLACE), (1.3, "10%", KEEP), (1.05, "10%", REPLACE), (1.0, 0.1, REPLACE),
     (1.0, {"latency_s": "1%"}, OPEN)],
)  # fmt: skip
def test_a_margin_of_seconds_is_absolute_or_relative(factor, margin, verdict):
    assert timed(factor=factor).decide(margin=margin)["v2"].verdict == verdict


def test_fewer_than_twelve_numbers_exclude_no_loss():
    assert timed(11).decide(margin="50%")["v2"].verdict == OPEN
    assert timed(11).decide(margin="50%")["v2"].more == 1
    assert timed(12).decide(margin="50%")["v2"].verdict == REPLACE
    assert timed(11, 0.5).decide(margin="50%")["v2"].verdict == REPLACE


def test_a_metric_without_bounds_needs_a_margin():
    cmp = timed()
    with pytest.raises(
        vnb.InputError, match=r"latency_s needs a margin.*margin={'latency_s': 0.2}"
    ):
        cmp.decide()
    assert cmp.result("v2").decision is None
    assert "replace" not in str(cmp)
    both = timed(metrics=["latency_s", lambda _: True])
    with pytest.raises(vnb.InputError, match="latency_s needs a margin"):
        both.decide(["latency_s", "metric"], margin=0.05)
    assert both.decide().notes == ("latency_s is not part of the decision: it has no margin",)


def test_a_margin_of_scores_is_none_of_seconds():
    cmp = timed(metrics=["latency_s", vnb.metrics.exact()], margin=0.05)
    for ask in (cmp.decide, cmp.assert_not_worse):
        with pytest.raises(vnb.InputError, match="latency_s needs a margin"):
            ask("latency_s")
    assert cmp.decide("latency_s", margin=0.2)["v2"].margin == 0.2
    assert cmp.decide(["latency_s"], margin="10%")["v2"].margin == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, "margin must be a number such as 0.05, or '10%' of the baseline's mean"),
        ({"margin": True}, "margin must be a number"),
        ({"margin": "much"}, "margin must be a number"),
        ({"margin": 1.5}, "margin must be below 1 for a score or pass rate, not 1.5"),
        ({"margin": {"speed": 1}}, "this comparison has no metric 'speed'; available: exact"),
        ({"missing": "ignore"}, "missing must be 'fail', 'bounds' or 'drop'"),
        ({"missing": {"speed": "drop"}}, "this comparison has no metric 'speed'"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(options, message):
    with pytest.raises(vnb.InputError, match=message):
        judged({"v1": [YES], "v2": [YES]}).decide(**options)


def test_all_metrics_must_pass():
    runs = [run(tag, str(n), latency_s=9.0 - n % 3 if tag == "v2" else 1.0 + n % 2 / 9)
            for n in range(100) for tag in ("v1", "v2")]  # fmt: skip
    cases = wanted({str(n): YES for n in range(100)})
    cmp = compared(*runs, cases=cases, metrics=["exact", "latency_s"], margin={"latency_s": 0.5})
    decision = cmp.decide()["v2"]
    assert decision.verdict == KEEP
    assert decision.sentence.startswith("v2 should not replace v1: by latency_s, worse on 100 of")
    assert {name: made.verdict for name, made in decision.by_metric.items()} == {
        "exact": REPLACE, "latency_s": KEEP,
    }  # fmt: skip
    assert cmp.decide("exact")["v2"].verdict == REPLACE
    assert cmp.decide().frame()["verdict"].tolist() == [REPLACE, KEEP]


def test_several_releases_are_corrected_for():
    old, new = [YES] * 100, [YES] * 100
    assert judged({"v1": old, "v2": new}).decide(margin=0.04)["v2"].verdict == REPLACE
    worse = [NO] * 20 + [YES] * 80
    three = judged({"v1": old, "v2": new, "v3": worse}).decide(margin=0.04)
    assert (three["v2"].verdict, three["v3"].verdict) == (OPEN, KEEP)
    assert three["v2"].reason.endswith("excludes a loss of 0.04, but not after correction")


# Lost answers


def test_a_lost_answer_is_a_failure_of_its_release():
    cmp = lost(range(10))
    result = cmp.result("v2")
    assert (result.verdict, result.delta.mean, result.delta.n) == ("worse", -0.5, 20)
    assert result.p == pytest.approx(1 / 2**10)
    assert result.mean.mean == 0.5
    assert (result.worse, result.missing) == (0, 10)
    assert cmp.decide()["v2"].sentence == (
        "v2 should not replace v1: worse on 10 of 20 cases, by 0.50 (0.26 to 0.70, 95 %). "
        "10 cases without an answer on v2 count as failures."
    )


def test_losing_the_cases_that_were_wrong_is_no_gain():
    result = lost(range(10), wrong=range(10)).result("v2")
    assert (result.mean.mean, result.verdict) == (0.5, "undecided")


@pytest.mark.parametrize("missing", ["fail", "bounds", "drop"])
def test_ten_lost_of_twenty_are_never_the_same(missing):
    cmp = lost(range(10), missing=missing)
    assert cmp.result("v2").verdict != "same"
    assert cmp.decide()["v2"].verdict != REPLACE
    assert "10 cases" in cmp.result("v2").remark


def test_bounds_are_the_worst_and_the_best_answers():
    delta = lost(range(2), number=40, missing="bounds").result("v2").delta
    worst, best = (lost(range(n), number=40).result("v2").delta for n in (2, 0))
    assert (delta.low, delta.high) == (worst.low, best.high)


def test_lost_seconds_are_left_out_and_more_than_a_twentieth_decides_nothing():
    rng = np.random.default_rng(8)

    def seconds(losing: int, **options: Any) -> Any:
        runs = [run("v1", str(n), latency_s=1 + rng.random() / 9) for n in range(60)]
        runs += [failed("v2", str(n)) if n < losing else run("v2", str(n), latency_s=1.05)
                 for n in range(60)]  # fmt: skip
        return compared(*runs, metrics="latency_s", margin=0.2, **options).decide()["v2"]

    few, many = seconds(2), seconds(10)
    assert (few.verdict, few.n) == (REPLACE, 58)
    assert few.sentence.endswith("2 of 60 cases left out (an answer is missing).")
    assert (many.verdict, many.more) == (OPEN, None)
    assert "10 of 60 cases left out (an answer is missing)." in many.sentence
    assert seconds(10, missing="drop").verdict == REPLACE


def test_stars_have_bounds():
    stars = vnb.Metric(lambda run: run.outputs["answer"], name="stars", bounds=(1, 5))
    runs = [run(tag, str(n), 3 + n % 2) for tag in ("v1", "v2") for n in range(40)]
    runs[-1] = failed("v2", "39")
    cmp = compared(*runs, metrics=stars, margin=0.5)
    assert cmp.decide()["v2"].delta.low < 0 < cmp.decide()["v2"].delta.high
    assert "counted at worst and at best" in cmp.decide()["v2"].sentence
    low = compared(*runs, metrics=stars, missing={"stars": "fail"}).result("v2")
    assert low.delta.mean == pytest.approx(-3 / 40)
    outside = compared(run("v1", answer=9), run("v2", answer=3), metrics=stars)
    assert outside.errors()["message"].tolist() == ["9.0 is outside the bounds 1 to 5"]
    with pytest.raises(vnb.InputError, match="bounds must be the smallest and the largest"):
        vnb.Metric(len, bounds=(5, 1))
    unknown = vnb.Metric(lambda _: 3, name="n")
    with pytest.raises(vnb.InputError, match=r"missing\['n'\] must be a metric with known bounds"):
        compared(*runs, metrics=unknown, missing={"n": "fail"}).result("v2")


def test_cases_that_were_not_run_decide_nothing():
    texts = [str(n) for n in range(200)]
    runs = [run("v1", text) for text in texts] + [run("v2", text) for text in texts[:150]]
    cmp = compared(*runs, cases=wanted(dict.fromkeys(texts, YES)), metrics="exact")
    assert cmp.decide()["v2"].verdict == OPEN
    sentence = cmp.decide()["v2"].sentence
    assert sentence.count("50 of 200 cases left out (not run on both releases)") == 1


def test_cases_not_run_are_distinct_from_cases_without_an_answer():
    texts = [str(n) for n in range(60)]
    runs = [run("v1", text, latency_s=1 + at % 7) for at, text in enumerate(texts)]
    runs += [run("v2", text, latency_s=1 + at % 5) for at, text in enumerate(texts[:40])]
    runs += [failed("v2", text) for text in texts[40:50]]
    decision = compared(*runs, metrics="latency_s").decide(margin=0.2)["v2"]
    assert decision.reason == (
        "10 of 60 cases left out (not run on both releases); "
        "10 of 60 cases left out (an answer is missing)"
    )
    assert str(decision).count("left out") == 2
    for made, text in ((runs[:60], "was run"), ([*runs[:60], failed("v2", "0")], "has a figure")):
        cases = wanted(dict.fromkeys(texts, YES))
        none = compared(*made, cases=cases, metrics="latency_s").decide(margin=0.2)["v2"]
        assert none.reason == f"no case {text} on both releases"


def test_a_sweep_that_stopped_early_may_replace_if_it_is_better():
    texts = [str(n) for n in range(200)]
    runs = [run(tag, text) for tag in ("v1", "v2") for text in texts[:150]]
    same = compared(*runs, metrics="exact", **planned(texts))
    decision = same.decide(margin=0.02)["v2"]
    assert "the sweep stopped before 50 cases were run" in decision.sentence
    better = [
        run(tag, text, YES if tag == "v2" else NO) for tag in ("v1", "v2") for text in texts[:9]
    ]
    found = compared(*better, metrics="exact", **planned(texts))
    assert found.decide()["v2"].verdict == REPLACE
    assert (
        found.summary(columns="all")["test"].tolist()[1] == "a sequential test, valid at any time"
    )


def test_lost_answers_do_not_turn_what_a_sequential_test_decided():
    texts = [str(n) for n in range(40)]
    runs = [run("v1", text, NO if at < 10 else YES) for at, text in enumerate(texts)]
    runs += [run("v2", text) if at < 10 else failed("v2", text) for at, text in enumerate(texts)]
    result = compared(*runs, metrics="exact", **planned(texts)).result("v2")
    assert (result.delta.mean, result.verdict) == (-0.5, "undecided")


@pytest.mark.parametrize(
    ("lost", "verdict", "says"),
    [
        (45, OPEN, "; 45 of 60 cases left out (an answer is missing)."),
        (3, REPLACE, "(95 %). 3 of 60 cases left out (an answer is missing)."),
        (0, REPLACE, "better on 60 of 60 cases, not worse by more than 0.2 (95 %)."),
    ],
)
def test_sweep_that_stopped_early_leaves_few_of_its_cases_out(lost, verdict, says):
    texts = [str(n) for n in range(200)]
    runs = [run("v1", text, latency_s=1.0 + at / 100) for at, text in enumerate(texts[:60])]
    runs += [failed("v2", text) for text in texts[:lost]]
    runs += [run("v2", text, latency_s=0.4) for text in texts[lost:60]]
    cmp = compared(*runs, metrics="latency_s", **planned(texts))
    decision = cmp.decide(margin=0.2)["v2"]
    assert (decision.verdict, says in decision.sentence) == (verdict, True)
    assert ("left out" in cmp.result("v2").remark) == (lost > 0)


@pytest.mark.parametrize("is_mixed", [True, False])
def test_sweep_that_stopped_early_counts_lost_answers_against_the_release(is_mixed):
    texts = [str(n) for n in range(200)]
    better = {text for at, text in enumerate(texts[:59]) if (at % 2 == 0 if is_mixed else at < 30)}
    runs = [run("v1", text, NO if text in better else YES) for text in texts[:59]]
    runs += [run("v2", text) if text in better else failed("v2", text) for text in texts[:59]]
    cmp = compared(*runs, metrics="exact", **planned(texts))
    assert cmp.decide()["v2"].verdict == OPEN
    with pytest.raises(InconclusiveError):
        cmp.assert_not_worse()
    if is_mixed:
        assert cmp.result("v2").p > 0.5
        assert cmp.result("v2").sign_p > 0.5


@pytest.mark.parametrize(
    ("bounds", "margin", "counts"),
    [
        (None, 0.05, "7 better, 8 worse of 15 cases"),
        ((0, math.inf), 1, "7 better, 0 worse of 7 cases"),  # left out, without a worst figure
    ],
)
def test_rejected_run_on_which_the_metric_raised_counts_once(bounds, margin, counts):
    def ok(run: vnb.Run) -> bool:
        return bool(run.outputs["answer"] == YES)

    runs = [run("v1", str(n), NO if n < 7 else YES) for n in range(15)]
    runs += [run("v2", str(n)) if n < 7 else failed("v2", str(n), "REJECTED") for n in range(15)]
    cmp = compared(*runs, metrics=vnb.Metric(ok, bounds=bounds))
    assert counts in cmp.decide(margin=margin)["v2"].sentence


def test_scores_that_rarely_differ_have_an_interval():
    share = vnb.Metric(lambda run: run.outputs["answer"], name="share", bounds=(0, 1))
    runs = [run(tag, str(n), 0.75) for tag in ("v1", "v2") for n in range(120)]
    assert compared(*runs, metrics=share).decide()["v2"].verdict == REPLACE
    runs[-1] = run("v2", "119", 0.5)
    delta = compared(*runs, metrics=share).decide()["v2"].delta
    assert -0.06 < delta.low < 0 < delta.high


# The gate


def test_gate_has_three_outcomes():
    judged({"v1": [YES] * 100, "v2": [YES] * 100}).assert_not_worse()
    worse = judged({"v1": [YES] * 50, "v2": [NO] * 20 + [YES] * 30})
    with pytest.raises(RegressionError) as caught:
        worse.assert_not_worse()
    assert str(caught.value).startswith(
        "words: v2 did not pass against v1, 50 cases:\n"
        "  v2 should not replace v1: worse on 20 of 50 cases, by 0.40 (0.28 to 0.54, 95 %).\n"
        "  it is significantly worse (McNemar's mid-p test)\n"
        f"  - case 1 ({worse.cases[0].case_id})"
    )
    assert caught.value.reasons == (worse.decide()["v2"].sentence,)
    assert len(caught.value.case_ids) == 20
    few = judged({"v1": [YES] * 9, "v2": [YES] * 9})
    with pytest.raises(InconclusiveError, match="v2: cannot tell yet. 0 better") as caught:
        few.assert_not_worse()
    assert isinstance(caught.value, AssertionError)
    assert caught.value.reasons == (few.decide()["v2"].sentence,)


@pytest.mark.parametrize("number", [1, 3, 10, 30])
def test_few_equal_cases_never_pass(number):
    cmp = judged({"v1": [YES] * number, "v2": [YES] * number})
    with pytest.raises(InconclusiveError):
        cmp.assert_not_worse()


def test_junit_of_a_margin_is_decided_by_the_last_test_case_alone():
    def summary(cmp: vnb.Comparison, **options: Any) -> tuple[dict[str, str], ET.Element]:
        suite = ET.fromstring(cmp.to_junit(**options))[0]  # noqa: S314  (ours)
        counts = {name: suite.get(name) for name in ("failures", "errors", "skipped")}
        return counts, suite[-1]

    slight = judged({"v1": [YES] * 400, "v2": [NO] * 6 + [YES] * 394}, margin=0.05)
    counts, last = summary(slight)
    assert counts == {"failures": "0", "errors": "0", "skipped": "0"}
    assert last.find("system-out").text.startswith("v2 may replace v1: ")
    few = judged({"v1": [YES] * 9, "v2": [YES] * 9}, margin=0.05)
    assert summary(few)[0]["errors"] == "1"
    assert summary(few, allow_inconclusive=True)[0] == {
        "failures": "0",
        "errors": "0",
        "skipped": "1",
    }
    bad = judged({"v1": [YES] * 50, "v2": [NO] * 20 + [YES] * 30}, margin=0.05)
    counts, last = summary(bad)
    assert (counts["failures"], last.find("failure").get("type")) == ("1", "RegressionError")


def test_junit_has_the_result_of_the_gate_that_it_is_asked_for():
    answers = {"v1": [YES] * 400, "v2": [NO] * 6 + [YES] * 394}
    cmp = judged(answers)
    assert cmp.to_junit(margin=0.05) == judged(answers, margin=0.05).to_junit()
    by_cases = ET.fromstring(cmp.to_junit())[0][-1].find("failure")  # noqa: S314  (ours)
    assert by_cases.get("message").startswith("6 cases are worse; max_regressions=0 allows none")
    assert "replace" not in by_cases.text


def test_junit_has_the_options_of_the_gate():
    assert "v2: cannot tell yet" in lost(range(3), number=100).to_junit(margin=0.05)
    dropped = lost(range(3), number=100, missing="drop")
    assert "v2 may replace v1" in dropped.to_junit(margin=0.05)
    with pytest.raises(TypeError, match="unexpected keyword argument 'least'"):
        dropped.to_junit(least=3)


def test_junit_of_both_gates_has_the_suites_of_both():
    answers = {"v1": [YES] * 400, "v2": [NO] * 6 + [YES] * 394}
    root = ET.fromstring(judged(answers, margin=0.05).to_junit(max_regressions=5))  # noqa: S314
    names = [f"words v2 against v1: exact ({gate})" for gate in ("margin", "regressions")]
    assert [suite.get("name") for suite in root] == names
    by_margin, by_cases = root
    assert (by_margin.get("failures"), by_cases.get("failures")) == ("0", "7")
    assert by_margin[-1].find("system-out").text.startswith("v2 may replace v1: ")
    message = by_cases[-1].find("failure").get("message")
    assert message.startswith("6 cases are worse; max_regressions=5 allows 5")
    tests = [(test.get("classname"), test.get("name")) for suite in root for test in suite]
    assert len(set(tests)) == len(tests) == 802


def test_junit_does_not_pass_an_open_metric_of_a_release_that_fails():
    answers = [NO] * 20 + [YES] * 30
    runs = [run("v1", str(n), latency_s=1 + n % 7 / 10) for n in range(50)]
    runs += [run("v2", str(n), a, latency_s=1 + (n + 3) % 7 / 10) for n, a in enumerate(answers)]
    cases = wanted({str(n): YES for n in range(50)})
    margin = {"latency_s": 0.001, "exact": 0.05}
    cmp = compared(*runs, cases=cases, metrics=["exact", "latency_s"], margin=margin)
    verdicts = [made.verdict for made in cmp.decide()["v2"].by_metric.values()]
    assert verdicts == [KEEP, OPEN]
    last = [suite[-1][0] for suite in ET.fromstring(cmp.to_junit())]  # noqa: S314  (ours)
    assert [each.tag for each in last] == ["failure", "error"]
    assert last[1].get("type") == "InconclusiveError"
    with pytest.raises(RegressionError):
        cmp.assert_not_worse(allow_inconclusive=True)


def test_a_release_and_metrics_can_be_named():
    cmp = judged({"v1": [YES] * 100, "v2": [YES] * 100, "v3": [NO] * 100})
    cmp.assert_not_worse("exact", release="v2", margin=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RegressionError, match="v3 should not replace v1"):
            cmp.assert_not_worse(allow_inconclusive=True)
    with pytest.raises(vnb.InputError, match="v1 is the baseline"):
        cmp.assert_not_worse(release="v1")
    with pytest.raises(vnb.InputError, match="no metric"):
        cmp.assert_not_worse("speed")
    with pytest.raises(vnb.InputError, match="only v1 is compared"):
        judged({"v1": [YES]}).assert_not_worse()


def test_several_open_metrics_name_the_largest_number_of_cases():
    runs = [run(tag, str(n), latency_s=1 + (n * 7 % 5) / 9 * (tag == "v2"))
            for n in range(20) for tag in ("v1", "v2")]  # fmt: skip
    cases = wanted({str(n): YES for n in range(20)})
    cmp = compared(*runs, cases=cases, metrics=["exact", "latency_s"], margin={"latency_s": 0.25})
    decision = cmp.decide()["v2"]
    assert decision.by_metric["latency_s"].verdict == KEEP
    loose = cmp.decide(margin={"latency_s": 0.4})["v2"]
    assert loose.sentence == (
        "v2: cannot tell yet. By exact, 0 better, 0 worse of 20 cases; about 100 more cases would "
        "decide."
    )


@pytest.mark.parametrize("ask", ["decide", "assert_not_worse", "plan"])
def test_number_in_place_of_a_metric_hints_at_the_margin(ask):
    cmp = judged({"v1": [YES], "v2": [YES]})
    with pytest.raises(vnb.InputError, match="metric must be .*; give margin=0.05 by name"):
        getattr(cmp, ask)(0.05)


def scored(*columns: Any, lower: bool = False, **options: Any) -> vnb.Comparison:
    """Compare releases by a number, given case by case; lists are repeats."""
    metric = vnb.Metric(
        lambda run: run.outputs["answer"], name="points", lower_is_better=lower,
        bounds=options.pop("bounds", None),
    )  # fmt: skip
    runs = [
        run(tag, str(case), float(value))
        for tag, column in zip(("v1", "v2"), columns, strict=True)
        for case, values in enumerate(column)
        for value in (values if isinstance(values, list) else [values])
    ]
    return compared(*runs, metrics=metric, **options)


# What did not hold


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_relative_margin_is_that_of_the_mean_and_not_of_its_size(shift):
    base = shift + np.tile([-1.0, 1.0], 50)
    new = base - 0.05 + np.tile([0.01, 0.01, -0.01, -0.01], 25)
    decision = scored(base, new, margin="10%").result("v2").decision
    assert decision.margin == pytest.approx(0.1 * shift)
    assert decision.verdict != REPLACE


def test_relative_margin_of_a_mean_of_zero_needs_units_of_the_metric():
    cmp = judged({"v1": [NO] * 20, "v2": [NO] * 20}, margin="10%")
    remedy = "margin='10%' of exact is 0, because the mean of v1 is 0: give it in units of the"
    for ask in (cmp.decide, cmp.assert_not_worse, cmp.plan, cmp.to_junit):
        with pytest.raises(vnb.InputError, match=remedy):
            ask()
    assert remedy in str(cmp)  # reports do not fail
    assert cmp.result("v2").decision.verdict == OPEN
    cmp.decide(margin=0.1)


def paged(*releases: list[str], **options: Any) -> vnb.Comparison:
    """Compare five cases of each page, which all have its answer."""
    texts = {f"{page} {at}": page for page in range(len(releases[0])) for at in range(5)}
    cases = [
        replace(case, labels={"page": texts[case.inputs["text"]]})
        for case in wanted(dict.fromkeys(texts, YES))
    ]
    tags = [f"v{number}" for number in range(1, len(releases) + 1)]
    runs = [
        run(tag, text, answers[page])
        for tag, answers in zip(tags, releases, strict=True)
        for text, page in texts.items()
    ]
    return compared(*runs, tags=tags, cases=cases, metrics="exact", **options)


NOTE = (
    "cases share label.page, and this verdict treats them as independent; if those with the same "
    "label are alike, use cluster='label.page', and the verdict is 'cannot tell yet'"
)


def test_decisions_and_gate_warn_of_a_label_that_would_change_them():
    cmp = paged([YES] * 30, [YES] * 30)
    decisions = cmp.decide()
    assert (decisions["v2"].verdict, decisions.notes) == (REPLACE, (f"v2: {NOTE}",))
    assert f"v2: {NOTE}." in str(decisions)
    assert all(NOTE.replace("'", mark) in text for text, mark in (
        (str(cmp), "'"), (cmp.to_html(), "&#39;"), (html_of(cmp), "&#39;"),
        (cmp.to_junit(margin=0.05), "'"),
    ))  # fmt: skip
    assert texts(cmp.to_html(), ".vnb-verdict-FULFILLED .vnb-verdict-warning") == [
        f"Warning: {NOTE}."
    ]
    with pytest.warns(UserWarning, match=NOTE):
        cmp.assert_not_worse()
    with pytest.warns(UserWarning, match=NOTE):
        cmp.summary()
    worse = paged([YES] * 8, [NO] * 3 + [YES] * 5)
    with pytest.raises(RegressionError, match=NOTE):
        worse.assert_not_worse()
    with pytest.raises(RegressionError, match="cases share label.page.* is 'undecided'"):
        worse.assert_no_regressions(max_regressions=None)
    assert paged([YES] * 30, [YES] * 30, cluster="label.page").decide().notes == ()


def test_too_few_clusters_are_named():
    few = paged([YES] * 5, [YES] * 5, cluster="label.page")
    assert few.decide()["v2"].reason.startswith("there are too few clusters, or too few that")


def test_loss_within_the_noise_of_repeats_names_both():
    new = [[-1.1 - case / 100, 0.9] for case in range(40)]
    decision = scored([[-1, 1]] * 40, new).decide(margin=0.2)["v2"]
    assert decision.reason == (
        "a loss of 0.20 is within the noise: repeats alone cause differences up to 0.47"
    )


def test_relative_margin_of_a_negative_mean_is_its_size():
    base = -10 - np.tile([0.0, 1.0], 50)
    near, far = (scored(base, base - d - np.tile([0, 0.1], 50)) for d in (0.5, 2))
    assert near.decide(margin="10%")["v2"].verdict == REPLACE
    assert far.decide(margin="10%")["v2"].verdict == KEEP


def test_relative_margin_does_not_count_a_lost_answer_of_the_baseline():
    runs = [run(tag, str(n), 3 + n % 3) for tag in ("v1", "v2") for n in range(40)]
    runs[0] = failed("v1", "0")
    stars = vnb.Metric(lambda run: run.outputs["answer"], name="stars", bounds=(1, 5))
    decision = compared(*runs, metrics=stars).decide(margin="20%")["v2"]
    assert 0.77 < decision.margin < 0.8
    assert decision.verdict == REPLACE


@pytest.mark.parametrize(("number", "losing"), [(20, 0), (40, 1), (40, 2)])
@pytest.mark.parametrize("repeats", [False, True])
def test_few_clusters_that_differ_exclude_a_loss_no_better_than_as_many_cases(
    number, losing, repeats
):
    """A loss of 10 % of the clusters leaves so few in 1 of 8 samples."""
    if repeats:
        cmp = scored([[1, 1]] * number, [[at >= losing] * 2 for at in range(number)])
    else:
        new = [NO] * losing + [YES] * (number - losing)
        cmp = paged([YES] * number, new, cluster="label.page")
    decision = cmp.decide(margin=0.1)["v2"]
    assert decision.verdict == OPEN
    assert decision.delta.low < -0.1
    wide = cmp.decide(margin=0.4)["v2"]
    assert wide.reason == "a loss of 0.4 is excluded (Tango's score test)"


@pytest.mark.parametrize(
    ("margin", "text"),
    [(0.125, "0.125"), ("12.5%", "12.5 % (0.12)"), ("2.5%", "2.5 % (0.025)"), (0.1, "0.1"),
     ("10%", "10 % (0.10)")],
)  # fmt: skip
def test_margin_is_printed_as_given(margin, text):
    decision = judged({"v1": [YES] * 300, "v2": [YES] * 300}).decide(margin=margin)["v2"]
    assert f"no difference larger than {text} (95 %" in decision.sentence


def test_reason_names_the_test_of_the_margin():
    equal = judged({"v1": [YES] * 100, "v2": [YES] * 100}).decide()["v2"]
    assert equal.reason == "a loss of 0.05 is excluded (Tango's score test)"
    seconds = timed().decide(margin="10%")["v2"]
    assert seconds.reason.endswith("is excluded (Student's paired test)")


def test_differences_within_the_noise_are_worse_on_average():
    rng = np.random.default_rng(1)
    runs = [
        run(tag, str(n), latency_s=second + float(rng.normal(0, 0.3)))
        for n in range(40)
        for tag, second in (("v1", 2.0), ("v2", 2.4))
        for _ in range(2)
    ]
    worse, better = (
        compared(*runs, metrics="latency_s", margin=0.1, baseline=tag).decide()[other].sentence
        for tag, other in (("v1", "v2"), ("v2", "v1"))
    )
    assert "v2 should not replace v1: worse on average over 40 cases, by 0." in worse
    assert better == (
        "v1 may replace v2: better on average over 40 cases, not worse by more than 0.1 (95 %)."
    )


@pytest.mark.parametrize("number", [1, 2, 3])
def test_equal_losses_of_few_cases_do_not_count_as_no_difference(number):
    cmp = scored([4.0] * number, [3.0] * number, bounds=(1, 5))
    assert cmp.decide(margin=0.5)["v2"].more is None


@pytest.mark.parametrize(("number", "is_estimated"), [(2, False), (5, False), (6, True)])
def test_fewer_than_six_cases_do_not_estimate_how_many_more_would_decide(number, is_estimated):
    decision = judged({"v1": [YES] * number, "v2": [NO] + [YES] * (number - 1)}).decide()["v2"]
    assert decision.verdict == OPEN
    assert (decision.more is not None) == is_estimated
    reason = "6 cases are needed to estimate how many more would decide"
    assert (f"1 worse of {number} cases; {reason}." in decision.sentence) != is_estimated


def test_few_numbers_that_differ_do_not_promise_that_one_more_case_decides():
    decision = scored([3.0] * 20, [1.0] + [3.0] * 19).decide(margin=0.5)["v2"]
    assert (decision.verdict, decision.more) == (OPEN, None)


def test_one_more_case_is_one():
    sentence = timed(11).decide(margin="50%")["v2"].sentence
    assert sentence.endswith("; about 1 more case would decide.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 2}, "margin must be below 1 for a score or pass rate"),
        ({"margin": {"exact": 1.0}}, "margin must be below 1 for a score or pass rate"),
        ({"margin": 10**400}, "must be"),
        ({"missing": ["drop"]}, "must be"),
        ({"missing": {"exact": ["drop"]}}, "must be"),
    ],
)
def test_comparison_refuses_options_that_its_reports_could_not_use(options, message):
    with pytest.raises(vnb.InputError, match=message):
        judged({"v1": [YES], "v2": [YES]}, **options)

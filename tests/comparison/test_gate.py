"""When a release does not pass: as an error, and as JUnit XML."""

import pickle
import re
from xml.etree import ElementTree as ET

import pytest
from report_kit import compared, failed, judged, planned, run, wanted

import vellum_nb as vnb
from vellum_nb import InconclusiveError, RegressionError

YES, NO = "yes", "no"
TAGS = "v1", "v2"


def test_a_gate_that_passes_prints_the_counts_or_the_verdict():
    cmp = judged({"v1": [YES] * 60, "v2": [YES] * 60, "v3": [YES] * 60})
    passed, verdicts = cmp.assert_no_regressions(), cmp.assert_not_worse(margin=0.1)
    assert repr(passed) == str(passed)
    assert passed.sentences[0] == (
        "v2 passes against v1: 0 better · 0 worse · 60 same · p = 1.00 · no repeats (exact)."
    )
    decided = cmp.decide(margin=0.1)
    assert verdicts.sentences == (decided["v2"].sentence, decided["v3"].sentence)
    assert str(verdicts) == "\n".join(verdicts.sentences)
    with pytest.raises(AttributeError):
        verdicts.sentences = ()


def test_a_doubt_that_is_allowed_is_the_sentence_of_the_result():
    cmp = judged({"v1": [YES] * 3, "v2": [YES] * 3})
    with pytest.warns(UserWarning, match="cannot tell yet"):
        result = cmp.assert_not_worse(allow_inconclusive=True)
    assert str(result).startswith("v2: cannot tell yet. 0 better, 0 worse of 3 cases; ")


def test_one_case_that_is_worse_is_one_too_many():
    judged({"v1": [YES, NO], "v2": [YES, YES]}).assert_no_regressions()
    cmp = judged({"v1": [YES] * 12, "v2": [NO] + [YES] * 11})
    with pytest.raises(RegressionError) as caught:
        cmp.assert_no_regressions()
    assert str(caught.value) == (
        "words: v2 did not pass against v1, 12 cases:\n"
        "  v2: 0 better · 1 worse · 11 same · p = 0.50 · no repeats (exact)\n"
        "  1 case is worse; max_regressions=0 allows none\n"
        f"  - case 1 ({cmp.cases[0].case_id}) · case 0 · exact 1 → 0 · answer: yes → no"
    )
    assert caught.value.case_ids == (cmp.cases[0].case_id,)
    assert caught.value.reasons == ("v2 by exact: 1 case is worse; max_regressions=0 allows none",)
    assert isinstance(caught.value, AssertionError)
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (str(again), again.case_ids) == (str(caught.value), caught.value.case_ids)
    cmp.assert_no_regressions(max_regressions=1)


def test_what_is_hardly_chance_does_not_pass_however_many_may_be_worse():
    cmp = judged({"v1": [YES] * 8, "v2": [NO] * 8})
    with pytest.raises(RegressionError, match=r"significantly worse overall: p = 0.004"):
        cmp.assert_no_regressions(max_regressions=8)
    with pytest.raises(RegressionError, match="McNemar's mid-p test, alpha=0.01"):
        cmp.assert_no_regressions(max_regressions=None, alpha=0.01)
    five_worse = [NO] * 5 + [YES] * 3
    one = judged({"v1": [YES] * 8, "v2": five_worse})
    with pytest.raises(RegressionError, match=r"p = 0.03"):
        one.assert_no_regressions(max_regressions=None)
    two = judged({"v1": [YES] * 8, "v2": five_worse, "v3": [YES] * 8})
    two.assert_no_regressions(max_regressions=None)  # p is corrected for the number of releases


@pytest.mark.parametrize(
    ("number", "options"),
    [
        (3, {"max_regressions": None}),
        (8, {"max_regressions": None, "alpha": 0.003}),
        (8, {"max_regressions": 8, "alpha": None}),
    ],
)
def test_what_no_outcome_could_fail_does_not_pass(number, options):
    cmp = judged({"v1": [YES] * number, "v2": [NO] * number})
    with pytest.raises(InconclusiveError, match=f"no outcome of {number} cases could fail"):
        cmp.assert_no_regressions(**options)
    summary = ET.fromstring(cmp.to_junit(**options))[0][-1]  # noqa: S314  (ours)
    assert summary.find("error").get("type") == "InconclusiveError"


def test_a_case_that_is_unscored_on_one_release_does_not_pass():
    def polite(found: vnb.Run) -> bool | None:
        return None if found.outputs["answer"] == NO else True

    cases = [
        run(tag, str(n), NO if (tag, n) == ("v2", 0) else YES) for tag in TAGS for n in range(9)
    ]
    with pytest.raises(RegressionError, match="1 case has no answer or no figure"):
        compared(*cases, metrics=polite).assert_no_regressions()


@pytest.mark.parametrize("gap", [None, "failed"])
def test_a_case_that_is_missing_never_passes(gap):
    runs = [run("v1", "a"), run("v2", "a"), run("v1", "b")]
    runs += [failed("v2", "b")] if gap else []
    cmp = compared(*runs, cases=wanted({"a": YES, "b": YES}), metrics="exact")
    told = "FAILED on v2" if gap else "no run on v2"
    with pytest.raises(RegressionError, match=f"(?s)1 case has no answer.* · {told}"):
        cmp.assert_no_regressions()
    cmp.assert_no_regressions(max_missing=1)
    cmp.assert_no_regressions(max_missing=None)


def test_where_nothing_can_be_compared_or_a_metric_raises_nothing_passes():
    cmp = compared(run("v1"), cases=wanted({"a": YES}), metrics="exact")
    with pytest.raises(RegressionError, match="nothing could be compared"):
        cmp.assert_no_regressions(max_missing=None, max_regressions=None)
    unscored = compared(run("v1"), run("v2"), metrics="exact")  # nothing is expected of it
    with pytest.raises(RegressionError, match="nothing could be compared"):
        unscored.assert_no_regressions()

    def brittle(found: vnb.Run) -> bool:
        if found.outputs["answer"] == NO:
            raise ValueError("cannot tell")
        return True

    cmp = compared(run("v1"), run("v2", answer=NO), run("v1", "b"), run("v2", "b"), metrics=brittle)
    with pytest.raises(
        RegressionError, match=r"(?s)1 case has no answer.*brittle raised; errors\(\)"
    ):
        cmp.assert_no_regressions()


def test_what_is_within_the_noise_is_no_regression():
    answers = [("v1", YES), ("v1", YES), ("v2", YES), ("v2", NO)]
    runs = [run(tag, text, answer) for text in ("a", "b", "c") for tag, answer in answers]
    known = wanted({"a": YES, "b": YES, "c": YES})
    cmp = compared(*runs, cases=known, metrics="exact")
    assert cmp.result("v2").noise == 3
    cmp.assert_no_regressions()
    assert cmp.result("v2").p <= 0.25  # by itself that would be enough at this alpha
    cmp.assert_no_regressions(alpha=0.3)
    more = [run("v2", text, NO) for text in ("a", "b", "c") for _ in range(30)]
    with pytest.raises(RegressionError, match="3 cases are worse"):
        compared(*runs, *more, cases=known, metrics="exact").assert_no_regressions(alpha=0.3)


def test_lower_is_better_for_latency_and_each_metric_is_named():
    runs = [run("v1", str(n), latency_s=0.1) for n in range(9)]
    runs += [run("v2", str(n), latency_s=9.0) for n in range(9)]
    cmp = compared(
        *runs, cases=wanted(dict.fromkeys(map(str, range(9)), YES)), metrics=["exact", "latency_s"]
    )
    cmp.assert_no_regressions()
    with pytest.raises(RegressionError, match="9 cases are worse") as caught:
        cmp.assert_no_regressions(["exact", "latency_s"])
    assert "(latency_s)" in str(caught.value)
    assert "(exact)" not in str(caught.value)
    with pytest.raises(RegressionError):
        cmp.assert_no_regressions("latency_s", release="v2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "speed"}, "this comparison has no metric 'speed'; available: exact"),
        ({"release": "v9"}, "'v9' is not a compared release"),
        ({"release": "v1"}, "v1 is the baseline"),
        (
            {"max_regressions": -1},
            "max_regressions must be a whole number",
        ),
        ({"max_missing": 0.5}, "max_missing must be a whole number"),
        ({"alpha": 2}, "alpha must be a number from 0 to 1, or None for no limit, not 2"),
        ({"alpha": True}, "alpha must be a number"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    cmp = judged({"v1": [YES], "v2": [YES]})
    with pytest.raises(vnb.InputError, match=message):
        cmp.assert_no_regressions(**options)


def test_without_a_metric_or_a_second_release_there_is_nothing_to_assert():
    with pytest.raises(vnb.InputError, match="only v1 is compared: name another release tag"):
        judged({"v1": [YES]}).assert_no_regressions()
    for ask in ("assert_no_regressions", "to_junit"):
        with pytest.raises(vnb.InputError, match="has no metric"):
            getattr(compared(run("v1"), run("v2")), ask)()


def suites(text):
    return {suite.get("name"): suite for suite in ET.fromstring(text)}  # noqa: S314  (ours)


def test_junit_has_a_suite_for_each_release_and_metric_a_test_case_for_each_case():
    runs = [run("v1", "a"), run("v2", "a", NO), run("v3", "a")]
    runs += [run("v1", "b"), failed("v2", "b"), run("v3", "b"), run("v1", "c"), run("v2", "c")]
    metrics = ["exact", "latency_s"]
    cases = wanted({"a": YES, "b": YES})
    cmp = compared(*runs, tags=("v1", "v2", "v3"), cases=cases, metrics=metrics)
    found = suites(cmp.to_junit(metric=metrics))
    assert list(found) == [
        f"words {tag} against v1: {name}" for tag in ("v2", "v3") for name in metrics
    ]
    worse = found["words v2 against v1: exact"]
    counts = {key: int(worse.get(key)) for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": 4, "failures": 2, "errors": 1, "skipped": 1}
    names = [case.get("name") for case in worse]
    assert names[0] == f"case 1 ({cmp.cases[0].case_id})"
    assert names[-1] == "all cases"
    assert worse[0].find("failure").get("message") == "exact 1 → 0 · answer: yes → no"
    assert worse[0].get("time") == "0.250000"
    assert worse[1].find("error").get("message") == "FAILED on v2"
    assert "1 case is worse; max_regressions=0" in worse[-1].find("failure").get("message")
    good = found["words v3 against v1: exact"]
    assert (good.get("failures"), good.get("errors")) == ("1", "1")  # case c was not run


@pytest.mark.parametrize("text", ["<a>&\"'", "\x00\x1b[2J\ufffe", "]]>", "\ud83d"])
def test_whatever_runs_say_the_file_is_xml_and_nothing_drives_the_terminal(tmp_path, text):
    cmp = compared(run("v1"), run("v2", answer=text), cases=wanted({"a": YES}), metrics="exact")
    path = cmp.to_junit(tmp_path / "junit.xml")
    root = ET.parse(path).getroot()  # noqa: S314  (ours)
    assert root.find(".//failure") is not None
    with pytest.raises(RegressionError) as caught:
        cmp.assert_no_regressions()
    assert all(sign.isprintable() or sign == "\n" for sign in str(caught.value))


@pytest.mark.parametrize(("ran", "passes"), [(8, True), (3, False)])
def test_cases_that_a_decided_sweep_left_out_are_no_missing_answers(ran, passes):
    texts = [f"case {number}" for number in range(60)]
    answers = (("v1", NO), ("v2", YES))
    made = [run(tag, text, answer) for tag, answer in answers for text in texts[:ran]]
    cmp = compared(*made, metrics="exact", **planned(texts))
    skipped = re.search(r'skipped="(\d+)"', cmp.to_junit())[1]
    if passes:
        cmp.assert_no_regressions()
        assert skipped == "52"
        broken = [*made, failed("v1", texts[9]), failed("v2", texts[9])]
        cmp = compared(*broken, metrics="exact", **planned(texts))
    error = RegressionError if passes else InconclusiveError
    with pytest.raises(error, match="1 case has no" if passes else "57 cases were not run"):
        cmp.assert_no_regressions()


def test_cases_that_a_sweep_left_out_without_a_decision_do_not_pass():
    texts = [f"case {number}" for number in range(20)]
    runs = [
        failed(tag, text) if at < 4 else run(tag, text)
        for tag in ("v1", "v2")
        for at, text in enumerate(texts[:14])  # of the other six none could decide it
    ]
    cmp = compared(*runs, metrics="exact", **planned(texts))
    with pytest.raises(InconclusiveError, match="6 cases were not run, and no difference was deci"):
        cmp.assert_no_regressions(max_missing=4)
    assert "a test that holds whenever one looks" in cmp.to_html()
    with pytest.raises(RegressionError, match="10 cases have no answer"):
        cmp.assert_no_regressions()

"""A judge on a local server against people's ratings, and raters among each other.

The text of a case says which verdicts it gets: "pf" passes with people, and fails with the judge.
"""

import math
import re
import threading
import time
from collections import Counter
from itertools import count

import krippendorff
import numpy as np
import ppi_py
import pytest
from runs_kit import html_of, later_run
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

import vellum_nb as vnb
from vellum_nb.comparison import compare_runs
from vellum_nb.errors import InputError, RegressionError

TABLE = {"pp": 30, "pf": 3, "fp": 9, "ff": 8}
CASES = [{"text": f"{kind} {at}"} for kind, many in TABLE.items() for at in range(many)]


@pytest.fixture(scope="module")
def server():
    numbers = count()
    with vnb.LocalServer() as server:
        server.deploy(lambda text: text, name="echo", release_tags=["v1", "v2"])
        server.deploy(lambda text: text[1] == "p", name="grader")
        server.deploy(lambda text: bool(text) and next(numbers) % 3 > 0, name="moody")
        server.deploy(lambda text: float(bool(text) and next(numbers) % 3), name="points")
        yield server


@pytest.fixture
def ws(server):
    with vnb.connect(server, history=":memory:") as made:
        yield made


def judged(ws, cases, *, tags=("v1", "v2"), rated=bool, name="grader", **options):
    """Record runs that echo the cases, some rated as their texts say; compare by the judge."""
    runs = [
        later_run(tag, {"text": text}, {"output": text}, deployment="said", quality=quality)
        for text in (case["text"] for case in cases)
        for quality in [float(text[0] == "p") if rated(text) else None]
        for tag in tags
    ]
    ws.history.merge(runs)
    judge = ws.judge(name, inputs={"text": "input.text"}, **options)
    return ws.compare("said", release_tags=list(tags), metrics=judge, cases=cases, progress=False)


def shared(cases, **options):
    """Return a fixture: what `judged` returns, for all tests of the module."""

    @pytest.fixture(scope="module")
    def comparison(server):
        with vnb.connect(server, history=":memory:") as ws:
            yield judged(ws, cases, **options)

    return comparison


CONFUSION = np.array([[30, 3], [9, 8]])
compared = shared(CASES, tags=["v1"])


def test_a_judge_is_checked_against_the_ratings_of_the_same_runs(compared):
    check = compared.judge_check("grader")
    assert check.confusion.to_numpy().tolist() == CONFUSION.tolist()
    assert check.confusion.index.tolist() == ["people: pass", "people: fail"]
    assert list(check.figures) == ["agreement", "sensitivity", "specificity", "kappa"]
    assert "sensitivity 91 %" in check.line
    assert "judge: pass" in html_of(check)


def test_rates_of_a_judge_have_exact_intervals(compared):
    check = compared.judge_check("grader")
    for name, hits, of in (("agreement", 38, 50), ("sensitivity", 30, 33), ("specificity", 8, 17)):
        figure = getattr(check, name)
        assert (figure.mean, figure.n) == (hits / of, of)
        peer = proportion_confint(hits, of, method="beta")
        assert (figure.low, figure.high) == pytest.approx(peer, abs=1e-6)


def test_kappa_of_a_judge_is_that_of_peers(compared):
    check = compared.judge_check("grader")
    classes = ([0, 0, 1, 1], [0, 1, 0, 1])
    people, verdicts = (np.repeat(values, CONFUSION.flat) for values in classes)
    assert check.kappa.mean == pytest.approx(cohen_kappa_score(people, verdicts), abs=1e-6)
    counts = CONFUSION.ravel() + 1  # with one more in each cell
    without = [cohens_kappa((counts - cell).reshape(2, 2)).kappa for cell in np.eye(4)]
    deviations = np.repeat(without, counts) - np.average(without, weights=counts)
    error = np.sqrt((counts.sum() - 1) / counts.sum() * (deviations**2).sum())  # jackknife
    middle = cohens_kappa(CONFUSION + 1).kappa
    ends = (middle - 1.959964 * error, middle + 1.959964 * error)
    assert (check.kappa.low, check.kappa.high) == pytest.approx(ends, abs=1e-6)


def test_frame_of_a_check_has_the_runs_that_the_judge_rates_unlike_people(compared):
    unlike = compared.judge_check("grader").frame()
    assert unlike["id"].nunique() == len(unlike) == 12
    assert (unlike["quality"] != unlike["metric.grader"]).all()
    assert set(unlike["case_id"]) <= set(compared.frame()["case_id"])


UNCHECKED = "The judge grader was not checked: 3 cases that it judged are rated, 30 are needed"


unchecked = shared(CASES[:12], rated=lambda text: text.startswith("pp 1"))


def test_an_unchecked_judge_is_named_wherever_its_figures_are(unchecked):
    assert unchecked.judge_check().problem == UNCHECKED
    texts = [str(unchecked), unchecked.to_html(), unchecked.to_junit(), html_of(unchecked)]
    texts += [unchecked.to_markdown(), str(unchecked.view().table.get_state("_head"))]
    assert all(UNCHECKED in text for text in texts)


def test_few_ratings_correct_nothing(unchecked):
    row = unchecked.summary(columns="all").iloc[1]
    assert (row["metric.grader.check"], row["metric.grader.corrected_n"]) == (UNCHECKED, 3)
    assert math.isnan(row["metric.grader.corrected"])
    assert math.isnan(row["metric.grader.corrected_delta_low"])


def test_a_gate_warns_of_an_unchecked_judge(unchecked):
    with pytest.warns(UserWarning, match=re.escape(UNCHECKED)):
        unchecked.assert_no_regressions(alpha=None)


def test_a_gate_that_requires_a_checked_judge_fails_without_the_check(unchecked):
    with pytest.raises(RegressionError, match="was not checked") as raised:
        unchecked.assert_no_regressions(require_checked_judge=True)
    assert raised.value.reasons == (f"v2 by grader: {UNCHECKED}",)
    for options in ({"margin": 0.05}, {"alpha": None}):
        text = unchecked.to_junit(**options, require_checked_judge=True)
        assert f'<failure message="{UNCHECKED}' in text


def test_gate_with_a_margin_names_the_judge_before_the_decision(ws):
    cases = [{"text": f"{kind} {at}"} for kind in ("pp", "ff") for at in range(40)]
    cmp = judged(ws, cases, rated=lambda text: text in {"pp 1", "pp 2", "ff 3"})
    with pytest.raises(RegressionError) as raised:
        cmp.assert_not_worse(require_checked_judge=True)
    head, judge, decision = str(raised.value).splitlines()
    assert head.endswith("v2 did not pass against v1, 80 cases:")
    assert judge == f"  {UNCHECKED}"
    assert decision.startswith("  Otherwise, v2 may replace v1: no difference larger than 0.05")
    assert raised.value.reasons == (UNCHECKED, decision.strip())
    with pytest.warns(UserWarning, match=UNCHECKED):
        cmp.assert_not_worse()


def test_inputs_of_a_judge_are_a_mapping_or_a_function(ws):
    with pytest.raises(InputError, match=r"inputs must be a mapping, such as .*, not 'output.out'"):
        ws.judge("grader", inputs="output.out")


@pytest.mark.parametrize("by", [3, None, ["length", 3]])
def test_columns_of_a_bias_are_texts(compared, by):
    with pytest.raises(InputError, match="by must be a"):
        compared.judge_check().bias(by)


def test_specificity_without_a_failing_rating_has_not_enough_data(unchecked):
    assert "not enough data (n = 0)" in unchecked.judge_check().line


def test_a_checked_judge_passes(ws):
    right = judged(ws, CLEAR)
    assert right.judge_check().problem == ""
    right.assert_no_regressions(require_checked_judge=True)
    assert right.summary()["metric.grader.check"].str.startswith("judge grader against").all()


HALF = [{"text": f"{kind} {at}"} for kind in ("pp", "fp", "pf", "ff") for at in range(10)]
wrong = shared(HALF, tags=["v1"])
"""A comparison by a judge that is right about half of 40 cases."""


def test_a_judge_that_agrees_too_little_does_not_pass(wrong):
    assert "kappa 0" in wrong.judge_check().problem


def test_kappa_of_a_judge_has_an_interval(wrong):
    kappa = wrong.judge_check().kappa
    assert kappa.n == 40
    assert kappa.low < kappa.mean < kappa.high


def test_a_check_uses_the_ratings_of_the_compared_cases(ws):
    judge = judged(ws, HALF).metrics
    some = ws.compare("said", release_tags=["v1", "v2"], metrics=judge, cases=HALF[10:30])
    assert some.judge_check().n == 20


def test_runs_of_a_case_count_as_one_case(ws):
    kinds = {"pp": 17, "pf": 3, "fp": 2, "ff": 10}
    cases = [{"text": f"{kind} {at}"} for kind, many in kinds.items() for at in range(many)]
    once = judged(ws, cases, tags=["v1"]).judge_check()
    repeated = judged(ws, cases, tags=["v1", "v2"]).judge_check()
    assert repeated.confusion.to_numpy().sum() > 2 * once.confusion.to_numpy().sum()
    for name, figure in repeated.figures.items():
        alone = once.figures[name]
        assert (figure.mean, figure.n) == (pytest.approx(alone.mean), alone.n), name
        assert (figure.low, figure.high) == pytest.approx((alone.low, alone.high)), name


def test_many_runs_of_few_cases_do_not_check_a_judge(ws):
    cases = [{"text": f"{kind} {at}"} for kind in ("pp", "ff") for at in range(3)]
    for _ in range(5):
        check = judged(ws, cases).judge_check()
    assert ws.history.count(deployment="said") == 60
    assert check.problem.endswith("6 cases that it judged are rated, 30 are needed")


def lengthy(kind, at, length):
    labels = {"label.segment": "ab"[at % 2], "label.number": at}
    return {"text": f"{kind} {at} ".ljust(length, "x"), **labels}


LENGTHS = [100 + at * 37 % 60 * 30 for at in range(60)]
biased = shared(
    [
        lengthy(f"{'ppf'[at % 3]}{'fp'[length > 1000]}", at, length)
        for at, length in enumerate(LENGTHS)
    ]
)
"""A comparison by a judge that passes long answers only; people pass two of three."""


def test_bias_of_a_judge_towards_long_answers_is_found(biased):
    by = ["length", "label.segment", "release"]
    found = biased.judge_check().bias(by).set_index("by")
    assert found.index.tolist() == by
    assert found["finding"].tolist() == ["too high", "undecided", "undecided"]
    assert found["value"].tolist() == ["100 tokens", "b", "v2"]
    assert found["n"].tolist() == [60, 60, 60]
    slope = found.loc["length", ["low", "effect", "high"]].astype(float).tolist()
    assert slope == sorted(slope)
    assert 0.15 < slope[1] < 0.35
    assert found.loc["length", "p"] < 0.001


def test_bias_of_a_judge_against_a_segment_is_found(ws):
    kinds = [f"{'ppf'[at % 3]}{'pf'[at % 3 == 2 or at % 4 == 1]}" for at in range(60)]
    cases = [lengthy(kind, at, 50 + at * 37 % 60) for at, kind in enumerate(kinds)]
    found = judged(ws, cases, tags=["v1"]).judge_check().bias("label.segment").iloc[0]
    assert (found["value"], found["finding"]) == ("b", "too low")
    assert found["effect"] == pytest.approx(-1 / 3, abs=0.05)


def test_bias_needs_enough_cases_of_each_value(biased):
    rare = biased.judge_check().bias("label.number")
    assert (rare["finding"].tolist(), rare["n"].tolist()) == (["missing"], [0])
    assert rare[["effect", "p"]].isna().all(axis=None)


def test_bias_by_an_unknown_column_lists_the_columns(biased):
    available = "available: length, release, label.segment, label.number, input.text"
    with pytest.raises(InputError, match=f"'label.region' is not a column .*{available}"):
        biased.judge_check().bias(["length", "label.region"])


def test_raters_have_no_bias(biased):
    with pytest.raises(InputError, match=re.escape("cmp.judge_check().bias")):
        biased.rater_check().bias()


def test_an_error_that_depends_on_the_rating_alone_is_no_bias(ws):
    """People pass long answers only; the judge passes everything, so it errs on short ones."""
    lengths = [100 + at * 20 for at in range(60)]
    cases = [lengthy("fp"[size > 700] + "p", at, size) for at, size in enumerate(lengths)]
    found = judged(ws, cases, tags=["v1"]).judge_check().bias("length")
    assert found["finding"].tolist() == ["missing"]


CLEAR = [{"text": f"{kind} {at}"} for kind in ("pp", "ff") for at in range(15)]
scaled = shared(CLEAR, tags=["v1"], name="points", threshold=0.0)  # which every answer passes


def test_a_threshold_that_passes_every_answer_is_a_problem(scaled):
    problem = scaled.judge_check().problem
    assert "kappa 0" in problem
    assert "all get the same verdict: is threshold=0.0 right?" in problem


def test_the_check_of_an_unknown_judge_names_the_judges(scaled):
    with pytest.raises(InputError, match="no judge 'quality'; available: points"):
        scaled.judge_check("quality")


@pytest.mark.parametrize("repeats", [0, True, 1.5])
def test_repeats_of_a_judge_are_a_positive_whole_number(ws, repeats):
    with pytest.raises(InputError, match="repeats"):
        ws.judge("grader", repeats=repeats)


def test_ratings_of_some_correct_the_mean_and_the_difference(ws):
    """Of each text the first two letters are v1's verdicts, the next two those of v2."""
    kinds = {"pppp": 30, "ppff": 9, "fppp": 14, "fpff": 8, "ppfp": 11, "ffpf": 10}
    cases = [{"text": f"{kind} {at}"} for kind, many in kinds.items() for at in range(many)]
    texts = [case["text"] for case in cases]
    rated = np.array([int(text[5:]) % 3 == 0 for text in texts])
    runs = []
    for text, is_rated in zip(texts, rated, strict=True):
        for tag, output in (("v1", text[:2]), ("v2", text[2:4])):
            fields = {
                "deployment": "pair",
                "quality": float(output[0] == "p") if is_rated else None,
            }
            runs.append(later_run(tag, {"text": text}, {"output": output}, **fields))
    ws.history.merge(runs)
    judge = ws.judge("grader", inputs={"text": "output.output"})
    summary = (
        ws.compare("pair", metrics=judge, progress=False)
        .summary(columns="all")
        .set_index("release")
    )
    letters = np.array([[each == "p" for each in text[:4]] for text in texts]).astype(float)
    people, verdicts = letters[:, [0, 2]], letters[:, [1, 3]]
    row, half = summary.loc["v2"], math.sqrt(0.5)
    for name, column, ends in (
        ("metric.grader.corrected", [0, 1], [0, 1]),
        ("metric.grader.corrected_delta", [-1, 1], [-half, half]),
    ):
        known, judged = people @ column, verdicts @ column
        sides = known[rated], judged[rated], judged[~rated]
        assert row[f"{name}_n"] == rated.sum()
        assert row[name] == pytest.approx(ppi_py.ppi_mean_pointestimate(*sides).item(), abs=1e-6)
        more = np.append(sides[0], ends), np.append(sides[1], [judged.mean()] * 2), sides[2]
        low, high = ppi_py.ppi_mean_ci(*more, alpha=0.05)  # with two cases more
        assert row[f"{name}_low"] == pytest.approx(low.item(), abs=1e-6)
        assert row[f"{name}_high"] == pytest.approx(high.item(), abs=1e-6)
        assert row[f"{name}_low"] < known.mean() < row[f"{name}_high"]
    assert row["metric.grader"] == verdicts[:, 1].mean()
    assert row["metric.grader.corrected_delta"] != row["metric.grader.delta"]
    assert math.isnan(summary.loc["v1", "metric.grader.corrected_delta"])  # of the baseline
    names = [each for each in summary if each.startswith("metric.")]
    ends = [f"{name}{end}" for end in ("", "_low", "_high", "_n")]
    assert names[-8:] == [each.replace("_delta", "") for each in ends] + ends


def test_check_of_one_rater_has_not_enough_data(ws):
    check = rated_by(ws, {"ann": [1, 0]})
    assert (check.n, check.frame().empty) == (0, True)
    nothing = "not enough data (n = 0)"
    assert check.line == f"{check.title}: agreement {nothing} · alpha {nothing}"
    assert check.title == "no run with ratings of two authors"


def test_names_of_raters_are_text_in_a_repr(ws):
    assert "\x1b" not in repr(rated_by(ws, {"\x1b[31m": [1, 0]}))


def test_a_judge_of_no_runs_is_not_checked(ws):
    metric = ws.judge("grader")
    empty = compare_runs([], deployment="echo", release_tags=["v1", "v2"], metrics=metric)
    assert empty.summary(columns="all")["metric.grader.corrected_n"].tolist() == [0, 0]
    assert empty.judge_check().problem.startswith("The judge grader was not checked: 0 cases")
    assert empty.judge_check().frame().empty


def test_ratings_that_are_given_blind_or_in_the_grid_count_too(ws, server):
    server.deploy(lambda text: text.upper(), name="echo", release_tags=["v3"])
    tags = ["v1", "v3"]
    ws.sweep("echo", CASES[:2], release_tags=tags, progress=False)
    judge = ws.judge("grader", inputs={"text": "input.text"})
    compared = ws.compare("echo", release_tags=tags, metrics=judge)
    view = compared.view()
    view.rate(view.comparison.cases[0], "v1", 1.0)
    assert view.wait(120)
    session = compared.blind()
    session.rate("A")
    session.finish()
    session.send(lambda run, quality, metadata: ws.rate(run, quality=quality, metadata=metadata))
    check = ws.compare("echo", release_tags=tags, metrics=judge).judge_check()
    rated = [run for run in ws.history.runs(deployment="echo") if run.quality is not None]
    assert len(rated) >= 2  # a pair blind, and one in the grid, which may be of it
    assert check.n == len({run.case_id for run in rated})


@pytest.fixture
def repeated(ws, name):
    """Run five cases; return options to compare them by a judge with three repeats."""
    cases = [{"text": f"pp {at}"} for at in range(5)]
    ws.sweep("echo", cases, release_tags=["v1"], progress=False)
    judge = ws.judge(name, inputs={"text": "input.text"}, repeats=3)
    return {"release_tags": ["v1"], "metrics": judge, "progress": False}


@pytest.fixture
def limited(ws, repeated):
    """Compare by two judges until seven calls were made."""
    both = [repeated["metrics"], ws.judge("grader", inputs={"text": "input.text"})]
    return ws.compare("echo", **repeated | {"metrics": both}, max_calls=7)


of_each_judge = pytest.mark.parametrize("name", ["moody", "points"])


@of_each_judge
def test_repeats_of_a_judge_are_planned(ws, repeated):
    plan = ws.compare("echo", **repeated, dry_run=True)
    assert (plan.calls, plan.known) == (15, 0)


@of_each_judge
def test_max_calls_limits_the_repeats_of_all_judges(ws, limited, name):
    assert len(ws.history.runs(deployment=[name, "grader"])) == 7
    messages = limited.errors()["message"]
    assert messages.str.contains("of 3 times: its sweep stopped|not called").any()


@of_each_judge
@pytest.mark.usefixtures("limited")
def test_repeats_of_a_judge_are_resumed(ws, name, repeated):
    plan = ws.compare("echo", **repeated, dry_run=True)
    assert (plan.calls, plan.known) == (8, 7)
    assert ws.compare("echo", **repeated).errors().empty
    assert len(ws.history.runs(deployment=name)) == 15


@of_each_judge
def test_repeats_of_a_judge_are_made_once(ws, name, repeated):
    for _ in range(2):
        ws.compare("echo", **repeated)
    assert len(ws.history.runs(deployment=name)) == 15


@pytest.mark.parametrize("name", ["moody", "points"])
def test_repeats_of_a_judge_show_its_noise(ws, name):
    cases = [{"text": f"pp {number}"} for number in range(5)]
    judge = ws.judge(name, inputs={"text": "input.text"}, repeats=3)
    ws.sweep("echo", cases, release_tags=["v1"], progress=False)
    compared = ws.compare("echo", release_tags=["v1"], metrics=judge, progress=False)
    row = compared.summary(columns="all").iloc[0]
    verdicts = {}
    for run in ws.history.runs(deployment=name):
        verdicts.setdefault(run.inputs["text"], []).append(float(run.outputs["output"]))
    unlike = sum(a != b for a, b, c in verdicts.values() for a, b in ((a, b), (b, c), (a, c)))
    assert row[f"metric.{name}.judge_noise_pct"] == pytest.approx(100 * unlike / 15)
    assert row[f"metric.{name}.judge_noise_n"] == 5
    assert f"Verdicts of the judge {name} differ on one answer:" in str(compared)
    assert "of pairs, 5 answers" in str(compared)
    means = [np.mean(each) for each in verdicts.values()]
    figures = [mean > 0.5 for mean in means] if name == "moody" else means
    assert row[f"metric.{name}"] == pytest.approx(np.mean(figures))


def test_a_verdict_that_failed_is_asked_again_by_the_next_comparison(ws, server):
    calls = []

    def flaky(text: str) -> bool:
        calls.append(text)
        if len(calls) == 2:
            raise ValueError("busy")
        return True

    server.deploy(flaky, name="flaky")
    ws.run("echo", {"text": "pp"}, release_tag="v1")
    judge = ws.judge("flaky", inputs={"text": "input.text"}, repeats=3)
    options = {"release_tags": ["v1"], "metrics": judge, "progress": False}
    assert "flaky ended REJECTED: " in ws.compare("echo", **options).errors()["message"].item()
    assert ws.compare("echo", **options).errors().empty
    assert len(calls) == 4


PROGRAM = """
import sys, vellum_nb as vnb
url, key, path = sys.argv[1:]
with vnb.connect(url, api_key=key, history=path) as ws:
    judge = ws.judge("slow", inputs={"text": "input.text"}, repeats=3)
    ws.compare("echo", metrics=judge, progress=False)
"""


@pytest.mark.slow
def test_no_answer_of_a_judge_is_paid_twice_after_a_kill(server, tmp_path, forks):
    calls, go_on = [], threading.Event()

    def slow(text):
        calls.append(text)
        return len(calls) <= 8 or go_on.wait(60)

    server.deploy(lambda text: text, name="echo", release_tags=["v1"])
    server.deploy(slow, name="slow")
    cases, path = [{"text": f"case {at}"} for at in range(8)], tmp_path / "runs.db"
    with vnb.connect(server, history=path) as ws:
        ws.sweep("echo", cases, release_tags=["v1"], progress=False)
        with forks.code(PROGRAM, server.url, server.api_key, path) as process:
            before = 0
            while len(calls) <= 8 or len(calls) > before:  # until all others are under way
                assert process.is_alive
                before = len(calls)
                time.sleep(0.5)
        go_on.set()
        assert "STARTED" in {run.state for run in ws.history.runs(deployment="slow")}
        judge = ws.judge("slow", inputs={"text": "input.text"}, repeats=3)
        compared = ws.compare("echo", metrics=judge, progress=False)
        assert compared.errors().empty
        assert compared.summary(columns="all")["metric.slow.judge_noise_n"].tolist() == [8]
        states = Counter(run.state for run in ws.history.runs(deployment="slow"))
    # The server cancels calls whose client is gone; others are looked up, and not sent again.
    assert (states["FULFILLED"], states.total()) == (24, len(calls))


def test_verdict_that_is_no_figure_is_an_error_of_the_judge(ws, server):
    figures = {"n": "NaN", "h": 1e308, "x": "good", "o": None}
    server.deploy(lambda text: {"score": figures[text]}, name="odd")
    compared = judged(ws, [{"text": each} for each in figures], name="odd", repeats=2)
    messages = {each.removeprefix("score of odd: ") for each in compared.errors()["message"]}
    assert messages == {
        "nan is not a finite number",
        "1e+308 is too large to compare",
        "the text 'good' is neither a bool nor a number",
        "it is None, no figure",
    }
    assert np.isnan(compared.summary(columns="all")["metric.odd.judge_noise_pct"]).all()


@pytest.fixture
def rated(ws):
    """Return a run that two people rated, one of them twice."""
    run = ws.run("echo", {"text": "pp"}, release_tag="v1")
    ws.history.annotate(run.id, tags=["urgent"])
    ws.rate(run, quality=0.25, author="ann")
    ws.rate(run, quality=1, author="joann")
    return ws.rate(run, quality=0, author="ann")


def test_a_rating_without_an_author_is_not_among_the_ratings(ws):
    run = ws.run("echo", {"text": "pp"}, release_tag="v1")
    assert ws.rate(run, quality=0.5).ratings == {}


def test_the_latest_rating_of_an_author_counts(rated):
    assert (rated.ratings, rated.quality) == ({"joann": 1.0, "ann": 0.0}, 0.0)
    assert rated.tags == ("urgent", "rating@joann:1", "rating@ann:0")


def test_an_author_takes_a_rating_back(ws, rated):
    ws.history.annotate(rated.id, quality=None, author="ann")
    assert ws.history.get(rated.id).ratings == {"joann": 1.0}


def test_a_rating_of_the_user_is_merged(ws, rated, monkeypatch):
    monkeypatch.setenv("VELLUM_NB_AUTHOR", "kim")
    with vnb.History(":memory:") as other:
        other.merge(ws.history)
        other.annotate(rated.id, quality=0.75)
        ws.history.merge(other)
    assert ws.history.get(rated.id).ratings == {"joann": 1.0, "ann": 0.0, "kim": 0.75}


def rated_by(ws, ratings):
    """Rate one run a column by the authors of `ratings`; None: not rated."""
    cases = [{"text": f"pp {at}"} for at in range(len(next(iter(ratings.values()))))]
    runs = ws.sweep("echo", cases, release_tags=["v1"], progress=False).runs()
    runs.sort(key=lambda run: int(run.inputs["text"][3:]))
    for author, values in ratings.items():
        for run, value in zip(runs, values, strict=True):
            if value is not None:
                ws.history.annotate(run.id, quality=value, author=author)
    return ws.compare("echo", release_tags=["v1"], metrics="quality").rater_check()


ANN = [1, 1, 1, 0, 0, 1, 0.75, 0.25, 1, 0] * 2 + [None]
BOB = [1, 0, 1, 0, 0, 1, 0.5, 0.5, 1, 1] * 2 + [1]
EVE = [0, 1, 1, 0, None, 1, 0, 0, 1, 1] * 2 + [None]


def test_two_raters_have_a_kappa(ws):
    rated_by(ws, {"ann": ANN, "bob": BOB})
    check = rated_by(ws, {"ann": ANN[:7] + [None] * 14})  # again, and so after Bob
    assert check.confusion.to_numpy().tolist() == [[10, 2], [4, 4]]
    passes = [[each >= 0.5 for each in own if each is not None] for own in (ANN, BOB)]
    assert check.kappa.mean == pytest.approx(cohen_kappa_score(passes[0], passes[1][:20]), abs=1e-6)
    assert check.n == check.kappa.n == 20
    assert (check.agreement.mean, check.title) == (0.7, "raters ann, bob")


def test_frame_of_raters_has_the_runs_that_they_rate_differently(ws):
    check = rated_by(ws, {"ann": ANN, "bob": BOB})
    ratings = sorted(check.frame()[["quality@ann", "quality@bob"]].to_numpy().tolist())
    assert ratings == sorted([[0, 1], [0.25, 0.5], [1, 0]] * 2)


def test_three_raters_have_an_alpha(ws):
    check = rated_by(ws, {"ann": ANN, "bob": BOB, "eve": EVE})
    data = [[np.nan if each is None else each >= 0.5 for each in own] for own in (ANN, BOB, EVE)]
    peer = krippendorff.alpha(np.array(data, dtype=float), level_of_measurement="nominal")
    assert check.alpha.mean == pytest.approx(peer, abs=1e-6)
    assert check.kappa is None
    assert check.alpha.low < check.alpha.mean < check.alpha.high

"""Duels of recorded answers, judged by workflows of a real local server or blind by people.

A reply ends with a number, and the fair judge prefers the larger one.
"""

import math
from collections import Counter
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from runs_kit import html_of, later_run
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

import vellum_nb as vnb
from vellum_nb.comparison.statistics import sequential_test
from vellum_nb.errors import InputError
from vellum_nb.models import case_id

TAGS = ("v1", "v2", "v3")
POINTS = {"v1": lambda n: n % 3, "v2": lambda n: n * 2 % 5, "v3": lambda n: n * 7 % 11}
PAIRS = tuple(combinations(TAGS, 2))


def cases_of(word, numbers=range(24)):
    """Return cases whose answers no other test lets judge, if `word` is new."""
    return [{"text": f"{word} {n}", "topic": f"topic {n % 8}"} for n in numbers]


CASES = cases_of("case")


def last(text):
    return int(text.rsplit(maxsplit=1)[-1])


def fair(a: str, b: str) -> dict:
    """Prefer the larger number."""
    first, second = last(a), last(b)
    return {"winner": "tie" if first == second else "first" if first > second else "B", "why": ""}


def lazy(a: str, b: str) -> str:
    return "first"


def moody(a: str, b: str) -> str:
    """Find no winner, in one case of three a word that is none, and in one fail."""
    number = last(a.split(":", maxsplit=1)[0])
    if number % 3 == 0:
        raise vnb.Reject("no opinion")
    return ["the first one, clearly", "<b>second</b>"][number % 2]


@pytest.fixture(scope="module")
def arena():
    with vnb.LocalServer() as server:
        for function in (fair, lazy, moody):
            server.deploy(function, name=function.__name__)
        yield server


@pytest.fixture(scope="module")
def ws(arena):
    """Return a workspace whose judgements all tests share."""
    with vnb.connect(arena, history=":memory:") as made:
        yield made


@pytest.fixture
def own(arena):
    """Return a workspace without judgements."""
    with vnb.connect(arena, history=":memory:") as made:
        yield made


def answer(tag, inputs):
    """Return the run of a case; v3 rejects those that are to be refused."""
    text = inputs["text"]
    known = {"deployment": "say", "id": f"{tag} {text}", "release_id": tag}
    if text.startswith("refused") and tag == "v3":
        return later_run(tag, inputs, {}, state="REJECTED", **known)
    return later_run(tag, inputs, {"reply": f"{text}: {POINTS[tag](last(text))}"}, **known)


def compared(ws, cases=CASES, tags=TAGS, **options):
    """Compare cases, whose runs are recorded if they are not yet."""
    recorded = {run.id for run in ws.history.runs(deployment="say")}
    runs = [answer(tag, inputs) for inputs in cases for tag in tags]
    ws.history.merge([run for run in runs if run.id not in recorded])
    ids = [case_id(inputs) for inputs in cases]
    return ws.compare("say", release_tags=list(tags), cases=ids, **options)


def judge(ws, name="fair"):
    return ws.duel_judge(name, inputs={"a": "first.reply", "b": "second.reply"})


def duels(ws, name="fair", cases=CASES):
    return compared(ws, cases).duels(judge(ws, name), progress=False)


def outcomes(first, second, cases=CASES):
    """Return the numbers of wins, losses and ties of `second`."""
    numbers = [last(case["text"]) for case in cases]
    signs = Counter(np.sign(POINTS[second](n) - POINTS[first](n)) for n in numbers)
    return signs[1], signs[-1], signs[0]


def test_each_pair_of_releases_has_its_wins_ties_and_losses(ws):
    rows = duels(ws).summary().itertuples()
    counts = {(row.first, row.second): (row.wins, row.losses, row.ties) for row in rows}
    assert counts == {pair: outcomes(*pair) for pair in PAIRS}


def test_interval_and_p_of_duels_are_those_of_peers(ws):
    summary = duels(ws).summary()
    raw = []
    for row in summary.to_dict("records"):
        wins, number = row["wins"], row["wins"] + row["losses"]
        raw.append(binomtest(wins, number).pvalue)
        ends = proportion_confint(wins, number, method="beta")
        assert (row["win_rate.low"], row["win_rate.high"]) == pytest.approx(ends, abs=1e-9)
    assert summary["p"].tolist() == pytest.approx(multipletests(raw, method="holm")[1].tolist())
    assert summary["winner"].tolist() == ["v2", "v3", "v3"]


def test_every_duel_is_judged_in_both_orders_and_recorded_once(own):
    cases = cases_of("recorded", range(6))
    cmp = compared(own, cases)
    made = cmp.duels(judge(own), progress=False)
    asked = [(run.inputs["a"], run.inputs["b"]) for run in own.history.runs(deployment="fair")]
    assert len(asked) == len(set(asked))
    assert {(b, a) for a, b in asked} == set(asked)
    replies = [[answer(tag, case).outputs["reply"] for tag in TAGS] for case in cases]
    assert set(asked) == {pair for three in replies for pair in permutations(set(three), 2)}
    assert cmp.duels(judge(own), progress=False).summary().equals(made.summary())
    assert own.history.count(deployment="fair") == len(asked)


def test_equal_answers_are_ties_without_a_call(ws):
    made = duels(ws)
    same = made.frame().query("kind == 'same'")
    assert len(same) == sum(outcomes(*pair)[2] for pair in PAIRS)
    assert set(same["winner"]) == {"tie"}


def test_a_judge_that_always_says_first_has_no_winner_and_is_biased(ws):
    made = duels(ws, "lazy", CASES[:8])
    summary = made.summary()
    assert not summary[["wins", "losses"]].to_numpy().any()
    assert summary["winner"].isna().all()
    assert summary["order"].sum() == (made.frame()["kind"] == "order").sum() > 15
    assert made.bias.startswith("The judge lazy is biased: its verdict depends on the order")
    assert "prefers the answer shown first" in str(made)
    assert [e.mean for e in made.ranking().abilities.values()] == pytest.approx([0, 0, 0])


def test_a_fair_judge_has_no_bias(ws):
    assert duels(ws).bias == ""


def test_words_that_are_no_winner_and_lost_judgements_are_counted_and_no_wins(ws):
    made = duels(ws, "moody", CASES[:9])
    frame = made.frame()
    assert set(frame["kind"]) == {"failed", "same"}
    problems = " ".join(frame["problem"])
    assert "is not a winner; available: first, second, tie" in problems
    assert "the judge moody ended REJECTED" in problems
    assert made.summary()["failed"].sum() == (frame["kind"] == "failed").sum()
    assert "without a verdict: " in str(made)
    assert "<b>" not in html_of(made)


def test_a_lost_answer_loses_the_duel(ws):
    cases = [*CASES, *cases_of("refused", range(7))]
    cmp = compared(ws, cases)
    row = cmp.duels(judge(ws), progress=False).summary().iloc[1]
    wins, losses, ties = outcomes("v1", "v3")
    assert (row["wins"], row["losses"], row["ties"], row["lost"]) == (wins, losses + 7, ties, 7)


def test_lost_answers_are_left_out_if_they_are_dropped(ws):
    cases = [*CASES, *cases_of("refused", range(7))]
    row = compared(ws, cases, missing="drop").duels(judge(ws), progress=False).summary().iloc[1]
    assert (row["losses"], row["lost"], row["failed"]) == (outcomes("v1", "v3")[1], 0, 7)


def test_calls_of_duels_are_planned_and_limited(own):
    cmp = compared(own, cases_of("limited", range(9)))
    needed = cmp.duels(judge(own), dry_run=True).calls
    made = cmp.duels(judge(own), max_calls=31, progress=False)
    assert own.history.count(deployment="fair") == 30
    assert (made.frame()["kind"] == "judged").sum() >= 15  # two duels can share their calls
    fixed = "intervals are for a fixed number of cases"
    assert f"duels not judged; p is valid at any time, {fixed}" in str(made)
    assert f"duels not judged; {fixed}" in str(made.ranking())
    assert cmp.duels(judge(own), dry_run=True).calls == needed - 30
    assert cmp.duels(judge(own), max_calls=0, progress=False).summary()["open"].sum() > 0
    assert own.history.count(deployment="fair") == 30


def test_limited_calls_judge_pairs_that_are_not_decided_first(own):
    # v1 always has 1 point, and v3 more
    numbers = [n for n in range(1, 181, 3) if POINTS["v3"](n) > 1]
    cmp = compared(own, cases_of("some", numbers))
    made = cmp.duels(judge(own), max_calls=144, progress=False)
    judged = made.frame().query("kind == 'judged'").groupby(["first", "second"]).size()
    assert judged["v1", "v2"] > judged["v1", "v3"]


def fitted(made):
    """Return the abilities by a log-linear model of the counts, each with 0.1 more."""
    rows, values = [], []
    for at, row in enumerate(made.summary().to_dict("records")):
        a, b = TAGS.index(row["first"]), TAGS.index(row["second"])
        pair, unit = np.eye(3)[at], np.eye(3)
        for name, of, tie in (("losses", unit[a], 0), ("wins", unit[b], 0), ("ties", None, 1)):
            abilities = (unit[a] + unit[b]) / 2 if of is None else of
            rows.append([*pair, *abilities[1:], tie])
            values.append(row[name] + 0.1)
    model = sm.GLM(np.array(values), np.array(rows), family=sm.families.Poisson())
    abilities = np.array([0, *model.fit(tol=1e-12).params[3:5]])
    return dict(zip(TAGS, abilities - abilities.mean(), strict=True))


def test_a_ranking_is_that_of_a_peer(ws):
    made = duels(ws)
    ranking = made.ranking()
    means = {name: estimate.mean for name, estimate in ranking.abilities.items()}
    assert means == pytest.approx(fitted(made), abs=1e-6)
    assert list(means) == sorted(means, key=lambda name: -means[name])
    assert ranking.frame()["release"].tolist() == list(means)
    assert ranking.frame()["rank"].tolist() == [1, 2, 3]
    assert all(e.low < e.mean < e.high and e.n == len(CASES) for e in ranking.abilities.values())
    assert repr(ranking).startswith("<Ranking By fair: 1. v3 ")


def test_a_release_that_always_wins_has_a_finite_ability(ws):
    cases = [case for case in CASES if POINTS["v3"](last(case["text"])) > 2]
    made = compared(ws, cases, tags=("v1", "v3")).duels(judge(ws), progress=False)
    best = made.ranking().abilities["v3"]
    assert 0 < best.low < best.mean < best.high < 10


def test_fewer_than_six_cases_have_no_interval(ws):
    made = compared(ws, CASES[:5]).duels(judge(ws), progress=False)
    assert all(math.isnan(e.low) for e in made.ranking().abilities.values())


def test_releases_without_a_duel_cannot_be_ranked(ws):
    cmp = compared(ws, CASES[1:2])
    made = cmp.duels(judge(ws, "moody"), progress=False)
    with pytest.raises(InputError, match="no duel connects v1 with v2, v3: raise max_calls"):
        made.ranking()


def test_cases_of_a_cluster_count_once(ws):
    cmp = compared(ws, cluster="topic")
    made = cmp.duels(judge(ws), progress=False)
    assert made.summary()["win_rate.n"].max() <= 8
    assert {e.n for e in made.ranking().abilities.values()} == {8}


def test_a_ranking_has_a_chart(ws):
    picture = duels(ws).ranking().chart()
    rows = max(picture.chart.to_dict()["datasets"].values(), key=len)
    assert rows[0]["release"] == "v3"
    assert "ability by release" in picture.text


def rate_all(cmp, choose, pairs=PAIRS):
    """Rate blind; `choose` returns -1, 0 or 1 for two replies."""
    for pair in pairs:
        session = cmp.blind(pair)
        while session.current is not None:
            a, b = session.answers(session.current)
            choice = choose(a.outputs["reply"], b.outputs["reply"])
            session.rate({-1: "A", 0: "tie", 1: "B"}[choice])
        session.finish()


def larger(a, b):
    return int(np.sign(last(b) - last(a)))


def test_blind_ratings_of_people_give_the_same_duels_and_ranking(own):
    cmp = compared(own, cases_of("blind", range(9)))
    rate_all(cmp, larger)
    people, judged = cmp.duels(), cmp.duels(judge(own), progress=False)
    assert people.summary().equals(judged.summary())
    frames = (of.ranking().frame() for of in (people, judged))
    pd.testing.assert_frame_equal(*frames, rtol=1e-9)
    assert people.title == "people"


def test_only_blind_ratings_that_have_ended_count(own):
    cmp = compared(own, cases_of("ended", range(9)))
    cmp.blind(("v1", "v2")).rate("A")
    with pytest.raises(InputError, match="no blind rating of these releases that has ended"):
        cmp.duels()
    cmp.blind(("v1", "v2")).finish()
    (row,) = cmp.duels().summary().to_dict("records")
    assert (row["wins"] + row["losses"], row["open"] + row["same"]) == (1, 8)


def test_a_judge_of_duels_is_checked_against_people(own):
    cmp = compared(own, cases_of("checked", range(34)), tags=("v1", "v3"))
    unchecked = cmp.duels(judge(own), progress=False)
    assert "was not checked: 0 cases that it judged are rated" in str(unchecked)
    rate_all(cmp, lambda a, b: larger(a, b) * (-1 if "checked 3:" in a else 1), [("v1", "v3")])
    judged = cmp.duels(judge(own), progress=False)
    people = cmp.duels().frame().set_index("case_id")["winner"]
    verdicts = judged.frame().query("kind == 'judged'").set_index("case_id")["winner"]
    passes = [
        [of[case] == tag for case in verdicts.index for tag in ("v1", "v3")]
        for of in (people, verdicts)
    ]
    check = judged.check
    assert check.kappa.mean == pytest.approx(cohen_kappa_score(*passes), abs=1e-9)
    assert check.problem == ""
    assert 0.7 < check.kappa.mean < 1


def test_a_judge_of_duels_names_columns_that_exist(ws):
    wrong = ws.duel_judge("fair", inputs={"a": "first.rply", "b": "second.reply"})
    with pytest.raises(InputError, match=r"no answer has 'first.rply'; available: first.reply"):
        compared(ws).duels(wrong)
    with pytest.raises(InputError, match=r"second.<name>, expected.<name>, first_conv"):
        ws.duel_judge("fair", inputs={"a": "output.reply"})


def test_a_judge_of_duels_is_no_metric(ws):
    with pytest.raises(InputError, match="metrics"):
        compared(ws, metrics=judge(ws))


def test_duels_need_two_releases(ws):
    with pytest.raises(InputError, match="duels need cases on two releases; compared: v1"):
        compared(ws, tags=("v1",)).duels(judge(ws))


@pytest.fixture(scope="module")
def early(arena):
    """Return a comparison of a sweep that stopped early, and the ids of its cases as they ran."""
    for tag, point in (("old", 0), ("new", 1)):
        arena.deploy(lambda n, point=point: f"{n}: {point}", name="grow", release_tags=[tag])
    with vnb.connect(arena, history=":memory:") as made:
        cases = [{"n": n, "expected.output": f"{n}: {n > 0:d}"} for n in range(40)]
        options = {"release_tags": ["old", "new"], "stop_when": "decided", "concurrency": 1}
        sweep = made.sweep("grow", cases, progress=False, **options)
        turns = list(dict.fromkeys(run.case_id for run in reversed(sweep.runs())))
        assert 7 <= len(turns) < 40
        yield made, sweep.compare(), turns


def larger_output(session):
    while session.current is not None:
        a, b = (last(run.outputs["output"]) for run in session.answers(session.current))
        session.rate("A" if a > b else "B")
    session.finish()


@pytest.mark.parametrize("by_people", [False, True])
def test_duels_of_a_sweep_that_stopped_early_hold_at_any_time(early, by_people):
    ws, cmp, turns = early
    columns = {"a": "first.output", "b": "second.output"}
    if by_people:
        larger_output(cmp.blind())
        made = cmp.duels()
    else:
        made = cmp.duels(ws.duel_judge("fair", inputs=columns), progress=False)
    (row,) = made.summary().to_dict("records")
    assert (row["wins"], row["failed"]) == (len(turns), 40 - len(turns))
    assert row["p"] == pytest.approx(1 / sequential_test([1.0] * len(turns)).evidence)
    assert row["p"] > 2 * binomtest(len(turns), len(turns)).pvalue
    assert made.frame()["case_id"].tolist()[: len(turns)] == turns
    fixed = "intervals are for a fixed number of cases"
    assert f"the sweep stopped early; p is valid at any time, {fixed}" in str(made)
    assert f"the sweep stopped early; {fixed}" in str(made.ranking())


def test_cases_that_were_not_run_are_not_called_lost(early):
    ws, cmp, _ = early
    columns = {"a": "first.output", "b": "second.output"}
    made = cmp.duels(ws.duel_judge("fair", inputs=columns), progress=False)
    assert "duels without a verdict: not run on old and new" in str(made)


def test_a_case_that_was_run_on_one_release_names_the_other(own):
    cases = cases_of("half", range(9))
    own.history.merge([answer("v1", cases[0]), *(answer(t, c) for t in TAGS for c in cases[1:])])
    ids = [case_id(inputs) for inputs in cases]
    cmp = own.compare("say", release_tags=["v1", "v3"], cases=ids)
    assert "1 duel without a verdict: not run on v3." in str(cmp.duels(judge(own), progress=False))


@pytest.mark.parametrize(
    "inputs", [{}, {"a": "first.reply"}, {"a": "first.reply", "b": "input.text"}]
)
def test_a_judge_of_duels_reads_both_answers(ws, inputs):
    with pytest.raises(InputError, match=r"columns first.<name> and second.<name>, not "):
        ws.duel_judge("fair", inputs=inputs)


@pytest.mark.parametrize("option", ["output", "name", "release_tag"])
def test_names_of_a_judge_of_duels_are_texts(ws, option):
    with pytest.raises(InputError, match=f"{option} must be a text"):
        ws.duel_judge("fair", **{option: 3})


def test_duels_need_a_judge_of_duels(ws):
    for wrong in ("fair", 3, ws.judge("fair")):
        with pytest.raises(InputError, match=r"duel must be a judge of duels, made by ws\.duel_ju"):
            compared(ws).duels(wrong)


@pytest.mark.parametrize(
    "limit",
    [
        *({"max_calls": value} for value in ("x", -1, 1.5, True)),
        *({"max_cost_usd": value} for value in ("x", -1, math.nan, True)),
    ],
)
def test_limits_of_duels_are_checked_with_and_without_a_judge(ws, limit):
    for arguments in ([], [judge(ws)]):
        with pytest.raises(InputError, match=f"{next(iter(limit))} must be a "):
            compared(ws).duels(*arguments, **limit)


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        (lambda _: {}, "TypeError: .* takes 1 positional argument but 3 were given"),
        (lambda *_: "ab", "the result of inputs must be a mapping"),
        (lambda *runs: {"a": runs[0].outputs["rply"]}, "KeyError: 'rply'"),
    ],
)
def test_inputs_that_fail_for_every_duel_are_an_error_before_any_call(own, inputs, problem):
    with pytest.raises(InputError, match=f"the judge fair has no inputs for any duel: .*{problem}"):
        compared(own).duels(own.duel_judge("fair", inputs=inputs), progress=False)
    assert not own.history.count(deployment="fair")


def test_inputs_that_fail_for_some_duels_leave_these_without_a_verdict(own):
    def inputs(first, second, _):
        if last(first.inputs["text"]) == 0:
            raise LookupError("no question")
        return {"a": first.outputs["reply"], "b": second.outputs["reply"]}

    made = compared(own, CASES[:9]).duels(own.duel_judge("fair", inputs=inputs), progress=False)
    assert "3 duels without a verdict: LookupError: no question" in str(made)


def test_the_output_of_a_judge_of_duels_is_checked_before_any_call(own):
    columns = {"a": "first.reply", "b": "second.reply"}
    wrong = own.duel_judge("lazy", inputs=columns, output="nope")
    with pytest.raises(InputError, match="lazy has no output 'nope'; available: output"):
        compared(own).duels(wrong, progress=False)
    assert not own.history.count(deployment="lazy")

"""`ws.compare`, `sweep.compare` and judges, on real runs of a local server."""

from datetime import UTC, datetime
from functools import partial

import pytest
from runs_kit import html_of

import vellum_nb as vnb
from vellum_nb.comparison import compare_runs
from vellum_nb.errors import InputError
from vellum_nb.local import Faults


class Counting:
    """A workflow that judges, and knows how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def workflow(self, answer: str) -> dict[str, object]:
        self.calls += 1
        if "boom" in answer.lower():
            raise vnb.Reject("I do not judge this")
        return {"score": float(answer.isupper()), "why": "it is loud"}

    def half(self, answer: str) -> float:
        return len(answer) / 2


@pytest.fixture
def grader(server):
    counting = Counting()
    server.deploy(counting.workflow, name="grader")
    return counting


CASES = [{"text": text, "expected.loud": text.upper(), "who": "ann"} for text in "abcdefgh"]


@pytest.fixture
def judge(grader):
    return vnb.metrics.judge("grader", inputs={"answer": "output.loud"})


def swept(ws):
    return ws.sweep("shout", CASES, release_tags=["v1", "v2"], repeats=2, progress=False)


@pytest.fixture
def sweep(ws):
    return swept(ws)


def quiet(text: str) -> dict[str, object]:
    return {"loud": text}


def loud(text: str) -> dict[str, object]:
    return {"loud": text.upper()}


@pytest.fixture(scope="module")
def stored():
    """Return a workspace and its sweep, which no test changes."""
    with vnb.LocalServer() as server:
        server.deploy(quiet, name="shout", release_tags=["v1"])
        server.deploy(loud, name="shout", release_tags=["v2"])
        with vnb.connect(server, history=":memory:") as ws:
            yield ws, swept(ws)


def test_a_sweep_is_compared_by_the_share_of_what_its_cases_expect(stored):
    compared = stored[1].compare()
    assert repr(compared) == (
        "<Comparison of shout against v1, 8 cases: "
        "v2: 8 better · 0 worse · 0 same · p = 0.008 · noise floor 0 %>"
    )
    frame = compared.frame()
    assert frame["expected.loud"].tolist() == list("ABCDEFGH")
    assert frame["label.who"].tolist() == ["ann"] * 8
    assert frame["delta.score@v2"].tolist() == [1.0] * 8
    assert frame["answers@v1"].tolist() == [2] * 8
    assert compared.cases[0].checks("v1") == {"loud": False}
    assert compared.cases[0].checks("v2") == {"loud": True}
    assert compared.result("v2").verdict == "better"


def test_long_frame_of_a_sweep_has_a_row_per_repeat(stored):
    long = stored[1].compare().frame(rows="runs")
    assert long["repeat"].value_counts().to_dict() == {0: 16, 1: 16}
    assert long.groupby("release")["metric.score"].mean().to_dict() == {"v1": 0.0, "v2": 1.0}


def test_no_output_of_a_comparison_has_the_api_key(stored):
    ws, sweep = stored
    compared = sweep.compare()
    frames = (compared.frame(), compared.frame(rows="runs"), compared.summary(columns="all"))
    texts = [frame.to_csv() for frame in frames]
    assert all(
        ws.server.api_key not in text for text in [*texts, compared.to_html(), repr(compared)]
    )


def test_the_history_knows_what_sweeps_expected_of_a_case(stored):
    ws, sweep = stored
    compared = ws.compare("shout", release_tags=["v1", "v2"])
    assert compared.result("v2").better == 8
    assert repr(ws.compare("shout")) == repr(compared)
    assert repr(ws.compare("shout", sweep=sweep.id)) == repr(sweep.compare())
    assert repr(ws.compare("shout", sweep=sweep, baseline="v2")) == (
        "<Comparison of shout against v2, 8 cases: "
        "v1: 0 better · 8 worse · 0 same · p = 0.008 · noise floor 0 %>"
    )
    with pytest.raises(InputError, match="is not of refuse"):
        ws.compare("refuse", sweep=sweep)


def test_a_planned_case_that_was_not_run_is_missing(ws):
    sweep = ws.sweep(
        "shout", CASES, release_tags=["v1", "v2"], limits={"max_calls": 4}, progress=False
    )
    compared = sweep.compare()
    assert len(compared.cases) == 8
    assert compared.frame()["state@v2"].tolist().count("missing") >= 4
    summary = compared.summary().set_index("release")
    assert summary["n"].sum() == 4
    assert summary["missing"].sum() == 12
    assert (summary["cases"] == summary["n"] + summary["missing"] + summary["failed"]).all()
    assert compared.result("v2").missing >= 4


def test_cases_are_chosen_by_id_or_by_a_table_that_says_what_is_expected(stored):
    ws, sweep = stored
    ids = sweep.compare().frame()["case_id"].tolist()[:3]
    by_id = ws.compare("shout", release_tags=["v1", "v2"], cases=ids)
    assert by_id.frame()["case_id"].tolist() == ids
    table = [{"text": "a", "expected.loud": "a"}, {"text": "never run"}]
    by_table = ws.compare("shout", release_tags=["v1", "v2"], cases=table)
    assert by_table.frame()["input.text"].tolist() == ["a", "never run"]
    assert by_table.frame()["verdict@v2"].tolist() == ["worse", "missing"]
    with pytest.raises(InputError, match="'abc' is not a case_id"):
        ws.compare("shout", cases=["abc"])


def test_unknown_case_id_is_refused_with_some_that_exist(stored):
    ws, sweep = stored
    ids = sweep.compare().frame()["case_id"].tolist()
    with pytest.raises(InputError, match="'0{16}' is not the case_id of .* and 3 more") as caught:
        ws.compare("shout", cases=[ids[0], "0" * 16])
    assert sum(case_id in str(caught.value) for case_id in ids) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sweep": 5}, "sweep must be a Sweep, its id or None, not 5"),
        ({"metrics": 5}, "metrics must be a metric or a list of metrics, not 5"),
        ({"baseline": ["v1"]}, "baseline must be a text or None, not "),
        ({"release_tags": 5}, "release_tag"),
    ],
)
def test_compare_refuses_arguments_of_another_type(stored, options, message):
    with pytest.raises(vnb.VellumNBError, match=message):
        stored[0].compare("shout", **options)


@pytest.mark.parametrize(
    ("name", "tags", "message"),
    [
        ("gate", None, "the history has no runs of gate; run it first"),
        ("shuot", None, "no runs of shuot, .*no deployment 'shuot'.*shout"),
        ("shuot", ["v1", "v2"], "no runs of shuot, .*no deployment 'shuot'.*shout"),
        ("shout", ["v99"], "no runs of shout on v99; available: LATEST"),
        (
            "shout",
            ["LATEST", "v99"],
            "nothing was run on v99, .*no release tag 'v99'; available: ",
        ),
    ],
)
def test_what_was_never_run_is_reported_with_what_there_is(ws, name, tags, message):
    ws.run("shout", {"text": "a"})
    with pytest.raises(InputError, match=message):
        ws.compare(name, release_tags=tags)


def test_a_tag_that_nobody_ran_is_compared_where_the_deployment_has_it_or_is_out_of_reach(
    ws, server
):
    ws.run("shout", {"text": "a"}, release_tag="v1")
    assert ws.compare("shout", release_tags=["v1", "v2"]).summary()["missing"].tolist() == [0, 1]
    server.stop()
    assert ws.compare("shout", release_tags=["v1", "v9"]).summary()["missing"].tolist() == [0, 1]


def test_a_tag_whose_runs_are_older_is_compared_though_the_deployment_has_it_no_more(ws):
    ws.run("shout", {"text": "a"}, release_tag="v1")
    old = ws.history.runs()[0].model_copy(
        update={"id": "old", "external_id": None, "execution_id": None, "release_tag": "gone"}
    )
    ws.history.begin(old.model_copy(update={"timestamp": datetime(2020, 1, 1, tzinfo=UTC)}))
    compared = ws.compare("shout", release_tags=["v1", "gone"], since="2024-01-01")
    assert compared.summary()["missing"].tolist() == [0, 1]


def test_a_judge_is_asked_once_for_each_answer_for_good(ws, sweep, grader, judge):
    compared = ws.compare("shout", release_tags=["v1", "v2"], metrics=judge)
    assert grader.calls == 16  # 8 cases on 2 releases; repeats brought the same answers
    assert compared.result("v2").better == 8
    repr(compared), compared.summary(), compared.frame()
    again = sweep.compare(metrics=[judge])
    assert grader.calls == 16
    assert again.result("v2").line == compared.result("v2").line
    assert len(ws.history.runs(deployment="grader")) == 16
    ws.run("shout", {"text": "new"}, release_tag="v2")
    ws.compare("shout", release_tags=["v1", "v2"], metrics=judge)
    assert grader.calls == 17


def test_a_judgement_counts_for_the_release_that_made_it(ws, server, grader, judge):
    for tag in ("v1", "v2"):
        ws.run("shout", {"text": "a"}, release_tag=tag)
    compare = partial(ws.compare, "shout", metrics=judge, progress=False)
    assert compare().frame()["metric.grader@v2"].tolist() == [1.0]
    server.deploy(grader.half, name="grader", release_tags=["v2"])
    plan = compare(dry_run=True)
    assert repr(plan) == "<JudgePlan: 2 calls of grader on LATEST, 0 judgements in the history>"
    assert compare().frame()["metric.grader@v2"].tolist() == [0.5]
    on_v2 = vnb.metrics.judge("grader", inputs={"answer": "output.loud"}, release_tag="v2")
    assert ws.compare("shout", metrics=on_v2, dry_run=True).known == 2  # another tag of it
    server.faults = Faults(rate_500=1.0)
    assert compare(dry_run=True).known == 2  # of the newest release, as the tag cannot be read


def test_a_constructor_runs_no_judge(ws, sweep, grader):
    judge = ws.judge("grader", inputs={"answer": "output.loud"})
    runs = sweep.runs()
    compared = compare_runs(runs, deployment="shout", release_tags=["v1", "v2"], metrics=judge)
    compared.summary(), html_of(compared)
    assert grader.calls == 0
    assert set(compared.errors()["message"]) == {"the judge grader was not called"}
    with pytest.raises(InputError, match="needs a workspace to run 'grader'"):
        vnb.compare(sweep.frame(), metrics=vnb.metrics.judge("grader"))


def test_a_judge_that_refuses_marks_the_run_and_is_asked_again_next_time(ws, grader):
    for tag in ("v1", "v2"):
        for text in ("boom", "a"):
            ws.run("shout", {"text": text}, release_tag=tag)
    judge = ws.judge("grader", inputs=lambda run, _: {"answer": run.outputs["loud"]})
    compared = ws.compare("shout", metrics=judge)
    assert compared.frame()["verdict@v2"].tolist() == ["error", "better"]
    assert "I do not judge this" in compared.errors()["message"].tolist()[0]
    assert grader.calls == 4
    ws.compare("shout", metrics=judge)
    assert grader.calls == 6


def test_an_answer_that_the_judge_cannot_take_is_marked_and_the_others_are_judged(ws, grader):
    for text in ("a", "bb"):
        ws.run("shout", {"text": text}, release_tag="v2")

    def inputs_of(run, _):
        return {"answer": run.outputs["loud"] if len(run.inputs["text"]) == 1 else None}

    for _ in range(2):  # the second time, that one is the only one left
        compared = ws.compare("shout", metrics=ws.judge("grader", inputs=inputs_of))
        assert compared.frame()["metric.grader@v2"].tolist()[0] == 1.0
        assert "not run: answer: a value is required" in compared.errors()["message"][0]
    with pytest.raises(InputError, match="reply"):
        ws.compare("shout", metrics=ws.judge("grader", inputs={"reply": "output.loud"}))
    with pytest.raises(InputError, match="no answer has 'output.lod'; available: output.loud"):
        ws.compare("shout", metrics=ws.judge("grader", inputs={"answer": "output.lod"}))
    with pytest.raises(InputError, match="must be input.<name>, output.*, not 'loud'"):
        ws.judge("grader", inputs={"answer": "loud"})


def test_a_judge_of_the_workspace_serves_a_frame_too_and_keeps_limits(ws, sweep, grader):
    judge = ws.judge("grader", inputs={"answer": "output.loud"}, name="loudness")
    vnb.compare(sweep.frame(), metrics=judge, max_calls=3, progress=False)
    assert grader.calls == 3
    assert vnb.compare(sweep.frame(), metrics=judge).errors().empty


def test_a_judge_with_several_figures_asks_which(ws, sweep, server):
    server.deploy(lambda answer: {"a": len(answer), "b": 2}, name="two")
    compared = ws.compare("shout", metrics=ws.judge("two", inputs={"answer": "output.loud"}))
    assert "give output=...: a, b" in compared.errors()["message"].tolist()[0]
    metric = ws.judge("two", inputs={"answer": "output.loud"}, output="b")
    frame = ws.compare("shout", metrics=metric).frame()
    assert frame[f"metric.{metric.name}@v1"].tolist()[0] == 2.0


def test_a_rejected_case_is_worse_where_the_metric_finds_nothing_to_judge(ws, server):
    def sometimes(text: str) -> dict[str, str]:
        if text == "b":
            raise vnb.Reject("not b")
        return {"loud": text}

    server.deploy(sometimes, name="shout", release_tags=["v3"])
    for tag in ("v1", "v3"):
        for text in ("a", "b"):
            ws.run("shout", {"text": text}, release_tag=tag)
    found = ws.compare("shout", release_tags=["v1", "v3"], metrics=lambda r: r.outputs["loud"] > "")
    assert found.frame()["verdict@v3"].tolist() == ["same", "worse"]
    assert found.errors()["message"].tolist() == ["KeyError: 'loud'"]
    assert found.regressions()["input.text"].tolist() == ["b"]

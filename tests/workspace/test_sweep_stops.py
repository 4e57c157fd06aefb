"""A sweep that stops as soon as it is decided which release is better, and what it may claim."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from runs_kit import html_of, progress_of

import vellum_nb as vnb
from vellum_nb.errors import InputError
from vellum_nb.local import Faults

CASES = [{"n": number, "expected.x": number} for number in range(40)]
DECIDED = {"release_tags": ["old", "new"], "stop_when": "decided", "progress": False}
EQUAL = DECIDED | {"release_tags": ["old", "same"], "stop_when": vnb.StopWhen(margin=0.2)}


@pytest.fixture(scope="module")
def server():
    with vnb.LocalServer() as server:
        server.deploy(lambda n: {"x": 0 * n}, name="count", release_tags=["old"])
        server.deploy(lambda n: {"x": n}, name="count", release_tags=["new"])
        server.deploy(lambda n: {"x": 0 if n else n}, name="count", release_tags=["same"])
        server.deploy(lambda n: {"x": n if n % 2 else 0}, name="count", release_tags=["half"])
        server.deploy(lambda n: {"x": 0 if n % 2 else n}, name="count", release_tags=["other"])
        server.deploy(lambda n: {"x": n % 2}, name="count", release_tags=["odd"])
        server.deploy(lambda n: {"x": 1 // (1 - n % 2)}, name="count", release_tags=["crash"])
        server.deploy(lambda n: {"x": 1 // (n - n)}, name="count", release_tags=["down"])
        yield server


@pytest.fixture
def ws(server):
    with vnb.connect(server, history=":memory:") as ws:
        yield ws


def test_plan_names_the_metric_that_stops_the_sweep(ws):
    plan = ws.sweep("count", CASES, dry_run=True, **DECIDED)
    assert "the sweep stops once score decides" in plan.notes


@pytest.fixture(scope="module")
def decided(server):
    """Return a workspace with a sweep that stopped when it was decided, and the sweep."""
    with vnb.connect(server, history=":memory:") as ws:
        yield ws, ws.sweep("count", CASES, concurrency=2, **DECIDED)


def test_sweep_stops_when_it_is_decided(decided):
    _, sweep = decided
    now = progress_of(sweep)
    assert sweep.state == "stopped"
    # seven cases decide, and one of the forty is a tie
    assert now.reason.startswith(("decided by score after 7", "decided by score after 8"))
    assert 60 <= 80 - now.ended <= 66


def test_reason_of_a_decided_sweep_has_the_number_of_saved_calls(decided):
    ws, sweep = decided
    now = progress_of(sweep)
    assert now.reason.endswith(f" of 40 cases: new is better; {80 - now.ended} calls saved")
    assert now.reason in repr(sweep)
    assert ws.sweeps(deployment="count")["why"].tolist()[-1] == now.reason


def test_cases_of_a_sweep_that_may_stop_run_in_random_order(decided):
    ran = [run.inputs["n"] for run in decided[1].runs() if run.release_tag == "new"]
    assert sorted(ran) != list(range(len(ran)))


def test_decided_sweep_sends_nothing_when_it_is_called_again(decided):
    ws, sweep = decided
    ended = progress_of(sweep).ended
    again = ws.sweep("count", CASES, concurrency=2, **DECIDED)
    assert (again.id, progress_of(again).ended) == (sweep.id, ended)


def test_order_of_cases_depends_on_the_seed(decided):
    ws, sweep = decided
    options = DECIDED | {"stop_when": vnb.StopWhen(seed=5), "existing": "restart"}
    other = ws.sweep("count", CASES, concurrency=2, **options)
    assert {run.inputs["n"] for run in other.runs()} != {run.inputs["n"] for run in sweep.runs()}


def test_p_value_of_a_decided_sweep_holds_at_any_time(ws):
    result = ws.sweep("count", CASES, concurrency=1, **DECIDED).compare().result("new")
    assert result.verdict == "better"
    assert result.p == pytest.approx(1 / 26.8125) == result.sign_p


def test_comparison_of_a_decided_sweep_notes_the_cases_that_were_not_run(ws):
    compared = ws.sweep("count", CASES, concurrency=1, **DECIDED).compare()
    result = compared.result("new")
    missing = result.missing
    assert missing == 40 - (result.better + result.same + result.worse + result.noise)
    note = f"The sweep ended before {missing} of 40 cases were run; runs that had started count"
    assert all(note in text for text in (str(compared), compared.to_markdown(), html_of(compared)))


def test_decided_sweep_that_is_completed_has_the_usual_p_value(ws):
    ws.sweep("count", CASES, concurrency=1, **DECIDED)
    completed = ws.sweep("count", CASES, release_tags=["old", "new"], progress=False)
    assert completed.state == "done"
    assert completed.compare().result("new").p < 1e-9
    assert "The sweep ended" not in str(completed.compare())


def test_sweep_that_can_no_longer_be_decided_stops(ws):
    options = DECIDED | {"release_tags": ["half", "other"]}
    sweep = ws.sweep("count", CASES[1:31], concurrency=1, **options)
    assert progress_of(sweep).reason.startswith("can no longer be decided by score after ")
    assert " of 30 cases: other is undecided; " in repr(sweep)
    assert 0 < progress_of(sweep).ended < 60
    assert sweep.compare().result("other").verdict == "undecided"


def test_rounding_error_of_a_metric_decides_nothing(ws):
    rounded = vnb.Metric(lambda run: 0.3 if run.release_tag == "old" else 0.1 * 3, name="rounded")
    options = DECIDED | {"stop_when": vnb.StopWhen(metric=rounded)}
    sweep = ws.sweep("count", CASES[:9], concurrency=1, **options)
    assert progress_of(sweep).reason.startswith("can no longer be decided by rounded after 3 of 9")


@pytest.fixture(scope="module")
def of_three(server):
    """Return a workspace with a decided sweep of three releases, and the sweep."""
    options = DECIDED | {"release_tags": ["old", "new", "half"], "repeats": 2}
    options["stop_when"] = vnb.StopWhen(metric="exact")
    with vnb.connect(server, history=":memory:") as ws:
        yield ws, ws.sweep("count", CASES, concurrency=1, **options)


def test_sweep_of_several_releases_stops_when_all_are_decided(of_three):
    _, sweep = of_three
    reason = progress_of(sweep).reason
    assert reason.startswith("decided by exact")
    assert ": new is better, half is better; " in reason
    assert sweep.compare().result("half").p <= 0.05


@pytest.mark.parametrize("way", ["resume", "retry_failed"])
def test_sweep_with_a_metric_is_resumed_by_the_same_call_only(of_three, way):
    """Metrics are not stored."""
    ws, sweep = of_three
    with pytest.raises(InputError, match="the same call of ws.sweep"):
        getattr(ws.open_sweep(sweep.id), way)()
    assert len(sweep.runs()) == progress_of(sweep).ended


def test_decided_sweep_is_completed_without_the_stop_rule(ws):
    options = DECIDED | {"stop_when": vnb.StopWhen(metric="exact")}
    sweep = ws.sweep("count", CASES, concurrency=1, **options)
    rest = ws.open_sweep(sweep.id, stop_when=None).resume(progress=False)
    assert rest.state == "done"
    assert ws.open_sweep(sweep.id).resume() is not rest  # with nothing left to do


def test_decision_does_not_depend_on_interruptions(server, tmp_path):
    path = tmp_path / "runs.db"
    with vnb.connect(server, history=path) as ws:
        part = ws.sweep("count", CASES, concurrency=1, limits={"max_calls": 5}, **DECIDED)
        assert "max_calls" in progress_of(part).reason
    server.faults = Faults(rate_429=0.2, retry_after_s=0.05, paths="/v1/execute-*", seed=3)
    try:
        with vnb.connect(server, history=path) as ws:
            sweep = ws.sweep("count", CASES, concurrency=2, **DECIDED)
            assert sweep.id == part.id
            assert "new is better; " in progress_of(sweep).reason
    finally:
        server.faults = None


def reason_of(sweep):
    """Return why it stopped, without the saved calls, which depend on how many were under way."""
    return progress_of(sweep).reason.rpartition("; ")[0]


@pytest.fixture
def killed(server, tmp_path, until, forks):
    """Return how to kill a sweep after some runs; it returns its history, and a copy of it."""

    def kill(options):
        path, copy = tmp_path / "runs.db", tmp_path / "copy.db"
        program = (
            "import sys, vellum_nb as vnb\n"
            "from vellum_nb import StopWhen\n"
            f"with vnb.connect({server.url!r}, api_key=sys.argv[1], history={str(path)!r}) as ws:\n"
            f"    ws.sweep('count', {CASES!r}, concurrency=1, **{options!r})\n"
        )
        server.faults = Faults(latency_s=0.1, paths="/v1/execute-*")
        with forks.code(program, server.api_key) as process:
            until(path.exists)
            with vnb.History(path) as history:
                until(lambda: history.count() >= 6)
                process.kill()
                assert history.count() < 14
                history.backup(copy)
        server.faults = None
        return path, copy

    return kill


@pytest.mark.slow
@pytest.mark.usefixtures("quick_look_ups")
@pytest.mark.parametrize("options", [DECIDED, EQUAL], ids=["decided", "margin"])
def test_killed_sweep_that_is_resumed_stops_at_the_same_case(server, ws, killed, options):
    path, copy = killed(options)
    with vnb.connect(server, history=copy, timeout=1) as other:
        left_out = other.sweep("count", CASES, concurrency=1, resend_in_doubt=False, **options)
        assert reason_of(left_out).startswith("decided by score ")
    undisturbed = ws.sweep("count", CASES, concurrency=1, **options)
    with vnb.connect(server, history=path, timeout=1) as again:
        sweep = again.sweep("count", CASES, concurrency=1, **options)
        assert progress_of(sweep).reason == progress_of(undisturbed).reason
        inputs = [sorted(run.inputs["n"] for run in each.runs()) for each in (sweep, undisturbed)]
        assert inputs[0] == inputs[1]


def test_how_a_sweep_is_run_does_not_change_what_is_decided(ws):
    expected = reason_of(ws.sweep("count", CASES, concurrency=1, **DECIDED))
    options = {"concurrency": 3, "existing": "restart", **DECIDED}
    background = ws.sweep("count", CASES, background=True, **options)
    background.pause()
    background.resume(background=True)
    assert reason_of(background.wait()) == expected
    with ThreadPoolExecutor(3) as executor:
        assert reason_of(ws.sweep("count", CASES, executor=executor, **options)) == expected
    assert reason_of(ws.sweep("count", CASES, repeats=2, **options)) == expected
    limited = ws.sweep("count", CASES, limits={"max_calls": 5}, **options)
    assert progress_of(limited).limit_reached == "max_calls"
    again = ws.sweep("count", CASES, concurrency=3, **DECIDED)
    assert (again.id, reason_of(again)) == (limited.id, expected)


def test_an_answer_that_is_missing_decides_nothing(ws):
    def of_odd(run):
        return run.outputs["x"] / (run.inputs["n"] % 2)  # of the others it has no value

    def of_none(run):
        return 1 / 0

    sweep = ws.sweep(
        "count", CASES, concurrency=1, **DECIDED | {"stop_when": vnb.StopWhen(metric=of_odd)}
    )
    assert reason_of(sweep).startswith("decided by of_odd after 1")
    assert " of 40 cases: new is better; the metric of_odd failed on " in reason_of(sweep)
    options = {"concurrency": 1, "existing": "restart", **DECIDED}
    sweep = ws.sweep("count", CASES, **options | {"stop_when": vnb.StopWhen(metric=of_none)})
    problem = "the metric of_none failed on 5 cases: ZeroDivisionError: division by zero"
    assert progress_of(sweep).reason == f"stop_when cannot decide: {problem}"
    assert progress_of(sweep).ended < 20
    part = ws.sweep(
        "count",
        CASES,
        limits={"max_calls": 4},
        **options | {"stop_when": vnb.StopWhen(metric=of_odd)},
    )
    ws.history.delete(part.runs()[0])
    again = ws.sweep(
        "count", CASES, concurrency=1, **DECIDED | {"stop_when": vnb.StopWhen(metric=of_odd)}
    )
    assert again.id == part.id
    assert " of 40 cases: new is better; the metric of_odd failed on " in reason_of(again)


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        (vnb.Metric(lambda run: run.outputs["x"] == 1, name="ok"), "can no longer be decided by"),
        (vnb.Metric(lambda run: 5 * run.outputs["x"], bounds=(0, 5)), "can no longer be decided "),
        (vnb.Metric(lambda run: 5 * run.outputs["x"]), None),  # no worst figure: all cases are run
    ],
)
def test_sweep_does_not_stop_as_better_while_answers_are_lost(ws, metric, why):
    options = DECIDED | {"release_tags": ["odd", "crash"], "concurrency": 1}
    sweep = ws.sweep("count", CASES, **options | {"stop_when": vnb.StopWhen(metric=metric)})
    assert (progress_of(sweep).reason or "None").startswith(str(why))
    assert "is better" not in repr(sweep)


def test_sweep_stops_as_worse_once_enough_answers_are_lost(ws):
    zero = vnb.Metric(lambda run: run.outputs["x"] == 0, name="zero")
    options = DECIDED | {"release_tags": ["old", "down"], "stop_when": vnb.StopWhen(metric=zero)}
    sweep = ws.sweep("count", CASES, concurrency=1, **options)
    assert reason_of(sweep).startswith("decided by zero after 7 of 40 cases: down is worse")
    assert sweep.compare(metrics=zero).result("down").verdict == "worse"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"release_tags": ["old"]}, "give two release tags"),
        ({"stop_when": vnb.StopWhen(baseline="v9")}, "baseline='v9' is not among"),
        ({"stop_when": "bored"}, "stop_when must be 'decided', .*, not 'bored'"),
        ({"stop_when": vnb.StopWhen(alpha=1e-12)}, "40 cases cannot decide at alpha=1e-12"),
        ({"stop_when": vnb.StopWhen(metric=vnb.metrics.judge("count"))}, "no judge"),
        ({"stop_when": vnb.StopWhen(metric="latency_s", margin=1)}, "latency_s needs bounds: give"),
        ({"stop_when": vnb.StopWhen(margin=2)}, "margin must be below 1 for a score or pass rate"),
    ],
)
def test_what_cannot_be_decided_is_refused_before_the_first_call(ws, options, says):
    with pytest.raises(InputError, match=says):
        ws.sweep("count", CASES, **DECIDED | options)
    with pytest.raises(InputError, match="StopWhen.metric"):
        ws.sweep("count", [{"n": 1}] * 9, **DECIDED)
    with pytest.raises(
        InputError, match="only 40 of 80 cases are distinct: give each once, with repeats="
    ):
        ws.sweep("count", CASES * 2, **DECIDED)
    assert ws.sweeps().empty


@pytest.mark.parametrize(
    "option", [{"metric": []}, {"alpha": 2}, {"baseline": 1}, {"seed": "1"}, {"margin": "much"}]
)
def test_wrong_value_of_a_stop_rule_is_refused_by_name(option):
    with pytest.raises(InputError, match=f"{next(iter(option))} must be "):
        vnb.StopWhen(**option)


@pytest.fixture(scope="module")
def equal(server):
    """Return a workspace with a sweep that stopped as its releases do not differ, and the sweep."""
    with vnb.connect(server, history=":memory:") as ws:
        yield ws, ws.sweep("count", CASES, concurrency=2, **EQUAL)


def test_plan_names_the_margin_that_stops_the_sweep(ws):
    plan = ws.sweep("count", CASES, dry_run=True, **EQUAL)
    assert "the sweep stops once score decides with a margin of 0.2" in plan.notes


def test_sweep_of_equal_releases_stops_once_the_margin_is_excluded(equal):
    _, sweep = equal
    reason = reason_of(sweep)
    assert reason == "decided by score with margin 0.2 after 21 of 40 cases: same may replace old"
    assert 42 <= progress_of(sweep).ended < 50
    decision = sweep.compare().decide()["same"]
    assert (decision.verdict, decision.margin) == ("may replace", 0.2)
    assert sweep.compare().decide(margin=0.2)["same"].sentence == decision.sentence


def test_summary_of_an_opened_sweep_has_the_margin_of_its_rule(equal):
    ws, sweep = equal
    opened = ws.compare("count", sweep=sweep.id)
    assert opened.decide()["same"].verdict == "may replace"
    assert opened.summary(columns="all")["interval"][1] == "confidence sequence"


def zero(run):
    return run.outputs["x"] == 0


def fifths(run):
    return run.outputs["x"] / 5


STARS = vnb.Metric(lambda run: 5 * min(run.outputs["x"], 1), name="stars", bounds=(0, 5))


@pytest.mark.parametrize(
    ("tags", "rule", "verdict"),
    [
        (["new", "old"], vnb.StopWhen(margin=0.05), "should not replace"),
        (["old", "new"], vnb.StopWhen(margin=0.05), "may replace"),
        (["old", "same"], vnb.StopWhen(margin="20%", metric=zero), "may replace"),
        (["old", "down"], vnb.StopWhen(margin=0.2, metric=zero), "should not replace"),
        (["half", "other"], vnb.StopWhen(margin=0.05), "cannot tell yet"),
        (["odd", "crash"], vnb.StopWhen(margin=1, metric=STARS), "cannot tell yet"),
        (["same", "old"], vnb.StopWhen(margin=1, metric=STARS), "may replace"),
    ],
)
def test_decision_agrees_with_the_reason_of_the_stop(ws, tags, rule, verdict):
    options = DECIDED | {"release_tags": tags, "stop_when": rule}
    sweep = ws.sweep("count", CASES[1:31], concurrency=1, **options)
    decision = sweep.compare().decide()[tags[1]]
    assert decision.verdict == verdict
    assert verdict == "cannot tell yet" or sweep.state == "stopped"
    assert (f": {decision.head}" in repr(sweep)) == (sweep.state == "stopped")


def test_cases_without_a_figure_are_no_reason_to_stop(ws):
    def of_odd(run):
        return (run.outputs["x"] == 0) / (run.inputs["n"] % 2)

    options = EQUAL | {"stop_when": vnb.StopWhen(margin=0.2, metric=of_odd)}
    sweep = ws.sweep("count", CASES, concurrency=2, **options)
    assert sweep.state == "done"
    assert sweep.compare().decide()["same"].verdict == "cannot tell yet"


def test_margin_needs_a_metric_with_bounds(ws):
    options = EQUAL | {"stop_when": vnb.StopWhen(margin=0.2, metric=fifths), "concurrency": 1}
    sweep = ws.sweep("count", CASES, **options | {"release_tags": ["old", "new"]})
    assert progress_of(sweep).reason == (
        "stop_when cannot decide: with a margin, fifths needs bounds: give vnb.Metric(fn, "
        "bounds=(low, high))"
    )
    assert progress_of(sweep).ended < 20


def test_metric_chosen_after_a_stop_is_refused(ws):
    options = EQUAL | {"concurrency": 1}
    sweep = ws.sweep("count", CASES, **options)
    rule = vnb.StopWhen(margin=0.2, metric=zero)
    with pytest.raises(InputError, match=f"metric zero was chosen after sweep {sweep.id} had stop"):
        ws.sweep("count", CASES, **options | {"stop_when": rule})
    assert sweep.compare(metrics=zero).result("same").p is None
    again = ws.sweep("count", CASES, existing="restart", **options | {"stop_when": rule})
    assert again.compare().result("same").metric == "zero"

"""The same plan is one sweep, whoever starts it, whatever the key may read, and after a backup."""

import pytest
from counting_server import KEY, check_all_once
from runs_kit import progress_of
from sweep_processes import LONG, wait_until

import vellum_nb as vnb
from vellum_nb.history import Sweeps
from vellum_nb.sweep.sweep import control_of

CASES = [{"text": f"text {number}"} for number in range(20)]
on_file = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
DECIDED = {"release_tags": ["v1", "v2"], "stop_when": "decided", "progress": False}


@pytest.fixture
def connected(counting):
    """Return what opens a workspace on a history."""
    return lambda history: vnb.connect(
        counting.url, api_key=KEY, history=history, timeout=(10, LONG)
    )


def swept(ws, cases=CASES, **options):
    return ws.sweep("count", cases, release_tags=["v1"], progress=False, **options)


def start_together(kernels, counting, place, number, **order):
    """Start kernels that make the same call at the same moment; return their outcomes."""
    go = kernels.folder / "go"
    started = [
        kernels.start(counting.url, place, CASES[:10], until=go, **order) for _ in range(number)
    ]
    wait_until(lambda: all(kernel.is_ready for kernel in started))
    go.touch()
    return [kernel.outcome() for kernel in started]


def check_executed_once(counting, number):
    assert set(counting.executed.values()) == {1}, "a run was executed more than once"
    assert counting.executed.total() == number


@pytest.mark.slow
def test_plan_that_processes_start_together_is_one_sweep(kernels, counting, place):
    outcomes = start_together(kernels, counting, place, 8)
    check_executed_once(counting, 10)
    with vnb.History(place) as history:
        (sweep,) = Sweeps(history).every()
        assert {run.sweep_id for run in history.runs()} == {sweep.id}
        assert history.count(state="FULFILLED") == 10
    for outcome in outcomes:  # it drove the sweep, came too early, or after its end
        if "error" in outcome:
            assert f"Sweep {sweep.id} is running in process" in outcome["error"]
        else:
            assert (outcome["id"], outcome["state"]) == (sweep.id, "done")


def test_sweeps_that_processes_restart_together_are_one_for_each(kernels, counting, place):
    outcomes = start_together(kernels, counting, place, 5, options={"existing": "restart"})
    assert [outcome.get("state") for outcome in outcomes] == ["done"] * 5, outcomes
    assert len({outcome["id"] for outcome in outcomes}) == 5
    check_executed_once(counting, 50)


@pytest.mark.parametrize("what", ["releases", "identity", "workflow-deployments"])
@pytest.mark.parametrize("is_first", [True, False])
@on_file
def test_sweep_is_resumed_though_the_key_may_read_less_or_more(
    connected, counting, place, what, is_first
):
    counting.forbidden = {what} if is_first else set()
    with connected(place) as ws:
        first = swept(ws, limits={"max_calls": 8})
        counting.forbidden = set() if is_first else {what}
        again = swept(ws)
        assert again.id == first.id
        check_all_once(counting, again, CASES, posts=len(CASES))


def test_values_that_could_not_be_read_are_filled_in_when_they_become_known(
    connected, counting, place
):
    counting.forbidden = {"releases", "identity"}
    with connected(place) as ws:
        first = control_of(swept(ws, limits={"max_calls": 8})).record
        assert (first.environment, first.workspace, first.releases) == (None, None, {"v1": None})
        counting.forbidden = set()
        swept(ws)
    with vnb.History(place) as history:
        (record,) = Sweeps(history).every()
    assert (record.environment, record.workspace) == ("production", "w-1")
    assert record.releases == {"v1": "release-v1"}


def test_values_that_are_known_stay_when_the_key_may_not_read_them(connected, counting, place):
    with connected(place) as ws:
        swept(ws, limits={"max_calls": 8})
        counting.forbidden = {"releases", "identity"}
        swept(ws)
    with vnb.History(place) as history:
        (record,) = Sweeps(history).every()
    assert (record.environment, record.workspace) == ("production", "w-1")
    assert record.releases == {"v1": "release-v1"}


@pytest.mark.parametrize("refuses", [True, False])
def test_backup_from_the_middle_of_a_sweep_is_completed_after_sync(
    connected, counting, tmp_path, refuses
):
    counting.refuses = refuses
    with connected(tmp_path / "runs.db") as ws:
        first = swept(ws, limits={"max_calls": 5})
        ws.history.backup(tmp_path / "backup.db")
        assert swept(ws, limits={"max_calls": 12}).state == "stopped"
    with connected(tmp_path / "backup.db") as ws:
        ws.sync("count")
        again = swept(ws)
        assert again.id == first.id
        check_all_once(counting, again, CASES, posts=len(CASES))
        assert ws.history.count() == len(CASES)


def test_runs_of_a_plan_that_were_merged_under_other_ids_are_adopted(connected, counting, tmp_path):
    with connected(tmp_path / "runs.db") as ws:
        first = swept(ws, limits={"max_calls": 5})
        ws.history.backup(tmp_path / "backup.db")
        swept(ws)
    with connected(tmp_path / "synced.db") as ws:
        assert ws.sync("count").added == len(CASES)
    with connected(tmp_path / "backup.db") as ws:
        ws.history.merge(tmp_path / "synced.db")
        again = swept(ws)
        assert again.id == first.id
        check_all_once(counting, again, CASES, posts=len(CASES))


def test_runs_of_a_plan_that_were_merged_into_postgresql_are_adopted(
    connected, counting, tmp_path, postgres_url
):
    with connected(tmp_path / "runs.db") as ws:
        first = swept(ws, limits={"max_calls": 5})
        vnb.History(postgres_url).merge(ws.history)
        swept(ws)
    with connected(postgres_url) as ws:
        ws.sync("count")
        again = swept(ws)
        assert again.id == first.id
        check_all_once(counting, again, CASES, posts=len(CASES))


def test_sweep_of_a_copied_history_is_not_the_live_one_of_the_original(
    connected, counting, tmp_path
):
    counting.held = True
    with connected(tmp_path / "runs.db") as ws:
        live = swept(ws, concurrency=2, background=True)
        wait_until(lambda: counting.posts == 2)
        ws.history.backup(tmp_path / "copy.db")
        with connected(tmp_path / "copy.db") as other:
            copied = other.open_sweep(live.id, limits={"max_calls": 3})
            assert copied is not live
            copied.stop()
        assert live.state == "running"
        counting.held = False
        check_all_once(counting, live.wait(LONG), CASES)


def test_the_same_call_on_a_copied_history_leaves_the_live_sweep_of_the_original(
    connected, counting, tmp_path
):
    counting.held = True
    with connected(tmp_path / "runs.db") as ws:
        live = swept(ws, concurrency=2, background=True)
        wait_until(lambda: counting.posts == 2)
        ws.history.backup(tmp_path / "copy.db")
        with connected(tmp_path / "copy.db") as other:
            try:
                copied = swept(other, limits={"max_calls": 3}, background=True)
            except vnb.HistoryError as exc:  # its lease was copied too
                assert "is running in this process" in str(exc)  # noqa: PT017
            else:
                assert copied is not live
                copied.cut()
                copied.wait(LONG)
        assert (live.state, control_of(live).record.options) == ("running", {"concurrency": 2})
        counting.held = False
        assert progress_of(live.wait(LONG)).done == len(CASES)


@pytest.fixture
def undecided(connected, tmp_path):
    """Return a workspace with a sweep that stops when it is decided, of which a part was run."""
    with connected(tmp_path / "runs.db") as ws:
        sweep = ws.sweep(
            "count", expecting(CASES), limits={"max_calls": 10}, concurrency=2, **DECIDED
        )
        assert sweep.state == "stopped"
        yield ws


def expecting(cases):
    return [case | {"expected.said": f"v1 {case['text']}"} for case in cases]


@pytest.mark.parametrize(
    ("cases", "options"),
    [
        (CASES, {}),
        (CASES[1:], {"existing": "reuse"}),
        ([*CASES[1:], {"text": "another"}], {"existing": "reuse"}),
    ],
    ids=["all", "without one", "with another"],
)
def test_another_seed_of_a_stored_sweep_that_may_stop_early_is_refused(
    undecided, counting, cases, options
):
    """Each seed would be another look at the same answers, for free."""
    posts = counting.posts
    options = {**DECIDED, **options, "stop_when": vnb.StopWhen(seed=5)}
    with pytest.raises(vnb.InputError, match="seed"):
        undecided.sweep("count", expecting(cases), **options)
    assert counting.posts == posts


def test_another_seed_is_refused_after_the_sweep_has_ended(undecided, counting):
    undecided.sweep("count", expecting(CASES), **DECIDED)
    with pytest.raises(vnb.InputError, match="seed"):
        undecided.sweep("count", expecting(CASES), **DECIDED | {"stop_when": vnb.StopWhen(seed=5)})


def test_another_seed_is_taken_by_a_sweep_that_is_restarted(undecided):
    again = undecided.sweep(
        "count",
        expecting(CASES),
        existing="restart",
        **DECIDED | {"stop_when": vnb.StopWhen(seed=5)},
    )
    assert (
        control_of(again).record.order()
        != control_of(undecided.open_sweep(first_id(undecided))).record.order()
    )


def test_another_seed_is_taken_for_other_cases(undecided):
    cases = expecting([{"text": f"other {number}"} for number in range(20)])
    options = {**DECIDED, "limits": {"max_calls": 2}}
    drawn = [
        undecided.sweep(
            "count", cases, existing="reuse", **options | {"stop_when": vnb.StopWhen(seed=5)}
        )
    ]
    drawn.append(undecided.open_sweep(first_id(undecided), stop_when=None))
    first, second = (control_of(sweep).record.order() for sweep in drawn)
    assert first != second


def test_cases_that_are_left_keep_their_order(undecided):
    before = control_of(undecided.open_sweep(first_id(undecided), stop_when=None)).record.order()
    fewer = undecided.sweep(
        "count", expecting(CASES[1:]), existing="reuse", limits={"max_calls": 2}, **DECIDED
    )
    assert [position + 1 for position in control_of(fewer).record.order()] == [
        at for at in before if at
    ]


def test_sweep_that_takes_the_order_of_an_earlier_one_has_its_seed(connected, tmp_path):
    with connected(tmp_path / "runs.db") as ws:
        ws.sweep(
            "count",
            expecting(CASES),
            limits={"max_calls": 2},
            **DECIDED | {"stop_when": vnb.StopWhen(seed=5)},
        )
        fewer = ws.sweep(
            "count", expecting(CASES[1:]), existing="reuse", limits={"max_calls": 2}, **DECIDED
        )
        assert control_of(fewer).record.options["seed"] == 5
        again = ws.sweep(
            "count",
            expecting(CASES[1:]),
            limits={"max_calls": 4},
            **DECIDED | {"stop_when": vnb.StopWhen(seed=5)},
        )
        assert again.id == fewer.id


def first_id(ws):
    return ws.sweeps()["sweep_id"].iloc[-1]


def test_added_cases_keep_the_order_of_those_before(undecided):
    before = control_of(undecided.open_sweep(first_id(undecided))).record.order()
    more = expecting([*CASES, *({"text": f"more {number}"} for number in range(10))])
    after = control_of(
        undecided.sweep("count", more, limits={"max_calls": 2}, **DECIDED)
    ).record.order()
    assert after[: len(before)] == before
    assert sorted(after) == list(range(30))

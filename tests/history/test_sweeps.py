"""Sweeps and blind ratings in a history: plans, leases, rows that are begun, ended, withdrawn."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from vellum_nb import History, HistoryError, check_history
from vellum_nb.history import LeaseLostError, Sweeps, leases
from vellum_nb.models import RunError
from vellum_nb.models.blind import BlindPair, BlindRecord
from vellum_nb.models.sweeps import Place, SweepCase, SweepRecord, planned_id, signature

CASES = [SweepCase(0, "c0", {"a": 1}, {"b": 2}, {"who": "ann"}), SweepCase(1, "c1", {"a": None})]


def a_sweep(**fields):
    usual = {
        "id": "3f2a0000-0000-0000-0000-000000000001",
        "deployment": "ticket-triage",
        "environment": "production",
        "release_tags": ("v1", "v2"),
        "repeats": 2,
        "cases": 2,
        "signature": signature("ticket-triage", ("v1", "v2"), 2, ["c0", "c1"]),
        "created": datetime(2026, 7, 1, tzinfo=UTC),
        "releases": {"v1": "r1", "v2": None},
        "options": {"max_calls": 7},
    }
    return SweepRecord(**usual | fields)


@pytest.fixture
def sweep(history):
    made = a_sweep()
    Sweeps(history).add(made, CASES)
    return made


def test_plan_and_cases_read_back_as_they_were(history, sweep):
    assert Sweeps(history).every() == [sweep]
    assert Sweeps(history).every("3f2a") == [sweep]
    assert Sweeps(history).every("%") == []
    assert Sweeps(history).cases(sweep.id) == CASES
    assert Sweeps(history).of_plan(sweep.signature) == [sweep]
    Sweeps(history).acquire(sweep).change(ended=datetime.now(UTC))
    assert [each.ended is None for each in Sweeps(history).of_plan(sweep.signature)] == [False]


def test_expectations_and_labels_of_cases_change_and_inputs_and_other_sweeps_do_not(history, sweep):
    changed = SweepCase(1, "c1", {"a": 2}, {"b": 3}, {"who": "ben"})
    Sweeps(history).acquire(sweep).update_cases([changed])
    case = Sweeps(history).cases(sweep.id)[1]
    assert (case.inputs, case.expected, case.labels) == ({"a": None}, {"b": 3}, {"who": "ben"})


def test_unknown_sweep_has_no_lease(history):
    with pytest.raises(HistoryError, match="no sweep '3f2a"):
        Sweeps(history).acquire(a_sweep())


def test_second_sweep_of_the_same_plan_and_generation_is_not_stored(history, sweep):
    twin = a_sweep(id="3f2a0000-0000-0000-0000-000000000002")
    assert not Sweeps(history).add(twin, CASES)
    assert Sweeps(history).every() == [sweep]
    assert Sweeps(history).add(twin.model_copy(update={"generation": 2}), CASES)


def test_unknown_facts_of_a_sweep_are_learned_and_known_ones_stay(history, sweep):
    news = {"workspace": "w", "environment": "other", "releases": {"v1": "r1", "v2": "r2"}}
    Sweeps(history).learn(sweep.model_copy(update=news))
    (learned,) = Sweeps(history).every()
    assert (learned.workspace, learned.environment) == ("w", "production")
    assert learned.releases == {"v1": "r1", "v2": "r2"}


@pytest.fixture
def lease(history, sweep):
    return Sweeps(history).acquire(sweep)


def test_runs_begin_and_end_together_and_those_never_sent_go(history, sweep, lease, make_run):
    begun = [make_run(sweep_id=sweep.id) for _ in range(3)]
    notified = []
    history.subscribe(lambda run: notified.append((run.id, run.state)))
    lease.record(begun=begun)
    ended = begun[0].model_copy(update={"state": "FULFILLED"})
    lease.record(ended=[ended], begun=[make_run(id="late", sweep_id=sweep.id)])
    lease.withdraw([*begun[:2], make_run(id="unknown")])
    states = {begun[0].id: "FULFILLED", begun[2].id: "STARTED", "late": "STARTED"}
    assert Sweeps(history).states(sweep.id) == states
    assert notified[-2:] == [(begun[0].id, "FULFILLED"), ("late", "STARTED")]


def failed(run, doubt):
    error = RunError(code="TIMEOUT")
    return run.model_copy(update={"state": "FAILED", "error": error, "doubt": doubt})


@pytest.mark.parametrize("doubt", ["SENT", "EXECUTED", None])
def test_doubt_of_a_failed_run_is_stored_and_not_changed_by_another_failure(
    history, sweep, lease, make_run, doubt
):
    lease.record(begun=[run := make_run(sweep_id=sweep.id)])
    lease.record(ended=[failed(run, doubt)])
    assert Sweeps(history).states(sweep.id) == {run.id: "IN_DOUBT" if doubt else "FAILED"}
    assert {kind for kind, _ in Sweeps(history).doubts(sweep.id).values()} == {doubt} - {None}
    lease.record(ended=[failed(run, None)])
    assert history.get(run.id).doubt == doubt


@pytest.mark.parametrize("doubt", ["SENT", None])
def test_failed_run_is_completed_by_an_answer_that_its_driver_got(
    history, sweep, lease, make_run, doubt
):
    lease.record(begun=[run := make_run(sweep_id=sweep.id)])
    lease.record(ended=[failed(run, doubt)])
    lease.record(ended=[run.model_copy(update={"state": "FULFILLED"})])
    lease.record(ended=[run.model_copy(update={"state": "REJECTED"})])
    stored = history.get(run.id)
    assert (stored.state, stored.doubt, stored.error) == ("FULFILLED", None, None)


def test_doubt_lasts_since_it_was_first_recorded(history, sweep, lease, make_run):
    lease.record(begun=[run := make_run(sweep_id=sweep.id)])
    doubtful = run.model_copy(update={"doubt": "SENT"})
    lease.record(doubted=[doubtful])
    threading.Event().wait(0.3)
    lease.record(doubted=[doubtful.model_copy(update={"doubt": "EXECUTED"})])
    ((kind, age),) = Sweeps(history).doubts(sweep.id).values()
    assert kind == "EXECUTED"
    assert 0.3 <= age <= 20
    assert Sweeps(history).begin_doubt(run.id) >= age


def test_resent_run_is_started_without_a_doubt(history, sweep, lease, make_run):
    lease.record(begun=[run := make_run(sweep_id=sweep.id)])
    lease.record(ended=[failed(run, "SENT")])
    lease.record(resent=[run])
    stored = history.get(run.id)
    assert (stored.state, stored.doubt, stored.error) == ("STARTED", None, None)
    assert Sweeps(history).doubts(sweep.id)[run.id] == ("SENT", 0)


def test_runs_of_a_lost_driver_are_in_doubt_since_the_end_of_its_lease(
    history, sweep, lease, make_run, execute
):
    lease.record(begun=[run := make_run(sweep_id=sweep.id)])
    execute(history, "UPDATE leases SET expires_at = expires_at - 160000000")
    Sweeps(history).acquire(sweep)
    ((kind, age),) = Sweeps(history).doubts(sweep.id).values()
    assert kind == "SENT"
    assert 99 <= age <= 120
    assert history.get(run.id).doubt == "SENT"


@pytest.fixture
def execute():
    """Return what executes a statement in the database of a history."""
    return lambda history, sql: Sweeps(history)._store.write(lambda tx: tx.execute(sql))


@pytest.fixture
def taken(history, sweep, lease, execute):
    """Let another process take the lease, as after a suspension of this one."""
    execute(history, "UPDATE leases SET token = 'of another driver'")


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("field", ["begun", "resent", "doubted", "ended"])
def test_driver_without_its_lease_records_nothing(history, lease, make_run, field):
    run = make_run(state="STARTED" if field == "begun" else "FULFILLED")
    with pytest.raises(LeaseLostError, match="is running in this process"):
        lease.record(**{field: [run]})
    assert history.count() == 0


def test_driver_without_its_lease_changes_no_row(history, sweep, lease, make_run, execute):
    lease.record(begun=[run := make_run(sweep_id=sweep.id)])
    execute(history, "UPDATE leases SET token = 'of another driver'")
    moment = datetime.now(UTC)
    for call in (
        lambda: lease.withdraw([run]),
        lambda: lease.change(why="lost"),
        lambda: lease.mark_moved("v1", "r1", since=moment, until=moment),
        lease.renew,
    ):
        with pytest.raises(LeaseLostError):
            call()
    assert history.get(run.id) == run
    assert Sweeps(history).every() == [sweep]


def test_answers_of_a_driver_that_lost_its_lease_are_kept(history, sweep, lease, make_run, execute):
    lease.record(begun=[run := make_run(sweep_id=sweep.id)])
    execute(history, "UPDATE leases SET token = 'of another driver'")
    lease.keep_answers([run.model_copy(update={"state": "FULFILLED", "outputs": {"a": 1}})])
    assert history.get(run.id).outputs == {"a": 1}
    lease.keep_answers([run.model_copy(update={"state": "FULFILLED", "outputs": {"a": 2}})])
    assert history.get(run.id).outputs == {"a": 1}


def test_answer_whose_row_is_missing_is_added(history, sweep, lease, make_run):
    lease.record(begun=[run := make_run(sweep_id=sweep.id)])
    history.delete(run.id)
    history.vacuum()
    lease.record(ended=[run.model_copy(update={"state": "FULFILLED", "outputs": {"a": 1}})])
    assert history.get(run.id).outputs == {"a": 1}
    assert Sweeps(history).states(sweep.id) == {run.id: "FULFILLED"}


def planned(sweep, **fields):
    place = next(iter(sweep.places()))
    run_id = planned_id(sweep, place)
    return {"external_id": run_id, "release_tag": "", "state": "FULFILLED", **fields}, run_id


def test_stored_run_with_a_planned_external_id_is_adopted_with_the_lease(history, sweep, make_run):
    fields, run_id = planned(sweep, outputs={"a": 1})
    history.merge([make_run(**fields)])
    Sweeps(history).acquire(sweep)
    assert Sweeps(history).states(sweep.id) == {run_id: "FULFILLED"}
    run = history.get(run_id)
    assert (run.sweep_id, run.case_id, run.release_tag, run.outputs) == (
        *(sweep.id, "c0", "v1"),
        {"a": 1},
    )


def test_run_that_is_stored_already_is_returned_and_not_begun_again(
    history, sweep, lease, make_run
):
    fields, run_id = planned(sweep, outputs={"a": 1})
    history.merge([make_run(**fields)])
    begun = make_run(id=run_id, external_id=run_id, sweep_id=sweep.id, case_id="c0")
    (stored,) = lease.record(begun=[begun])
    assert (stored.id, stored.state, stored.outputs) == (run_id, "FULFILLED", {"a": 1})
    assert Sweeps(history).states(sweep.id) == {run_id: "FULFILLED"}


def test_run_that_was_completed_is_not_sent_again(history, sweep, lease, make_run):
    lease.record(begun=[run := make_run(sweep_id=sweep.id, external_id="x")])
    lease.record(doubted=[run.model_copy(update={"doubt": "SENT"})])
    history.merge([make_run(external_id="x", execution_id="e", state="FULFILLED")])
    (stored,) = lease.record(resent=[run])
    assert (stored.id, stored.state) == (run.id, "FULFILLED")
    assert history.get(run.id).state == "FULFILLED"


def test_run_whose_row_is_missing_is_added_when_it_is_sent_again(history, sweep, lease, make_run):
    assert lease.record(resent=[run := make_run(sweep_id=sweep.id)]) == []
    assert history.get(run.id).state == "STARTED"


def test_deleted_run_that_is_stored_already_is_returned(history, sweep, lease, make_run):
    fields, run_id = planned(sweep)
    history.merge([run := make_run(**fields)])
    history.delete(run.id)
    (stored,) = lease.record(begun=[make_run(id=run_id, external_id=run_id, sweep_id=sweep.id)])
    assert (stored.id, stored.state) == (run_id, "FULFILLED")


def test_answer_of_a_row_that_was_imported_since_belongs_to_the_sweep(
    history, sweep, lease, make_run
):
    fields, run_id = planned(sweep)
    lease.record(begun=[run := make_run(id=run_id, external_id=run_id, sweep_id=sweep.id)])
    history.delete(run.id)
    history.vacuum()
    history.merge([make_run(**fields, execution_id="e")])
    lease.record(ended=[run.model_copy(update={"state": "FULFILLED"})])
    assert Sweeps(history).states(sweep.id) == {run_id: "FULFILLED"}


def test_what_a_synchronisation_completed_stays_and_what_was_deleted_is_not_paid_twice(
    history, sweep, lease, make_run
):
    run = make_run(sweep_id=sweep.id, external_id="x")
    lease.record(begun=[run])
    history.merge([make_run(external_id="x", execution_id="e", state="FULFILLED")])
    lease.record(ended=[run.model_copy(update={"state": "FAILED"})])
    stored = history.get(run.id)
    assert (stored.state, stored.execution_id, stored.sweep_id) == ("FULFILLED", "e", sweep.id)
    history.delete([run.id])
    assert Sweeps(history).states(sweep.id) == {run.id: "FULFILLED"}
    assert Sweeps(history).frame(sweep.id).empty


@pytest.fixture
def ended_runs(history, sweep, make_run):
    """Record three ended runs of a sweep, ten seconds apart; return the end of the last one."""
    for number in range(3):
        began = make_run().timestamp.replace(second=10 * number)
        ended = began.replace(second=10 * number + 15)  # five seconds overlap
        history.begin(run := make_run(sweep_id=sweep.id, timestamp=began, release_id="r"))
        figures = {"finished_at": ended, "latency_s": number + 0.5, "cost_usd": 0.25}
        history.finish(run.model_copy(update={"state": "FULFILLED", **figures}))
    return ended


def test_seconds_of_a_sweep_count_overlapping_runs_once(history, sweep, ended_runs):
    assert Sweeps(history).seconds(sweep.id) == 35
    assert Sweeps(history).last_seen(sweep.id) == ended_runs


@pytest.mark.usefixtures("ended_runs")
def test_figures_of_a_sweep(history, sweep):
    sweeps = Sweeps(history)
    ids = [run.id for run in sorted(history.runs(), key=lambda run: run.latency_s or 0)]
    spent = [("v1", 0.25, 0.5), ("v1", 0.25, 1.5), ("v1", 0.25, 2.5)]
    assert sweeps.spent(sweep.id) == [(id_, *each) for id_, each in zip(ids, spent, strict=True)]
    assert sweeps.tallies() == {sweep.id: {"FULFILLED": 3}}
    assert [run.latency_s for run in sweeps.past("ticket-triage")] == [2.5, 1.5, 0.5]


def test_runs_during_which_a_tag_moved_are_not_reusable(history, sweep, make_run, ended_runs):
    history.begin(make_run(sweep_id=sweep.id, timestamp=ended_runs, release_id="r"))
    began = ended_runs.replace(second=20)
    Sweeps(history).acquire(sweep).mark_moved("v1", "r", since=began, until=began)
    assert [each.tag_moved for each in history.runs()] == [False, True, False, False]
    unmarked = {each.case_id: [each.id] for each in history.runs()[2:]}
    case_ids = [each.case_id for each in history.runs()]
    assert Sweeps(history).reusable("ticket-triage", "r", case_ids) == unmarked


@pytest.fixture
def reused(history, sweep, record):
    """Return a run that a sweep reuses, and its place there."""
    run, place = record(release_tag="production", release_id="r", repeat=7), Place(1, "v2", 1)
    Sweeps(history).acquire(sweep).add_reused({place: run.id})
    return run, place


def test_a_run_is_reusable_by_its_release_with_its_case(history, record):
    run = record(release_id="r")
    assert Sweeps(history).reusable("ticket-triage", "r", [run.case_id]) == {run.case_id: [run.id]}


def test_a_reused_run_has_the_place_of_its_sweep(history, sweep, reused):
    run, place = reused
    assert Sweeps(history).reused(sweep.id) == {place: run.id}
    frame = Sweeps(history).frame(sweep.id)
    assert frame[["id", "release_tag", "repeat"]].to_numpy().tolist() == [[run.id, "v2", 1]]
    assert Sweeps(history).frame(sweep.id, exclude=[run.id]).empty


def test_a_reused_run_that_was_deleted_has_no_place(history, sweep, reused):
    history.delete([reused[0].id])
    assert Sweeps(history).reused(sweep.id) == {}
    assert Sweeps(history).frame(sweep.id).empty
    assert Sweeps(history).deleted(sweep.id) == 1


def test_planned_ids_are_all_different_and_never_change():
    sweep = a_sweep()
    ids = {
        planned_id(sweep, place, number, attempt)
        for place in sweep.places()
        for number in range(3)
        for attempt in range(2)
    }
    assert len(ids) == sweep.planned * 3 * 2
    assert planned_id(sweep, Place(1, "v2", 1), 2) == "4327f4b0-d0f9-5487-b330-10d93ca35e91"
    assert planned_id(sweep, Place(1, "v2", 1), 2, 0) == planned_id(sweep, Place(1, "v2", 1), 2)


def test_planned_ids_of_a_judge_follow_from_what_it_judges():
    one = a_sweep(judge="judge:j", case_ids=("c0", "c1"))
    other = a_sweep(id="3f2a0000-0000-0000-0000-000000000002", judge="judge:j", case_ids=("c1",))
    assert planned_id(one, Place(1, "v1", 0)) == planned_id(other, Place(0, "v2", 0))
    assert planned_id(one, Place(0, "v1", 0)) != planned_id(other, Place(0, "v1", 0))


def test_a_large_input_is_stored_once_for_runs_and_cases(path, make_run, tmp_path):
    document = "a long document, \u00fc " * 4_000
    cases = [SweepCase(0, "c0", {"doc": document, "pages": [document, "short"]}, {"b": "x"})]
    cases.append(SweepCase(1, "c1", {"doc": "\ud800" * 40_000}))
    with History(path) as history:
        history.merge([make_run(inputs={"doc": document, "n": 1}, state="FULFILLED")])
        for number in (1, 2):
            Sweeps(history).add(a_sweep(id=f"s{number}", signature=f"{number}"), cases)
        assert history.size < 3 * len(document.encode()) + 600_000
        history.delete(["run-0"])
        history.vacuum()
        assert Sweeps(history).cases("s1") == Sweeps(history).cases("s2") == cases
        with History(tmp_path / "copy.db") as copy:
            copy.merge(history)
            assert Sweeps(copy).cases("s2") == cases
    assert check_history(tmp_path / "copy.db").ok


SWEEP = a_sweep()


def test_a_sweep_is_driven_once_in_a_process_too(history, sweep):
    lease = Sweeps(history).acquire(sweep)
    assert Sweeps(history).held() == {sweep.id}
    with pytest.raises(HistoryError, match="is running in this process"):
        Sweeps(history).acquire(sweep)
    assert lease.renew()
    assert lease.may_send
    lease.release()
    assert not lease.may_send
    assert Sweeps(history).held() == set()
    Sweeps(history).acquire(sweep).release()
    assert Sweeps(history).lost(sweep) is None


def test_lease_released_by_its_driver_is_not_renewed(history, lease):
    lease.release()
    with pytest.raises(LeaseLostError, match="whose lease was released; resume it"):
        lease.renew()


@pytest.fixture
def elsewhere(monkeypatch):
    """Let leases be those of another host while it is set."""
    myself = leases._this_process  # private: another host is not at hand
    other = {"host": "elsewhere", "pid": 7, "machine": "another boot"}

    def switch(*, on):
        monkeypatch.setattr(leases, "_this_process", (lambda: other) if on else myself)

    return switch


def test_a_lease_of_another_host_holds_while_it_is_renewed_and_is_lost_when_not(
    history, sweep, elsewhere, monkeypatch
):
    monkeypatch.setattr(leases, "_LENGTH_US", 1_000_000)
    elsewhere(on=True)
    lease = Sweeps(history).acquire(sweep)
    elsewhere(on=False)
    for _ in range(4):
        threading.Event().wait(0.5)
        assert lease.renew()
        with pytest.raises(HistoryError, match="in process 7 on elsewhere"):
            Sweeps(history).acquire(sweep)
    threading.Event().wait(1.2)
    assert Sweeps(history).held() == set()
    assert Sweeps(history).lost(sweep) is not None
    mine = Sweeps(history).acquire(sweep)
    with pytest.raises(LeaseLostError, match="in this process"):
        lease.renew()
    lease.release()
    assert Sweeps(history).held() == {sweep.id}
    assert mine.renew()


def test_of_many_that_want_a_lost_lease_one_gets_it(place, make_run):
    with History(place) as history:
        Sweeps(history).add(SWEEP, [])
    kernels = [History(place) for _ in range(6)]

    def acquire(history):
        with suppress(HistoryError):
            return Sweeps(history).acquire(SWEEP)

    with ThreadPoolExecutor(6) as pool:
        won = [*pool.map(acquire, kernels)]
    assert len([lease for lease in won if lease]) == 1
    for kernel in kernels:
        kernel.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the lease has to expire")
def test_the_lease_of_a_process_that_was_killed_is_free_at_once(path, forks):
    with History(path) as history:
        Sweeps(history).add(SWEEP, [])
        code = "import sys; from vellum_nb.history import History, Sweeps; "
        code += "sweeps = Sweeps(History(sys.argv[1])); "
        code += "sweeps.acquire(sweeps.every()[0]); print('held', flush=True); input()"
        with forks.code(code, path) as child:
            assert child.stdout.readline() == "held\n"
            with pytest.raises(HistoryError, match=f"running in process {child.pid}"):
                Sweeps(history).acquire(SWEEP)
        assert Sweeps(history).lost(SWEEP) is not None
        Sweeps(history).acquire(SWEEP)


FIELDS = {"deployment": "triage", "first": "v1", "second": "v2", "seed": -5, "question": "Which?"}
CREATED = datetime(2026, 11, 25, tzinfo=UTC)
RECORD = BlindRecord(id="b1", signature="s", created=CREATED, **FIELDS)
PAIRS = [
    BlindPair(0, 1, "c1", "run-1", "run-2", same=False),
    BlindPair(1, 3, "c3", "run-3", "run-4", same=True),
]


@pytest.fixture
def ratings(place):
    """Return the ratings of an opened history with an answer of an earlier session."""
    with History(place) as history:
        history.blind_ratings.add(RECORD, PAIRS)
        note = "half \ud83d a pair"
        assert history.blind_ratings.rate("b1", 0, "second", a_first=True, note=note)
    with History(place) as history:
        yield history.blind_ratings


def test_a_blind_rating_reads_back_as_it_was(ratings):
    assert ratings.newest("s") == RECORD
    assert ratings.pairs("b1") == PAIRS
    (rating,) = ratings.ratings("b1")
    assert (rating.choice, rating.a_first) == ("second", True)


def test_frame_of_a_blind_rating_under_way_hides_the_releases(ratings):
    assert ratings.frame()["choice"].tolist() == ["B"]
    assert ratings.frame("triage")["preferred"].isna().all()
    assert ratings.frame("other").empty


def test_frame_of_an_ended_blind_rating_has_the_releases(ratings):
    ratings.end("b1")
    ratings.mark_sent([ratings.ratings("b1")[0].seq])
    frame = ratings.frame()
    columns = ["preferred", "run_b", "seed"]
    assert frame[columns].to_numpy().tolist() == [["v2", "run-2", -5]]
    assert frame["sent"].notna().all()


@pytest.fixture
def blind(history):
    history.blind_ratings.add(RECORD, PAIRS)
    assert history.blind_ratings.rate("b1", 0, "tie", a_first=True, note="")
    return history.blind_ratings


def test_a_pair_is_rated_once(blind):
    assert not blind.rate("b1", 0, "first", a_first=True, note="")


def test_a_pair_is_rated_again_after_undo(blind):
    assert blind.undo("b1", 1).choice == "tie"
    assert blind.rate("b1", 0, "first", a_first=False, note="")
    assert blind.frame()["choice"].tolist() == ["B", "tie"]


def test_an_ended_rating_takes_no_answer(blind):
    blind.end("b1")
    assert blind.undo("b1", 1) is None
    assert not blind.rate("b1", 1, "first", a_first=False, note="")


def test_a_rating_ends_once(blind):
    blind.end("b1")
    ended = blind.get("b1").ended
    blind.end("b1")
    assert blind.get("b1").ended == ended


def test_frame_without_ratings_has_the_columns_of_a_full_one(history, blind):
    full = blind.frame()
    with History(":memory:") as other:
        empty = other.blind_ratings.frame()
    assert (empty.empty, list(empty.columns)) == (True, list(full.columns))
    assert empty["rated"].dtype == full["rated"].dtype

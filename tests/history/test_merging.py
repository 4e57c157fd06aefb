"""Copies of a history join: what the other knows is taken over, and nothing of ours is lost."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vellum_nb import History, HistoryError
from vellum_nb.history import Sweeps, merge
from vellum_nb.models import NodeRun, case_id
from vellum_nb.models.blind import BlindPair, BlindRecord
from vellum_nb.models.sweeps import Place, SweepCase, SweepRecord

LONG = "long text " * 4_000


@pytest.fixture
def other(tmp_path):
    with History(tmp_path / "laptop.db") as other:
        yield other


def test_a_merge_brings_every_field_of_the_other(history, other, put):
    ours = put(history)
    fields = {"inputs": {"doc": LONG, "t": "\ud800"}, "case_id": "c", "note": "n", "tags": ["a"]}
    fields |= {"outputs": {"n": 2**70, "nan": float("nan")}, "metadata": {"k": 1}}
    theirs = [put(other, nodes=(NodeRun(name="n", error=LONG),), **fields) for _ in range(3)]
    history.merge(other)
    assert repr(history.runs()) == repr([*theirs[::-1], ours])
    assert [run.nodes for run in history.runs()[:3]] == [run.nodes for run in theirs]
    assert other.runs() == other.runs()


def test_a_merge_reports_how_many_runs_it_added(history, other, put):
    put(history), put(other), put(other)
    report = history.merge(other)
    counts = "2 added, 0 completed, 0 updated, 0 already here"
    assert repr(report).startswith(f"<SyncReport: {counts}")
    assert history.merge(other.path).known == 2
    assert history.count() == 3


def test_a_merge_mentions_once_that_authors_are_missing(history, other, put):
    put(other), put(other), put(other, author="ada")
    hint = "2 of the added runs have no author: set VELLUM_NB_AUTHOR before running"
    assert str(history.merge(other)).endswith(f"0 already here; {hint}")
    assert "author" not in str(history.merge(other))


def test_a_merge_leaves_no_log_beside_the_other_file(history, other, put):
    put(other)
    other.close()
    history.merge(other.path)
    assert list(other.path.parent.glob(f"{other.path.name}*")) == [other.path]


def test_a_started_run_is_completed_by_its_copy_that_has_ended(history, other, put, make_run):
    begun = make_run(external_id="e", inputs={"doc": LONG})
    for each in (history, other):
        each.begin(begun)
    history.annotate(begun.id, note="waiting")
    answer = {"state": "FULFILLED", "outputs": {"a": LONG + "!"}, "execution_id": "x"}
    other.finish(ended := begun.model_copy(update=answer))
    assert history.merge(other).completed == 1
    stored = history.get(begun.id)
    assert stored == ended.model_copy(update={"note": "waiting"})
    assert other.merge(history).updated == 1
    assert other.get(begun.id) == stored


@pytest.fixture
def annotated(history, other, put):
    """Return a run that was annotated in two copies, in different ways."""
    run = put(history, outputs={"a": 1, "b": 2})
    history.merge([])
    other.merge(history)
    history.annotate(run.id, note="polite", tags=["x"], quality=1.0, desired={"a": 3})
    other.annotate(run.id, note="too long", tags=["y", "x"], quality=0.5, desired={"a": 4, "b": 5})
    return run


def test_annotations_that_differ_are_reported(history, other, annotated):
    report = history.merge(other)
    assert (report.updated, report.known) == (1, 0)
    assert [(c.id, c.fields) for c in report.conflicts] == [(annotated.id, ("quality", "desired"))]
    assert f"1 differ, ours stay: {annotated.id} (quality, desired)" in str(report)


def test_annotations_of_both_are_joined(history, other, annotated):
    history.merge(other)
    merged = history.get(annotated.id)
    notes = ["polite", "too long", "merged: quality 0.5", 'merged: desired."a" 4']
    assert merged.note.splitlines() == notes
    assert (merged.tags, merged.quality, merged.desired) == (("x", "y"), 1.0, {"a": 3, "b": 5})


def test_annotations_are_joined_once(history, other, annotated):
    history.merge(other)
    merged = history.get(annotated.id)
    assert history.merge(other).updated == 0
    assert history.get(annotated.id) == merged


def test_runs_that_differ_are_reported(history, other, put):
    ours = put(history, id="same", inputs={"q": "a"}, outputs={"o": 1})
    put(other, id="same", inputs={"q": "b"}, outputs={"o": 1}, timestamp=ours.timestamp)
    report = history.merge(other)
    assert [(c.id, c.fields) for c in report.conflicts] == [("same", ("case_id", "inputs"))]
    assert history.runs() == [ours]
    assert history.merge(other) == report


def test_a_synchronised_run_becomes_one_with_the_recorded_one(history, other, put):
    same = {"execution_id": "x", "external_id": "p", "outputs": {"o": 1}}
    put(history, id="ours", note="seen", **same)
    theirs = put(other, id="planned", sweep_id="s", **same)
    report = history.merge(other)
    assert (report.added, report.updated, report.conflicts) == (0, 1, ())
    stored = history.get("planned")
    assert (stored.sweep_id, stored.note, stored.case_id) == ("s", "seen", theirs.case_id)
    assert history.count() == 1
    assert history.merge(other).known == 1


def test_another_execution_with_the_same_external_id_is_a_run_of_its_own(history, other, put):
    put(history, execution_id="x", external_id="p")
    theirs = put(other, execution_id="y", external_id="p")
    assert history.merge(other).added == 1
    assert history.get(theirs.id).external_id is None
    assert history.merge(other).known == 1


def test_a_run_that_was_deleted_here_stays_deleted(history, other, put):
    run = put(history)
    other.merge(history)
    history.delete([run.id])
    report = history.merge(other)
    assert (report.deleted, history.count()) == (1, 0)
    assert "1 deleted here, and still deleted" in str(report)
    history.undelete()
    assert history.runs() == [run]


@pytest.mark.parametrize("deleted", ["a", "b"])
def test_a_deleted_twin_of_an_execution_does_not_hide_the_living_one(history, other, put, deleted):
    put(history, id="a", execution_id="x"), put(history, id="b", execution_id="x")
    history.delete([deleted])
    put(other, id="theirs", execution_id="x", note="seen")
    report = history.merge(other)
    assert (report.updated, report.deleted) == (1, 0)
    assert [run.note for run in history.runs()] == ["seen"]


def test_an_answer_to_a_run_that_was_deleted_here_comes_back_with_it(history, put, make_run):
    run = put(history, state="STARTED", external_id="x")
    history.delete([run.id])
    answer = make_run(external_id="x", execution_id="e", state="FULFILLED", outputs={"a": 1})
    assert history.merge([answer]).deleted == 1
    history.undelete()
    stored = history.get(run.id)
    assert (stored.state, stored.outputs, stored.execution_id) == ("FULFILLED", {"a": 1}, "e")


def sweep_of(run, **fields):
    usual = {"id": "s", "deployment": "d", "release_tags": ("v1",), "cases": 1, "signature": "x"}
    return SweepRecord(**usual | {"created": run.timestamp} | fields)


def test_a_damaged_sweep_is_reported_as_left_out(history, other, put):
    Sweeps(other).add(sweep_of(put(other)), [], reused={})
    with closing(sqlite3.connect(other.path, isolation_level=None)) as connection:
        connection.execute("UPDATE sweeps SET created = created | (1 << 62)")
    with pytest.raises(HistoryError, match="Sweep 's' in the history is damaged"):
        Sweeps(other).every()
    report = history.merge(other)
    assert (report.added, report.sweeps, report.unreadable) == (1, 0, ("s",))
    assert Sweeps(history).every() == []


@pytest.fixture
def reusing(history, other, put):
    """Merge a sweep that reuses a run, which has another id here; return its case and run."""
    run = put(other, id="theirs", execution_id="x")
    put(history, id="ours", execution_id="x")
    case = SweepCase(0, case_id(run.inputs), run.inputs, {"o": 1}, {"label": "é"})
    Sweeps(other).add(sweep_of(run), [case], reused={Place(0, "v1", 0): run.id})
    report = history.merge(other)
    assert report.sweeps == 1
    assert "1 sweep added" in str(report)
    return case, run


def test_a_sweep_is_merged_with_its_cases(history, other, reusing):
    assert Sweeps(history).every() == Sweeps(other).every()
    assert Sweeps(history).cases("s") == [reusing[0]]


@pytest.mark.usefixtures("reusing")
def test_a_merged_sweep_reuses_our_copy_of_a_run(history):
    assert Sweeps(history).reused("s") == {Place(0, "v1", 0): "ours"}


def test_a_merged_sweep_is_updated_by_the_next_merge(history, other, reusing):
    lease = Sweeps(other).acquire(Sweeps(other).every()[0], adopt=False)
    lease.change(ended=reusing[1].timestamp, round=2)
    assert history.merge(other).sweeps == 0
    assert Sweeps(history).every() == Sweeps(other).every()


def test_sweep_whose_generation_is_taken_gets_the_next_one(history, other, put):
    run = put(other, id="theirs", execution_id="x")
    mine = sweep_of(run)
    Sweeps(history).add(mine, [])
    Sweeps(other).add(mine.model_copy(update={"id": "t"}), [])
    assert history.merge(other).sweeps == 1
    assert [(each.id, each.generation) for each in Sweeps(history).every()] == [("t", 2), ("s", 1)]
    assert history.merge(other).sweeps == 0


@pytest.fixture
def rated(history, other, put, make_run):
    """Merge a blind rating whose first of three pairs is answered; return its pairs."""
    first, second = put(other), put(other, release_tag="v2")
    releases = {"deployment": "d", "first": "v1", "second": "v2"}
    created = make_run().timestamp
    blind = BlindRecord(id="b", seed=1, question="?", signature="x", created=created, **releases)
    pairs = [BlindPair(n, n, f"c{n}", first.id, second.id, same=False) for n in range(3)]
    other.blind_ratings.add(blind, pairs)
    other.blind_ratings.rate("b", 0, "first", a_first=True, note="clear")
    report = history.merge(other)
    assert (report.blind, report.ratings) == (1, 1)
    return pairs


def choices(history):
    return [(rating.position, rating.choice) for rating in history.blind_ratings.ratings("b")]


def test_blind_ratings_are_merged(history, rated):
    assert history.blind_ratings.pairs("b") == rated
    assert choices(history) == [(0, "first")]


@pytest.mark.usefixtures("rated")
def test_each_history_keeps_its_own_answer_to_a_pair(history, other):
    history.blind_ratings.rate("b", 1, "tie", a_first=True, note="")
    other.blind_ratings.rate("b", 1, "second", a_first=True, note="better")
    other.blind_ratings.rate("b", 2, "skip", a_first=False, note="")
    assert history.merge(other).ratings == 2
    assert choices(history) == [(0, "first"), (1, "tie"), (2, "skip")]
    assert len(history.blind_ratings.frame()) == 4
    assert other.merge(history).ratings == 1
    assert choices(other) == [(0, "first"), (2, "skip"), (1, "tie")]
    assert history.merge(other).ratings == other.merge(history).ratings == 0


@pytest.mark.usefixtures("rated")
def test_the_end_of_a_blind_rating_is_merged(history, other):
    other.blind_ratings.end("b")
    history.merge(other)
    ended = history.blind_ratings.get("b").ended
    assert ended == other.blind_ratings.get("b").ended is not None


def test_blind_ratings_of_the_same_plan_that_began_apart_are_both_kept(history, other, make_run):
    fields = {"deployment": "d", "first": "v1", "second": "v2", "question": "?", "signature": "x"}
    created = make_run().timestamp
    for each, name in ((history, "ours"), (other, "theirs")):
        record = BlindRecord(id=name, seed=1, created=created, **fields)
        assert each.blind_ratings.add(record, [])
        assert not each.blind_ratings.add(record.model_copy(update={"id": "late"}), [])
    assert history.merge(other).blind == 1
    assert history.merge(other).blind == 0
    assert history.blind_ratings.get("theirs").generation == 2
    assert history.blind_ratings.newest("x").id == "theirs"
    assert other.merge(history).blind == 1
    assert other.blind_ratings.get("ours").generation == 2


def test_bulk_change_of_a_merge_is_notified_once(history, other, put):
    run = put(other)
    put(other)
    changed, counts = [], []
    history.subscribe(changed.append, on_bulk_change=lambda: counts.append(history.count()))
    history.merge(other)
    other.annotate(run.id, note="good")
    history.merge(other)
    assert [(each.id, each.note) for each in changed] == [(run.id, "good")]
    assert counts == [2, 2]


def test_a_merge_that_was_interrupted_is_finished_by_the_next_one(history, other, put, monkeypatch):
    monkeypatch.setattr(merge, "_BATCH_RUNS", 2)  # private: 250 runs take long
    runs = [put(other) for _ in range(7)]
    batches = []

    def stop(batch, transaction, merge_runs=merge._merge_runs):
        batches.append(batch)
        if len(batches) > 2:
            raise KeyboardInterrupt
        return merge_runs(batch, transaction)

    with monkeypatch.context() as patch:
        patch.setattr(merge, "_merge_runs", stop)
        with pytest.raises(KeyboardInterrupt):
            history.merge(other)
    assert history.count() == 4
    history.merge(other)
    assert history.runs() == runs[::-1]


@pytest.fixture
def damaged(other, put):
    """Return seven runs in a file; there, all but the first and the last are damaged."""
    runs = [put(other, outputs={"doc": LONG if n == 4 else "short"}) for n in range(7)]
    other.close()
    with sqlite3.connect(other.path) as db:
        db.executescript("""
            UPDATE runs SET timestamp = timestamp | (1 << 62) WHERE seq = 2;
            UPDATE payloads SET outputs = '{"a' WHERE seq = 3;
            UPDATE payloads SET inputs = CAST(X'7B22FF227D' AS TEXT) WHERE seq = 4;
            DELETE FROM large_values;
            DELETE FROM payloads WHERE seq = 6;
        """)
    return runs


def test_damaged_runs_are_reported_by_a_merge(history, other, damaged):
    report = history.merge(other.path)
    assert list(report.unreadable) == [run.id for run in damaged[1:6]]
    assert "; 5 damaged and left out: " in str(report)


def test_damaged_runs_are_not_merged(history, other, damaged):
    history.merge(other.path)
    assert history.runs() == [damaged[6], damaged[0]]
    assert len(history.frame()) == 2


def test_a_damaged_run_is_not_updated_by_a_merge(other, damaged):
    with History(other.path) as history:
        assert history.merge([damaged[1].model_copy(update={"note": "theirs"})]).known == 1


REFUSED = {"code": "HTTP_400", "message": "An execution with this external_id already exists."}


@pytest.mark.parametrize(
    "error",
    [{"code": code, "message": ""} for code in ("UNKNOWN_FATE", "TIMEOUT", "HTTP_503")] + [REFUSED],
    ids=lambda error: error["code"],
)
def test_a_run_in_doubt_is_completed_by_its_answer(history, make_run, put, error):
    sent = {"external_id": "p", "inputs": {"q": 1}}
    failure = {"state": "FAILED", "error": error}
    failure["doubt"] = "EXECUTED" if error is REFUSED else "SENT"
    doubtful = put(history, **failure, sweep_id="s", repeat=1, **sent)
    answer = make_run(state="FULFILLED", execution_id="x", outputs={"a": 1}, release_id="r", **sent)
    report = history.merge([answer])
    assert (report.completed, report.added, report.conflicts) == (1, 0, ())
    stored = history.get(doubtful.id)
    assert (stored.state, stored.outputs, stored.error) == ("FULFILLED", {"a": 1}, None)
    assert stored.doubt is None
    assert (stored.execution_id, stored.sweep_id, stored.repeat) == ("x", "s", 1)
    assert history.merge([answer]).known == 1


@pytest.mark.parametrize(
    "error",
    [{"code": "HTTP_400", "message": "Input 'a' is missing"}, REFUSED],
    ids=["for its inputs", "for an external id of the user's own, of other inputs"],
)
def test_a_run_that_the_server_refused_is_not_the_execution_of_its_external_id(
    history, make_run, put, error
):
    refused = put(history, state="FAILED", error=error, external_id="p")
    answer = make_run(state="FULFILLED", external_id="p", execution_id="x")
    assert history.merge([answer]).added == 1
    assert history.get(refused.id).state == "FAILED"
    assert history.get(answer.id).external_id is None


def test_a_refused_turn_is_completed_by_its_execution_which_vellum_lists_without_its_conversation(
    history, make_run, put
):
    sent = {"external_id": "p", "inputs": {"q": 1}}
    turn = {"previous_execution_id": "e", "case_id": case_id({"q": 1}, "e")}
    doubtful = put(history, state="FAILED", error=REFUSED, doubt="EXECUTED", **sent, **turn)
    answer = make_run(state="FULFILLED", execution_id="x", **sent)
    assert history.merge([answer]).completed == 1
    completed = history.get(doubtful.id)
    assert (completed.state, completed.case_id) == ("FULFILLED", turn["case_id"])


def test_an_export_of_json_lines_is_merged(history, other, put, make_run, tmp_path):
    runs = [put(other, outputs={"doc": LONG}) for _ in range(3)]
    other.begin(begun := make_run())
    path = other.to_jsonl(tmp_path / "laptop.jsonl")
    report = history.merge(path)
    assert report.added == 4
    assert history.runs() == [begun, *runs[::-1]]
    assert history.merge(path).known == 4


def test_runs_that_are_started_in_the_other_change_nothing(history, record, make_run):
    history.begin(begun := make_run(state="STARTED", external_id="x", release_id="r1"))
    ended = record()
    new = begun.model_copy(update={"id": "new", "external_id": "y"})
    again = ended.model_copy(update={"state": "STARTED", "outputs": {}})
    before = history.runs()
    report = history.merge([begun, new, again])
    assert (report.running, report.added, report.known, report.conflicts) == (3, 0, 0, ())
    assert history.runs() == before


# Any two copies

edits = st.fixed_dictionaries(
    {},
    optional={
        "note": st.sampled_from(["", "one", "two", "one\ntwo", "three"]),
        "tags": st.lists(st.sampled_from("abc"), max_size=3, unique=True),
        "quality": st.sampled_from([0.0, 0.5, 1.0]),
        "desired": st.dictionaries(st.sampled_from("xy"), st.integers(0, 2), max_size=2),
    },
)
# what each side does to each of four runs: has it not, began it, ended it; and how it was judged
sides = st.lists(
    st.tuples(st.sampled_from(["absent", "begun", "ended"]), edits), min_size=4, max_size=4
)


def filled(history, runs, side):
    for run, (state, edit) in zip(runs, side, strict=True):
        if state == "absent":
            continue
        history.begin(run.model_copy(update={"state": "STARTED", "outputs": {}}))
        if state == "ended":
            history.finish(run)
        history.annotate(run.id, **edit)


def sorted_runs(history):
    return sorted(history.runs(), key=lambda run: run.id)


@pytest.mark.slow
@given(one=sides, two=sides)
def test_a_merge_loses_nothing(make_run, one, two):
    runs = [make_run(id=f"r{n}", state="FULFILLED", outputs={"x": n}) for n in range(4)]
    with History(":memory:") as ours, History(":memory:") as theirs:
        filled(ours, runs, one)
        filled(theirs, runs, two)
        before, other = sorted_runs(ours), sorted_runs(theirs)
        ours.merge(theirs)
        after = sorted_runs(ours)
        again = ours.merge(theirs)
        assert (again.added, again.completed, again.updated) == (0, 0, 0)
        assert sorted_runs(ours) == after
        assert sorted_runs(theirs) == other
        assert {run.id for run in after} == {run.id for run in (*before, *other)}
        found = {run.id: run for run in after}
        for run in (*before, *other):
            ours_now = found[run.id]
            assert run.state in ("STARTED", ours_now.state)
            assert set(run.tags) <= set(ours_now.tags)
            assert set((run.note or "").splitlines()) <= set((ours_now.note or "").splitlines())
            if run.quality not in (None, ours_now.quality):
                assert f"quality {run.quality}" in ours_now.note


@pytest.mark.slow
@given(one=sides, two=sides, mine=st.lists(st.booleans(), min_size=4, max_size=4))
def test_of_disjoint_edits_it_does_not_matter_who_merges_whom(make_run, one, two, mine):
    one = [(side[0], side[1] if own else {}) for side, own in zip(one, mine, strict=True)]
    two = [(side[0], {} if own else side[1]) for side, own in zip(two, mine, strict=True)]
    runs = [make_run(id=f"r{n}", state="FULFILLED", outputs={"x": n}) for n in range(4)]
    both = []
    for left, right in ((one, two), (two, one)):
        with History(":memory:") as ours, History(":memory:") as theirs:
            filled(ours, runs, left)
            filled(theirs, runs, right)
            ours.merge(theirs)
            both.append(sorted_runs(ours))
    assert both[0] == both[1]


def test_only_missing_values_of_a_run_are_merged(history, record):
    ours = record(execution_id="e", external_id="x", outputs={"a": 1}, quality=0.25)
    news = {"outputs": {"a": 2}, "quality": 1.0, "cost_usd": 0.5, "author": "ada"}
    for more in (news, news | {"id": "of sync", "desired": {"a": 3}}):
        theirs = ours.model_copy(update=more)
        assert [history.merge([theirs]).updated for _ in range(2)] == [1, 0]
    stored = history.get(ours.id)
    assert (stored.outputs, stored.quality, stored.cost_usd) == ({"a": 1}, 0.25, 0.5)
    assert (stored.author, stored.desired, history.count()) == ("ada", {"a": 3}, 1)
    history.merge([ours.model_copy(update={"id": "new", "execution_id": "another"})])
    assert history.runs(execution_id="another")[0].external_id is None


def test_a_merge_does_not_write_to_its_source(history, other, put, tmp_path, path):
    run = put(other)
    other.close()
    file = tmp_path / "laptop.db"
    before = file.read_bytes()
    assert history.merge(file).added == 1
    assert file.read_bytes() == before
    assert history.merge(str(path)).known == history.merge(history).known == 1
    assert history.runs() == [run]

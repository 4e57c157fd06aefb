"""Copies of a history join: what the other knows is taken over, and nothing of ours is lost."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from vellum_nb import History
from vellum_nb.models import NodeRun, case_id
from vellum_nb.models.blind import BlindPair, BlindRecord
from vellum_nb.models.sweeps import Place, SweepCase, SweepRecord

LONG = "long text " * 4_000


@pytest.fixture
def other(tmp_path):
    with History(tmp_path / "laptop.db") as other:
        yield other


@pytest.fixture
def put(make_run):
    def put(history, **fields):
        run = make_run(**{"state": "FULFILLED", **fields})
        history.begin(run.model_copy(update={"state": "STARTED", "outputs": {}, "error": None}))
        if run.state != "STARTED":
            history.finish(run)
        return history.get(run.id)

    return put


def test_a_merge_brings_every_field_of_the_other_and_says_how_much(history, other, put):
    ours = put(history)
    theirs = [
        put(
            other,
            inputs={"doc": LONG, "t": "\ud800"},
            case_id="c",
            outputs={"n": 2**70, "nan": float("nan")},
            note="n",
            tags=["a"],
            metadata={"k": 1},
            nodes=(NodeRun(name="n", error=LONG),),
        )
        for _ in range(3)
    ]
    report = history.merge(other)
    assert repr(report) == (
        f"<MergeReport of {other.path}: 3 added, 0 completed, 0 updated, 0 known already>"
    )
    assert repr(history.runs()) == repr([*theirs[::-1], ours])
    assert [run.nodes for run in history.runs()[:3]] == [run.nodes for run in theirs]
    assert other.runs() == other.runs()
    assert history.merge(other.path).known == 3
    assert history.count() == 4


def test_a_run_that_began_here_and_ended_there_is_completed(history, other, put, make_run):
    begun = make_run(external_id="e", inputs={"doc": LONG})
    for each in (history, other):
        each.begin(begun)
    history.annotate(begun.id, note="waiting")
    ended = begun.model_copy(
        update={"state": "FULFILLED", "outputs": {"a": LONG + "!"}, "execution_id": "x"}
    )
    other.finish(ended)
    assert history.merge(other).completed == 1
    found = history.get(begun.id)
    assert found == ended.model_copy(update={"note": "waiting"})
    assert other.merge(history).updated == 1
    assert other.get(begun.id) == found


def test_a_run_that_ended_here_does_not_begin_again(history, other, make_run):
    begun = make_run()
    for each in (history, other):
        each.begin(begun)
    history.finish(begun.model_copy(update={"state": "CANCELLED"}))
    assert history.merge(other).known == 1
    assert history.get(begun.id).state == "CANCELLED"


def test_notes_tags_and_ratings_of_both_are_kept(history, other, put):
    run = put(history, outputs={"a": 1, "b": 2})
    history.merge([])
    other.merge(history)
    history.annotate(run.id, note="polite", tags=["x"], quality=1.0, desired={"a": 3})
    other.annotate(run.id, note="too long", tags=["y", "x"], quality=0.5, desired={"a": 4, "b": 5})
    report = history.merge(other)
    assert (report.updated, report.known) == (1, 0)
    assert [(c.id, c.fields) for c in report.conflicts] == [(run.id, ("quality", "desired"))]
    assert f"1 differs, ours kept: {run.id} (quality, desired)" in str(report)
    found = history.get(run.id)
    assert found.note.splitlines() == [
        "polite",
        "too long",
        "merged: quality 0.5",
        'merged: desired."a" 4',
    ]
    assert (found.tags, found.quality, found.desired) == (("x", "y"), 1.0, {"a": 3, "b": 5})
    assert history.merge(other).updated == 0
    assert history.get(run.id) == found


def test_runs_that_differ_are_reported_and_ours_are_kept(history, other, put):
    ours = put(history, id="same", inputs={"q": "a"}, outputs={"o": 1})
    put(other, id="same", inputs={"q": "b"}, outputs={"o": 1}, timestamp=ours.timestamp)
    report = history.merge(other)
    assert [(c.id, c.fields) for c in report.conflicts] == [("same", ("case_id", "inputs"))]
    assert history.runs() == [ours]
    assert history.merge(other) == report


def test_what_was_brought_by_sync_is_one_run_with_what_was_recorded(history, other, put):
    synced = put(history, id="ours", execution_id="x", external_id="p", outputs={"o": 1})
    history.annotate(synced.id, note="seen")
    theirs = put(
        other, id="planned", execution_id="x", external_id="p", sweep_id="s", outputs={"o": 1}
    )
    report = history.merge(other)
    assert (report.added, report.updated, report.conflicts) == (0, 1, ())
    found = history.get("planned")
    assert (found.sweep_id, found.note, found.case_id) == ("s", "seen", theirs.case_id)
    assert history.count() == 1
    assert history.merge(other).known == 1


def test_another_execution_with_the_same_external_id_is_a_run_of_its_own(history, other, put):
    put(history, execution_id="x", external_id="p")
    theirs = put(other, execution_id="y", external_id="p")
    assert history.merge(other).added == 1
    assert history.get(theirs.id).external_id is None
    assert history.merge(other).known == 1


def test_who_made_a_run_comes_along(history, other, make_run):
    run = make_run(state="FULFILLED")
    history.merge([run])
    other.merge([run.model_copy(update={"author": "ada"})])
    report = history.merge(other)
    assert (report.updated, report.conflicts) == (1, ())
    assert history.get(run.id).author == "ada"


def test_a_run_that_was_deleted_here_stays_deleted(history, other, put):
    run = put(history)
    other.merge(history)
    history.delete([run.id])
    report = history.merge(other)
    assert (report.deleted, history.count()) == (1, 0)
    assert "1 deleted here and left so" in str(report)
    history.undelete()
    assert history.runs() == [run]


def sweep_of(run, **fields):
    usual = {"id": "s", "deployment": "d", "release_tags": ("v1",), "cases": 1, "signature": "x"}
    return SweepRecord(**usual | {"created": run.timestamp} | fields)


def test_sweeps_come_with_their_cases_and_the_runs_they_took_over(history, other, put):
    run = put(other, id="theirs", execution_id="x")
    put(history, id="ours", execution_id="x")
    case = SweepCase(0, case_id(run.inputs), run.inputs, {"o": 1}, {"label": "é"})
    other.sweeps.add(sweep_of(run), [case], taken={Place(0, "v1", 0): run.id})
    report = history.merge(other)
    assert report.sweeps == 1
    assert "1 sweep added" in str(report)
    assert history.sweeps.every() == other.sweeps.every()
    assert history.sweeps.cases("s") == [case]
    assert history.sweeps.reused("s") == {Place(0, "v1", 0): "ours"}
    other.sweeps.change("s", ended=run.timestamp, round=2)
    assert history.merge(other).sweeps == 0
    assert history.sweeps.every() == other.sweeps.every()


def test_blind_ratings_come_along_and_one_pair_has_one_answer(history, other, put, make_run):
    first, second = put(other), put(other, release_tag="v2")
    blind = BlindRecord(
        id="b",
        deployment="d",
        first="v1",
        second="v2",
        seed=1,
        question="?",
        signature="x",
        created=make_run().timestamp,
    )
    pairs = [BlindPair(n, n, f"c{n}", first.id, second.id, same=False) for n in range(3)]
    other.blind.add(blind, pairs)
    other.blind.rate("b", 0, "first", a_first=True, note="clear")
    report = history.merge(other)
    assert (report.blind, report.ratings) == (1, 1)
    assert history.blind.pairs("b") == pairs
    history.blind.rate("b", 1, "tie", a_first=True, note="")
    other.blind.rate("b", 1, "second", a_first=True, note="better")
    other.blind.rate("b", 2, "skip", a_first=False, note="")
    assert history.merge(other).ratings == 2
    said = [(r.position, r.choice) for r in history.blind.ratings("b")]
    assert said == [(0, "first"), (1, "tie"), (2, "skip")]
    assert len(history.blind_ratings()) == 4
    assert other.merge(history).ratings == 1
    assert [(r.position, r.choice) for r in other.blind.ratings("b")] == [
        (0, "first"),
        (2, "skip"),
        (1, "tie"),
    ]
    assert history.merge(other).ratings == other.merge(history).ratings == 0
    other.blind.end("b")
    history.merge(other)
    assert history.blind.get("b").ended == other.blind.get("b").ended


def test_the_other_file_is_not_changed_and_may_be_read_only(history, other, put, tmp_path, path):
    run = put(other)
    other.close()
    file = tmp_path / "laptop.db"
    before = file.read_bytes()
    assert history.merge(file).added == 1
    assert file.read_bytes() == before
    assert sorted(p.name for p in tmp_path.glob("laptop.db*")) == ["laptop.db"]
    assert history.runs() == [run]


def told(history):
    return sorted(history.runs(), key=lambda run: run.id)


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_a_history_of_an_older_version_is_read_from_a_copy(history, path, tmp_path, version):
    kept = Path(__file__).with_name("files") / f"v{version}.db"
    file = Path(shutil.copy(kept, tmp_path / "old.db"))
    report = history.merge(file)
    assert file.read_bytes() == kept.read_bytes()
    assert sorted(p.name for p in tmp_path.glob("old.db*")) == ["old.db"]
    with History(file) as old:
        assert report.added == old.count() > 0
        assert repr(told(history)) == repr(told(old))
        assert [run.nodes for run in told(history)] == [run.nodes for run in told(old)]
        assert history.sweeps.every() == old.sweeps.every()
        for sweep in old.sweeps.every():
            assert history.sweeps.cases(sweep.id) == old.sweeps.cases(sweep.id)
            assert history.sweeps.reused(sweep.id) == old.sweeps.reused(sweep.id)
        assert repr(history.blind_ratings()) == repr(old.blind_ratings())
    assert history.merge(kept).known == report.added


def test_a_history_merged_with_itself_stays_as_it_is(history, put):
    run = put(history)
    assert history.merge(str(history.path)).known == 1
    assert history.merge(history).known == 1
    assert history.runs() == [run]


def test_subscribers_hear_of_each_run_that_changed_and_once_of_those_that_came(history, other, put):
    run = put(other)
    put(other)
    heard, of_many = [], []
    history.subscribe(heard.append, many=lambda: of_many.append(history.count()))
    history.merge(other)
    other.annotate(run.id, note="good")
    history.merge(other)
    assert [(each.id, each.note) for each in heard] == [(run.id, "good")]
    assert of_many == [2, 2]


def test_a_merge_that_was_interrupted_is_finished_by_the_next_one(history, other, put, monkeypatch):
    monkeypatch.setattr("vellum_nb.history.joining.joining._AT_ONCE", 2)
    runs = [put(other) for _ in range(7)]
    history.begin(runs[2].model_copy(update={"state": "STARTED", "outputs": {}}))

    def stop(_completed):
        raise KeyboardInterrupt

    unsubscribe = history.subscribe(stop)
    with pytest.raises(KeyboardInterrupt):
        history.merge(other)
    unsubscribe()
    assert history.count() == 4
    history.merge(other)
    assert history.runs() == runs[::-1]


def test_timestamps_far_apart_do_not_matter(history, other, put, make_run, path):
    old = put(other, timestamp=make_run().timestamp - timedelta(days=20_000))
    assert history.merge(other).added == 1
    assert history.runs() == [old]

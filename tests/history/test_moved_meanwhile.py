"""Runs that are archived or brought back while they are read: each is read once."""

import subprocess
import sys
from datetime import UTC, datetime

import pandas as pd
import pytest

from vellum_nb import History
from vellum_nb.history.keeping import archive_files, one_state
from vellum_nb.history.reading import loading, reads
from vellum_nb.models.sweeps import Place, SweepRecord

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
NOON_OF_JULY = "2026-07-01T12:00:05Z"
MOVER = """
import sys
from pathlib import Path
from vellum_nb import History
from vellum_nb.history.keeping import archive_files

archive_files._GROUP_ROWS = 7
place, path = sys.argv[1], Path(sys.argv[2])
with History(place) as history:
    while not path.with_name("stop").exists():
        if history.archive(before="2100-01-01", path=path).path:
            history.unarchive(path)
            path.unlink()
            print("moved", flush=True)
"""
ROUNDS = 5


def a_sweep(name):
    plan = {"deployment": "ticket-triage", "release_tags": ("v1",), "cases": 40}
    return SweepRecord(id=name, signature=name, created=NOON, **plan)


def everything(history, tmp_path):
    """Yield the ids of all runs, here and in archives, as each reader has them."""
    yield [run.id for run in history.runs(archived=True)]
    yield [run.id for run in history.runs(archived=True, search="text")]
    yield history.frame(archived=True)["id"].tolist()
    yield [record.id for record in history.records(archived=True)]
    path = history.to_csv(tmp_path / "all.csv", archived=True, columns=["id"])
    yield [line.strip('"') for line in path.read_text().splitlines()[1:]]
    yield [*history.sweeps.states("s")]
    yield [*history.sweeps.reused("t").values()]


@pytest.fixture(params=[1, loading.MANY])
def many(request, monkeypatch):
    """Read in bulk from so many runs on."""
    monkeypatch.setattr(loading, "MANY", request.param)


@pytest.mark.usefixtures("many")
def test_two_who_archive_and_bring_back_all_the_time_hide_no_run_and_double_none(
    history, record, place, tmp_path
):
    ids = [record(sweep_id="s").id for _ in range(40)]
    places = {Place(number, "v1", 0): run_id for number, run_id in enumerate(ids)}
    for name in ("s", "t"):
        history.sweeps.add(a_sweep(name), [], taken=places if name == "t" else {})
        history.sweeps.change(name, ended=NOON)
    command = [sys.executable, "-c", MOVER, str(place)]
    movers = [
        subprocess.Popen([*command, tmp_path / f"{name}.parquet"], stdout=subprocess.PIPE)
        for name in "ab"
    ]
    try:
        for _ in range(ROUNDS):
            assert all(mover.stdout.readline() == b"moved\n" for mover in movers)
            for found in everything(history, tmp_path):
                assert sorted(found) == sorted(ids)
            assert history.count(archived=True) == len(ids)
            assert history.count(archived=True, search="text") == len(ids)
            assert history.sweeps.tallies() == {n: {"FULFILLED": len(ids)} for n in "st"}
    finally:
        (tmp_path / "stop").touch()
        ended = [(mover.communicate(), mover.returncode)[1] for mover in movers]
    assert ended == [0, 0]
    assert history.count() == len(ids)


def test_a_frame_has_the_runs_that_are_archived_while_it_is_read(
    history, odd, archive, monkeypatch
):
    archive(NOON_OF_JULY)
    before, bulk = history.frame(archived=True), reads.bulk

    def archive_and_read(*args, **kwargs):
        archive("2027-01-01")
        return bulk(*args, **kwargs)

    monkeypatch.setattr(loading, "MANY", 1)
    monkeypatch.setattr(reads, "bulk", archive_and_read)
    pd.testing.assert_frame_equal(history.frame(archived=True), before)


STEPS = {
    "brought_in": one_state,
    "select": one_state,
    "noted": one_state,
    "_opened": archive_files,
}


@pytest.fixture(
    params=[(name, when) for name in STEPS for when in ("before", "after")], ids="-".join
)
def brought_back_at_a_step(request, place, monkeypatch):
    """Return what has another process bring an archive back at a step of the next reading."""

    def wait_for_it(path):
        name, when = request.param
        step, left = getattr(STEPS[name], name), [path]

        def bring_back():
            for each in [left.pop()] if left else []:
                with History(place) as other:
                    other.unarchive(each)
                each.unlink()

        def stepped(*args, **kwargs):
            if when == "before":
                bring_back()
            found = step(*args, **kwargs)
            bring_back()
            return found

        monkeypatch.setattr(STEPS[name], name, stepped)

    return wait_for_it


@pytest.mark.parametrize("words", [None, "text"])
def test_an_archive_that_is_brought_back_at_any_step_of_reading_hides_no_run(
    history, record, archive, brought_back_at_a_step, words
):
    ids = [record().id for _ in range(6)][::-1]
    brought_back_at_a_step(archive("2026-07-01T12:00:03Z").path)
    assert [run.id for run in history.runs(archived=True, search=words)] == ids
    assert history.count() == len(ids)
    assert len(history.archives()) == 0

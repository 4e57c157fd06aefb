"""A server that is lost while runs are archived or merged: the next call ends what it began."""

from __future__ import annotations

import psycopg
import pytest
from vellum_nb.history.joining.joined_runs import RunJoiner
from vellum_nb.history.keeping import archive_files, archiving

from vellum_nb import History, HistoryError

RUNS = 900
LATER = "2100-01-01"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def runs(make_run):
    return [make_run(state="FULFILLED", outputs={"n": number}) for number in range(RUNS)]


@pytest.fixture(params=["restart", "idle timeout"])
def lose_at(request, postgres, postgres_url, monkeypatch):
    """Return what has the connection lost, once, at a call that is made within a transaction."""

    def restart(_):
        postgres.kill()
        postgres.start()

    def idle(history):
        history._store._writer.connection.execute(
            "SET LOCAL idle_in_transaction_session_timeout = '50ms'"
        )
        there = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        pid = history._store._writer.connection.raw.info.backend_pid
        with psycopg.connect(postgres_url, autocommit=True) as db:
            while db.execute(there, (pid,)).fetchone():
                pass

    lose = restart if request.param == "restart" else idle

    def lose_at(history, owner, name, turn):
        called, turns = getattr(owner, name), []

        def then(*args):
            turns.append(args)
            if len(turns) == turn:
                lose(history)
            return called(*args)

        monkeypatch.setattr(owner, name, then)

    return lose_at


@pytest.fixture
def _lots(monkeypatch):
    monkeypatch.setattr(archive_files, "_GROUP_ROWS", 400)


@pytest.mark.usefixtures("_lots")
@pytest.mark.parametrize("step", ["note", "remove"])
def test_an_archive_that_lost_its_server_is_ended_by_the_next(
    postgres_url, runs, tmp_path, lose_at, step
):
    target = tmp_path / "old" / "runs.parquet"
    target.parent.mkdir()
    with History(postgres_url) as history:
        history.sweeps.record(begun=runs)
        lose_at(history, archiving, step, 1 if step == "note" else 2)
        with pytest.raises(HistoryError, match=r"The connection .* was lost; try again"):
            history.archive(before=LATER, path=target)
        assert history.count(archived=True) == RUNS
        assert history.count() == (RUNS if step == "note" else RUNS - 100)  # of the last lot
        again = target if step == "note" else target.with_name("rest.parquet")
        history.archive(before=LATER, path=again)
        assert history.count() == 0
        found = history.runs(archived=True)
        assert {run.id: run.outputs for run in found} == {run.id: run.outputs for run in runs}
        assert len(found) == RUNS
        assert {each.name for each in target.parent.iterdir()} == {target.name, again.name}


def test_a_merge_that_lost_its_server_is_ended_by_the_next(postgres_url, runs, path, lose_at):
    with History(path) as other:
        other.sweeps.record(begun=runs)
    with History(postgres_url) as history:
        lose_at(history, RunJoiner, "join", 2)
        with pytest.raises(HistoryError, match=r"The connection .* was lost; try again"):
            history.merge(path)
        assert 0 < (came := history.count()) < RUNS
        report = history.merge(path)
        assert (report.added, report.known) == (RUNS - came, came)
        assert [run.id for run in history.runs()] == [run.id for run in reversed(runs)]

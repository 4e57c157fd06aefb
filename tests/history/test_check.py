"""Looking at a history that may be damaged, written to meanwhile, or none at all."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import vellum_nb as vnb
from vellum_nb import History, HistoryError
from vellum_nb.history.sqlite.copies import looked_at, reading

OLD = Path(__file__).with_name("files") / "v5.db"
RECORD = """
import sys
from vellum_nb import History
with History(sys.argv[1]) as history:
    history.annotate("run-0", note=sys.argv[2])
    run = history.get("run-0").model_copy(update={"id": sys.argv[2], "external_id": None})
    history.begin(run)
"""


def record_elsewhere(path, name):
    """Record a run in another process, which opens the file, writes to it and closes it."""
    subprocess.run([sys.executable, "-c", RECORD, str(path), name], check=True)


@pytest.fixture
def one(path, make_run):
    with History(path) as history:
        history.begin(make_run(state="FULFILLED"))
    return path


def test_what_another_process_writes_in_mid_look_is_looked_at_anew(one):
    looks = []

    def look(connection):
        found = connection.execute("SELECT count(*), max(note) FROM runs").fetchone()
        if not looks:
            record_elsewhere(one, "other")
        looks.append(found)
        return found

    assert looked_at(one, look) == (2, "other")
    assert looks == [(1, None), (2, "other")]
    assert looked_at(one, look) == (2, "other")
    assert len(looks) == 3


def test_another_history_that_is_written_to_is_read_as_it_is(one):
    with reading(one) as read:
        assert read("SELECT count(*) FROM runs", ()) == [(1,)]
        record_elsewhere(one, "other")
        assert read("SELECT count(*) FROM runs", ()) == [(2,)]


def test_what_is_no_history_is_not_called_a_damaged_one(tmp_path):
    file = tmp_path / "runs.csv"
    file.write_text("a,b\n1,2\n")
    (problem,) = vnb.check_history(file).problems
    assert problem == "it is no SQLite file, so no history; or its first page is lost"
    with pytest.raises(HistoryError, match="it is no SQLite file, and no run can be read"):
        vnb.repair_history(file)
    with (
        History(":memory:") as history,
        pytest.raises(HistoryError, match=r"runs.csv is no archive of a history: it is no Parquet"),
    ):
        history.unarchive(file)


def test_an_empty_file_is_told(tmp_path):
    file = tmp_path / "runs.db"
    file.touch()
    (problem,) = vnb.check_history(file).problems
    assert problem == "it is empty; nothing was recorded in it, or all of it is lost"


def test_what_was_deleted_for_good_stays_so_in_an_archive_when_it_is_repaired(
    one, make_run, tmp_path
):
    with History(one) as history, History(tmp_path / "copy.db") as copy:
        copy.merge(history)
        history.archive(before="2100-01-01")
        history.merge(copy)
        history.search("x")  # its state is derived, and left behind with its index
        history.delete(["run-0"])
        history.vacuum()
        history.begin(make_run(id="stays"))
    with History(vnb.repair_history(one).path) as repaired:
        assert [run.id for run in repaired.runs(archived=True)] == ["stays"]
        assert len(repaired.archives()) == 1
        assert repaired.search("x").empty


def test_a_history_whose_runs_are_all_archived_is_repaired(one):
    with History(one) as history:
        history.archive(before="2100-01-01")
    with History(vnb.repair_history(one).path) as repaired:
        assert [run.id for run in repaired.runs(archived=True)] == ["run-0"]


def test_a_check_tells_of_runs_that_have_been_started_for_long(path, make_run):
    with History(path) as history:
        history.begin(make_run())
        history.begin(make_run(timestamp=datetime.now(UTC)))
        found = vnb.check_history(path)
    assert found.ok
    assert found.notes[0].startswith("1 run(s) have been STARTED for more than a day")


def test_a_check_of_an_old_version_says_what_will_be_done(tmp_path):
    path = tmp_path / "runs.db"
    path.write_bytes(OLD.read_bytes())
    found = vnb.check_history(path)
    assert (found.ok, found.runs, found.version) == (True, 27, 5)
    assert "earlier version" in found.notes[0]

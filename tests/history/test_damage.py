"""Each kind of damage and of bad luck with the disk: one plain sentence, and nothing is changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import vellum_nb as vnb
from vellum_nb import History, HistoryError
from vellum_nb.history.searching import index

PAGE = 4096
NOBODY = 65534
FILES = Path(__file__).with_name("files")
AS_ROOT = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root can become nobody"
)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Make a history with inner pages, free pages and indexes."""
    path = tmp_path_factory.mktemp("whole") / "runs.db"
    shutil.copy(FILES / "v5.db", path)
    with History(path) as history:
        run = history.get("bare")
        with history._store.write() as connection:
            connection.execute("PRAGMA secure_delete = OFF")
        for number in range(120):
            named = {
                "id": f"run-{number}",
                "inputs": {"text": f"{number} " * 400},
                "note": "n" * 99,
            }
            history.begin(run.model_copy(update={**named, "state": "STARTED"}))
        with history._store.write() as connection:
            for table in ("payloads", "runs"):
                connection.execute(f"DELETE FROM {table} WHERE seq % 3 = 0")
    return path.read_bytes()


def pages_of(content, tmp_path):
    """Return a page of each kind, from 0, by SQLite's own account."""
    path = tmp_path / "look.db"
    path.write_bytes(content)
    with closing(sqlite3.connect(path)) as db:
        root = "SELECT rootpage - 1 FROM sqlite_master WHERE name = ?"
        return {
            "inner": db.execute(root, ("payloads",)).fetchone()[0],
            "index": db.execute(root, ("sqlite_autoindex_runs_1",)).fetchone()[0],
            "free": int.from_bytes(content[32:36], "big") - 1,
        }


def refused(path):
    before = path.read_bytes()
    with pytest.raises(HistoryError) as caught:
        History(path)
    assert path.read_bytes() == before
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def flipped(content, at, length=1):
    middle = bytes(byte ^ 0xFF for byte in content[at : at + length])
    return content[:at] + middle + content[at + length :]


@pytest.mark.parametrize(
    "where",
    [
        ("the name of the format", 3, 1),
        ("the size of its pages", 16, 2),
        ("the list of tables", 100, 8),
        ("inner", 0, 12),
        ("inner", 12, 40),
        ("index", 0, 12),
        ("free", 0, 8),
        ("leaf", 0, 12),
    ],
    ids=str,
)
def test_flipped_bytes_are_told_and_left(where, content, path, tmp_path):
    kind, at, length = where
    pages = pages_of(content, tmp_path) | {"leaf": len(content) // PAGE - 1}
    start = pages.get(kind, 0) * PAGE + at
    path.write_bytes(flipped(content, start, length))
    message = refused(path)
    assert "was left as it is" in message
    assert not vnb.check_history(path).ok
    assert vnb.repair_history(path).runs > 40


@pytest.mark.parametrize("name", [b"\xc2ayloads", b"\xff\xffyloads"])
def test_a_name_that_is_no_text_any_more_is_told_and_left(name, content, path):
    path.write_bytes(content.replace(b"payloads", name, 2))
    assert "was left as it is" in refused(path)
    assert not vnb.check_history(path).ok
    assert vnb.repair_history(path).runs > 40


@pytest.mark.parametrize("end", [100, 512, PAGE - 1, PAGE, 5 * PAGE + 7, -PAGE, -1])
def test_a_truncated_file_is_told_and_left(end, content, path):
    path.write_bytes(content[:end])
    message = refused(path)
    assert "was left as it is" in message
    assert "choose another file" in message


def test_a_damaged_row_of_an_open_history_is_told_with_what_to_do(content, path):
    with History(path) as history:
        assert history.count() == 0
    path.write_bytes(content)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE payloads SET outputs = CAST(x'7bff' AS TEXT) WHERE seq = 1")
        db.commit()
    with History(path) as history:
        with pytest.raises(HistoryError, match="vellum-nb history repair") as caught:
            history.runs()
        assert str(path) in str(caught.value)
        assert "is not UTF-8" in str(caught.value)
    found = vnb.check_history(path)
    assert found.problems == ("outputs of run text-plain cannot be read",)


@pytest.mark.parametrize("read", ["frame", "runs", "scan", "to_csv", "to_jsonl", "page", "search"])
def test_a_row_that_is_no_json_any_more_is_told_by_every_reader(read, content, path):
    path.write_bytes(content)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE payloads SET inputs = '{\"torn' WHERE seq = 1")
        db.commit()
    given = {"to_csv": [path.with_name("x.csv")], "to_jsonl": [path.with_name("x.jsonl")]}
    with History(path) as history:
        given["search"] = ["ticket"]
        with pytest.raises(HistoryError, match="its row is damaged.*history repair") as caught:
            list(
                getattr(history, read)(
                    *given.get(read, []), **{"page": {"limit": 999}}.get(read, {})
                )
            )
    assert str(path) in str(caught.value)
    assert [file.name for file in path.parent.glob("x.*")] == []


@pytest.mark.parametrize(
    "take", [lambda h: h.delete(["text-plain"]), lambda h: h.archive(before="2100-01-01")]
)
def test_a_row_that_is_no_json_any_more_is_told_when_it_is_to_go(take, content, path, monkeypatch):
    path.write_bytes(content)
    monkeypatch.setattr(index, "SLICE", 10)
    with History(path) as history:
        history.search("ticket")
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE payloads SET inputs = '{\"torn'")
            db.commit()
        count = history.count()
        with pytest.raises(HistoryError, match="its row is damaged.*history repair"):
            take(history)
        assert history.count() == count


def log_of_a_killed_process(path):
    code = "import sys; from vellum_nb import History; import os\n"
    code += "h = History(sys.argv[1]); h.annotate('bare', note='in the log'); os._exit(0)"
    subprocess.run([sys.executable, "-c", code, path], check=True)
    log = path.with_name(f"{path.name}-wal")
    assert log.stat().st_size > PAGE
    return log


@pytest.mark.parametrize("harm", ["head", "frame", "half", "gone"])
def test_a_damaged_log_costs_what_was_only_in_it(harm, content, path):
    path.write_bytes(content)
    log = log_of_a_killed_process(path)
    wal = log.read_bytes()
    if harm == "gone":
        log.unlink()
    else:
        harmed = {"head": flipped(wal, 16), "frame": flipped(wal, 60), "half": wal[: PAGE // 2]}
        log.write_bytes(harmed[harm])
    with History(path) as history:
        notes = {run.note for run in history.runs()}
    assert "in the log" not in notes
    assert vnb.check_history(path).ok


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other devices")
@pytest.mark.parametrize("name", ["/dev/null", "/dev/full", "pipe", "folder"])
def test_what_is_no_file_is_no_history(name, tmp_path):
    place = Path(name) if name.startswith("/") else tmp_path / name
    if name == "pipe":
        os.mkfifo(place)
    if name == "folder":
        place.mkdir()
    with pytest.raises(HistoryError, match="cannot be opened; see that it is a file") as caught:
        History(place)
    assert str(place) in str(caught.value)
    with pytest.raises(HistoryError, match="There is no history"):
        vnb.repair_history(place, to=tmp_path / "new.db")


@contextmanager
def nobody(*owned):
    """Be a user without rights for the block; `owned` are that user's."""
    for place in owned:
        os.chown(place, NOBODY, NOBODY)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def open_folder(content, make_run):
    """Make a folder that everybody can reach, with a history in it."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "runs.db").write_bytes(content)
        yield folder


@AS_ROOT
@pytest.mark.parametrize(
    ("file", "folder", "sentence"),
    [
        (0o444, 0o755, "it cannot be written; change its permissions"),
        (0o600, 0o755, "it cannot be opened; see that"),
        (0o666, 0o700, "it cannot be opened; see that"),
        (0o666, 0o555, "change its permissions|its folder can be written"),
    ],
)
def test_without_permission_one_sentence_says_what_to_do(open_folder, file, folder, sentence):
    path = open_folder / "runs.db"
    path.chmod(file)
    open_folder.chmod(folder)
    before = path.read_bytes()
    with nobody(), pytest.raises(HistoryError, match=sentence) as caught:
        History(path)
    assert str(path) in str(caught.value)
    assert "choose another file" in str(caught.value)
    assert path.read_bytes() == before


@AS_ROOT
def test_a_folder_that_cannot_be_made_says_so(open_folder):
    with nobody(), pytest.raises(HistoryError, match="cannot be opened.*Permission denied"):
        History(open_folder / "new" / "runs.db")


@AS_ROOT
def test_a_history_that_may_only_be_read_can_be_checked_and_saved(open_folder):
    path = open_folder / "runs.db"
    path.chmod(0o444)
    place = open_folder / "mine"
    place.mkdir()
    with nobody(place):
        assert vnb.check_history(path).ok
        assert vnb.repair_history(path, to=place / "new.db").runs > 40
    assert sorted(file.name for file in open_folder.iterdir()) == ["mine", "runs.db"]

"""Each kind of damage and of bad luck with the disk: one plain sentence, and nothing is changed."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import vellum_nb as vnb
from vellum_nb import History, HistoryError, Run, sqlite

PAGE = 2048
NOBODY = 65534
AS_ROOT = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root can become nobody"
)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Make a history with inner pages, free pages and indexes."""
    path = tmp_path_factory.mktemp("whole") / "runs.db"
    with History(path) as history:
        for number in range(160):
            history.begin(
                Run(
                    id=f"run-{number}",
                    deployment="d",
                    release_tag="v1",
                    timestamp=datetime(2026, 7, 1, tzinfo=UTC) + timedelta(seconds=number),
                    inputs={"text": f"{number} " * 400},
                    note="n" * 99,
                    case_id="c",
                )
            )
        history.delete([f"run-{number}" for number in range(0, 160, 3)])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for table in ("payloads", "runs"):  # not by vacuum, which leaves no free page
            db.execute(f"DELETE FROM {table} WHERE seq % 3 = 1")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
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
            "leaf": leaf_of(content, db.execute(root, ("payloads",)).fetchone()[0]),
            "free": int.from_bytes(content[32:36], "big") - 1,
        }


def leaf_of(content, page):
    """Return the last leaf of the tree of a table."""
    while content[page * PAGE] == 5:  # an inner page of a table
        page = int.from_bytes(content[page * PAGE + 8 : page * PAGE + 12], "big") - 1
    return page


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
    pages = pages_of(content, tmp_path)
    start = pages.get(kind, 0) * PAGE + at
    path.write_bytes(flipped(content, start, length))
    message = refused(path)
    assert "was left as it is" in message
    assert not vnb.check_history(path).ok


@pytest.mark.parametrize("name", [b"\xc2ayloads", b"\xff\xffyloads"])
def test_a_name_that_is_no_text_any_more_is_told_and_left(name, content, path):
    path.write_bytes(content.replace(b"payloads", name, 2))
    assert "was left as it is" in refused(path)
    assert not vnb.check_history(path).ok


@pytest.mark.parametrize("end", [100, 512, PAGE - 1, PAGE, 5 * PAGE + 7, -PAGE, -1])
def test_a_truncated_file_is_told_and_left(end, content, path):
    path.write_bytes(content[:end])
    message = refused(path)
    assert "was left as it is" in message


def spoil(path, sql):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(sql)


DAMAGES = [
    "UPDATE payloads SET inputs = '{\"torn' WHERE seq = 2",
    "UPDATE payloads SET outputs = '[1]' WHERE seq = 2",
    "UPDATE payloads SET outputs = CAST(x'7bff' AS TEXT) WHERE seq = 2",  # not UTF-8
    "UPDATE runs SET timestamp = timestamp | (1 << 62) WHERE seq = 2",
    "UPDATE runs SET state = 'GTARTED' WHERE seq = 2",
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("read", ["frame", "runs", "scan", "to_csv", "to_jsonl"])
def test_a_damaged_row_is_named_by_every_reader_and_can_be_left_out(read, damage, content, path):
    path.write_bytes(content)
    spoil(path, damage)
    files = {"to_csv": [path.with_name("x.csv")], "to_jsonl": [path.with_name("x.jsonl")]}
    with History(path) as history:
        call = getattr(history, read)
        with pytest.raises(HistoryError, match=r"Run 'run-1' in the history is damaged"):
            [getattr(each, "inputs", None) for each in call(*files.get(read, []))]
        assert [file.name for file in path.parent.glob("x.*")] == []
        left = history.count() - 1
        found = call(*files.get(read, []), skip_damaged=True)
        if read in {"frame", "runs"}:
            assert len(found) == left
        with pytest.raises(HistoryError, match="Run 'run-1' in the history is damaged"):
            history.get("run-1")
        assert len(history.page(limit=999, skip_damaged=True)) == left
    assert "Run 'run-1'" in vnb.check_history(path).problems[0]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_can_be_deleted_and_is_not_merged(damage, content, path):
    path.write_bytes(content)
    spoil(path, damage)
    with History(":memory:") as other, History(path) as history:
        report = other.merge(history)
        assert report.unreadable == ("run-1",)
        assert other.count() == report.added == history.count() - 1
        assert len(other.runs()) == other.count()
        assert history.delete(["run-1"]).runs == 1
        assert len(history.runs()) == other.count()


def log_of_a_killed_process(path):
    code = "import sys; from vellum_nb import History; import os\n"
    code += "h = History(sys.argv[1]); h.annotate('run-1', note='in the log'); os._exit(0)"
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
    with pytest.raises(HistoryError, match="cannot be opened; check that it is a file") as caught:
        History(place)
    assert str(place) in str(caught.value)
    with pytest.raises(HistoryError, match="There is no history"):
        vnb.check_history(place)


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
        (0o600, 0o755, "it cannot be opened; check that"),
        (0o666, 0o700, "it cannot be opened; check that"),
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
    assert path.read_bytes() == before


@AS_ROOT
def test_a_folder_that_cannot_be_made_says_so(open_folder):
    with nobody(), pytest.raises(HistoryError, match="cannot be opened.*Permission denied"):
        History(open_folder / "new" / "runs.db")


@AS_ROOT
def test_a_history_that_may_only_be_read_can_be_checked(open_folder):
    path = open_folder / "runs.db"
    path.chmod(0o444)
    place = open_folder / "mine"
    place.mkdir()
    with nobody(place):
        assert vnb.check_history(path).ok
    assert sorted(file.name for file in open_folder.iterdir()) == ["mine", "runs.db"]


READS = {
    "count": lambda history: history.count(),
    "runs": lambda history: history.runs(),
    "frame": lambda history: history.frame(skip_damaged=True),
    "search": lambda history: history.search("text"),
    "page": lambda history: history.page(order_by="input.text"),
    "merge": lambda history: History(":memory:").merge(history),
    "annotate": lambda history: history.annotate("run-1", note="x"),
    "delete": lambda history: history.delete(["run-2"]),
    "undelete": lambda history: history.undelete(),
    "html": lambda history: history._repr_html_(),
    "vacuum": lambda history: history.vacuum(),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_whatever_is_damaged_every_error_is_a_sentence_of_ours(content, path, monkeypatch):
    monkeypatch.setattr(sqlite, "_CHECKED_BYTES", 0)  # as if it were too large to check at opening
    chance, refused_reads = random.Random(11), 0  # noqa: S311  (no secret depends on it)
    for _ in range(30):
        harmed = bytearray(content)
        for _ in range(chance.choice([1, 1, 5, 40])):
            at = chance.randrange(PAGE, len(harmed))
            if chance.random() < 0.3:
                start = at // PAGE * PAGE
                harmed[start : start + PAGE] = chance.choice([bytes, chance.randbytes])(PAGE)
            else:
                harmed[at] ^= 1 << chance.randrange(8)
        for left in path.parent.iterdir():
            left.unlink()
        path.write_bytes(harmed)
        vnb.check_history(path)
        with suppress(HistoryError), History(path) as history:
            for read in READS.values():
                try:
                    read(history)
                except HistoryError:
                    refused_reads += 1
    assert refused_reads > 30

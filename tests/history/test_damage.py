"""Each kind of damage and of bad luck with the disk: one plain sentence, and nothing is changed."""

import json
import os
import random
import re
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from platformdirs import user_data_dir
from runs_kit import html_of

import vellum_nb as vnb
from vellum_nb import History, HistoryError, Run, sqlite
from vellum_nb.history import case_sets_of, ordered_runs
from vellum_nb.models.sweeps import SweepCase

PAGE = 2048
NOBODY = 65534
AS_ROOT = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root can become nobody"
)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Make a history with inner pages, free pages and indexes."""
    path = tmp_path_factory.mktemp("whole") / "runs.db"
    same = {"deployment": "d", "release_tag": "v1", "note": "n" * 99, "case_id": "c"}
    with History(path) as history:
        for number in range(160):
            moment = datetime(2026, 7, 1, tzinfo=UTC) + timedelta(seconds=number)
            inputs = {"text": f"{number} " * 400}
            history.begin(Run(id=f"run-{number}", timestamp=moment, inputs=inputs, **same))
        history.delete([f"run-{number}" for number in range(0, 160, 3)])
        for number in range(12):
            inputs = {"text": f"{number} " * 60}
            added = {f"{number}-{case}": (SweepCase(0, "c", inputs),) for case in range(5)}
            options = {"message": "m" * 99, "deployment": "d"}
            case_sets_of(history).commit("suite", lambda _, added=added: added, **options)
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
        inner, index = (
            db.execute(root, (name,)).fetchone()[0]
            for name in ("payloads", "sqlite_autoindex_runs_1")
        )
    leaf = inner
    while content[leaf * PAGE] == 5:  # an inner page of a table: to its last child
        leaf = int.from_bytes(content[leaf * PAGE + 8 : leaf * PAGE + 12], "big") - 1
    free = int.from_bytes(content[32:36], "big") - 1
    return {"inner": inner, "index": index, "leaf": leaf, "free": free}


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
        *(("the end", end, None) for end in (100, 512, PAGE - 1, PAGE, 5 * PAGE + 7, -PAGE, -1)),
    ],
    ids=str,
)
def test_a_damaged_file_is_refused_unchanged(where, content, path, tmp_path):
    kind, at, length = where
    start = pages_of(content, tmp_path).get(kind, 0) * PAGE + at
    path.write_bytes(flipped(content, start, length) if length else content[:at])
    assert "was not changed" in refused(path)
    assert not vnb.check_history(path).ok


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


@pytest.fixture
def spoiled(content, path, damage):
    """Return an opened history with a damaged run."""
    path.write_bytes(content)
    spoil(path, damage)
    with History(path) as history:
        yield history


FILES = {"to_csv": ["x.csv"], "to_jsonl": ["x.jsonl"]}
every_damage = pytest.mark.parametrize("damage", DAMAGES)
every_reader = pytest.mark.parametrize("read", ["frame", "runs", "scan", "to_csv", "to_jsonl"])


@every_damage
@every_reader
def test_a_damaged_run_is_named_by_every_reader(read, spoiled, tmp_path):
    files = [tmp_path / name for name in FILES.get(read, [])]
    with pytest.raises(HistoryError, match=r"Run 'run-1' in the history is damaged"):
        [getattr(each, "inputs", None) for each in getattr(spoiled, read)(*files)]
    assert list(tmp_path.glob("x.*")) == []


@every_damage
@every_reader
def test_a_damaged_run_can_be_left_out(read, spoiled, tmp_path):
    files = [tmp_path / name for name in FILES.get(read, [])]
    answer = getattr(spoiled, read)(*files, skip_damaged=True)
    if read in {"frame", "runs"}:
        assert len(answer) == spoiled.count() - 1


@every_damage
def test_a_damaged_run_is_named_by_get(spoiled):
    with pytest.raises(HistoryError, match="Run 'run-1' in the history is damaged"):
        spoiled.get("run-1")


@every_damage
def test_a_page_leaves_out_a_damaged_run(spoiled):
    assert len(ordered_runs(spoiled).runs(offset=0, limit=999)) == spoiled.count() - 1


@every_damage
def test_a_damaged_run_is_named_by_a_check(spoiled, path):
    assert "Run 'run-1'" in vnb.check_history(path).problems[0]


@every_damage
def test_a_damaged_run_is_not_merged(spoiled):
    with History(":memory:") as other:
        report = other.merge(spoiled)
        assert report.unreadable == ("run-1",)
        assert other.count() == report.added == spoiled.count() - 1
        assert len(other.runs()) == other.count()


@every_damage
def test_a_damaged_run_can_be_deleted(spoiled):
    number = spoiled.count()
    assert spoiled.delete(["run-1"]).runs == 1
    assert len(spoiled.runs()) == number - 1


@pytest.mark.parametrize("places", ["{", "5", '[["inputs", 1]]', '[["inputs", 1, "x"]]'])
def test_damaged_places_of_large_values_are_a_problem_of_their_run(path, make_run, places):
    with History(path) as history:
        run = history.begin(make_run(inputs={"doc": "long text " * 4_000}))
        spoil(path, f"UPDATE payloads SET large = '{places}'")
        for change in (history.vacuum, lambda: history.annotate(run.id, desired={"a": 1})):
            with pytest.raises(HistoryError, match=f"Run '{run.id}' .* is damaged"):
                change()
        assert any(f"Run '{run.id}'" in each for each in vnb.check_history(path).problems)
        history.delete([run.id])
        assert history.vacuum().dropped == 1


def test_desired_outputs_that_are_null_are_none(path, make_run):
    with History(path) as history:
        run = history.begin(make_run(state="FULFILLED"))
        spoil(path, "UPDATE payloads SET desired = 'null'")
        assert len(history.frame()) == 1
        history.merge([run.model_copy(update={"desired": {"a": 1}})])
        assert history.runs()[0].id == run.id


def log_of_a_killed_process(forks, path):
    code = "import sys; from vellum_nb import History; import os\n"
    code += "h = History(sys.argv[1]); h.annotate('run-1', note='in the log'); os._exit(0)"
    with forks.code(code, path) as process:
        assert process.stdout.read() == ""
    log = path.with_name(f"{path.name}-wal")
    assert log.stat().st_size > PAGE
    return log


@pytest.mark.parametrize("harm", ["head", "frame", "half", "gone"])
def test_a_damaged_log_costs_what_was_only_in_it(harm, content, path, forks):
    path.write_bytes(content)
    log = log_of_a_killed_process(forks, path)
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
def test_a_history_that_may_only_be_read_can_be_checked(open_folder):
    path = open_folder / "runs.db"
    path.chmod(0o444)
    place = open_folder / "mine"
    place.mkdir()
    with nobody(place):
        assert vnb.check_history(path).ok
    assert sorted(file.name for file in open_folder.iterdir()) == ["mine", "runs.db"]


READS = [
    History.count,
    History.runs,
    lambda history: history.frame(skip_damaged=True),
    lambda history: history.search("text"),
    lambda history: ordered_runs(history, order_by="input.text").runs(offset=0, limit=100),
    lambda history: History(":memory:").merge(history),
    lambda history: history.annotate("run-1", note="x"),
    lambda history: history.delete(["run-2"]),
    History.undelete,
    lambda history: case_sets_of(history).versions("suite"),
    lambda history: case_sets_of(history).members("suite"),
    html_of,
    History.vacuum,
]


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
            for read in READS:
                try:
                    read(history)
                except HistoryError:
                    refused_reads += 1
    assert refused_reads > 30


@pytest.mark.parametrize(
    ("text", "problem"), [("a,b\n1,2\n", "file is not a database"), ("", "not a history")]
)
def test_a_check_of_another_file_says_that_it_is_no_history(tmp_path, text, problem):
    file = tmp_path / "runs.csv"
    file.write_text(text)
    assert problem in vnb.check_history(file).problems[0]


def test_a_check_of_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(HistoryError, match="There is no history"):
        vnb.check_history(tmp_path / "nothing.db")


def test_a_check_notes_runs_that_were_started_long_ago(path, make_run):
    with History(path) as history:
        history.begin(make_run())
        history.begin(make_run(timestamp=datetime.now(UTC)))
        check = vnb.check_history(path)
    assert (check.ok, check.runs) == (True, 2)
    assert check.notes[0].startswith("1 run(s) have been STARTED for more than a day")


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("DELETE FROM payloads WHERE seq = 1", "1 run(s) without payloads"),
        ("DELETE FROM runs WHERE seq = 1", "1 payload(s) without a run"),
        ("UPDATE payloads SET inputs = '{\"torn' WHERE seq = 1", "Run 'run-0' in the history is"),
        ("UPDATE runs SET timestamp = timestamp | (1 << 62)", "Run 'run-0' in the history is"),
        ("DELETE FROM large_values", "1 large value(s) of runs or cases are missing"),
        (
            "INSERT INTO sweep_cases VALUES (9, 0, 'c', '{}', '{}', '{}', NULL, NULL, NULL)",
            "without a sweep",
        ),
    ],
)
def test_what_does_not_fit_together_is_a_problem(path, make_run, sql, problem):
    with History(path) as history:
        history.begin(make_run(inputs={"doc": "long text " * 4_000}))
    spoil(path, sql)
    report = vnb.check_history(path)
    assert any(problem in each for each in report.problems), report
    assert ".recover" in str(report)


UNRELEASED = "PRAGMA application_id = 0x766E6268; CREATE TABLE runs (seq INTEGER)"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("PRAGMA application_id = 0x766E6231; PRAGMA user_version = 99", "version 99.*upgrade"),
        (UNRELEASED, "vellum-nb history merge runs.jsonl"),
        ("CREATE TABLE theirs (x)", "another program"),
        ("PRAGMA journal_mode = wal; CREATE TABLE theirs (x)", "another program"),
        ("PRAGMA application_id = 7", "another program"),
    ],
)
def test_a_database_that_is_no_history_of_this_version_is_refused(path, sql, message):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(sql)
    assert re.search(message, refused(path))


@pytest.mark.parametrize("content", [b"name,age\n", b"x", b"SQLite format 2\0" + b"\0" * 99])
def test_a_file_that_is_not_sqlite_is_refused(path, content):
    path.write_bytes(content)
    assert "not an SQLite file" in refused(path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_new_files_are_private(tmp_path):
    path = tmp_path / "new" / "deep" / "runs.db"
    with History(path) as history:
        assert history.count() == 0
        made = [path, path.with_name("runs.db-wal"), path.parent]
        modes = [stat.S_IMODE(one.stat().st_mode) for one in made]
    assert modes == [0o600, 0o600, 0o700]


def test_a_file_with_two_names_is_refused(content, path):
    path.write_bytes(content)
    path.with_name("second.db").hardlink_to(path)
    assert "2 names (hard links)" in refused(path)
    with pytest.raises(HistoryError, match=r"2 names \(hard links\)"):  # a log may have the rest
        vnb.check_history(path)


@pytest.mark.parametrize("wrong", [5, 1.5, ["runs.db"]], ids=str)
def test_a_history_is_not_opened_by_another_type(wrong):
    with pytest.raises(HistoryError, match="is not a history; name a file, such as 'runs.db'"):
        History(wrong)


@pytest.mark.parametrize("name", ["loop.db", "x" * 400, "a\0b"], ids=["loop", "long", "NUL"])
def test_a_name_that_cannot_be_a_file_is_refused(tmp_path, name):
    (tmp_path / "loop.db").symlink_to(tmp_path / "loop.db")
    with pytest.raises(HistoryError, match="cannot be (used|opened)|is not a history"):
        History(tmp_path / name)


@pytest.mark.parametrize("name", ["a b", "ä%20?#", "'\"$;", "日本", "\n"])
def test_an_empty_file_of_any_name_becomes_a_history(tmp_path, make_run, name):
    (tmp_path / name).touch()
    with History(tmp_path / name) as history:
        history.begin(make_run())
    with History(tmp_path / name) as history:
        assert history.count() == 1
        assert history.backup(tmp_path / f"{name}2").exists()


def test_the_default_file_is_the_environments_or_in_the_users_data_directory(tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("VELLUM_NB_HISTORY", raising=False)
    places = [History(), History("~/runs.db")]
    monkeypatch.setenv("VELLUM_NB_HISTORY", str(tmp_path / "mine.db"))
    places.append(History())
    user = Path(user_data_dir("vellum_nb", appauthor=False))
    paths = [history.path for history in places]
    assert paths == [user / "runs.db", tmp_path / "runs.db", tmp_path / "mine.db"]
    for history in places:
        history.close()


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("x" * 300, "The copy .* cannot be written: File name too long"),
        ("there/is/no/folder.db", "The copy .* cannot be written: No such file"),
        *((wrong, "is not a history; name a file") for wrong in ("\0", 7, None)),
    ],
)
def test_a_backup_that_cannot_be_written_names_its_own_place(tmp_path, target, reason):
    with History(tmp_path / "a.db") as history, pytest.raises(HistoryError, match=reason):
        history.backup(target)


FILLED = """
import json, shutil, sys
from datetime import UTC, datetime
from pathlib import Path
from vellum_nb import History, HistoryError
from vellum_nb.models import Run
disk = Path(sys.argv[1])
path, filler, found = disk / "runs.db", disk / "filler", {}

def run(name):
    return Run(id=name, deployment="d", release_tag="v", timestamp=datetime.now(UTC),
               inputs={"text": "x" * 20_000}, case_id="c")

def full(room):
    filler.write_bytes(b"x" * (shutil.disk_usage(disk).free - room))

with History(path) as history:
    history.begin(run("first"))
    acknowledged = 1
    full(200_000)
    try:
        for number in range(100):
            history.begin(run(str(number)))
            acknowledged += 1
    except HistoryError as exc:
        found["a full disk"] = str(exc)
    found["reads on"] = history.count() == acknowledged > 1
    try:
        history.backup(disk / "copy.db")
    except HistoryError as exc:
        found["no room for a backup"] = str(exc)
    found["leftovers"] = sorted(file.name for file in disk.iterdir())
    filler.unlink()
    history.begin(run("after"))
    found["goes on"] = history.count() == acknowledged + 1
print(json.dumps(found))
"""


@pytest.fixture
def on_a_small_disk(tmp_path):
    """Return what runs a program with a disk of 1 MB and returns the JSON that it prints."""

    def run(program):
        done = subprocess.run([*command, program], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=1M none "$1" && exec "$2" -c "$3" "$1"'
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", *rights, "--mount", "sh", "-c", script, "sh", disk, sys.executable]
    return run


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small file system")
def test_a_full_disk_loses_no_acknowledged_run(on_a_small_disk):
    outcome = on_a_small_disk(FILLED)
    assert outcome["reads on"] is outcome["goes on"] is True
    assert set(outcome["leftovers"]) == {"filler", "runs.db", "runs.db-shm", "runs.db-wal"}
    for name in ("a full disk", "no room for a backup"):
        assert "the disk is full; free some space and try again" in outcome[name]

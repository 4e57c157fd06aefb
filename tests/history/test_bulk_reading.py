"""Frames of many runs come through ADBC and Arrow, and are the same as those of rows."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vellum_nb import History, HistoryError, Run
from vellum_nb.history.keeping.writes import insert
from vellum_nb.history.reading import loading, reads
from vellum_nb.history.reading.arrow_frames import frame_of_batches
from vellum_nb.history.reading.query import Selection, select
from vellum_nb.history.rows.frames import KINDS, PLAIN, ROOMS, frame_of_rows
from vellum_nb.history.rows.rows import FRAMED, SCALARS, payload_row, scalar_row
from vellum_nb.history.sqlite import bulk
from vellum_nb.history.sqlite.bulk import BulkError
from vellum_nb.history.sqlite.migrations import APPLICATION_ID

ODD = [
    *(None, True, False, 0, 1, -7, 2**53, 2**53 + 1, -(2**63), 2**63 - 1, 2**63, 10**30),
    *(0.5, 1.0, -0.0, 5e-324, 1e300, float("nan"), float("inf"), float("-inf")),
    *("", "a", "2026-07-01", "2026-07-01 10:00:00", "NaN", "1", "null", "{}", 'q"\\\n\r\t\x00'),
    *("\u2028", "Größe 😀", "\ud83d", "x\udc00y", "\x1f\x7f\x85"),
    *(
        [],
        {},
        [1, "a", None],
        {"b": {"z": 1, "a": [2.0]}},
        {"x": float("nan")},
        [{"a": 1}, {"a": "b"}],
    ),
]
NAMES = ["x", "y", "", "a.b", 'q"\\', "é", "\ud800", "\x00", "2026-07-01"]
KINDS_OF_VALUES = [
    st.sampled_from(ODD),
    st.none() | st.integers(-5, 5),
    st.none() | st.integers(),
    st.none() | st.integers(-5, 5) | st.floats(width=32),
    st.floats(allow_nan=False) | st.integers(),
    st.none() | st.booleans(),
    st.text(),
    st.sampled_from(["2026-07-01", "2026-07-02", None]),
    st.lists(st.integers(0, 3) | st.text(max_size=2), max_size=3),
]
EVERY = Selection("TRUE", (), 10**9)


@st.composite
def objects(draw):
    """Return JSON objects: each name has values of one kind, mostly."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
    kinds = {name: draw(st.sampled_from(KINDS_OF_VALUES)) for name in names}
    size = draw(st.integers(0, 12))
    return [
        {
            name: draw(kinds[name])
            for name in draw(st.permutations(names))[: draw(st.integers(0, 4))]
        }
        for _ in range(size)
    ]


def rows_of(runs):
    return [(*scalar_row(run).values(), *payload_row(run, FRAMED).values()) for run in runs]


def batches_of(rows, size):
    """Yield what `reads.bulk` asks a database for, `size` rows at a time."""
    at = {name: number for number, name in enumerate((*SCALARS, *FRAMED))}
    types = {"time": pa.int64(), "int": pa.int64(), "count": pa.int64(), "float": pa.float64()}
    for first in range(0, max(1, len(rows)), size):
        some = rows[first : first + size]
        scalars = {
            name: pa.array([row[at[name]] for row in some], types.get(KINDS[name], pa.string()))
            for name in (*PLAIN, "metadata")
        }
        lines = {
            name: pa.array([(row[at[name]] or "{}") + "\n" for row in some], pa.string())
            for name in ROOMS.values()
        }
        yield pa.record_batch(scalars), pa.record_batch(lines)


def run_of(number, **fields):
    usual = {"id": f"run-{number}", "deployment": "d", "release_tag": "v1", "case_id": "c"}
    usual |= {"timestamp": 1_800_000_000 + number, "inputs": {}}
    return Run.model_construct(**(Run.model_validate(usual).__dict__ | fields))


def the_same(one, other):
    pd.testing.assert_frame_equal(one, other)
    for name in one.columns:
        if one[name].dtype == object:
            assert list(map(type, one[name])) == list(map(type, other[name]))


@settings(max_examples=50)
@example(outputs=[{"x": 1}, {"x": 0.5}, {"x": "a"}, {"x": 2}], size=2)
@example(outputs=[{"x": 1}, {"x": 0.5}, {"x": 2**60 + 1}, {"x": 2}], size=2)
@example(outputs=[{}, {"b": None, "a": 1}] + [{"a": 1}] * 80 + [{"a": 1, "new": 2}], size=100)
@given(outputs=objects(), size=st.integers(1, 13))
def test_what_arrow_makes_of_json_is_what_the_frame_of_rows_has(outputs, size):
    runs = [run_of(number, outputs=each) for number, each in enumerate(outputs)]
    rows = rows_of(runs)
    the_same(frame_of_batches(lambda: batches_of(rows, size)), frame_of_rows(rows))


@pytest.fixture
def odd(history, make_run):
    """Return a history of 161 runs, in three batches; the newest have nothing where others do."""
    runs = [
        make_run(
            case_id="c",
            inputs={"ticket": f"{number}", "odd": ODD[number % len(ODD)]},
            outputs={"n": number, "text": f"😀 {number}", "later": [number]},
            state=["FULFILLED", "REJECTED", "STARTED"][number % 3],
            release_tag=f"v{number % 4}",
            note="a\x00b\x01" if number % 2 else None,
            metadata={"b": 1, "a": [number % 5]},
            execution_id=f"exec-{number}",
            tokens_in=number,
            quality=number / 3,
            cost_usd=0.1 + number,
            error={"code": "X", "message": "no"} if number % 3 == 1 else None,
            finished_at="2026-07-01T12:00:01.000001Z",
            desired={"text": "better", "n": 4.5} if number == 3 else None,
            tags=["a", "é"] if number == 3 else [],
        )
        for number in range(90)
    ]
    runs += [make_run(outputs={"n": number, "text": f"text {number}"}) for number in range(90, 160)]
    long = "Größe " * 10_000
    runs.append(make_run(inputs={"ticket": long}, outputs={"text": f"{long}!", "n": 2}))
    with history._store.write() as connection:
        for run in runs:
            insert(connection, run)
    return history


def as_rows(history, **filters):
    return frame_of_rows(
        reads.rows_of(history._store, select(filters, history._store), reads.SHOWN)
    )


def in_bulk(history, **filters):
    chosen = select(filters, history._store)
    searched = "search" in filters
    frame = loading.load_in_bulk(history._store, chosen, searched=searched)
    assert frame is not None, "it was not read through ADBC"
    return frame


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"limit": 70},
        {"state": ["STARTED", "REJECTED"], "since": "2026-07-01T12:00:30Z"},
        {"search": "text 15", "limit": 5},
    ],
    ids=str,
)
def test_adbc_reads_the_same_frame_as_sqlite3(odd, filters):
    the_same(in_bulk(odd, **filters), as_rows(odd, **filters))


def test_many_runs_are_read_by_a_process_of_its_own(path, odd, monkeypatch):
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(a) or popen(*a, **k))
    odd.frame()
    assert not started
    monkeypatch.setattr(loading, "MANY", 161)
    the_same(odd.frame(), as_rows(odd))
    odd.frame(limit=160)
    assert len(started) == 1


@pytest.mark.parametrize("module", ["adbc_driver_sqlite", "pyarrow"])
def test_without_the_extra_the_frame_is_the_same(path, odd, monkeypatch, module):
    whole = in_bulk(odd)
    monkeypatch.setattr(loading, "MANY", 1)
    monkeypatch.setitem(sys.modules, module, None)
    assert loading.load_in_bulk(odd._store, EVERY, searched=False) is None
    if module != "pyarrow":  # pandas has met it already
        the_same(odd.frame(), whole)


def test_a_history_in_memory_is_read_as_rows(monkeypatch):
    monkeypatch.setattr(loading, "MANY", 0)
    with History(":memory:") as history:
        assert loading.load_in_bulk(history._store, EVERY, searched=False) is None
        assert len(history.frame()) == 0


@pytest.mark.parametrize("program", ["/bin/false", "/no/such/python"])
def test_a_reader_that_breaks_down_is_replaced_by_rows_with_a_word(path, odd, monkeypatch, program):
    monkeypatch.setattr(loading, "MANY", 1)
    monkeypatch.setattr(sys, "executable", program)
    with pytest.warns(RuntimeWarning, match="cannot be read in bulk, so they come as rows"):
        assert len(odd.frame()) == 161


def test_packages_that_only_the_environment_names_are_found_by_the_reader(path, odd):
    places = os.pathsep.join(filter(None, sys.path))
    program = (
        "import sys, vellum_nb; from vellum_nb.history.reading import loading\n"
        "loading.MANY = 1\n"
        "print(len(vellum_nb.History(sys.argv[1]).frame()))"
    )
    done = subprocess.run(
        [sys._base_executable, "-W", "error::RuntimeWarning", "-c", program, path],
        env={**os.environ, "PYTHONPATH": places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("161\n", "")


def test_an_interrupt_in_the_terminal_is_not_for_the_reader(path, long, readers):
    batches = long._store.bulk(*reads.bulk(long._store, EVERY, searched=False))
    next(batches)
    assert os.getpgid(readers[0].pid) != os.getpgrp()
    batches.close()


def test_what_sqlite_says_in_the_reader_is_told(path, odd):
    with pytest.raises(BulkError, match=r"ended with 1: .*no such table: nowhere"):
        list(odd._store.bulk("SELECT * FROM nowhere"))


@pytest.fixture
def readers(monkeypatch):
    """Return the processes that are started, of which each reads in several batches."""
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )
    monkeypatch.setattr(bulk, "BATCH", 1)
    return started


@pytest.fixture
def long(history, make_run):
    """Return a history of more than a pipe holds."""
    with history._store.write() as connection:
        for number in range(300):
            insert(connection, make_run(inputs={"ticket": f"{number} " * 8000}))
    return history


def test_a_reader_that_is_killed_in_the_middle_is_no_end(path, long, readers):
    batches = long._store.bulk(*reads.bulk(long._store, EVERY, searched=False))
    next(batches)
    readers[0].kill()
    with pytest.raises(BulkError):
        list(batches)


def test_who_stops_reading_leaves_no_process_and_no_thread(path, long, readers):
    threads = threading.active_count()
    batches = loading.ahead(long._store.bulk(*reads.bulk(long._store, EVERY, searched=False)))
    next(batches)
    assert readers[0].poll() is None
    batches.close()
    assert readers[0].returncode is not None
    assert threading.active_count() == threads


PATIENCE = 30
READ_FORK_AND_WAIT = """
import os, signal, subprocess, sys
from vellum_nb import History
from vellum_nb.history.reading import reads
from vellum_nb.history.reading.query import Selection
from vellum_nb.history.sqlite import bulk
bulk.BATCH = 1
started, popen = [], subprocess.Popen
subprocess.Popen = lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
store = History(sys.argv[1])._store
batches = store.bulk(*reads.bulk(store, Selection("TRUE", (), 10**9), searched=False))
next(batches)
child = os.fork()
if child:
    print(started[0].pid, child, flush=True)
signal.pause()
"""


def is_running(pid):
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False
    return after_name.split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux what runs")
def test_a_reader_ends_with_who_reads_although_a_forked_process_holds_the_pipe(path, long):
    command = [sys.executable, "-c", READ_FORK_AND_WAIT, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        reader, child = map(int, process.stdout.readline().split())
        try:
            assert is_running(reader)
            process.kill()
            process.wait()
            until = time.monotonic() + PATIENCE
            while is_running(reader) and time.monotonic() < until:
                time.sleep(0.1)
            assert (is_running(reader), is_running(child)) == (False, True)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_read_that_fails_leaves_no_process_while_its_error_is_kept(path, long, readers):
    with long._store.write() as connection:
        connection.execute("UPDATE payloads SET outputs = '{' WHERE seq = 299")
    with pytest.raises(ValueError, match="Expecting") as kept:
        loading.load_in_bulk(long._store, EVERY, searched=False)
    assert kept.tb
    assert readers[0].returncode is not None


@pytest.mark.parametrize("column", ["inputs", "metadata"])
def test_what_is_no_text_any_more_is_told_in_our_words(path, odd, monkeypatch, column):
    with odd._store.write() as connection:
        torn = b'{"a":"\xff"}'
        connection.execute(f"UPDATE payloads SET {column} = CAST(? AS TEXT) WHERE seq = 9", (torn,))
    monkeypatch.setattr(loading, "MANY", 1)
    with (
        pytest.warns(RuntimeWarning, match="cannot be read in bulk.*UTF8"),
        pytest.raises(HistoryError, match="is damaged.*is not UTF-8"),
    ):
        odd.frame()


def test_reading_in_bulk_leaves_our_locks_alone(path, odd):
    """Two SQLites in one process would drop each other's locks; this one reads in another."""
    program = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], timeout=0.1, isolation_level=None)\n"
        "connection.execute('BEGIN IMMEDIATE')"
    )

    def another():
        command = [sys.executable, "-c", program, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with odd._store.write() as connection:
        connection.execute("UPDATE runs SET note = 'x' WHERE id = 'run-1'")
        assert len(in_bulk(odd)) == 161
        assert "database is locked" in another().stderr
    assert another().returncode == 0


def test_runs_are_recorded_while_others_are_read(odd, record):
    sql, bound = reads.bulk(odd._store, EVERY, searched=False)
    batches = odd._store.bulk(sql, bound)
    first, _ = next(batches)
    late = record()
    assert len(first) + sum(len(scalars) for scalars, _ in batches) == 161
    assert odd.frame()["id"][0] == late.id


def test_reading_in_bulk_changes_nothing_in_the_file(path, odd):
    in_bulk(odd)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_is_replaced_while_it_is_read_is_told(path, odd, tmp_path):
    sql, bound = reads.bulk(odd._store, EVERY, searched=False)
    batches = odd._store.bulk(sql, bound)
    next(batches)
    path.rename(tmp_path / "elsewhere.db")
    with pytest.raises(HistoryError, match="deleted, moved or replaced"):
        list(batches)

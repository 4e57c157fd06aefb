"""JSON lines and Parquet, and what an export that fails leaves behind."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_kit import ENCODABLE_TEXTS, NUMBERS, TEXTS, VALUES, assert_equal

from vellum_nb import History, HistoryError, Run, read_csv, read_jsonl, read_parquet
from vellum_nb.history import csv_table, progress, unguarded

on_file = pytest.mark.usefixtures("path")  # one database is enough
READERS = {"to_csv": read_csv, "to_jsonl": read_jsonl, "to_parquet": read_parquet}
every_export = pytest.mark.parametrize("write", READERS)


@pytest.fixture
def filled(history, record):
    record(inputs={"q": "a"}, outputs={"n": 1, "docs": [{"b": 1, "a": "é\n"}]}, tokens_in=3)
    record(inputs={"q": "b"}, outputs={"n": 2, "docs": []}, quality=0.5, tags=("x", "y"))
    record(inputs={"q": "c", "big": 2**80}, state="FAILED", metadata={"a": None})
    return history


def test_each_run_is_one_line_whatever_its_text_holds(history, record, tmp_path):
    record(outputs={"x": "a\nb\r\u2028\x85", "nan": float("inf"), "half": "\ud83d"})
    lines = history.to_jsonl(tmp_path / "runs.jsonl").read_bytes().split(b"\n")
    assert lines[1:] == [b""]
    outputs = Run.model_validate_json(lines[0]).outputs
    assert outputs == {"x": "a\nb\r\u2028\x85", "nan": float("inf"), "half": "\ufffd"}


def test_parquet_holds_mixed_columns_as_json_text(history, record, tmp_path):
    for value in ("1", 1, None, 2**80, float("inf")):
        record(outputs={"x": value})
    read = pd.read_parquet(history.to_parquet(tmp_path / "a.parquet"))["output.x"]
    texts = ["Infinity", str(2**80), None, "1", '"1"']
    assert [None if pd.isna(v) else v for v in read] == texts


def test_an_export_goes_to_an_open_file_as_well(filled, tmp_path):
    file = io.StringIO()
    assert filled.to_csv(file) is filled.to_jsonl(file) is None
    csv_text = filled.to_csv(tmp_path / "a.csv").read_text("utf-8")
    json_text = filled.to_jsonl(tmp_path / "a.jsonl").read_text("utf-8")
    assert [Run.model_validate_json(line) for line in json_text.splitlines()] == filled.runs()
    assert file.getvalue() == csv_text + json_text


@on_file
@every_export
@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (
            {"deployment": "triage"},
            "runs contains no runs: no run has deployment='triage'; available: ",
        ),
        ({"deployment": ["a", "b"]}, r"no run has deployment=\['a', 'b'\]; available: "),
        ({"release_tag": "v7", "state": "FAILED"}, "no run has release_tag='v7'; available: v1$"),
        ({"author": "ada"}, "no run has author='ada'$"),
    ],
)
def test_an_export_without_runs_says_which_name_none_has(filled, tmp_path, write, filters, message):
    with pytest.warns(UserWarning, match=message):
        path = getattr(filled, write)(tmp_path / "runs", **filters)
    assert path.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such pipes here")
def test_a_pipe_is_written_to_and_a_link_stays_one(filled, tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link.csv"
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "behind.csv")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_text, "utf-8")
        filled.to_csv(pipe)
        filled.to_csv(link)
        assert read.result(120) == (tmp_path / "behind.csv").read_text("utf-8")
    assert link.is_symlink()
    assert pipe.is_fifo()


def test_a_new_file_is_on_the_disk_before_it_takes_the_place_of_the_old(
    filled, tmp_path, monkeypatch
):
    target = tmp_path / "runs.csv"
    target.write_text("old")
    seen = []
    monkeypatch.setattr("os.fsync", lambda _: seen.append(target.read_text("utf-8") == "old"))
    filled.to_csv(target)
    assert seen == [True, False]  # the file itself, then its name in the folder


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_jsonl, '{"id": "a", "inputs": {}}\n', "line 1 is not a run: deployment: Field"),
        (read_jsonl, '{"id": "a"}\n{"id"\n', "line 2: Expecting"),
        (read_jsonl, '{"id": "a"}\n{"state": "b"}\n', "line 2 has other names than the first"),
        (read_jsonl, "[1]\n", "line 1 is not a JSON object"),
        (read_parquet, "PAR1", "a.file is not a Parquet file of a history: Parquet"),
        (read_csv, '"id"\n"a', "row 2: cell 1 has unbalanced quotes"),
        (read_csv, '"id"\n"a"b\n', "row 2: cell 1 has unbalanced quotes"),
        (read_csv, "id,note\na\n", "row 2 has 1 cells, the header has 2"),
        (read_csv, "id,id\na,b\n", "several columns are called id"),
        (read_csv, "latency_s\nfast\n", "not a CSV of a history: row 2, latency_s: 'fast'"),
        (read_csv, "timestamp\nnoon\n", "row 2, timestamp: 'noon'"),
        *((read, None, "a.file cannot be read: No such") for read in (read_csv, read_jsonl)),
        (read_parquet, None, "a.file cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_export_is_refused_with_the_place(tmp_path, read, text, message):
    path = tmp_path / "a.file"
    if text is not None:
        path.write_text(text)
    with pytest.raises(HistoryError, match=message):
        read(path)


@every_export
def test_no_export_replaces_a_history(filled, tmp_path, write):
    with History(tmp_path / "other.db") as other:
        with pytest.raises(HistoryError, match=r"is an SQLite file .*name another file"):
            getattr(filled, write)(other.path)
        path = other.path
    before = path.read_bytes()
    for taken in [path] if isinstance(filled.path, str) else [path, filled.path]:
        with pytest.raises(HistoryError, match="was not replaced; name another file"):
            getattr(filled, write)(taken)
    assert path.read_bytes() == before
    assert filled.count() == 3


@on_file
@every_export
def test_what_cannot_be_written_is_refused_in_a_sentence(filled, tmp_path, write, monkeypatch):
    for target, options, message in (
        (5, {}, "path=5 is not a path"),
        (tmp_path / "runs", {"columns": 5}, "columns=5: give a list of names"),
        (tmp_path / "nowhere" / "runs", {}, r"the folder .*nowhere does not exist, create it or"),
        (tmp_path, {}, "Is a directory; name a file in it"),
        (f"{tmp_path}/a\0b", {}, "is not a path"),
        (tmp_path / ("x" * 300), {}, "cannot be written"),
    ):
        with pytest.raises(HistoryError, match=message):
            getattr(filled, write)(target, **options)
    other = tmp_path / {"to_csv": "a.parquet", "to_jsonl": "a.CSV", "to_parquet": "a.jsonl"}[write]
    with pytest.raises(HistoryError, match=rf"{write} does not write .*; use to_\w+, or"):
        getattr(filled, write)(other)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(HistoryError, match=r"pip install 'vellum-nb\[parquet\]'"):
        filled.to_parquet(tmp_path / "a.parquet")


class Stops(io.StringIO):
    """A file that calls back when the first rows are written."""

    def __init__(self, call):
        super().__init__()
        self._call = call

    def write(self, text):
        if "run-" in text and self._call is not None:
            call, self._call = self._call, None
            call()
        return super().write(text)


@pytest.fixture
def many(history, make_run):
    """Return a history that is read in several batches."""
    for number in range(30):
        reply = "x" * 30_000 if number % 2 else number
        run = make_run(state="FULFILLED", outputs={"reply": reply})
        history.begin(run)
    return history


@pytest.mark.parametrize("write", ["to_csv", "to_jsonl"])
def test_what_is_written_during_an_export_is_not_in_it_and_nobody_waits(many, make_run, write):
    file = io.StringIO()
    getattr(many, write)(file)
    before = file.getvalue()

    def write_during_it():
        many.begin(make_run(id="late", state="STARTED", outputs={"new": 1}))
        many.annotate("run-3", note="late")
        many.delete(["run-5", "run-29"])

    with ThreadPoolExecutor(1) as pool:  # no writer waits for the export
        stopped = Stops(
            lambda: pool.submit(write_during_it).result(120)
        )  # no writer waits for the export
        getattr(many, write)(stopped)
    assert stopped.getvalue() == before
    assert many.count() == 29


@on_file
@pytest.mark.parametrize(
    "old",
    [
        {"reply": 1, "new": 2},  # a name that only old runs have
        {"reply": 0.5},  # integers that become floats
        {"reply": "text"},
        {"b": 1, "reply": 1, "a": 1},  # an order that the oldest run gives
        {},
    ],
    ids=str,
)
def test_what_only_the_oldest_run_shows_holds_for_the_whole_file(
    history, record, tmp_path, monkeypatch, old
):
    monkeypatch.setattr("vellum_nb.history.export._CHUNK_ROWS", 1)  # private: 4,000 runs take long
    monkeypatch.setattr("vellum_nb.history.query._ROWS_PER_BATCH", 1)
    record(outputs=old, inputs={})
    for number in range(3):
        record(outputs={"a": number, "reply": number, "b": "x"})
    for write, read in READERS.items():
        pd.testing.assert_frame_equal(
            read(getattr(history, write)(tmp_path / "a")), history.frame(), check_exact=True
        )


@on_file
@every_export
def test_columns_select_and_order_the_columns_of_the_file(many, tmp_path, write):
    columns = ["output.reply", "state", "timestamp", "id"]
    path = getattr(many, write)(tmp_path / "a", columns=columns, limit=20)
    pd.testing.assert_frame_equal(READERS[write](path), many.frame(limit=20)[columns])


@on_file
@every_export
def test_progress_is_shown_on_demand(many, tmp_path, write, capsys, monkeypatch):
    monkeypatch.setattr(progress, "_DELAY_S", 1_000)  # no export is long
    getattr(many, write)(tmp_path / "a")
    assert capsys.readouterr().err == ""
    getattr(many, write)(tmp_path / "runs.out", progress=True)
    shown = capsys.readouterr().err
    assert "runs.out:   0%|" in shown
    assert "runs.out: 100%|" in shown


def test_chosen_columns_of_json_lines_hold_values_as_json_has_them(history, record, tmp_path):
    record(outputs={"docs": [{"b": 1}], "t": '{"a": 1}'}, tags=("x", "y"), metadata={"k": [1]})
    record(outputs={})
    columns = ["output.docs", "output.t", "tags", "metadata", "timestamp"]
    lines = history.to_jsonl(tmp_path / "a", columns=columns).read_text().splitlines()
    assert list(json.loads(lines[0]).values())[:4] == [None] * 4
    assert json.loads(lines[1]) == {
        "output.docs": [{"b": 1}],
        "output.t": '{"a": 1}',
        "tags": ["x", "y"],
        "metadata": {"k": [1]},
        "timestamp": "2026-07-01T12:00:00+00:00",
    }


@on_file
@every_export
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["id", "stat"], r"Unknown column 'stat'; available: release_tag, .*, output\.<name>"),
        (["input"], "Unknown column 'input'"),
        ([], "none is named"),
        (["id", "state", "id"], "id is named twice"),
        (
            ["output.replies"],
            r"Column 'output.replies' does not exist in this export. .* output.reply$",
        ),
    ],
)
def test_columns_that_are_not_there_are_refused_with_those_that_are(
    many, tmp_path, write, columns, message
):
    with pytest.raises(HistoryError, match=message):
        getattr(many, write)(tmp_path / "other", columns=columns)
    assert [each.name for each in tmp_path.iterdir() if each.name[:4] != "runs"] == []


class Interrupts(io.StringIO):
    """A terminal at which somebody stops an export when all is written but nothing in place."""

    def write(self, text):
        if "100%" in text:
            raise KeyboardInterrupt
        return super().write(text)


@on_file
@every_export
def test_an_export_that_is_interrupted_leaves_the_old_file(many, tmp_path, monkeypatch, write):
    target = tmp_path / "runs.out"
    target.write_text("old")
    monkeypatch.setattr("sys.stderr", Interrupts())
    with pytest.raises(KeyboardInterrupt):
        getattr(many, write)(target, progress=True)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir() if "runs.out" in p.name] == ["runs.out"]


KILLED = """
import sys, time
from vellum_nb import History
from vellum_nb.history import export, frames
def slow(*args):
    yield from frames.csv_lines(*args)
    print("written", flush=True)
    time.sleep(20)
export.csv_lines = slow
History(sys.argv[1]).to_csv(sys.argv[2], progress=False)
"""


@pytest.mark.slow
def test_a_process_killed_in_mid_export_leaves_the_old_file(many, path, tmp_path, forks):
    target = tmp_path / "runs.csv"
    target.write_text("old")
    with forks.code(KILLED, path, target) as child:
        assert child.stdout.readline() == "written\n"
    assert target.read_text() == "old"
    (left,) = tmp_path.glob(".runs.csv.*.part")
    many.to_csv(target)
    assert len(read_csv(target)) == 30
    assert left.exists(), "it may be that of an export that just began"
    os.utime(left, (time.time() - 4_000,) * 2)
    many.to_csv(tmp_path / "runs.cs")
    assert left.exists(), "it is that of another file"
    many.to_csv(target)
    assert not left.exists()


SIZED = """
import re, sys
from pathlib import Path
from vellum_nb import History
history, folder = History(sys.argv[1]), sys.argv[2]
def export(**options):
    for write in (history.to_csv, history.to_jsonl, history.to_parquet):
        write(f"{folder}/out", **options)
    # ru_maxrss would include the peak of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
print(export(limit=125), export())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is counted otherwise")
def test_memory_does_not_grow_with_the_number_of_runs(history, path, make_run, tmp_path):
    for number in range(250):
        history.begin(make_run(inputs={"text": f"{number} " + "word " * 40_000}, case_id="c"))
    command = [sys.executable, "-c", SIZED, str(path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    half, all_of_them = map(int, done.stdout.split())
    assert all_of_them - half < 12_000_000
    assert history.frame().memory_usage(deep=True).sum() > 50_000_000


# Whole columns of one type are what histories mostly hold, and are inferred each in its own way.
columns = [TEXTS, st.integers(-5, 5), NUMBERS, st.booleans(), st.floats(), VALUES]


@st.composite
def frames_of_runs(draw):
    names = draw(st.lists(TEXTS, unique=True, max_size=4))
    kinds = {name: draw(st.sampled_from(columns)) | st.none() for name in names}
    return [
        Run(
            id=f"run-{number}",
            deployment=draw(ENCODABLE_TEXTS),
            release_tag=draw(st.sampled_from(["v1", "=v2", "LATEST"])),
            timestamp=draw(st.datetimes(timezones=st.just(UTC))),
            finished_at=draw(st.none() | st.datetimes(timezones=st.just(UTC))),
            state=draw(st.sampled_from(["STARTED", "FULFILLED", "FAILED"])),
            latency_s=draw(st.none() | st.floats(0, 100)),
            tokens_in=draw(st.none() | st.integers(0, 2**62)),
            repeat=draw(st.integers(0, 9)),
            case_id="c",
            inputs={name: draw(kinds[name]) for name in names if draw(st.booleans())},
            outputs={name: draw(kinds[name]) for name in names},
            note=draw(st.none() | ENCODABLE_TEXTS),
            tags=draw(st.sampled_from([(), ("a",), ("=b", "é")])),
        )
        for number in range(draw(st.integers(0, 4)))
    ]


@pytest.mark.slow
@settings(max_examples=20)
@given(runs=frames_of_runs(), data=st.data())
def test_every_export_read_back_equals_the_frame(tmp_path_factory, runs, data):
    folder = tmp_path_factory.mktemp("exports")
    rows = data.draw(st.sampled_from([1, 4_000]), "rows of a frame")
    with History(":memory:") as history, pytest.MonkeyPatch.context() as patch:
        patch.setattr("vellum_nb.history.export._CHUNK_ROWS", rows)  # private: 4,000 runs take long
        patch.setattr("vellum_nb.history.query._ROWS_PER_BATCH", rows)
        for number, run in enumerate(runs):
            history.begin(run)
            if number % 3 == 0:
                history.annotate(run.id, desired=run.outputs)
        written = history.frame()
        chosen = data.draw(st.lists(st.sampled_from(list(written.columns)), unique=True))
        for columns in (None, chosen) if chosen and runs else (None,):
            frame = written if columns is None else written[columns]
            for write, read in READERS.items():
                path = getattr(history, write)(folder / "a", columns=columns)
                assert_equal(read(path), frame)


@settings(max_examples=50)
@given(data=st.data())
def test_our_reader_splits_what_the_csv_module_writes(data):
    width = data.draw(st.integers(1, 4))
    row = st.lists(ENCODABLE_TEXTS, min_size=width, max_size=width)
    rows = data.draw(st.lists(row, min_size=1))
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    _, names, cells = csv_table(file.getvalue().encode())
    head, *others = rows
    assert names == [unguarded(name) for name in head]
    assert list(cells) == [[(cell, True) for cell in row] for row in others]


def test_text_that_a_spreadsheet_would_run_is_guarded(history, record, tmp_path):
    for formula in ('=HYPERLINK("http://x")', "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "'=1", "'"):
        record(outputs={"reply": formula})
    path = history.to_csv(tmp_path / "runs.csv")
    with path.open(encoding="utf-8", newline="") as file:
        cells = [row["output.reply"] for row in csv.DictReader(file)]
    assert all(cell.startswith("'") for cell in cells)
    assert read_csv(path)["output.reply"].tolist() == history.frame()["output.reply"].tolist()


def test_pandas_reads_the_file_as_an_ordinary_csv(history, record, tmp_path):
    record(inputs={"q": "a,b\n"}, outputs={"n": 1.5, "ok": True})
    record(inputs={"q": 'say "x"'}, outputs={"n": 2.5, "ok": False})
    frame = pd.read_csv(history.to_csv(tmp_path / "runs.csv"), parse_dates=["timestamp"])
    assert frame["input.q"].tolist() == ['say "x"', "a,b\n"]
    assert frame["output.n"].tolist() == [2.5, 1.5]
    assert frame["output.ok"].dtype == bool
    assert frame["timestamp"].tolist() == history.frame()["timestamp"].tolist()


def test_a_file_that_a_spreadsheet_saved_again_is_read(tmp_path):
    path = tmp_path / "again.csv"
    text = "\ufeffexecution_id,timestamp,output.n,output.ok,output.t,id\r\n"
    path.write_text(text + "x,2026-07-01 12:00:00,12,TRUE,'=1,run-1\r\n", "utf-8", newline="")
    frame = read_csv(path)
    assert frame["timestamp"][0] == datetime(2026, 7, 1, 12, tzinfo=UTC)
    values = [frame[name][0] for name in ("execution_id", "output.n", "output.t", "id")]
    assert values == ["x", 12, "=1", "run-1"]
    assert frame["output.ok"].tolist() == [True]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_file_with_semicolons_or_tabs_and_decimal_commas_is_read(tmp_path, separator, encoding):
    rows = [
        ["execution_id", "timestamp", "latency_s", "output.n", "output.ok", "output.t", "id"],
        ["x", "2026-07-01 12:00:00+00:00", "0,25", "1,5", "TRUE", '"a;b, c\t""d"""', "run-1"],
        ["", "2026-07-01 12:00:01+00:00", "1,0", "2", "FALSE", "'=1", "run-2"],
    ]
    text = "".join(separator.join(row) + "\r\n" for row in rows)
    path = tmp_path / "german.csv"
    path.write_bytes(text.encode(encoding))
    frame = read_csv(path)
    assert frame["latency_s"].tolist() == [0.25, 1.0]
    assert frame["output.n"].tolist() == [1.5, 2.0]
    assert frame["output.ok"].tolist() == [True, False]
    assert frame["output.t"].tolist() == ['a;b, c\t"d"', "=1"]
    assert frame["execution_id"].isna().tolist() == [False, True]


def test_texts_larger_than_a_cell_of_the_csv_module_come_back(history, record, tmp_path):
    for unit in ('=1"\r\n,;\t', "\ufeff\u2028é😀"):
        text = unit * (200_000 // len(unit))
        record(outputs={"text": text, "list": [text]}, note=text[:50_000])
    for write, read in READERS.items():
        assert_equal(read(getattr(history, write)(tmp_path / "a")), history.frame())


def test_missing_values_of_the_only_column_are_read_back(history, record, tmp_path):
    record(previous_execution_id=None)
    record(previous_execution_id="one")
    record(previous_execution_id=None)
    columns = ["previous_execution_id"]
    path = history.to_csv(tmp_path / "runs.csv", columns=columns)
    pd.testing.assert_frame_equal(read_csv(path), history.frame()[columns])

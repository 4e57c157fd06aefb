"""Exports in stretches: of one state of the history, in little memory, with chosen columns."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest

from vellum_nb import HistoryError, read_csv, read_jsonl, read_parquet

READERS = {"to_csv": read_csv, "to_jsonl": read_jsonl, "to_parquet": read_parquet}
every_export = pytest.mark.parametrize("write", READERS)


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
def test_what_is_written_meanwhile_is_not_in_it_and_nobody_waits(many, make_run, write):
    file = io.StringIO()
    getattr(many, write)(file)
    before = file.getvalue()

    def meanwhile():
        many.begin(make_run(id="late", state="STARTED", outputs={"new": 1}))
        many.annotate("run-3", note="late")
        many.delete(["run-5", "run-29"])

    stopped = Stops(lambda: _in_thread(meanwhile))
    getattr(many, write)(stopped)
    assert stopped.getvalue() == before
    assert many.count() == 29


def _in_thread(call):
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "a writer waits for the export"


@pytest.mark.parametrize(
    "old",
    [
        pytest.param({"reply": 1, "new": 2}, id="a name that only old runs have"),
        pytest.param({"reply": 0.5}, id="integers that become floats"),
        pytest.param({"reply": "text"}, id="integers beside texts"),
        pytest.param({"b": 1, "reply": 1, "a": 1}, id="an order that the oldest run tells"),
        pytest.param({}, id="gaps"),
    ],
)
def test_what_only_the_oldest_run_tells_holds_for_the_whole_file(
    history, record, tmp_path, monkeypatch, old
):
    monkeypatch.setattr("vellum_nb.history.export._ROWS", 1)  # private: 4,000 runs take long
    monkeypatch.setattr("vellum_nb.history.query._STREAMED", 1)
    record(outputs=old, inputs={})
    for number in range(3):
        record(outputs={"a": number, "reply": number, "b": "x"})
    for write, read in READERS.items():
        pd.testing.assert_frame_equal(
            read(getattr(history, write)(tmp_path / "a")), history.frame(), check_exact=True
        )


@every_export
def test_columns_choose_and_order(many, tmp_path, write):
    columns = ["output.reply", "state", "timestamp", "id"]
    path = getattr(many, write)(tmp_path / "a", columns=columns, limit=20)
    pd.testing.assert_frame_equal(READERS[write](path), many.frame(limit=20)[columns])


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


@every_export
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["id", "stat"], r"no column 'stat'; there are: execution_id, .*, output\.<name>"),
        (["input"], "no column 'input'"),
        ([], "none is named"),
        (["id", "state", "id"], "id is named twice"),
        (["output.replies"], r"no run that is exported has 'output.replies'; .* output.reply$"),
    ],
)
def test_columns_that_are_not_there_are_refused_with_those_that_are(
    many, tmp_path, write, columns, message
):
    with pytest.raises(HistoryError, match=message):
        getattr(many, write)(tmp_path / "other", columns=columns)
    assert [each.name for each in tmp_path.iterdir() if each.name[:4] != "runs"] == []


@every_export
def test_progress_is_shown_when_asked_for(many, tmp_path, capsys, write):
    getattr(many, write)(tmp_path / "runs.out", progress=True)
    shown = capsys.readouterr().err
    assert "runs.out:   0%|" in shown
    assert "runs.out: 100%|" in shown
    getattr(many, write)(tmp_path / "runs.out")
    assert capsys.readouterr().err == ""


class Interrupts(io.StringIO):
    """A terminal at which somebody stops an export when all is written but nothing in place."""

    def write(self, text):
        if "100%" in text:
            raise KeyboardInterrupt
        return super().write(text)


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
from vellum_nb.history import csv_text, export
def slow(*args):
    yield from csv_text.csv_lines(*args)
    print("written", flush=True)
    time.sleep(20)
export.csv_lines = slow
History(sys.argv[1]).to_csv(sys.argv[2], progress=False)
"""


def test_a_process_killed_in_mid_export_leaves_the_old_file(many, path, tmp_path):
    target = tmp_path / "runs.csv"
    target.write_text("old")
    command = [sys.executable, "-c", KILLED, str(path), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"written\n"
        child.send_signal(signal.SIGKILL)
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
import resource, sys
from vellum_nb import History
history, folder = History(sys.argv[1]), sys.argv[2]
def export(**options):
    for write in (history.to_csv, history.to_jsonl, history.to_parquet):
        write(f"{folder}/out", **options)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(export(limit=30), export())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is counted otherwise")
def test_memory_does_not_grow_with_the_number_of_runs(history, path, make_run, tmp_path):
    for number in range(250):
        history.begin(make_run(inputs={"text": f"{number} " + "word " * 40_000}, case_id="c"))
    command = [sys.executable, "-c", SIZED, str(path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    few, all_of_them = map(int, done.stdout.split())
    assert all_of_them - few < 20_000_000
    assert history.frame().memory_usage(deep=True).sum() > 50_000_000

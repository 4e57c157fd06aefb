"""A frame that is written as CSV, JSON lines or Parquet is read back equal, whatever is in it."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vellum_nb import History, Run, read_csv, read_jsonl, read_parquet
from vellum_nb.history import split

TRICKY = ["", "NaN", "None", "null", "1", "1.0", "True", "=1+1", "+x", "-1", "@a", "\tx", "\rx"]
TRICKY += ["'", "''", "'=1", "'a", '"', '""', 'a"b', "a,b", "a\nb", "a\r\nb", "\n", "é", "😀"]
TRICKY += ["\uff1d1", "'\uff1d1", "\uff20", "a.b", "input.a", "output.a", "id", "state"]
TRICKY += ["\x00", "\ufeff", "\u2028", "2026-07-01", "inf", "0x1", "1_000", " ", "\ud83d"]

text = st.sampled_from(TRICKY) | st.text(st.characters(codec="utf-8"), max_size=12)
number = st.integers() | st.integers(-(2**70), 2**70) | st.floats()
scalar = text | number | st.booleans() | st.none()
value = scalar | st.lists(scalar, max_size=3) | st.dictionaries(text, scalar, max_size=3)
# Whole columns of one type are what histories mostly hold, and are inferred each in its own way.
columns = [text, st.integers(-5, 5), number, st.booleans(), st.floats(), value]


@st.composite
def frames_of_runs(draw):
    names = draw(st.lists(text, unique=True, max_size=4))
    kinds = {name: draw(st.sampled_from(columns)) | st.none() for name in names}
    return [
        Run(
            id=f"run-{number}",
            deployment=draw(text.filter(lambda t: "\ud83d" not in t)),
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
            note=draw(st.none() | text.filter(lambda t: "\ud83d" not in t)),
            tags=draw(st.sampled_from([(), ("a",), ("=b", "é")])),
        )
        for number in range(draw(st.integers(0, 4)))
    ]


@settings(max_examples=40)
@given(runs=frames_of_runs(), data=st.data())
def test_every_export_read_back_equals_the_frame(tmp_path_factory, runs, data):
    folder = tmp_path_factory.mktemp("exports")
    rows = data.draw(st.sampled_from([1, 4_000]), "rows of a frame")
    with History(":memory:") as history, pytest.MonkeyPatch.context() as patch:
        patch.setattr("vellum_nb.history.export._ROWS", rows)  # private: 4,000 runs take long
        patch.setattr("vellum_nb.history.query._STREAMED", rows)
        for number, run in enumerate(runs):
            history.begin(run)
            if number % 3 == 0:
                history.annotate(run.id, desired=run.outputs)
        written = history.frame()
        chosen = data.draw(st.lists(st.sampled_from(list(written.columns)), unique=True))
        for columns in (None, chosen) if chosen and runs else (None,):
            frame = written if columns is None else written[columns]
            _assert_equal(read_csv(history.to_csv(folder / "a.csv", columns=columns)), frame)
            _assert_equal(read_jsonl(history.to_jsonl(folder / "a.jl", columns=columns)), frame)
            _assert_equal(read_parquet(history.to_parquet(folder / "a.pq", columns=columns)), frame)


def _assert_equal(read, written):
    pd.testing.assert_frame_equal(read, written, check_exact=True)
    assert _exactly(read) == _exactly(written)


def _exactly(frame):
    """Return values and their types; assert_frame_equal takes 1, 1.0 and True for equal."""
    return [[(type(v), repr(v)) for v in frame[name].tolist()] for name in frame.columns]


@settings(max_examples=50)
@given(rows=st.lists(st.lists(text.filter(lambda t: t != "\ud83d"), min_size=1), min_size=1))
def test_our_reader_splits_what_the_csv_module_writes(rows):
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    assert list(split(file.getvalue())) == [[(cell, True) for cell in row] for row in rows]


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

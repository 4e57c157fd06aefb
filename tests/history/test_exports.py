"""JSON lines and Parquet, and what an export that fails leaves behind."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from vellum_nb import History, HistoryError, Run, read_jsonl, read_parquet


@pytest.fixture
def filled(history, record):
    record(inputs={"q": "a"}, outputs={"n": 1, "docs": [{"b": 1, "a": "é\n"}]}, tokens_in=3)
    record(inputs={"q": "b"}, outputs={"n": 2, "docs": []}, quality=0.5, tags=("x", "y"))
    record(inputs={"q": "c", "big": 2**80}, state="FAILED", metadata={"a": None})
    return history


def test_json_lines_read_back_to_the_same_runs(filled, tmp_path):
    lines = filled.to_jsonl(tmp_path / "runs.jsonl").read_text("utf-8").splitlines()
    assert [Run.model_validate_json(line) for line in lines] == filled.runs()


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
    assert [None if pd.isna(v) else v for v in read] == [
        "Infinity",
        str(2**80),
        None,
        "1",
        '"1"',
    ]


def test_an_export_goes_to_an_open_file_as_well(filled, tmp_path):
    file = io.StringIO()
    assert filled.to_csv(file) is filled.to_jsonl(file) is None
    csv_text = filled.to_csv(tmp_path / "a.csv").read_text("utf-8")
    json_text = filled.to_jsonl(tmp_path / "a.jsonl").read_text("utf-8")
    assert file.getvalue() == csv_text + json_text


@pytest.mark.parametrize("write", ["to_csv", "to_jsonl", "to_parquet"])
def test_an_export_that_fails_leaves_the_old_file_and_no_other(filled, tmp_path, write):
    target = tmp_path / "out" / "runs.out"
    target.parent.mkdir()
    target.write_text("old")
    with pytest.raises(HistoryError):
        getattr(filled, write)(target, limit=-1)
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["runs.out"]


@pytest.mark.parametrize("write", ["to_csv", "to_jsonl", "to_parquet"])
def test_what_is_not_a_path_or_a_name_is_refused_in_a_sentence(filled, tmp_path, write):
    with pytest.raises(HistoryError, match="path=5 is not a path"):
        getattr(filled, write)(5)
    with pytest.raises(HistoryError, match="columns=5: give a list of names"):
        getattr(filled, write)(tmp_path / "runs", columns=5)


@pytest.mark.parametrize("write", ["to_csv", "to_jsonl", "to_parquet"])
@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"deployment": "triage"}, "runs has no run: none has deployment='triage'; there are: "),
        ({"deployment": ["a", "b"]}, r"none has deployment=\['a', 'b'\]; there are: "),
        ({"release_tag": "v7", "state": "FAILED"}, "none has release_tag='v7'; there are: v1$"),
        ({"author": "ada"}, "none has author='ada'$"),
    ],
)
def test_an_export_without_runs_says_which_name_none_has(filled, tmp_path, write, filters, message):
    with pytest.warns(UserWarning, match=message):
        path = getattr(filled, write)(tmp_path / "runs", **filters)
    assert path.exists()


@pytest.mark.parametrize("write", ["to_csv", "to_jsonl", "to_parquet"])
def test_a_folder_that_is_not_there_is_named(filled, tmp_path, write):
    with pytest.raises(HistoryError, match=r"there is no folder .*nowhere, make it or"):
        getattr(filled, write)(tmp_path / "nowhere" / "runs")
    with pytest.raises(HistoryError, match="Is a directory; name a file in it"):
        getattr(filled, write)(tmp_path)


def test_parquet_without_pyarrow_names_the_extra(filled, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(HistoryError, match=r"pip install 'vellum-nb\[parquet\]'"):
        filled.to_parquet(tmp_path / "a.parquet")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such pipes here")
def test_a_pipe_is_written_to_and_a_link_stays_one(filled, tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link.csv"
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "behind.csv")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_text, "utf-8")
        filled.to_csv(pipe)
        filled.to_csv(link)
        assert read.result(20) == (tmp_path / "behind.csv").read_text("utf-8")
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
        (
            read_jsonl,
            '{"id": "a", "inputs": {}}\n',
            "line 1 is not a run: deployment: Field",
        ),
        (read_jsonl, '{"id": "a"}\n{"id"\n', "line 2: Expecting"),
        (read_jsonl, '{"id": "a"}\n{"state": "b"}\n', "line 2 has other names than the first"),
        (read_jsonl, "[1]\n", "line 1 is not a JSON object"),
        (read_parquet, "PAR1", "a.file is not a Parquet file of a history: Parquet"),
        (read_parquet, None, "a.file cannot be read: No such file"),
        (read_jsonl, None, "a.file cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_export_is_refused_with_the_place(tmp_path, read, text, message):
    path = tmp_path / "a.file"
    if text is not None:
        path.write_text(text)
    with pytest.raises(HistoryError, match=message):
        read(path)


@pytest.mark.parametrize("write", ["to_csv", "to_jsonl", "to_parquet"])
def test_no_export_replaces_a_history(filled, tmp_path, write):
    with History(tmp_path / "other.db") as other:
        with pytest.raises(HistoryError, match=r"is an SQLite file .*name another file"):
            getattr(filled, write)(other.path)
        path = other.path
    before = path.read_bytes()
    for taken in [path] if isinstance(filled.path, str) else [path, filled.path]:
        with pytest.raises(HistoryError, match="stays; name another file"):
            getattr(filled, write)(taken)
    assert path.read_bytes() == before
    assert filled.count() == 3


@pytest.mark.parametrize(
    ("path", "said"), [("a\0b.csv", "is not a path"), ("x" * 300, "cannot be written")]
)
def test_a_name_that_no_file_can_have_is_told(filled, tmp_path, path, said):
    with pytest.raises(HistoryError, match=said):
        filled.to_csv(str(tmp_path / path))


def test_a_file_that_is_named_after_another_format_is_refused(filled, tmp_path):
    for write, name, other in (
        ("to_csv", "export.parquet", "to_parquet"),
        ("to_jsonl", "export.CSV", "to_csv"),
        ("to_parquet", "export.jsonl", "to_jsonl"),
    ):
        with pytest.raises(HistoryError, match=rf"{write} does not write .*; use {other}, or"):
            getattr(filled, write)(tmp_path / name)
    assert list(tmp_path.glob("export.*")) == []
    assert filled.to_csv(tmp_path / "export.txt").is_file()

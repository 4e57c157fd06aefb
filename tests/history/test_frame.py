"""Columns, their order and their dtypes."""

import pandas as pd
import pytest

from vellum_nb import HistoryError, InputError

on_file = pytest.mark.usefixtures("path")  # one database is enough
TEXT = "str" if int(pd.__version__.split(".")[0]) >= 3 else "object"
TIME = "datetime64[us, UTC]"
DTYPES = {
    "release_tag": "category", "timestamp": TIME, "deployment": TEXT, "state": "category",
    "latency_s": "float64", "error_code": TEXT, "error_message": TEXT, "quality": "float64",
    "note": TEXT, "tags": TEXT, "cost_usd": "float64", "tokens_in": "Int64", "tokens_out": "Int64",
    "model": TEXT, "environment": TEXT, "finished_at": TIME, "repeat": "int64", "metadata": TEXT,
    "case_id": TEXT, "sweep_id": TEXT, "release_id": TEXT, "external_id": TEXT,
    "execution_id": TEXT, "previous_execution_id": TEXT, "id": TEXT,
}  # fmt: skip


def dtypes(frame):
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


def test_frame_without_runs_has_every_column_with_its_dtype(history):
    frame = history.frame()
    assert dtypes(frame) == DTYPES
    assert list(frame.columns) == list(DTYPES)
    assert len(frame) == 0


@pytest.fixture
def frame(history, record):
    """Return the frame of a started run and an ended one."""
    values = {"inputs": {"b": "1", "a": 2}, "outputs": {"reply": "x"}, "metadata": {"a": [1]}}
    record(tokens_in=3, quality=1, finished_at="2026-07-01T12:00:01Z", **values)
    record(state="STARTED", inputs={})
    return history.frame()


def test_dtypes_do_not_depend_on_the_runs(frame):
    assert {name: dtypes(frame)[name] for name in DTYPES} == DTYPES


def test_values_are_columns_after_the_latency(frame):
    names = ["latency_s", "input.b", "input.a", "output.reply", "error_code"]
    assert list(frame.columns)[4:9] == names


def test_short_view_of_a_frame_has_the_values_and_ends_with_the_ids(history, frame):
    short = history.frame(columns="short")
    values = ["input.b", "input.a", "output.reply"]
    head = ["release_tag", "timestamp", "deployment", "state", "latency_s", *values]
    rest = ["error_message", "quality", "note", "cost_usd", "repeat", "case_id", "id"]
    assert list(short) == [*head, *rest]
    pd.testing.assert_frame_equal(short, frame[list(short)])


@on_file
@pytest.mark.parametrize("columns", ["brief", None, ["state"]])
def test_unknown_view_of_a_frame_is_refused(history, columns):
    with pytest.raises(InputError, match="columns must be 'short' or 'all', not"):
        history.frame(columns=columns)


def test_metadata_is_json_in_a_frame(frame):
    assert frame["metadata"].tolist()[1] == '{"a":[1]}'


def test_end_of_a_started_run_is_missing_in_a_frame(frame):
    assert frame["finished_at"].isna().tolist() == [True, False]
    assert frame["finished_at"][1] == pd.Timestamp("2026-07-01T12:00:01Z")


@on_file
@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (["a", ""], TEXT, ["a", ""]),
        ([1, 2], "int64", [1, 2]),
        ([1, None], "Int64", [1, pd.NA]),
        ([2**62, None], "Int64", [2**62, pd.NA]),
        ([1, 2.5], "float64", [1.0, 2.5]),
        ([1.0, float("inf")], "float64", [1.0, float("inf")]),
        ([True, False], "boolean", [True, False]),
        ([True, None], "boolean", [True, pd.NA]),
        ([2**70, 1], "object", [2**70, 1]),
        ([2**60 + 1, 0.5], "object", [2**60 + 1, 0.5]),
        ([True, 1], "object", [True, 1]),
        (["1", 1], "object", ["1", 1]),
        (["1", None, True], "object", ["1", None, True]),
        ([{"b": 1, "a": []}, [None]], TEXT, ['{"a":[],"b":1}', "[null]"]),
        ([{"a": float("nan")}], TEXT, ['{"a":NaN}']),
        ([{"a": 1}, 1], "object", ['{"a":1}', 1]),
        (["\ud83d!", ["\ud83d"]], TEXT, ["\ufffd!", '["\ufffd"]']),
    ],
)
def test_an_output_column_has_the_dtype_of_its_values(history, record, values, dtype, expected):
    for value in reversed(values):
        record(outputs={"x": value})
    column = history.frame()["output.x"]
    assert str(column.dtype) == dtype
    assert [(v, type(v)) for v in column.tolist()] == [(v, type(v)) for v in expected]


def test_times_have_microseconds_in_a_frame(history, record):
    record(timestamp="1969-12-31T23:59:59.999999Z")
    record(timestamp="9999-12-31T23:59:59.999999Z")
    texts = [stamp.isoformat() for stamp in history.frame()["timestamp"]]
    assert texts == ["9999-12-31T23:59:59.999999+00:00", "1969-12-31T23:59:59.999999+00:00"]


def test_release_tags_are_sorted_categories_in_a_frame(history, record):
    record(release_tag="v2")
    record(release_tag="v10")
    assert history.frame()["release_tag"].cat.categories.tolist() == ["v10", "v2"]


NOON = "2026-07-01T12:00:00Z"


@pytest.fixture
def ids(history, make_run):
    """Return the ids of a history in which many runs have the same time, newest first."""
    for number in range(23):
        fields = {"timestamp": NOON} if number % 3 else {"deployment": "other"}
        history.begin(make_run(outputs={"n": number}, **fields))
    return history.frame()["id"].tolist()


@pytest.mark.parametrize("rows", [1, 5, 22, 23, 1000])
def test_the_frames_of_a_scan_are_the_frame_cut_up(history, ids, rows):
    frames = list(history.scan(chunk_rows=rows))
    assert [len(frame) for frame in frames[:-1]] == [rows] * (len(frames) - 1)
    assert 0 < len(frames[-1]) <= rows
    assert [run for frame in frames for run in frame["id"]] == ids


@pytest.mark.parametrize(
    "filters",
    [{"limit": 0}, {"limit": 7}, {"limit": 15, "deployment": "other"}, {"search": "13"}],
    ids=str,
)
def test_a_scan_takes_the_filters_of_a_frame(history, ids, filters):
    run_ids = [run for frame in history.scan(chunk_rows=5, **filters) for run in frame["id"]]
    assert run_ids == history.frame(**filters)["id"].tolist()


def test_a_scan_does_not_move_when_runs_are_recorded_or_deleted(history, ids, record):
    scan = history.scan(chunk_rows=5)
    seen = next(scan)["id"].tolist()
    record()
    history.delete([seen[-1], ids[5]])
    seen += [run for frame in scan for run in frame["id"]]
    assert seen == [*ids[:5], *ids[6:]]


@pytest.mark.usefixtures("ids")
def test_a_scan_holds_no_lock(history):
    scan = history.scan(chunk_rows=5)
    next(scan)
    history.vacuum()
    assert len(next(scan)) == 5


@on_file
@pytest.mark.parametrize("rows", [0, -1, "5", 2.5, None])
def test_a_scan_refuses_a_wrong_number_of_rows(history, rows):
    message = f"chunk_rows must be a whole number of at least 1, not {rows!r}"
    with pytest.raises(HistoryError, match=message):
        next(history.scan(chunk_rows=rows))

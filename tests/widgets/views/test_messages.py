"""Messages of a page to a table and a grid, and their answers."""

import threading

import pytest
from dom_kit import texts
from view_kit import run

from vellum_nb import read_csv
from vellum_nb.widgets.outputs import side_by_side_html
from vellum_nb.widgets.table import HistoryView


@pytest.fixture
def page(request, table, grid, record):
    """Return the page of one of the two kinds, with 80 rows."""
    if request.param == "table":
        for number in range(80):
            record(number, "STARTED")
        return table()
    return grid([run(number, "v1") for number in range(80)], tags=("v1",))


BOTH = pytest.mark.parametrize(("page", "most"), [("table", 200), ("grid", 60)], indirect=["page"])
TABLE = pytest.mark.parametrize("page", ["table"], indirect=True)


@BOTH
def test_window_is_clipped(page, most):
    assert len(page.rows(limit=10**9)["rows"]) == min(80, most)
    assert len(page.rows(offset=-7, limit=-7)["rows"]) == 1
    assert page.rows(offset=10**30)["rows"] == []
    assert len(page.rows(offset="all", limit=None)["rows"]) == 1
    assert page.rows(offset=78)["total"] == 80


@pytest.mark.parametrize(
    ("page", "message", "error"),
    [
        ("table", {"query": {"order_by": "1; DROP TABLE runs"}}, "unknown order 1; DROP"),
        ("table", {"query": {"order_by": "outputs"}}, "unknown order outputs"),
        ("table", {"query": {"order_by": ["id"]}}, "expected a unicode string, not the list"),
        ("table", {"query": {"columns": ["state", "secret"]}}, "unknown column secret"),
        ("table", {"query": {"columns": 7}}, "expected a list, not the int 7"),
        ("table", {"query": {"search": {"$ne": 1}}}, "expected a unicode string, not the dict"),
        ("table", {"kind": "drop_filter", "name": None}, "unknown filter None"),
        ("table", {"kind": "side_by_side", "ids": "run-0"}, "a selection is a list"),
        ("table", {"kind": "delete", "ids": ["run-0"]}, "does not know the message 'delete'"),
        ("grid", {"query": {"states": ["nonsense"]}}, "nonsense"),
        ("grid", {"query": {"labels": ["topic"]}}, "labels"),
        ("grid", {"kind": ["rows"]}, "does not know the message ['rows']"),
        ("grid", {"kind": None}, "does not know the message None"),
        ("grid", {"kind": "open", "id": "<script>"}, "unknown case '<script>'"),
        ("grid", {"kind": "open", "id": {"a": 1}}, "unknown case {'a': 1}"),
        ("grid", {"kind": "baseline", "release": "v9"}, "'v9' is not a compared release"),
        ("grid", {"kind": "baseline"}, "None is not a release"),
        ("grid", {"kind": "metric", "name": 7}, "7 is not a name"),
        ("grid", {"kind": "rate", "quality": 0.3}, "a rating is one of"),
        ("grid", {"kind": "rate", "quality": True}, "a rating is one of"),
        ("grid", {"kind": "rate", "quality": [1]}, "a rating is one of"),
        ("grid", {"kind": "blind", "release": "v2"}, "no workspace to store blind ratings"),
    ],
    indirect=["page"],
)
def test_invalid_message_is_refused(page, message, error):
    message = {"kind": "rows", "view": "a", "seq": 1, "limit": 1} | message
    page.send(**message)
    assert error in page.view.error
    assert page.rows()["total"] == 80
    page.send(kind="close_side" if page.view.kind == "runs" else "close")
    assert page.view.error == ""


@BOTH
def test_page_cannot_set_other_traits_than_the_selection(page, most):
    head = page.state("_head")
    page.set(error="x", search="x", _head={}, _esm="export default {}", selected_ids=["run-0"])
    assert (page.view.error, page.view.search, page.state("_head")) == ("", "", head)
    assert "class CasesGrid" in page.state("_esm")
    assert getattr(page.view, "selected_ids", ["run-0"]) == ["run-0"]


@TABLE
def test_selection_by_the_page_is_limited(page):
    page.set(selected_ids=["run-0"])
    page.set(selected_ids=[f"run-{number}" for number in range(1001)])
    assert page.view.selected_ids == ["run-0"]
    assert "at most 1,000 run ids" in page.view.error


@BOTH
def test_message_without_a_kind_is_refused(page, most):
    page.send_data(method="custom", content="rows")
    assert "does not know the message" in page.view.error


@BOTH
def test_export_never_replaces_a_file(page, most, tmp_path):
    getattr(page, "whole", page.view).export_folder = tmp_path
    page.send(kind="export", format="csv", path="found")
    path = tmp_path / "found.csv"
    noun = "runs" if isinstance(page.view, HistoryView) else "cases"
    done = {"kind": "outcome", "text": f"Wrote 80 {noun} to {path}"}
    assert page.wire.customs("outcome") == [done]
    before = path.read_bytes()
    assert len(read_csv(path)) == 80
    page.send(kind="export", format="csv", path="found.csv")
    assert "already exists" in page.wire.customs("outcome")[-1]["error"]
    assert path.read_bytes() == before


@BOTH
@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"format": "exe", "path": "x"}, "not as 'exe'"),
        ({"format": None, "path": "x"}, "not as None"),
        ({"path": None}, "Give the file a name"),
        ({"path": "  "}, "Give the file a name"),
        ({"path": "a\0b"}, "Give the file a name"),
        ({"path": 7}, "Give the file a name"),
        ({"path": "x" * 501}, "Give the file a name"),
        ({"path": "missing-folder/a.csv"}, "missing-folder"),
        ({"path": "/nowhere/at/all/x.csv"}, "/nowhere/at/all"),
    ],
)
def test_invalid_export_is_refused(page, most, asked, error, tmp_path):
    getattr(page, "whole", page.view).export_folder = tmp_path
    page.send(kind="export", **{"format": "csv"} | asked)
    assert error in page.wire.customs("outcome")[-1]["error"]
    assert list(tmp_path.glob("**/*.csv")) == []


def test_export_contains_the_matching_runs(table, record, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        record(number)
    page = table()
    page.rows(search="text 1")
    page.send(kind="export", path="found")
    assert list(read_csv("found.csv")["id"]) == ["run-11", "run-10", "run-1"]


@TABLE
def test_range_can_contain_rows_that_were_not_sent(page):
    page.rows(limit=20)
    page.send(kind="select_range", **{"from": 50, "to": 48}, keep=["run-79"])
    assert page.view.selected_ids == ["run-79", "run-31", "run-30", "run-29"]
    page.send(kind="select_range", **{"from": 0, "to": 10**9}, keep=[])
    assert len(page.view.selected_ids) == 80
    assert page.view.error == ""


def test_selection_is_limited_to_1000_runs(multiply, record, table):
    for number in range(16):
        record(number, "STARTED")
    multiply(7)
    page = table()
    page.send(kind="select_range", **{"from": 0, "to": 2047}, keep=[])
    assert len(page.view.selected_ids) == 1000
    assert "At most 1,000 runs" in page.view.error


def test_side_by_side_follows_the_selection(history, record, table):
    record(0, outputs={"reply": "<b>one</b>"})
    record(1, release_tag="v2", outputs={"reply": "two"})
    page = table()
    page.send(kind="side_by_side", ids=["run-1", "run-0"])
    assert page.view.selected == [history.get("run-1"), history.get("run-0")]
    both = side_by_side_html([history.get("run-0"), history.get("run-1")], inputs=True)
    assert page.state("_side") == both
    assert "<b>one</b>" in texts(both, "dd pre")
    page.view.selected_ids = ["run-1", "gone"]
    assert page.state("_side") == side_by_side_html([history.get("run-1")], inputs=True)
    page.send(kind="close_side")
    assert page.state("_side") == ""


def test_table_reports_a_closed_history(history, table):
    page = table()
    history.close()
    page.send(kind="rows", view="a", seq=1, offset=0, limit=10)
    assert "was closed" in page.view.error
    assert repr(page.view) == "HistoryView(history closed or unreadable)"


def test_fault_in_a_callback_is_shown(record, table, caplog):
    record(0)
    page = table()
    page.view.actions["close"] = lambda _message: 1 / 0
    page.send(kind="close")
    assert page.view.error == "ZeroDivisionError: division by zero"
    assert "ZeroDivisionError" in caplog.text


def test_replaced_request_is_not_answered(multiply, record, table):
    for number in range(20):
        record(number)
    multiply(11)
    page, gate = table(), threading.Event()
    page.view.submit("rows", lambda: gate.wait(10))  # the history is long: read in a thread
    for seq, offset in ((1, 0), (2, 5), (3, 9)):
        page.send(kind="rows", view="a", seq=seq, offset=offset, limit=1)
    gate.set()
    assert page.view.wait(10)
    assert [answer["seq"] for answer in page.wire.customs("rows")] == [3]

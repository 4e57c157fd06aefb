"""What the browser may say to the history table, and what comes of it."""

from __future__ import annotations

from html import escape

import pytest

from vellum_nb import HistoryView, read_csv
from vellum_nb.widgets.outputs import side_by_side_html


def test_a_window_is_clipped_whatever_is_asked_for(browse, record, show):
    for number in range(210):
        record(number, "STARTED")
    browser = browse(show())
    assert len(browser.rows(limit=10**9)["rows"]) == 200
    assert len(browser.rows(offset=-7, limit=-7)["rows"]) == 1
    assert browser.rows(offset=10**30)["rows"] == []
    assert len(browser.rows(offset="all", limit=None)["rows"]) == 1


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            {"kind": "rows", "query": {"order_by": "1; DROP TABLE runs"}},
            "no order is called 1; DROP",
        ),
        ({"kind": "rows", "query": {"order_by": "outputs"}}, "no order is called outputs"),
        (
            {"kind": "rows", "query": {"order_by": ["id"]}},
            "expected a unicode string, not the list ['id']",
        ),
        ({"kind": "rows", "query": {"columns": ["state", "secret"]}}, "no column is called secret"),
        ({"kind": "rows", "query": {"columns": 7}}, "expected a list, not the int 7"),
        (
            {"kind": "rows", "query": {"search": {"$ne": 1}}},
            "expected a unicode string, not the dict",
        ),
        ({"kind": "drop_filter", "name": None}, "there is no filter None"),
        ({"kind": "side_by_side", "ids": "run-0"}, "a selection is a list"),
        ({"kind": "delete", "ids": ["run-0"]}, "does not know the message 'delete'"),
        ({"kind": ["rows"]}, "does not know the message ['rows']"),
        ({}, "does not know the message None"),
    ],
)
def test_what_cannot_be_understood_is_ignored_and_said(browse, record, show, message, said):
    record(0)
    view = show()
    browser = browse(view)
    browser.send(**message)
    assert said in view.error
    assert len(browser.rows()["rows"]) == 1


def test_a_message_that_is_no_object_is_ignored_and_said(browse, show):
    view = show()
    browse(view)._receive(method="custom", content="rows")
    assert "does not know the message" in view.error


def test_a_complaint_goes_when_what_it_was_about_works(browse, show):
    view = show()
    browser = browse(view)
    browser.rows(order_by="nonsense")
    assert view.error
    browser.rows(order_by="timestamp")
    assert view.error == ""


def test_the_browser_may_set_the_selection_and_nothing_else(browse, record, show):
    record(0)
    view = show()
    browser = browse(view)
    browser.set(selected_ids=["run-0"], search="x", _side="<script>", _esm="export default {}")
    assert view.selected_ids == ["run-0"]
    assert view.search == ""
    assert browser.state("_side") == ""
    assert "class RunsTable" in browser.state("_esm")
    browser.set(selected_ids=[f"run-{number}" for number in range(1001)])
    assert view.selected_ids == ["run-0"]
    assert "at most 1,000 run ids" in view.error


def test_selected_are_runs_newest_first(record, show):
    runs = [record(number) for number in range(3)]
    view = show()
    assert view.selected == []
    view.selected_ids = ["run-0", "gone", "run-2"]
    assert view.selected == [runs[2], runs[0]]


def test_a_range_may_reach_over_rows_that_never_travelled(browse, record, show):
    for number in range(60):
        record(number, "STARTED")
    view = show()
    browser = browse(view)
    browser.rows(limit=20)
    browser.send(kind="select_range", **{"from": 50, "to": 48}, keep=["run-59"])
    assert view.selected_ids == ["run-59", "run-11", "run-10", "run-9"]
    browser.send(kind="select_range", **{"from": 0, "to": 10**9}, keep=[])
    assert len(view.selected_ids) == 60
    assert view.error == ""


def test_selecting_all_of_a_long_history_stops_and_says_so(multiply, browse, record, show):
    for number in range(16):
        record(number, "STARTED")
    multiply(7)
    view = show()
    browse(view).send(kind="select_range", **{"from": 0, "to": 2047}, keep=[])
    assert len(view.selected_ids) == 1000
    assert "At most 1,000 runs" in view.error


def test_side_by_side_shows_the_selected_runs_and_follows_the_selection(
    history, browse, record, show
):
    record(0, outputs={"reply": "<b>one</b>"})
    record(1, release_tag="v2", outputs={"reply": "two"})
    view = show()
    browser = browse(view)
    browser.send(kind="side_by_side", ids=["run-1", "run-0"])
    shown = side_by_side_html([history.get("run-0"), history.get("run-1")])
    assert browser.state("_side") == shown
    assert escape("<b>one</b>") in shown
    view.selected_ids = ["run-1"]
    assert browser.state("_side") == side_by_side_html([history.get("run-1")])
    browser.send(kind="close_side")
    assert browser.state("_side") == ""
    view.show_side_by_side()
    assert browser.state("_side") == side_by_side_html([history.get("run-1")])


def test_export_writes_what_is_found_and_never_over_a_file(
    browse, record, show, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        record(number)
    browser = browse(show())
    browser.rows(search="text 1")
    browser.send(kind="export", format="csv", path="found")
    told = browser.wire.customs("exported")[-1]
    assert told == {"kind": "exported", "path": str(tmp_path / "found.csv"), "count": 3}
    assert list(read_csv("found.csv")["id"]) == ["run-11", "run-10", "run-1"]
    before = (tmp_path / "found.csv").read_bytes()
    browser.rows(search="")
    browser.send(kind="export", format="csv", path="found.csv")
    assert "exists already" in browser.wire.customs("exported")[-1]["error"]
    assert (tmp_path / "found.csv").read_bytes() == before


@pytest.mark.parametrize("path", [None, "", "  ", 7, "a\0b", "x" * 501, "missing-folder/a.csv"])
def test_export_says_why_it_wrote_nothing(browse, show, tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    browser = browse(show())
    browser.send(kind="export", format="csv", path=path)
    assert browser.wire.customs("exported")[-1]["error"]
    assert list(tmp_path.glob("**/*.csv")) == []


def test_a_history_that_cannot_be_read_is_said_in_the_table(history, browse, show):
    view = show()
    browser = browse(view)
    history.close()
    browser.send(kind="rows", view="a", seq=1, offset=0, limit=10)
    assert "was closed" in view.error
    assert repr(view) == "HistoryView(history closed or unreadable)"


def test_a_bug_in_a_callback_is_shown_as_well_as_raised(history, browse, record, caplog):
    record(0)

    def broken(runs):
        return str(len(runs) / 0)

    view = HistoryView(history, side_by_side=broken)
    browse(view).send(kind="side_by_side", ids=["run-0"])
    assert view.error == "ZeroDivisionError: division by zero"
    assert "ZeroDivisionError" in caplog.text
    view.close()

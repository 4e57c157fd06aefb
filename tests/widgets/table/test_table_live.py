"""The history table follows what is recorded, and stops when it is closed."""

from __future__ import annotations

import json
import threading


def ids(answer):
    return [row["id"] for row in answer["rows"]]


def test_a_recorded_run_appears_by_itself_in_the_window_that_is_looked_at(browse, record, show):
    record(0)
    view = show()
    browser = browse(view)
    browser.rows(search="text")
    view.selected_ids = ["run-0"]
    record(1)
    wire = browser.wire
    assert wire.wait_for(lambda: ids(wire.customs("rows")[-1]) == ["run-1", "run-0"])
    assert wire.customs("rows")[-1]["view"] == "a"
    assert wire.wait_for(lambda: wire.customs("rows")[-1]["rows"][0]["state"] == "FULFILLED")
    assert (view.search, view.selected_ids) == ("text", ["run-0"])


def test_deleted_runs_leave_the_table_by_themselves_and_come_back(browse, record, show, history):
    for number in range(3):
        record(number)
    browser = browse(show())
    browser.rows()
    wire = browser.wire
    history.delete(["run-0", "run-2"])
    assert wire.wait_for(lambda: ids(wire.customs("rows")[-1]) == ["run-1"])
    history.undelete()
    assert wire.wait_for(lambda: wire.customs("rows")[-1]["total"] == 3)


def test_what_was_deleted_is_not_selected_any_more(browse, record, show, history):
    for number in range(3):
        record(number)
    view = show()
    browser = browse(view)
    browser.rows()
    view.selected_ids = ["run-0", "run-1", "run-2"]
    history.delete(["run-0", "run-2"])
    assert browser.wire.wait_for(lambda: view.selected_ids == ["run-1"])


def test_many_recorded_runs_make_few_refreshes(browse, record, show):
    view = show()
    browser = browse(view)
    browser.rows()
    for number in range(300):
        record(number, "STARTED")
    wire = browser.wire
    assert wire.wait_for(lambda: wire.customs("rows")[-1]["total"] == 300)
    assert len(wire.customs("rows")) < 60


def test_the_first_run_brings_its_input_into_the_usual_columns(browse, record, show):
    view = show()
    browser = browse(view)
    assert "input.ticket" not in browser.rows()["columns"]
    record(0)
    wire = browser.wire
    assert wire.wait_for(lambda: "input.ticket" in view.columns)
    view.columns = ["state"]
    record(1, inputs={"question": "why"})
    assert wire.wait_for(lambda: "input.question" in json.dumps(view._head))
    assert view.columns == ["state"]


def test_two_views_of_one_table_are_both_refreshed(browse, record, show):
    browser = browse(show())
    browser.rows(view="a")
    browser.rows(view="b")
    record(0)
    wire = browser.wire

    def fresh(name):
        answers = [answer for answer in wire.customs("rows") if answer["view"] == name]
        return answers[-1]["total"] == 1

    assert wire.wait_for(lambda: fresh("a") and fresh("b"))


def test_a_closed_table_follows_the_history_no_more(history, browse, record, show):
    view = show()
    browse(view).rows()
    wire = view.comm
    view.close()
    before = len(wire.sent)
    record(0)
    assert not history._subscribers
    assert len(wire.sent) == before
    assert not [
        t for t in threading.enumerate() if t.name == "vellum-nb-history-view" and t.is_alive()
    ]

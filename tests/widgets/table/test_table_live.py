"""The history table follows what is recorded, and stops when it is closed."""

from __future__ import annotations

import json
import threading


def ids(answer):
    return [row["id"] for row in answer["rows"]]


def test_a_recorded_run_appears_by_itself_in_what_is_looked_at(browse, record, show):
    record(0)
    view = show()
    browser = browse(view)
    browser.rows(search="text")
    view.selected_ids = ["run-0"]
    record(1)
    browser.becomes(lambda answer: ids(answer) == ["run-1", "run-0"])
    browser.becomes(lambda answer: answer["rows"][0]["state"] == "FULFILLED")
    assert (view.search, view.selected_ids) == ("text", ["run-0"])


def test_deleted_runs_leave_the_table_and_the_selection_and_come_back(
    browse, record, show, history
):
    for number in range(3):
        record(number)
    view = show()
    browser = browse(view)
    browser.rows()
    view.selected_ids = ["run-0", "run-1", "run-2"]
    history.delete(["run-0", "run-2"])
    browser.becomes(lambda answer: ids(answer) == ["run-1"])
    assert browser.wire.wait_for(lambda: view.selected_ids == ["run-1"])
    history.undelete()
    browser.becomes(lambda answer: answer["total"] == 3)


def test_many_recorded_runs_make_few_refreshes(browse, record, show):
    browser = browse(show())
    browser.rows()
    for number in range(300):
        record(number, "STARTED")
    browser.becomes(lambda answer: answer["total"] == 300)
    assert len(browser.wire.customs("changed")) < 60


def test_the_first_run_brings_its_input_into_the_usual_columns(browse, record, show):
    view = show()
    browser = browse(view)
    assert "input.ticket" not in browser.rows()["columns"]
    record(0)
    browser.becomes(lambda _: "input.ticket" in view.columns)
    view.columns = ["state"]
    record(1, inputs={"question": "why"})
    browser.becomes(lambda _: "input.question" in json.dumps(browser.state("_head")))
    assert view.columns == ["state"]


def test_a_closed_table_follows_the_history_no_more(history, browse, record, show):
    view = show()
    browse(view).rows()
    wire = view.comm
    view.close()
    before = len(wire.sent)
    record(0)
    assert len(wire.sent) == before
    assert not [
        t for t in threading.enumerate() if t.name == "vellum-nb-history-view" and t.is_alive()
    ]

"""The table of a long history: read outside the kernel's thread, rows before counts."""

from __future__ import annotations

import pytest

from vellum_nb import read_csv
from vellum_nb.widgets import table


@pytest.fixture(autouse=True)
def _every_history_is_long(monkeypatch):
    monkeypatch.setattr(table, "LONG", 0)
    monkeypatch.setattr(table, "_COUNTED", 2)


@pytest.fixture
def browser(browse, record, show):
    for number in range(9):
        record(number, latency_s=number / 10)
    return browse(show())


def test_rows_come_first_and_are_counted_after(browser):
    answer = browser.rows(search="text", limit=2)
    assert browser.ids() == ["run-8", "run-7"]
    assert browser.wire.customs("rows")[0]["rough"] is True
    assert (answer["total"], answer["all"]) == (9, 9)
    assert (browser.view.total, browser.view.recorded) == (9, 9)


def test_a_first_search_reports_its_progress(browser):
    browser.rows(search="text")
    progress = browser.wire.customs("progress")
    assert progress
    assert {(each["view"], each["what"]) for each in progress} == {("a", "searched")}
    assert len(browser.ids()) == 9


def test_a_sort_by_an_output_says_that_it_reads_many_runs(browser):
    browser.rows(order_by="output.reply")
    assert browser.wire.customs("progress")[0]["what"] == "sorted"
    assert len(browser.ids()) == 9


def test_a_request_that_was_replaced_is_not_answered(browser):
    send = browser.view._answers._send

    def change_of_mind(message):
        send(message)
        if message["kind"] == "progress":
            browser.view._answers._send = send
            browser.send(kind="rows", view="a", seq=2, offset=0, limit=9, search="text 3")

    browser.view._answers._send = change_of_mind
    browser.send(kind="rows", view="a", seq=1, offset=0, limit=9, search="text")
    assert browser.view._answers.wait(10)
    assert [answer["seq"] for answer in browser.wire.customs("rows")] == [2]
    assert browser.ids() == ["run-3"]


def test_all_that_matches_is_exported(browser, tmp_path):
    browser.view.export_folder = tmp_path
    browser.rows(search="text", limit=2)
    browser.send(kind="export", path="found.csv")
    assert browser.wire.wait_for(lambda: browser.wire.customs("exported"))
    assert browser.wire.customs("exported")[-1]["count"] == 9
    assert len(read_csv(tmp_path / "found.csv")) == 9


def test_rows_of_another_order_are_those_of_the_history(browser):
    browser.rows(order_by="latency_s", descending=False, offset=6, limit=3)
    assert browser.ids() == ["run-6", "run-7", "run-8"]

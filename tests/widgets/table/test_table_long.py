"""The table of a long history: answered aside of the kernel's thread, rows before counts."""

from __future__ import annotations

import threading

import pytest

from vellum_nb.history.searching import index
from vellum_nb.widgets import table_pages


@pytest.fixture(autouse=True)
def _long_from_the_first(monkeypatch):
    monkeypatch.setattr(table_pages, "LONG", 0)
    monkeypatch.setattr(table_pages, "_COUNTED", 2)
    monkeypatch.setattr(table_pages, "_NEAR", 3)
    monkeypatch.setattr(index, "SLICE", 2)


@pytest.fixture
def browser(browse, record, show):
    for number in range(9):
        record(number, latency_s=number / 10)
    return browse(show())


def test_rows_come_first_and_are_counted_after(browser):
    answer = browser.rows(search="text", limit=2)
    assert browser.ids() == ["run-8", "run-7"]
    assert [message["rough"] for message in browser.wire.customs("rows")] == [True]
    assert (answer["total"], answer["all"]) == (9, 9)
    assert (browser.view.total, browser.view.recorded) == (9, 9)


def test_a_first_search_tells_how_far_it_is(browser):
    browser.rows(search="text")
    told = browser.wire.customs("progress")
    assert [(message["done"], message["total"]) for message in told][:2] == [(0, 9), (2, 9)]


def test_far_rows_of_another_order_are_those_that_a_page_would_have(browser):
    options = {"order_by": "latency_s", "descending": False}
    browser.rows(**options, limit=2)
    browser.rows(**options, offset=5, limit=3, scroll=True)
    assert browser.ids() == ["run-5", "run-6", "run-7"]


def test_a_question_that_was_replaced_is_not_answered(browser):
    gate = threading.Event()
    browser.view._errands.do(gate.wait)
    for seq, search in enumerate(["te", "tex", "text 7"], 1):
        browser.send(
            kind="rows", view="a", seq=seq, offset=0, limit=9, search=search, order_by="timestamp"
        )
    gate.set()
    assert browser.view._errands.wait(10)
    assert [answer["seq"] for answer in browser.wire.customs("rows")] == [3]
    assert browser.ids() == ["run-7"]

"""The table of a long history: answered aside of the kernel's thread, rows before counts."""

from __future__ import annotations

import threading

import pytest

from vellum_nb import read_csv
from vellum_nb.history.reading import sorting, stretches
from vellum_nb.history.searching import index
from vellum_nb.widgets import table_answers, table_pages


@pytest.fixture(autouse=True)
def _long_from_the_first(monkeypatch):
    for name in ("_FIRST_S", "_TURN_S", "_PAUSE_S", "_PAUSES"):
        monkeypatch.setattr(table_answers, name, 0)  # each turn is one step, and tells all of it
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
    assert browser.wire.customs("rows")[0]["rough"] is True
    assert (answer["total"], answer["all"]) == (9, 9)
    assert (browser.view.total, browser.view.recorded) == (9, 9)


def test_a_first_search_shows_what_it_has_found_and_goes_on_by_itself(browser):
    browser.send(kind="rows", view="a", seq=1, offset=0, limit=9, search="text", descending=False)
    assert browser.view._answers.wait(10)
    answers = browser.wire.customs("rows")
    assert [(answer["reach"], answer["total"]) for answer in answers] == [
        *(((2, 9), 2), ((4, 9), 4), ((6, 9), 6), ((8, 9), 8)),
        (None, 9),
    ]
    assert [row["id"] for row in answers[1]["rows"]] == [f"run-{n}" for n in range(5, 9)]
    told = browser.wire.customs("progress")
    assert [message["reach"] for message in told] == [(4, 9), (6, 9), (8, 9)]
    assert {(message["view"], message["what"]) for message in told} == {("a", "searched")}
    assert (browser.view.total, browser.view.error) == (9, "")


def test_a_search_that_nobody_wants_any_more_reads_no_further(browser):
    ask = {"kind": "rows", "view": "a", "offset": 0, "limit": 2, "descending": False}
    send = browser.view._answers._send

    def change_of_mind(message):
        send(message)
        if message["kind"] == "progress":
            browser.send(**ask, seq=2, search="")

    browser.view._answers._send = change_of_mind
    browser.send(**ask, seq=1, search="text")
    assert browser.view._answers.wait(10)
    assert [answer["reach"] for answer in browser.wire.customs("rows")] == [(2, 9), None]
    assert browser.ids() == ["run-0", "run-1"]
    assert index.stretch(browser.view._source._history._store) == (5, 9)


def test_common_words_are_found_at_once_among_the_newest(browser):
    browser.send(kind="rows", view="a", seq=1, offset=0, limit=1, search="text")
    assert browser.view._answers.wait(10)
    assert [row["id"] for row in browser.wire.customs("rows")[0]["rows"]] == ["run-8"]


def test_what_was_sorted_by_is_kept_after_the_answer(browser, monkeypatch):
    monkeypatch.setattr(sorting, "LONG", 0)
    monkeypatch.setattr(sorting, "SLICE", 2)
    browser.rows(order_by="output.reply", limit=2)
    assert browser.ids() == ["run-8", "run-7"]
    assert browser.view._answers.wait(10)
    store = browser.view._source._history._store
    assert store.read("SELECT count(*) FROM sort_values") == [(9,)]


def test_an_order_that_takes_long_shows_its_first_rows_so_far_and_tells_how_far(
    browser, monkeypatch
):
    monkeypatch.setattr(stretches, "_STRETCH", 4)
    browser.rows(order_by="input.ticket", limit=2)
    answers = browser.wire.customs("rows")
    assert [[row["id"] for row in answer["rows"]] for answer in answers] == [
        *(["run-3", "run-2"], ["run-8", "run-3"], ["run-8", "run-7"])
    ]
    shown = [(answer["reach"], answer.get("what")) for answer in answers]
    assert shown == [((4, 9), "sorted"), ((5, 9), "sorted"), (None, None)]
    told = [message for message in browser.wire.customs("progress") if message["view"] == "a"]
    assert [(message["what"], message["reach"]) for message in told] == [
        *(("sorted", (0, 9)), ("sorted", (4, 9)), ("sorted", (5, 9)))
    ]
    assert (browser.view.total, browser.view.error) == (9, "")


def test_an_order_that_nobody_wants_any_more_is_read_no_further(browser, monkeypatch):
    monkeypatch.setattr(stretches, "_STRETCH", 2)
    ask = {"kind": "rows", "view": "a", "offset": 0, "limit": 2, "descending": False}
    send = browser.view._answers._send

    def change_of_mind(message):
        send(message)
        if message.get("what") == "sorted" and message["kind"] == "rows":
            browser.send(**ask, seq=2, order_by="timestamp")

    browser.view._answers._send = change_of_mind
    browser.send(**ask, seq=1, order_by="input.ticket")
    assert browser.view._answers.wait(10)
    answers = browser.wire.customs("rows")
    assert [(answer["seq"], answer["reach"]) for answer in answers] == [(1, (2, 9)), (2, None)]
    assert browser.ids() == ["run-0", "run-1"]


def test_an_order_is_read_on_and_once_where_somebody_scrolls_meanwhile(browser, monkeypatch):
    monkeypatch.setattr(stretches, "_STRETCH", 2)
    monkeypatch.setattr(table_pages, "_NEAR", 9)
    ask = {"kind": "rows", "view": "a", "order_by": "input.ticket", "descending": True}
    send = browser.view._answers._send

    def scroll(message):
        send(message)
        if message["kind"] == "rows" and message["seq"] == 1:
            browser.send(**ask, seq=2, offset=3, limit=2, scroll=True)

    browser.view._answers._send = scroll
    browser.send(**ask, seq=1, offset=0, limit=2)
    assert browser.view._answers.wait(10)
    browser.send(**ask, seq=3, offset=4, limit=3, scroll=True)
    assert browser.view._answers.wait(10)
    answers = browser.wire.customs("rows")
    assert [(answer["seq"], answer["reach"]) for answer in answers] == [
        *((1, (2, 9)), (2, (4, 9)), (2, (6, 9)), (2, (7, 9)), (2, None), (3, None))
    ]
    found = [[row["id"][-1] for row in answer["rows"]] for answer in answers]
    assert found == [["1", "0"], ["0"], ["2", "1"], ["3", "2"], ["5", "4"], ["4", "3", "2"]]
    told = [message["reach"] for message in browser.wire.customs("progress")]
    assert told == [(0, 9), (2, 9), (4, 9), (6, 9), (7, 9)]


def test_rows_beyond_the_first_are_not_waited_for_until_those_are_found(browser, monkeypatch):
    monkeypatch.setattr(stretches, "_STRETCH", 2)
    ask = {"kind": "rows", "view": "a", "order_by": "input.ticket", "descending": True}
    send = browser.view._answers._send

    def scroll(message):
        send(message)
        if message["kind"] == "rows" and message["seq"] == 1:
            browser.send(**ask, seq=2, offset=6, limit=2, scroll=True)

    browser.view._answers._send = scroll
    browser.send(**ask, seq=1, offset=0, limit=2)
    assert browser.view._answers.wait(10)
    answers = browser.wire.customs("rows")
    assert [(answer["seq"], answer["reach"]) for answer in answers] == [(1, (2, 9)), (2, None)]
    assert browser.ids() == ["run-2", "run-1"]


def test_runs_are_counted_once_while_an_order_is_read(browser, monkeypatch):
    monkeypatch.setattr(stretches, "_STRETCH", 2)
    send = browser.view._answers._send

    def wait_for_the_number(message):
        send(message)
        if message["kind"] == "progress" and message["reach"] == (2, 9):
            assert browser.wire.wait_for(lambda: browser.wire.customs("total"))

    browser.view._answers._send = wait_for_the_number
    browser.rows(order_by="input.ticket", limit=2)
    answers = browser.wire.customs("rows")
    assert [answer["reach"] for answer in answers] == [(2, 9), (4, 9), (6, 9), (7, 9), None]
    assert {(each["total"], each["all"], each["rough"]) for each in answers} == {(9, 9, False)}
    assert len(browser.wire.customs("total")) == 1


def test_what_is_exported_is_all_that_matches_however_far_the_search_is(browser, tmp_path):
    browser.view._answers._closed = True  # it reads no further by itself
    browser.send(kind="rows", view="a", seq=1, offset=0, limit=9, search="text")
    browser.view.export_folder = tmp_path
    browser.send(kind="export", path=str(tmp_path / "found.csv"))
    assert browser.wire.wait_for(lambda: browser.wire.customs("exported"))
    assert browser.wire.customs("exported")[-1]["count"] == 9
    assert len(read_csv(tmp_path / "found.csv")) == 9


def test_far_rows_of_another_order_are_those_that_a_page_would_have(browser):
    options = {"order_by": "latency_s", "descending": False}
    browser.rows(**options, limit=2)
    browser.rows(**options, offset=5, limit=3, scroll=True)
    assert browser.ids() == ["run-5", "run-6", "run-7"]


def test_a_question_that_was_replaced_is_not_answered(browser):
    gate = threading.Event()
    browser.view._answers.soon("rows", gate.wait)
    for seq, search in enumerate(["te", "tex", "text 7"], 1):
        browser.send(
            kind="rows", view="a", seq=seq, offset=0, limit=9, search=search, order_by="timestamp"
        )
    gate.set()
    assert browser.view._answers.wait(10)
    assert {answer["seq"] for answer in browser.wire.customs("rows")} == {3}
    assert browser.ids() == ["run-7"]

"""A large grid: its first rows come before its figures."""

from __future__ import annotations

import threading

import pytest

import vellum_nb as vnb

CASES = 1_001  # on two releases: more answers than are worked out at once


@pytest.fixture(scope="module")
def large(made):
    run, wrong, *_ = made
    runs = [run(number, "v1") for number in range(CASES)]
    return runs + [(wrong if number == 900 else run)(number, "v2") for number in range(CASES)]


def states(page):
    return [data["state"] for data in page.wire.sent if "state" in data]


def heads(page):
    return [state["_head"] for state in states(page) if "_head" in state]


def test_the_first_rows_are_sent_before_any_figure_is_known(large, show):
    page = show(large, metrics=vnb.metrics.contains("billing", "category"))
    assert page.whole.wait(20)
    first, last = states(page)[0], heads(page)[-1]
    assert [row["n"] for row in first["_first"]["rows"]] == list(range(1, 13))
    assert first["_first"]["total"] == CASES
    assert first["_head"]["order"].startswith("as given")
    assert {each["words"] for each in first["_head"]["summary"]["releases"]} == {"comparing…"}
    assert last["order"] == "regressions first"
    assert page.rows(limit=1)["rows"][0]["n"] == 901
    assert page.release("v2")["worse"] == 1


def test_a_small_grid_knows_its_figures_at_once(large, show):
    page = show([each for each in large if each.inputs["ticket"] < "ticket 3"])
    assert [each["order"] for each in heads(page)] == ["those that differ first"]


def test_a_function_of_ones_own_is_asked_in_the_thread_of_the_cell(large, show):
    asked = set()

    def length(run):
        asked.add(threading.current_thread())
        return len(run.outputs["category"])

    page = show(large, metrics=[length])
    assert page.whole.wait(20)
    assert asked == {threading.current_thread()}
    assert page.release("v2")["parts"] != []


def test_a_click_before_the_figures_are_there_is_answered_with_figures(large, show):
    page = show(large, metrics=vnb.metrics.contains("billing", "category"))
    page.send(kind="baseline", release="v2")
    assert page.whole.wait(20)
    assert page.view._head["baseline"] == "v2"
    assert page.release("v1")["parts"] == [["better", "+1", 1], ["same", "=1,000", 1000]]
    assert page.rows(limit=1)["rows"][0]["n"] == 901


def test_a_text_can_be_searched_before_the_figures_are_there(large, show):
    page = show(large)
    assert page.numbers(search="ticket 1000") == [1001]
    assert page.whole.wait(20)

"""Searching while the index is made, newest runs first: what is found so far, and at the end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vellum_nb.history.searching import index, search
from vellum_nb.history.searching.words import Search


@pytest.fixture
def small_slices(monkeypatch):
    """Index from the first run on."""
    monkeypatch.setattr(index, "SLICE", 1)


def indexed(history):
    """Return the numbers of the runs that the index knows."""
    ((sql, words),) = index.index_of(history._store).matching(
        history._store.read, Search.of("common"), []
    )
    return sorted(
        seq for (seq,) in history._store.read(f"SELECT r.seq FROM runs r WHERE {sql}", words)
    )


def fill(history, make_run, count):
    for _ in range(count):
        run = make_run(state="FULFILLED", outputs={"reply": "common words"})
        history.begin(run.model_copy(update={"state": "STARTED", "outputs": {}}))
        history.finish(run)


def test_a_search_so_far_finds_the_newest_and_the_next_ones_go_on(history, make_run, monkeypatch):
    monkeypatch.setattr(index, "SLICE", 2)
    fill(history, make_run, 7)
    preparing = history.prepare(search="common")
    assert [next(preparing), next(preparing)] == [(0, 7), (2, 7)]
    fill(history, make_run, 1)  # newer than the index: compared
    found = [run.id for run in history.runs(search="common", so_far=True)]
    assert found == ["run-7", "run-6", "run-5"]
    history.delete(["run-1", "run-5"])
    assert history.count(search="common", so_far=True) == 2
    assert next(history.prepare(search="common")) == (2, 8)
    assert len(list(history.prepare(search="common"))) == 3
    assert list(history.prepare(search="common")) == []
    assert index.stretch(history._store).after == 0
    assert history.count(search="common", so_far=True) == 6


def test_a_number_that_is_given_again_below_what_was_read_so_far_finds_the_new_run(
    history, make_run, monkeypatch
):
    monkeypatch.setattr(index, "SLICE", 2)
    fill(history, make_run, 6)
    preparing = history.prepare(search="common")
    assert [next(preparing), next(preparing)] == [(0, 6), (2, 6)]
    history.delete([run.id for run in history.runs()])
    list(history.prepare(search="common"))
    fill(history, make_run, 2)
    assert history.count(search="common") == 2


@pytest.mark.usefixtures("small_slices")
def test_a_number_that_was_free_when_the_index_was_made_is_given_to_a_run_that_is_found(
    history, make_run
):
    fill(history, make_run, 2)
    history.delete([history.runs()[-1].id])
    assert history.count(search="common") == 1
    history.delete([run.id for run in history.runs()])
    fill(history, make_run, 1)
    assert history.count(search="common") == 1
    history.delete([run.id for run in history.runs()])
    fill(history, make_run, 3)
    assert history.count(search="common") == 3


OPERATIONS = st.lists(
    st.sampled_from(
        [
            "begin",
            "begin",
            "end",
            "end",
            "step",
            "delete newest",
            "delete oldest",
            "delete",
            "undelete",
        ]
    ),
    max_size=25,
)
CHOSEN = {"delete newest": slice(1), "delete oldest": slice(-1, None), "delete": slice(None)}


def perform(history, operation, make_run):
    here = history.runs()
    started = [run for run in here if run.state == "STARTED"]
    if operation == "begin":
        history.begin(make_run(inputs={"q": "common"}))
    elif operation == "end" and started:
        history.finish(started[0].model_copy(update={"state": "FULFILLED"}))
    elif operation == "step":
        steps = history.prepare(search="common")
        next(steps, None)
        next(steps, None)  # tells how far it is before it takes a step
    elif operation in CHOSEN and here:
        history.delete([run.id for run in here[CHOSEN[operation]]])
    elif operation == "undelete" and len(history.deletions()):
        history.undelete()


@given(operations=OPERATIONS)
@settings(max_examples=30)
@pytest.mark.usefixtures("small_slices")
def test_whatever_happens_while_it_is_made_the_index_knows_each_run_once(
    history, make_run, operations
):
    if here := [run.id for run in history.runs()]:
        history.delete(here)
    with history._store.write() as connection:
        connection.execute("DELETE FROM settings WHERE name = 'search'")
    for operation in operations:
        perform(history, operation, make_run)
    runs = history.runs()
    assert history.count(search="common") == len(runs)
    sql = "SELECT count(*) FROM runs WHERE state <> 'STARTED'"
    if index.stretch(history._store) is not None:
        assert len(indexed(history)) == history._store.read(sql)[0][0]


def test_a_search_waits_for_no_long_index_and_is_whole(history, make_run, monkeypatch):
    monkeypatch.setattr(index, "SLICE", 5)
    monkeypatch.setattr(search, "_GROWS_S", 0)
    monkeypatch.setattr(search, "_MANY", 2)
    fill(history, make_run, 20)
    for after in (15, 10, 5, 0):
        assert history.count(search="common") == 20
        assert index.stretch(history._store) == (after, 20)
    assert history.count(search="common", state="STARTED") == 0


def test_the_newest_of_common_words_need_no_index(history, make_run, monkeypatch):
    monkeypatch.setattr(index, "SLICE", 1)
    fill(history, make_run, 9)
    found = [run.id for run in history.runs(search="common", limit=3)]
    assert found == ["run-8", "run-7", "run-6"]
    assert index.stretch(history._store) is None
    assert len(history.page(search="common", limit=3, offset=7)) == 2

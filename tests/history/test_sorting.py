"""Sorting very many runs by an input or an output: the same order, from values that are kept."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vellum_nb.history.reading import sorting, stretches

from vellum_nb import History

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(-2, 2),
    st.sampled_from(["", "a", "B", "é", "10", "x" * 99]),
    st.lists(st.integers(0, 3), max_size=2),
)


@pytest.fixture
def long_from_the_first(monkeypatch):
    """Keep values from the first run on, three runs at a time."""
    monkeypatch.setattr(sorting, "LONG", 0)
    monkeypatch.setattr(sorting, "SLICE", 3)


def order(history, field, **options):
    return [run.id for run in history.page(order_by=field, **options)]


def kept(history):
    return [seq for (seq,) in history._store.read("SELECT seq FROM sort_values ORDER BY value")]


@given(stored=st.lists(VALUES, min_size=1, max_size=8), descending=st.booleans())
@settings(max_examples=40)
def test_kept_values_sort_as_payloads_do(history, make_run, stored, descending):
    options = {"limit": 100, "descending": descending}
    for value in stored:
        run = make_run(state="FULFILLED", outputs={"n": value})
        history.begin(run.model_copy(update={"state": "STARTED", "outputs": {}}))
        history.finish(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "LONG", 0)
        patch.setattr(sorting, "SLICE", 3)
        found = order(history, "output.n", **options)
    assert found == order(history, "output.n", **options)


@pytest.mark.usefixtures("long_from_the_first")
def test_values_are_kept_of_runs_that_have_ended_and_forgotten_of_those_deleted(history, make_run):
    runs = [make_run(outputs={"n": n}, state="FULFILLED") for n in (2, 3, 1)]
    for run in runs:
        history.begin(run.model_copy(update={"state": "STARTED", "outputs": {}}))
    for run in runs[:2]:
        history.finish(run)
    assert order(history, "output.n") == ["run-1", "run-0", "run-2"]
    assert kept(history) == [1, 2]
    history.finish(runs[2])
    assert order(history, "output.n", descending=False) == ["run-2", "run-0", "run-1"]
    history.delete(["run-1"])
    assert kept(history) == [3, 1]
    history.undelete()
    assert order(history, "output.n") == ["run-1", "run-0", "run-2"]


@pytest.mark.usefixtures("long_from_the_first")
def test_the_values_may_be_dropped_and_filters_hold(history, record):
    for number in range(7):
        record(inputs={"q": number % 3}, release_tag=f"v{number % 2}")
    list(history.prepare(order_by="input.q"))
    first = order(history, "input.q", release_tag="v1")
    with history._store.write() as connection:
        connection.execute("DROP TABLE sort_values")
    assert order(history, "input.q", release_tag="v1") == first == ["run-5", "run-1", "run-3"]


@pytest.mark.usefixtures("long_from_the_first")
def test_values_are_kept_step_by_step_and_it_goes_on_where_it_was(history, record):
    for number in range(8):
        record(inputs={"q": number})
    preparing = history.prepare(order_by="input.q")
    assert [next(preparing), next(preparing)] == [(0, 8), (3, 8)]
    assert len(kept(history)) == 3
    assert list(history.prepare(order_by="input.q")) == [(3, 8), (6, 8)]
    assert len(kept(history)) == 8


@given(stored=st.lists(VALUES, min_size=1, max_size=12), descending=st.booleans())
@settings(max_examples=40)
def test_the_best_of_each_stretch_are_the_first_of_all(history, make_run, stored, descending):
    for value in stored:
        run = make_run(state="FULFILLED", outputs={"n": value})
        history.begin(run.model_copy(update={"state": "STARTED", "outputs": {}}))
        history.finish(run)
    options = {"offset": 1, "limit": 5, "descending": descending, "release_tag": "v1"}
    count = history.count()
    size = max(3, count // 5)
    told = []

    def hear(done, total, so_far):
        told.append((done, total, [run.id for run in so_far()]))

    for field in ("output.n", "metadata"):
        whole = order(history, field, **options | {"offset": 0, "limit": count})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stretches, "_STRETCH", size)
            assert order(history, field, told=hear, **options) == whole[1:6]
        for done, total, so_far in told:
            assert total == count
            assert so_far == sorted(so_far, key=whole.index)
            assert len(so_far) == min(max(0, done - 1), 5)
        assert len(told) == (-(-count // size) if count > size else 0)
        told.clear()


LONG = "x" * sorting.TEXT
MIXED = [None, LONG + "b", 2, "a", LONG + "a", -1.5, LONG, True, "ä", "", None, LONG + "c"]
NUMBERS_BEHIND_TEXTS = ["(10 apples)"] * 6 + [8, 7.5, 6, 5, 4, 3]


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize(
    "values",
    [MIXED, NUMBERS_BEHIND_TEXTS, [LONG + letter for letter in ("b", "a", "", "c")] * 3],
)
def test_runs_as_good_as_the_best_so_far_are_kept_and_texts_cut_short_are_equal(
    history, record, values, descending
):
    for value in [*values, *reversed(values), *values]:
        record(inputs={"q": value})
    runs = history.runs()  # newest first, which a sort by less leaves so

    def key(run):
        value = run.inputs["q"]
        return (1, value[: sorting.TEXT]) if isinstance(value, str) else (0, value)

    ranked = sorted(
        (run for run in runs if run.inputs["q"] is not None), key=key, reverse=descending
    )
    ranked += [run for run in runs if run.inputs["q"] is None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "_STRETCH", 6)
        for limit in (1, 3, 5, 30, 36):
            found = order(history, "input.q", limit=limit, descending=descending)
            assert found == [run.id for run in ranked[:limit]]


def test_the_best_of_each_stretch_of_a_search_are_the_first_of_what_it_finds(history, record):
    for number in range(20):
        record(inputs={"q": f"{'even' if number % 2 == 0 else 'odd'} {number}"})
    options = {"search": "even", "limit": 3, "descending": False}
    found = order(history, "input.q", **options)
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "_STRETCH", 4)
        again = order(history, "input.q", told=lambda *heard: told.append(heard[:2]), **options)
    assert again == found == ["run-0", "run-10", "run-12"]
    assert told == [(0, 10), (4, 10), (6, 10)]


def test_who_raises_while_an_order_is_read_ends_it(path, history, record):
    for number in range(40):
        record(inputs={"q": number})

    def enough(done, _total, _so_far):
        if done == 8:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "_STRETCH", 4)
        with pytest.raises(KeyboardInterrupt):
            order(history, "input.q", told=enough)
        assert not [each for each in threading.enumerate() if "ThreadPool" in each.name]
        assert order(history, "input.q", limit=2) == ["run-39", "run-38"]
    with closing(sqlite3.connect(path)) as database:  # a reader that is left would hold it up
        assert database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def test_a_state_that_is_left_is_closed_when_its_query_in_another_thread_has_ended(path):
    """Whoever interrupts twice waits for no thread; Python crashed where one went on reading."""
    long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n LIMIT ?"
    with History(path) as history, ThreadPoolExecutor(1) as aside:
        with history._store.snapshot() as state:
            coming = aside.submit(state.read, long, (4_000_000,))
            wait([coming], 0.2)
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            coming.result()


@pytest.mark.usefixtures("long_from_the_first")
def test_half_an_emoji_in_a_name_stops_no_sort(history, make_run):
    """A frame names such a column with a replacement character; so does who asks for it."""
    for n in (1, 3, 2):
        history.begin(make_run(outputs={"n": n}, state="FULFILLED"))
    first = order(history, "output.\ud83d")
    list(history.prepare(order_by="output.\ud83d"))
    assert order(history, "output.\ud83d") == first == ["run-2", "run-1", "run-0"]


@pytest.mark.usefixtures("long_from_the_first")
def test_runs_that_go_while_values_are_kept_are_not_waited_for(history, make_run):
    for n in range(8):
        history.begin(make_run(outputs={"n": n}, state="FULFILLED"))
    keeping = history.prepare(order_by="output.n")
    assert next(keeping) == (0, 8)
    history.delete(["run-7", "run-6", "run-5"])
    assert [*islice(keeping, 5)] == [(3, 5)]
    assert order(history, "output.n")[0] == "run-4"
    history.delete([run.id for run in history.runs()])
    history.begin(make_run(outputs={"n": 9}, state="FULFILLED"))
    assert order(history, "output.n") == ["run-8"]


def test_a_broken_row_is_sorted_last_and_stops_nothing(postgres, postgres_url, make_run):
    database = postgres_url.rpartition("/")[2]
    with History(postgres_url) as history:
        history.sweeps.record(begun=[make_run(inputs={"n": number}) for number in (2, 3, 1, 4)])
        postgres.execute("UPDATE payloads SET inputs = '{\"n\": 9' WHERE seq = 2", database)
        assert order(history, "input.n", limit=3) == ["run-3", "run-0", "run-2"]
        assert order(history, "input.n", limit=3, descending=False) == ["run-2", "run-0", "run-3"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sorting, "LONG", 0)
            patch.setattr(sorting, "SLICE", 3)
            list(history.prepare(order_by="input.n"))
            assert order(history, "input.n", limit=3) == ["run-3", "run-0", "run-2"]
            assert kept(history) == [3, 1, 4]

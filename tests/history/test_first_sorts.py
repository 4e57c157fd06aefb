"""The first sort of a long history in PostgreSQL: by the beginnings of values, the newest first."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vellum_nb import History
from vellum_nb.history.reading import outdoing, sorting, stretches
from vellum_nb.history.rows.rows import encoded

LETTERS = 17  # as long as the key of a number
NAMES = st.sampled_from(["n", "m n", 'n"', "n\\", '"n', "", "é", "n:"])
TEXTS = st.text(alphabet='ab"\\/{}[]:, né\n\t\x00\x01🙂', max_size=30)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.just(10**400), st.just(-0.0)
)
VALUES = st.recursive(
    SCALARS,
    lambda some: st.lists(some, max_size=3) | st.dictionaries(NAMES, some, max_size=3),
    max_leaves=6,
)
ENDLESS = """
CREATE OR REPLACE FUNCTION vnb_key_start(document TEXT, name TEXT, mark TEXT, letters INT)
RETURNS TEXT LANGUAGE plpgsql STRICT AS $$
BEGIN
    IF document LIKE '%:1}' THEN PERFORM pg_sleep(600); END IF;
    RETURN vnb_key(document, name);
END $$
"""
END_QUERIES = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE state = 'active' AND query LIKE '%vnb_key_start%' AND pid <> pg_backend_pid()
"""
BEGINNING = """
SELECT left(vnb_key(d, n), ? + 1), vnb_key_start(d, n, m, ?), vnb_key_start_or_null(d, n, m, ?)
FROM (SELECT CAST(? AS TEXT) COLLATE "C", CAST(? AS TEXT), CAST(? AS TEXT)) AS given (d, n, m)
"""


@given(document=st.dictionaries(NAMES, VALUES, max_size=4), name=NAMES)
@settings(max_examples=300)
def test_a_key_begins_as_the_whole_of_it_does_however_json_is_written(
    postgres_history, document, name
):
    read, dialect = postgres_history._store.read, postgres_history._store.dialect
    _, (_, mark) = dialect.member_key("d", name, LETTERS)
    for text in (
        encoded(document, "outputs", "run-1"),
        json.dumps(document),
        json.dumps(document, indent=1),
    ):
        letters = (LETTERS, LETTERS, LETTERS)
        ((whole, begin, safe),) = read(BEGINNING, (*letters, text, name, mark))
        assert whole == begin == safe


@pytest.fixture
def postgres_history(postgres_url):
    with History(postgres_url) as history:
        yield history


def test_plain_documents_are_not_parsed(postgres_history):
    """What is no JSON after the value shows that it was not looked at; the fallback refuses it."""
    begin = "SELECT vnb_key_start(?, 'n', '\"n\":', 5)"
    for value, key in {'"a\\nbcdef"': "ta\nbcd", "true": "n3ff0000000000000", "null": None}.items():
        text = '{"m":"{},\\"n\\":2","n":' + value + ',"broken":}'
        assert postgres_history._store.read(begin, (text,)) == [(key,)]


@pytest.mark.parametrize("seed", range(6))
def test_the_best_of_the_newest_and_what_is_better_are_the_first_of_all(
    postgres_history, make_run, seed
):
    dice, history = random.Random(seed), postgres_history  # noqa: S311
    told = []

    def hear(done, _total, _so_far):
        told.append(done)

    for _ in range(6):
        values = [*dice.choice([range(3), range(50), ["a", "b"], [None, 1]]), None]
        rare = dice.choice([[], [99], ["z", -1]])  # of old runs alone
        runs = []
        for number in range(dice.randrange(12, 60)):
            value = dice.choice([*values, *rare * 3] if number < 30 else values)
            some = {"outputs": {"n": value}, "release_tag": dice.choice(["v1", "v2"])}
            run = make_run(state="FULFILLED", **some)
            moved = run.timestamp + timedelta(seconds=dice.choice([0, -9, 0.5, -1]))
            runs.append(run.model_copy(update={"timestamp": moved}))
        history.sweeps.record(begun=runs)
        for descending in (True, False):
            options = {"order_by": "output.n", "descending": descending}
            options |= dice.choice([{}, {"release_tag": "v1"}])
            whole = [run.id for run in history.page(limit=100, **options)]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(stretches, "_STRETCH", 7)
                patch.setattr(outdoing, "_NEWEST", 7)
                patch.setattr(outdoing, "_SPARE", dice.randrange(3))
                patch.setattr(outdoing, "_AT_ONCE", dice.choice([5, 12, 20, 1_000]))
                told.clear()
                found = history.page(limit=5, told=hear, **options)
            assert [run.id for run in found] == whole[:5]
            assert told[:2] == [0, 7] or "release_tag" in options
        history.delete([run.id for run in runs])


def test_a_broken_row_comes_last_in_a_first_sort_too(
    postgres, postgres_url, postgres_history, make_run, monkeypatch
):
    history = postgres_history
    runs = [make_run(state="FULFILLED", outputs={"n": number}) for number in range(9)]
    history.sweeps.record(begun=runs)
    database = postgres_url.rpartition("/")[2]
    broken = 'UPDATE payloads SET outputs = \'{"n":99,"m"\' WHERE seq = 4'
    postgres.execute(broken, database)
    monkeypatch.setattr(stretches, "_STRETCH", 3)
    monkeypatch.setattr(outdoing, "_NEWEST", 3)
    first = history.page(order_by="output.n", limit=2)
    assert [run.id for run in first] == ["run-8", "run-7"]
    assert not sorting.ready(history._store, "output.n")


def test_runs_as_good_as_the_last_one_of_an_earlier_part_are_told_apart_by_their_time(
    postgres_history, make_run, monkeypatch
):
    runs = [
        make_run(state="FULFILLED", outputs={"n": 9 if number < 40 else 1}) for number in range(51)
    ]
    postgres_history.sweeps.record(begun=runs)
    for name, size in {"_NEWEST": 7, "_SPARE": 2, "_AT_ONCE": 20}.items():
        monkeypatch.setattr(outdoing, name, size)
    monkeypatch.setattr(stretches, "_STRETCH", 7)
    first = postgres_history.page(order_by="output.n", limit=5)
    assert [run.id for run in first] == [f"run-{number}" for number in (39, 38, 37, 36, 35)]


def test_who_asks_for_something_else_does_not_wait_for_the_query(
    postgres, postgres_url, postgres_history, make_run, monkeypatch
):
    runs = [make_run(state="FULFILLED", outputs={"n": number}) for number in range(9)]
    postgres_history.sweeps.record(begun=runs)
    postgres.execute(ENDLESS, postgres_url.rpartition("/")[2])
    monkeypatch.setattr(stretches, "_STRETCH", 3)
    monkeypatch.setattr(outdoing, "_NEWEST", 3)

    def enough(done, _total, _so_far):
        if done == 3:
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as aside:
        asked = aside.submit(postgres_history.page, order_by="output.n", limit=2, told=enough)
        ended = wait([asked], 20).done
        left = postgres.execute(END_QUERIES)  # else the test would wait for it, too
    assert (len(ended), left) == (1, []), "the query goes on though nobody waits for it"
    with pytest.raises(KeyboardInterrupt):
        asked.result()
    assert postgres_history.count() == 9


def test_without_a_connection_to_spare_it_is_sorted_all_the_same(
    postgres, postgres_url, postgres_history, make_run, monkeypatch
):
    runs = [make_run(state="FULFILLED", outputs={"n": number}) for number in range(9)]
    postgres_history.sweeps.record(begun=runs)
    monkeypatch.setattr(stretches, "_STRETCH", 3)
    monkeypatch.setattr(outdoing, "_NEWEST", 3)
    database = postgres_url.rpartition("/")[2]
    postgres.execute("CREATE ROLE narrow LOGIN CONNECTION LIMIT 2")
    try:
        for what in ("ALL TABLES", "ALL SEQUENCES"):
            postgres.execute(f"GRANT ALL ON {what} IN SCHEMA public TO narrow", database)
        with History(postgres.url(database, user="narrow")) as history:
            first = history.page(order_by="output.n", limit=2)
    finally:
        postgres.execute("DROP OWNED BY narrow", database)
        postgres.execute("DROP ROLE narrow")
    assert [run.id for run in first] == ["run-8", "run-7"]

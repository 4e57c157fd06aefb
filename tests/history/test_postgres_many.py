"""Many runs in PostgreSQL: what its planner makes of our SQL when the tables are long."""

from __future__ import annotations

import psycopg
import pytest
from vellum_nb.history.reading.query import NEWEST_FIRST, order, select

from vellum_nb import History

RUNS = 12_000


@pytest.fixture
def many_url(postgres_url):
    """Return the URL of a history of many small runs, whose planner knows that they are many."""
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(
            "INSERT INTO runs (id, external_id, deployment, release_tag, timestamp, state, "
            "case_id, repeat, tag_moved) "
            "SELECT 'run-' || n, 'ext-' || n, 'd', 'v', n, 'FULFILLED', 'c', 0, 0 "
            "FROM generate_series(1, %s) AS n",
            (RUNS,),
        )
        db.execute(
            "INSERT INTO payloads (seq, inputs, outputs, output_types, not_sent) SELECT seq, "
            """'{"word":"w' || seq || ' refund"}', '{"n":' || seq % 100 || '}', '{}', '[]' """
            "FROM runs",
        )
        db.execute("VACUUM ANALYZE")
    return postgres_url


def fetched(url):
    """Return how many payloads were fetched by their numbers, by who has gone since."""
    with psycopg.connect(url, autocommit=True) as db:
        sql = "SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'payloads'"
        return db.execute(sql).fetchone()[0]


def test_a_merge_fetches_each_run_of_the_other_once(many_url, tmp_path):
    before = fetched(many_url)
    with History(tmp_path / "runs.db") as history:
        assert history.merge(many_url).added == RUNS
    assert fetched(many_url) - before < 2 * RUNS


def test_the_first_search_fetches_each_run_once(many_url):
    before = fetched(many_url)
    with History(many_url) as history:
        assert [run.inputs for run in history.runs(search="w77")][-1] == {"word": "w77 refund"}
    assert fetched(many_url) - before < 2 * RUNS


def nodes(plan):
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def test_a_page_of_common_words_does_not_look_at_all_runs(many_url):
    with History(many_url) as history:
        assert history.count(search="refund") == RUNS
        history.annotate("run-5", note="a refund")
    with psycopg.connect(many_url, autocommit=True) as db:
        db.execute("VACUUM ANALYZE search_words")
        db.execute(f"ALTER DATABASE {db.info.dbname} SET work_mem = '64kB'")  # as if of millions
    with History(many_url) as history:
        store = history._store
        chosen = select({"search": "refund"}, store)
        sql = f"SELECT r.seq FROM runs r WHERE {chosen.where} ORDER BY {NEWEST_FIRST} LIMIT 40"
        found = store.read(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", chosen.bound)[0][0][0]
    seen = [node["Actual Rows"] * node["Actual Loops"] for node in nodes(found["Plan"])]
    assert max(seen) < 200


def test_common_words_are_counted_by_a_join_also_beside_notes(many_url):
    with History(many_url) as history:
        assert history.count(search="refund") == RUNS
        history.annotate("run-5", note="a refund")
        history.annotate("run-6", note="a discount")
        assert history.count(search="refund") == RUNS
        assert history.count(search="discount") == 1
    with psycopg.connect(many_url, autocommit=True) as db:
        db.execute("VACUUM ANALYZE search_words")
    with History(many_url) as history:
        store = history._store
        chosen = select({"search": "refund"}, store)
        plans = [
            store.read(f"EXPLAIN (FORMAT JSON) SELECT count(*) FROM runs r WHERE {where}", bound)
            for where, bound in chosen.parts
        ]
    first, second = ([*nodes(found[0][0][0]["Plan"])] for found in plans)
    assert "Semi" in {node.get("Join Type") for node in first}
    assert all("Subplan Name" not in node for node in [*first, *second])


def test_a_rare_word_is_looked_up_also_beside_a_common_one(many_url):
    with History(many_url) as history:
        assert history.count(search="refund") == RUNS
    with psycopg.connect(many_url, autocommit=True) as db:
        db.execute("VACUUM ANALYZE search_words")
    with History(many_url) as history:
        store = history._store
        chosen = select({"search": "refund w1199"}, store)
        sql = f"SELECT r.seq FROM runs r WHERE {chosen.where} ORDER BY {NEWEST_FIRST} LIMIT 40"
        found = store.read(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", chosen.bound)[0][0][0]
        assert [run.id for run in history.runs(search="refund w1199")] == [
            *(f"run-{number}" for number in range(11999, 11989, -1)),
            "run-1199",
        ]
    seen = [node["Actual Rows"] * node["Actual Loops"] for node in nodes(found["Plan"])]
    assert max(seen) < 200


def test_runs_are_sorted_by_an_output_in_several_processes(many_url):
    with psycopg.connect(many_url, autocommit=True) as db:
        for cost in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
            db.execute(f"ALTER DATABASE {db.info.dbname} SET {cost} = 0")
    with History(many_url) as history:
        found = history.page(order_by="output.n", limit=3)
        terms, bound, _ = order("output.n", history._store.dialect, descending=True)
        sql = f"SELECT r.seq FROM runs r JOIN payloads p ON p.seq = r.seq ORDER BY {terms} LIMIT 3"
        plan = history._store.read(f"EXPLAIN (FORMAT JSON) {sql}", bound)[0][0][0]["Plan"]
    assert [run.outputs for run in found] == [{"n": 99}] * 3
    assert "Gather Merge" in {node["Node Type"] for node in nodes(plan)}

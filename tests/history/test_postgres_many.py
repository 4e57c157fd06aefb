"""Many runs in PostgreSQL: what its planner makes of our SQL when the tables are long."""

from __future__ import annotations

import psycopg
import pytest

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

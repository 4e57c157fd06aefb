"""Tables of earlier versions in PostgreSQL are brought up to date, whoever is in the way."""

from __future__ import annotations

import psycopg
import pytest
from vellum_nb.history.postgres import schema

from vellum_nb import History, HistoryError


def connection_of(url):
    return psycopg.connect(url, autocommit=True)


@pytest.fixture
def old_url(postgres):
    """Return the URL of a history of the first version, with a run, that others may only read."""
    url = postgres.fresh()
    if not postgres.execute("SELECT 1 FROM pg_roles WHERE rolname = 'reader'"):
        postgres.execute("CREATE ROLE reader LOGIN")
    with connection_of(url) as db:
        for statement in schema._STEPS[0]:
            db.execute(statement)
        db.execute("CREATE TABLE vnb_schema (version BIGINT NOT NULL)")
        db.execute("INSERT INTO vnb_schema VALUES (1)")
        db.execute(
            "INSERT INTO runs (id, deployment, release_tag, timestamp, state, case_id, repeat, "
            "tag_moved) VALUES ('old', 'd', 'v', 1, 'FULFILLED', 'c', 0, 0)"
        )
        db.execute(
            "INSERT INTO payloads (seq, inputs, outputs, output_types, not_sent) "
            """VALUES (1, '{"a":1}', '{"b":2}', '{}', '[]')"""
        )
        db.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    return postgres.url(url.rpartition("/")[2], user="reader")


def test_tables_of_the_first_version_are_brought_up_to_date_by_their_owner(old_url, make_run):
    with pytest.raises(HistoryError, match="the user may not do that"):
        History(old_url)
    with History(old_url.replace("reader@", "vnb@")) as history:
        history.begin(make_run(inputs={"a": "\x00"}))
        assert [run.inputs["a"] for run in history.page(order_by="input.a")] == ["\x00", 1]
        assert history._store.read("SELECT to_regproc('vnb_member')") == [(None,)]


def test_a_history_that_is_merged_is_only_read_whatever_its_version(old_url, tmp_path):
    with History(tmp_path / "runs.db") as history:
        assert history.merge(old_url).added == 1
        assert (history.get("old").inputs, history.get("old").outputs) == ({"a": 1}, {"b": 2})
        assert history.merge(old_url).known == 1
    with connection_of(old_url) as db:
        assert db.execute("SELECT version FROM vnb_schema").fetchall() == [(1,)]
        assert db.execute("SELECT to_regproc('vnb_key')").fetchall() == [(None,)]


def test_a_database_without_a_history_is_no_source_of_a_merge(postgres, tmp_path):
    url = postgres.fresh()
    with (
        History(tmp_path / "runs.db") as history,
        pytest.raises(HistoryError, match="cannot be read: there is no history in it"),
    ):
        history.merge(url)
    with connection_of(url) as db:
        assert db.execute("SELECT * FROM pg_tables WHERE schemaname = 'public'").fetchall() == []


@pytest.fixture
def third_url(postgres_url, make_run):
    """Return the URL of a history of the third version, with a run."""
    with History(postgres_url) as history:
        history.begin(make_run(inputs={"a": 1}))
    with connection_of(postgres_url) as db:
        for name in ("vnb_key_start", "vnb_key_start_or_null"):
            db.execute(f"DROP FUNCTION {name}")
        for name in ("inputs", "outputs"):
            db.execute(f"ALTER TABLE payloads ALTER COLUMN {name} SET COMPRESSION pglz")
        db.execute("UPDATE vnb_schema SET version = 3")
    return postgres_url


def compressions(url):
    sql = "SELECT attcompression FROM pg_attribute WHERE attrelid = 'payloads'::regclass "
    with connection_of(url) as db:
        return db.execute(f"{sql} AND attname IN ('inputs', 'outputs')").fetchall()


def test_an_export_under_way_holds_up_no_migration(third_url):
    with connection_of(third_url) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM payloads")
        with History(third_url) as history:
            assert [run.inputs for run in history.page(order_by="input.a")] == [{"a": 1}]
            patience = history._store._writer.connection.execute("SHOW lock_timeout")
            assert patience.fetchone() == ("30s",)
    assert compressions(third_url) == [("p",), ("p",)]


def test_a_colleague_who_owns_no_table_brings_a_history_up_to_date(third_url, postgres):
    database = third_url.rpartition("/")[2]
    postgres.execute("CREATE ROLE colleague LOGIN")
    try:
        for what in ("ALL TABLES IN SCHEMA", "ALL SEQUENCES IN SCHEMA", "SCHEMA"):
            postgres.execute(f"GRANT ALL ON {what} public TO colleague", database)
        with History(postgres.url(database, user="colleague")) as history:
            assert [run.inputs for run in history.page(order_by="input.a")] == [{"a": 1}]
    finally:
        postgres.execute("DROP OWNED BY colleague", database)
        postgres.execute("DROP ROLE colleague")


def test_texts_are_compressed_quickly_from_the_fourth_version_on(third_url):
    with History(third_url) as history:
        assert history.count() == 1
    assert compressions(third_url) == [("l",), ("l",)]

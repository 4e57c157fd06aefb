"""What PostgreSQL keeps is what a file keeps; and what is no history is left alone."""

import math
import os
import secrets
import select
import shutil
import socket
import subprocess
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import psycopg
import pytest
from ports_kit import free_port
from runs_kit import page

from vellum_nb import History, HistoryError
from vellum_nb.models import RunError

ODD = ("\x00", "\x01", "a\x00b", "a\x01b", "\x01\x01", "\x01\x02\x00", *"abäZ\ue000😀")


@pytest.fixture
def both(tmp_path, postgres_url):
    """Return a history in a file, and one in PostgreSQL."""
    with History(tmp_path / "runs.db") as file, History(postgres_url) as shared:
        yield file, shared


def connection_of(url):
    return psycopg.connect(url, autocommit=True)


def test_both_databases_give_the_same_values_for_the_same_runs(both, make_run):
    odd = {"big": 2**80, "deep": [{"\x00": "\ud83d"}], "nan": math.nan, "mb": "é" * 2**20}
    runs = [
        make_run(inputs={"odd": text}, note=text, model=text, tags=(text,), environment=text)
        for text in ODD
    ]
    error = RunError(code="a\x00b", message="\x01\ud800")
    runs += [
        make_run(inputs=odd, case_id="c", quality=math.nan, latency_s=math.inf, cost_usd=0.1 + 0.2),
        make_run(tokens_in=2**63 - 1, tokens_out=-(2**63), error=error, state="REJECTED"),
        make_run(quality=5e-324, latency_s=1.7976931348623157e308, cost_usd=-0.0),
        make_run(tag_moved=True, repeat=7, desired={"é": [1.0, 1, True, None]}),
    ]
    for history in both:
        for run in runs:
            history.begin(run)
    file, shared = both
    texts = [[repr(run.model_dump()) for run in each.runs()] for each in both]
    assert texts[0] == texts[1]
    pd.testing.assert_frame_equal(file.frame(), shared.frame())
    for column in ("note", "model", "environment", "tags", "quality", "latency_s", "tokens_in"):
        for descending in (True, False):
            pages = [page(each, order_by=column, descending=descending) for each in both]
            assert [run.id for run in pages[0]] == [run.id for run in pages[1]], column
    assert {run.quality for run in shared.runs(ids=[runs[-4].id])} == {None}


def test_numbers_and_texts_are_ordered_alike(both, make_run):
    values = [3, "10", 2.5, True, None, "b", 10, "B", -1, False, -2.5, 0]
    values += [1e300, -1e-300, 10**30, "NaN", "", "a\x01b", "é"]
    for history in both:
        for value in values:
            history.begin(make_run(inputs={"x": value}, case_id="c"))
    for descending in (True, False):
        orders = [
            [run.inputs["x"] for run in page(history, order_by="input.x", descending=descending)]
            for history in both
        ]
        assert repr(orders[0]) == repr(orders[1])


def test_tables_of_another_program_or_a_newer_version_are_left_as_they_are(postgres, postgres_url):
    url = postgres.fresh()
    with connection_of(url) as db:
        db.execute("CREATE TABLE runs (mine TEXT)")
        with pytest.raises(HistoryError, match="already has tables of these names"):
            History(url)
        tables = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert tables.fetchall() == [("runs",)]
    with connection_of(postgres_url) as db:
        db.execute("UPDATE vnb_version SET version = 99")
    with pytest.raises(HistoryError, match="newer vellum_nb .version 99.; upgrade"):
        History(postgres_url)


def test_who_may_not_make_tables_gets_a_message(postgres):
    url = postgres.fresh()
    database = url.rpartition("/")[2]
    postgres.role("guest")
    guest_url = postgres.url(database, user="guest")
    with pytest.raises(HistoryError, match="the user may not do that; grant the rights on its"):
        History(guest_url)
    History(url).close()
    rights = "SELECT, INSERT, UPDATE, DELETE"
    postgres.execute(f"GRANT {rights} ON ALL TABLES IN SCHEMA public TO guest", database)
    with History(guest_url) as history:
        assert history.count() == 0
        assert history.vacuum().forgotten == 0


def test_a_history_may_lie_in_a_schema_of_its_own(postgres, make_run):
    url = postgres.fresh()
    with connection_of(url) as db:
        db.execute("CREATE SCHEMA apart")
    with History(url) as history, History(f"{url}?options=-csearch_path%3Dapart") as apart:
        history.begin(make_run())
        assert (history.count(), apart.count()) == (1, 0)


def test_a_writer_that_waits_for_a_lock_too_long_says_why(postgres_url, make_run, setting):
    with History(postgres_url) as history:
        history.begin(make_run())
    setting("SET statement_timeout = '100ms'")
    with History(postgres_url) as history, connection_of(postgres_url) as other:
        with other.transaction():
            other.execute("LOCK TABLE deletions")
            with pytest.raises(HistoryError, match="the server ended the statement"):
                history.delete(["run-0"])
            assert history.count() == 1
        assert history.delete(["run-0"]).runs == 1


@pytest.mark.parametrize("name", ["id", "external_id", "deployment"])
def test_name_that_is_too_long_for_an_index_is_refused_before_the_run(postgres_url, make_run, name):
    with History(postgres_url) as history:
        with pytest.raises(HistoryError, match="too long for an index; shorten it"):
            history.begin(make_run(**{name: secrets.token_hex(20_000)}))
        assert history.count() == 0


def test_a_deadlock_is_tried_again(postgres_url, make_run):
    ids = [make_run().id for _ in range(2)]
    meet, tries = threading.Barrier(2), []
    with History(postgres_url) as one, History(postgres_url) as other:
        for run_id in ids:
            one.begin(make_run(id=run_id))

        def note(history, ids):
            def change(transaction):
                sql = "UPDATE runs SET note = :id WHERE id = :id"
                transaction.execute(sql, {"id": ids[0]})
                tries.append(history)
                if tries.count(history) == 1:
                    meet.wait(120)
                transaction.execute(sql, {"id": ids[1]})

            history._store.write(change)  # no public write takes two rows in a given order

        with ThreadPoolExecutor() as pool:
            calls = [pool.submit(note, one, ids), pool.submit(note, other, ids[::-1])]
            assert [call.result() for call in calls] == [None, None]
    assert len(tries) == 3


def test_a_damaged_row_is_sorted_last_and_stops_nothing(postgres_url, ask, make_run):
    with History(postgres_url) as history:
        for number in (2, 3, 1, 4):
            history.begin(make_run(inputs={"n": number}))
        ask("UPDATE payloads SET inputs = '{\"n\": 9' WHERE seq = 2")
        assert [run.inputs["n"] for run in page(history, order_by="input.n")] == [4, 2, 1]


def test_a_database_that_cannot_hold_every_text_is_refused_and_the_environment_does_not_matter(
    postgres, postgres_url, make_run, monkeypatch
):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with History(postgres_url) as history:
        history.begin(make_run(id="東京 😀"))
        assert history.frame()["id"].tolist() == ["東京 😀"]
    postgres.execute("DROP DATABASE IF EXISTS narrow")
    postgres.execute("CREATE DATABASE narrow ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(HistoryError, match="encoded as LATIN1.*ENCODING 'UTF8'"):
        History(postgres.url("narrow"))


SETTINGS = """
[databases]
* = host=127.0.0.1 port={server} user=vnb
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
query_wait_timeout = 20
"""


@pytest.fixture
def pooled_url(postgres, postgres_url):
    """Return the URL of an empty history behind a pooler with two sessions."""
    port = free_port()
    file = postgres.folder / "pgbouncer.ini"
    file.write_text(SETTINGS.format(server=postgres.port, port=port))
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    with subprocess.Popen([program, "-q", file], **postgres._as) as pooler:
        while pooler.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            select.select([], [], [], 0.05)
        yield f"postgresql://vnb@127.0.0.1:{port}/{postgres_url.rpartition('/')[2]}"
        pooler.terminate()


def test_several_writers_and_readers_share_the_sessions_of_a_pooler(
    pooled_url, make_run, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    runs = [make_run(outputs={"n": number}) for number in range(80)]

    def work(some):
        with History(pooled_url) as history:
            for run in some:
                history.begin(run.model_copy(update={"outputs": {}}))
                history.finish(run.model_copy(update={"state": "FULFILLED"}))
                history.annotate(run.id, note="seen")
                assert history.count(search="text") > 0
                page(history, order_by="output.n")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(4) as pool:
            assert [*pool.map(work, (runs[at::4] for at in range(4)))] == [None] * 4
        with History(pooled_url) as history:
            assert {run.id for run in history.runs(state="FULFILLED")} == {run.id for run in runs}
            assert len(history.to_jsonl(tmp_path / "runs.jsonl").read_text().splitlines()) == 80
            assert len(next(history.scan(chunk_rows=50))) == 50
    assert not list(tmp_path.rglob("pending-*"))
    with psycopg.connect(pooled_url, autocommit=True) as other, other.transaction():
        for name in ("lock_timeout", "default_transaction_read_only", "search_path"):
            sql = "SELECT setting, reset_val FROM pg_settings WHERE name = %s"
            now, before = other.execute(sql, (name,)).fetchone()
            assert now == before, f"{name} is set for whoever has the session next"


@pytest.fixture
def tls_url(postgres, postgres_url, tmp_path):
    """Return the URL of a history that is reached through TLS only, and its certificate."""
    key, certificate = tmp_path / "server.key", tmp_path / "server.crt"
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -batch -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = [*made.split(), *names, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    owner = postgres.data.stat()
    for file in (key, certificate):
        copy = postgres.data / file.name
        copy.touch(mode=0o600)
        copy.write_bytes(file.read_bytes())
        os.chown(copy, owner.st_uid, owner.st_gid)
    rules = postgres.data / "pg_hba.conf"
    before = rules.read_text()
    database = postgres_url.rpartition("/")[2]
    rules.write_text(f"hostnossl {database} all 127.0.0.1/32 reject\n{before}")
    postgres.execute("ALTER SYSTEM SET ssl = on")
    postgres.execute("SELECT pg_reload_conf()")
    yield postgres_url, certificate
    rules.write_text(before)
    postgres.execute("ALTER SYSTEM RESET ssl")
    postgres.execute("SELECT pg_reload_conf()")


def test_a_history_is_reached_through_tls_and_not_without_or_past_a_false_certificate(
    tls_url, make_run
):
    url, certificate = tls_url
    for options in ("sslmode=require", f"sslmode=verify-full&sslrootcert={certificate}"):
        with History(f"{url}?{options}") as history:
            history.begin(make_run(id=options))
            assert history.frame()["id"][0] == options
    for options in ("sslmode=disable", "sslmode=verify-full"):
        with pytest.raises(HistoryError, match="cannot be reached"):
            History(f"{url}?{options}")


def test_odd_names_are_found_as_they_are(both, make_run):
    odd = [*ODD, "'; DROP TABLE runs; --", '"', "%s", "%", "_", "\\", "{}", "$1", ":a"]
    for history in both:
        for text in odd:
            history.begin(make_run(id=f"id {text}", release_tag=f"v{text}"))
        for text in odd:
            assert [run.id for run in history.runs(release_tag=f"v{text}")] == [f"id {text}"]
        assert history.count(ids=[f"id {text}" for text in odd]) == len(odd)

"""A history behind PgBouncer, which hands out a session of the server for one transaction each."""

from __future__ import annotations

import select
import shutil
import socket
import subprocess
import threading
import warnings

import psycopg
import pytest

from vellum_nb import History

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
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
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
                history.page(order_by="output.n")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threads = [threading.Thread(target=work, args=(runs[at::4],)) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with History(pooled_url) as history:
            assert {run.id for run in history.runs(state="FULFILLED")} == {run.id for run in runs}
            assert len(history.to_jsonl(tmp_path / "runs.jsonl").read_text().splitlines()) == 80
            assert len(next(history.scan(chunk_rows=50))) == 50
    assert not list(tmp_path.rglob("pending-*"))


def test_who_shares_the_pooler_meets_no_setting_of_ours(pooled_url, make_run):
    with History(pooled_url) as history:
        history.begin(make_run())
        history.count()
    with psycopg.connect(pooled_url, autocommit=True) as other, other.transaction():
        for name in ("lock_timeout", "default_transaction_read_only", "search_path"):
            sql = "SELECT setting, reset_val FROM pg_settings WHERE name = %s"
            now, before = other.execute(sql, (name,)).fetchone()
            assert now == before, name

"""A history on a server that speaks TLS only, as hosted ones do."""

from __future__ import annotations

import os
import subprocess

import pytest

from vellum_nb import History, HistoryError


@pytest.fixture
def sealed_url(postgres, postgres_url, tmp_path):
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


def test_a_history_is_written_and_read_through_tls(sealed_url, make_run):
    url, certificate = sealed_url
    for options in ("sslmode=require", f"sslmode=verify-full&sslrootcert={certificate}"):
        with History(f"{url}?{options}") as history:
            history.begin(make_run(id=options))
            sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert history._store.read(sql) == [(True,)]
            assert history.frame()["id"][0] == options


def test_a_server_without_tls_or_with_another_certificate_is_refused(sealed_url):
    url, _ = sealed_url
    with pytest.raises(HistoryError, match="cannot be reached"):
        History(f"{url}?sslmode=disable")
    with pytest.raises(HistoryError, match="cannot be reached"):
        History(f"{url}?sslmode=verify-full")

"""A PostgreSQL server of our own: in a temporary folder, on a free port of this machine only."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # the tests kill the server, not the machine
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "log_min_messages": "fatal",
}
RULES = """
host all guarded 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""


class PrivatePostgres:
    """A server that can be killed and started again."""

    def __init__(self) -> None:
        self._bin = programs()
        self._as = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        self.folder = Path(tempfile.mkdtemp(prefix="vnb-postgres-"))
        if self._as:
            owner = pwd.getpwnam("postgres")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self.port = free_port()
        self._data = self.folder / "data"
        init = [self._bin / "initdb", "-D", self._data, "-U", "vnb", "-A", "trust", "-E", "UTF8"]
        subprocess.run(
            [*init, "--locale=C", "--no-sync"], check=True, capture_output=True, **self._as
        )
        (self._data / "pg_hba.conf").write_text(RULES)
        self._number = 0
        self.start()

    def start(self) -> None:
        options = [f"-c{name}={value}" for name, value in SETTINGS.items()]
        command = [self._bin / "postgres", "-D", self._data, f"-p{self.port}", *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-k", self.folder], stdout=log, stderr=log, **self._as
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def kill(self) -> None:
        """Stop it as ``pg_ctl stop -m immediate`` does: nobody is told, nothing is written."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def execute(self, sql: str, database: str = "postgres") -> list[tuple]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def url(self, database: str, user: str = "vnb") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def fresh(self, template: str = "template0") -> str:
        """Return the URL of a new database."""
        self._number += 1
        self.execute(f"CREATE DATABASE t{self._number} TEMPLATE {template}")
        return self.url(f"t{self._number}")

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def programs() -> Path:
    """Return the folder of ``initdb`` and ``postgres``."""
    packaged = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[4])
    )
    on_path = shutil.which("initdb")
    if packaged or on_path:
        return (packaged[-1] if packaged else Path(on_path).resolve()).parent
    raise RuntimeError("The tests need PostgreSQL's server; `make test` installs it (.ci/postgres)")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]

"""A PostgreSQL server of our own: in a temporary folder, on a free port of this machine only."""

import sys
from pathlib import Path

import psycopg
from ports_kit import free_port

sys.path.append(str(Path(__file__).parents[1] / "notebooks"))

from tryout_postgres import TryoutPostgres

SETTINGS = {
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


class PrivatePostgres(TryoutPostgres):
    """A server with a fresh database for each test, and a user who needs a password."""

    def __init__(self):
        super().__init__(**SETTINGS, port=str(free_port()))
        (self.data / "pg_hba.conf").write_text(RULES)
        self.execute("SELECT pg_reload_conf()")
        version = int(self.execute("SHOW server_version_num")[0][0])
        # The default writes every page to the log and takes three times as long.
        self._strategy = "STRATEGY FILE_COPY" if version >= 150_000 else ""
        self._number = 0

    def kill(self):
        self.stop()

    def execute(self, sql, database="postgres"):
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def role(self, name, options=""):
        """See to it that there is a user of this name."""
        if not self.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{name}'"):
            self.execute(f"CREATE ROLE {name} LOGIN {options}")

    def fresh(self, template="template0"):
        """Return the URL of a new database."""
        self._number += 1
        self.execute(f"CREATE DATABASE t{self._number} TEMPLATE {template} {self._strategy}")
        return self.url(f"t{self._number}")

    def drop(self, url):
        """Delete a database: hundreds of them would make each start slow, and the end."""
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

"""The schema of a history file, as a list of steps that is only ever appended to.

A step is SQL as it was on the day it was released. It imports nothing of ours, so that a file of
last year does not depend on the models of today. `migrate` must be called with the write lock
held (``BEGIN IMMEDIATE``): first the lock, then the version.

Times are microseconds since 1970 in UTC. Payloads are JSON text in a table of their own, so that
lists of runs read only the narrow rows.
"""

from __future__ import annotations

import sqlite3

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "migrate", "outdated", "unfit"]

APPLICATION_ID = 0x766E6268  # "vnbh"; `file` and we tell a history from any other SQLite file

_STEPS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE runs (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            execution_id TEXT,
            external_id TEXT UNIQUE,
            deployment TEXT NOT NULL,
            release_tag TEXT NOT NULL,
            release_id TEXT,
            environment TEXT,
            timestamp INTEGER NOT NULL,
            finished_at INTEGER,
            latency_s REAL,
            state TEXT NOT NULL,
            error_code TEXT,
            error_message TEXT,
            case_id TEXT NOT NULL,
            sweep_id TEXT,
            repeat INTEGER NOT NULL,
            previous_execution_id TEXT,
            quality REAL,
            note TEXT,
            tags TEXT,
            cost_usd REAL,
            tokens_in INTEGER,
            tokens_out INTEGER,
            model TEXT,
            tag_moved INTEGER NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE payloads (
            seq INTEGER PRIMARY KEY,
            inputs TEXT NOT NULL,
            outputs TEXT NOT NULL,
            output_types TEXT NOT NULL,
            not_sent TEXT NOT NULL,
            metadata TEXT
        ) STRICT
        """,
        "CREATE INDEX runs_newest ON runs (timestamp)",
        "CREATE INDEX runs_newest_of_deployment ON runs (deployment, timestamp)",
        "CREATE INDEX runs_of_sweep ON runs (sweep_id) WHERE sweep_id IS NOT NULL",
    ),
    (
        "ALTER TABLE payloads ADD COLUMN desired TEXT",
        "ALTER TABLE payloads ADD COLUMN nodes TEXT",
        "CREATE INDEX runs_of_execution ON runs (execution_id) WHERE execution_id IS NOT NULL",
    ),
    (
        """
        CREATE TABLE sweeps (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            deployment TEXT NOT NULL,
            environment TEXT,
            release_tags TEXT NOT NULL,
            repeats INTEGER NOT NULL,
            cases INTEGER NOT NULL,
            signature TEXT NOT NULL,
            created INTEGER NOT NULL,
            round INTEGER NOT NULL,
            ended INTEGER,
            why TEXT,
            releases TEXT NOT NULL,
            holder TEXT
        ) STRICT
        """,
        """
        CREATE TABLE sweep_cases (
            sweep INTEGER NOT NULL,
            position INTEGER NOT NULL,
            case_id TEXT NOT NULL,
            inputs TEXT NOT NULL,
            expected TEXT NOT NULL,
            labels TEXT NOT NULL,
            PRIMARY KEY (sweep, position)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE sweep_reused (
            sweep INTEGER NOT NULL,
            position INTEGER NOT NULL,
            release_tag TEXT NOT NULL,
            repeat INTEGER NOT NULL,
            run TEXT NOT NULL,
            PRIMARY KEY (sweep, position, release_tag, repeat)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX sweeps_of_signature ON sweeps (signature)",
    ),
    ("ALTER TABLE sweeps ADD COLUMN options TEXT NOT NULL DEFAULT '{}'",),
    (
        """
        CREATE TABLE blind (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            deployment TEXT NOT NULL,
            first TEXT NOT NULL,
            second TEXT NOT NULL,
            seed INTEGER NOT NULL,
            question TEXT NOT NULL,
            signature TEXT NOT NULL,
            created INTEGER NOT NULL,
            ended INTEGER
        ) STRICT
        """,
        """
        CREATE TABLE blind_pairs (
            session INTEGER NOT NULL,
            position INTEGER NOT NULL,
            number INTEGER NOT NULL,
            case_id TEXT NOT NULL,
            first TEXT NOT NULL,
            second TEXT NOT NULL,
            same INTEGER NOT NULL,
            PRIMARY KEY (session, position)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE blind_ratings (
            seq INTEGER PRIMARY KEY,
            session INTEGER NOT NULL,
            position INTEGER NOT NULL,
            choice TEXT NOT NULL,
            a_first INTEGER NOT NULL,
            note TEXT NOT NULL,
            rated INTEGER NOT NULL,
            undone INTEGER,
            sent INTEGER
        ) STRICT
        """,
        "CREATE INDEX blind_of_signature ON blind (signature)",
        """
        CREATE UNIQUE INDEX blind_rated_once ON blind_ratings (session, position)
        WHERE undone IS NULL AND choice <> 'skip'
        """,
    ),
    (
        "ALTER TABLE runs ADD COLUMN author TEXT",
        "ALTER TABLE payloads ADD COLUMN large TEXT",
        """
        CREATE TABLE large_values (
            seq INTEGER PRIMARY KEY,
            hash TEXT NOT NULL UNIQUE,
            size INTEGER NOT NULL,
            value TEXT NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE deletions (
            batch INTEGER PRIMARY KEY,
            at INTEGER NOT NULL,
            runs INTEGER NOT NULL,
            why TEXT NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE deleted_runs (
            batch INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            id TEXT NOT NULL,
            execution_id TEXT,
            external_id TEXT,
            deployment TEXT NOT NULL,
            release_tag TEXT NOT NULL,
            release_id TEXT,
            environment TEXT,
            timestamp INTEGER NOT NULL,
            finished_at INTEGER,
            latency_s REAL,
            state TEXT NOT NULL,
            error_code TEXT,
            error_message TEXT,
            case_id TEXT NOT NULL,
            sweep_id TEXT,
            repeat INTEGER NOT NULL,
            previous_execution_id TEXT,
            quality REAL,
            note TEXT,
            tags TEXT,
            cost_usd REAL,
            tokens_in INTEGER,
            tokens_out INTEGER,
            model TEXT,
            tag_moved INTEGER NOT NULL,
            author TEXT,
            PRIMARY KEY (batch, seq)
        ) STRICT
        """,
        """
        CREATE TABLE deleted_payloads (
            batch INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            inputs TEXT NOT NULL,
            outputs TEXT NOT NULL,
            output_types TEXT NOT NULL,
            not_sent TEXT NOT NULL,
            metadata TEXT,
            desired TEXT,
            nodes TEXT,
            large TEXT,
            PRIMARY KEY (batch, seq)
        ) STRICT
        """,
        """
        CREATE TABLE archives (
            seq INTEGER PRIMARY KEY,
            path TEXT NOT NULL UNIQUE,
            created INTEGER NOT NULL,
            runs INTEGER NOT NULL,
            first INTEGER NOT NULL,
            last INTEGER NOT NULL
        ) STRICT
        """,
        "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    ),
    ("ALTER TABLE sweep_cases ADD COLUMN large TEXT",),
)

SCHEMA_VERSION = len(_STEPS)


def unfit(connection: sqlite3.Connection) -> str | None:
    """Say why the file is no history that this version can use, or return None if it is one.

    An empty database is fit: `migrate` makes it a history.
    """
    application_id, version = _marks(connection)
    if application_id == APPLICATION_ID:
        if version <= SCHEMA_VERSION:
            return None
        return (
            f"it has schema version {version}, and this vellum_nb knows versions up to "
            f"{SCHEMA_VERSION}; update vellum_nb, or choose another file"
        )
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application_id or version or tables:
        return "it is an SQLite database of another program; choose another file"
    return None


def outdated(connection: sqlite3.Connection) -> int | None:
    """Return the version of a history that has runs and that `migrate` would change, else None."""
    application_id, version = _marks(connection)
    if application_id != APPLICATION_ID or not 0 < version < SCHEMA_VERSION:
        return None
    return version if connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone() else None


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to `SCHEMA_VERSION`, inside the caller's transaction."""
    application_id, version = _marks(connection)
    if application_id != APPLICATION_ID:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for step in _STEPS[version:]:
        for statement in step:
            connection.execute(statement)
    if version < SCHEMA_VERSION:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _marks(connection: sqlite3.Connection) -> tuple[int, int]:
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    return application_id, version

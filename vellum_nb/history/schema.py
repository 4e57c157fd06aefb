"""The schema of a history, version 1, made in one place for SQLite and PostgreSQL.

`MIGRATIONS` is append only: version n is what its first n functions make. Times are microseconds
since 1970 in UTC. Payloads are JSON text in a table of their own, so that lists of runs read only
narrow rows. A deleted run stays in its row, with the number of its deletion, until `vacuum`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from vellum_nb.history.store import Transaction

APPLICATION_ID = 0x766E6231  # "vnb1"
_UNRELEASED_ID = 0x766E6268  # the seven versions before the first release

# NUMBER (a key that the database counts up), COUNTER (one that never comes again) and the other
# types are replaced by what they are in each database.
_TABLES = """
CREATE TABLE runs (
    seq NUMBER,
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
    tag_moved INTEGER NOT NULL,
    author TEXT,
    deletion INTEGER
);
CREATE INDEX runs_newest ON runs (timestamp, seq) WHERE deletion IS NULL;
CREATE INDEX runs_newest_of_deployment ON runs (deployment, timestamp, seq) WHERE deletion IS NULL;
CREATE INDEX runs_of_sweep ON runs (sweep_id) WHERE sweep_id IS NOT NULL;
CREATE INDEX runs_of_execution ON runs (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX runs_deleted ON runs (deletion) WHERE deletion IS NOT NULL;
CREATE TABLE payloads (
    seq INTEGER PRIMARY KEY,
    inputs TEXT NOT NULL,
    outputs TEXT NOT NULL,
    output_types TEXT NOT NULL,
    not_sent TEXT NOT NULL,
    metadata TEXT,
    desired TEXT,
    nodes TEXT,
    large TEXT
);
CREATE TABLE large_values (hash TEXT PRIMARY KEY, size INTEGER NOT NULL, value TEXT NOT NULL);
CREATE TABLE deletions (
    number COUNTER,
    deleted_at INTEGER NOT NULL,
    why TEXT NOT NULL
);
CREATE TABLE sweeps (
    seq NUMBER,
    id TEXT NOT NULL UNIQUE,
    deployment TEXT NOT NULL,
    environment TEXT,
    workspace TEXT,
    release_tags TEXT NOT NULL,
    repeats INTEGER NOT NULL,
    cases INTEGER NOT NULL,
    signature TEXT NOT NULL,
    created INTEGER NOT NULL,
    round INTEGER NOT NULL,
    ended INTEGER,
    why TEXT,
    releases TEXT NOT NULL,
    options TEXT NOT NULL
);
CREATE INDEX sweeps_of_signature ON sweeps (signature);
CREATE TABLE sweep_cases (
    sweep TEXT NOT NULL,
    position INTEGER NOT NULL,
    case_id TEXT NOT NULL,
    inputs TEXT NOT NULL,
    expected TEXT NOT NULL,
    labels TEXT NOT NULL,
    large TEXT,
    PRIMARY KEY (sweep, position)
);
CREATE TABLE sweep_reused (
    sweep TEXT NOT NULL,
    position INTEGER NOT NULL,
    release_tag TEXT NOT NULL,
    repeat INTEGER NOT NULL,
    run TEXT NOT NULL,
    PRIMARY KEY (sweep, position, release_tag, repeat)
);
CREATE TABLE leases (
    sweep TEXT PRIMARY KEY,
    token TEXT NOT NULL,
    holder TEXT NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE TABLE blind (
    seq NUMBER,
    id TEXT NOT NULL UNIQUE,
    deployment TEXT NOT NULL,
    first TEXT NOT NULL,
    second TEXT NOT NULL,
    seed INTEGER NOT NULL,
    question TEXT NOT NULL,
    signature TEXT NOT NULL,
    created INTEGER NOT NULL,
    ended INTEGER
);
CREATE INDEX blind_of_signature ON blind (signature);
CREATE TABLE blind_pairs (
    session TEXT NOT NULL,
    position INTEGER NOT NULL,
    number INTEGER NOT NULL,
    case_id TEXT NOT NULL,
    first TEXT NOT NULL,
    second TEXT NOT NULL,
    same INTEGER NOT NULL,
    PRIMARY KEY (session, position)
);
CREATE TABLE blind_ratings (
    seq NUMBER,
    session TEXT NOT NULL,
    position INTEGER NOT NULL,
    choice TEXT NOT NULL,
    a_first INTEGER NOT NULL,
    note TEXT NOT NULL,
    rated INTEGER NOT NULL,
    undone INTEGER,
    sent INTEGER
);
CREATE UNIQUE INDEX blind_rated_once ON blind_ratings (session, position)
WHERE undone IS NULL AND choice <> 'skip';
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE search_due (number NUMBER, seq INTEGER NOT NULL);
CREATE INDEX search_due_of_run ON search_due (seq);
"""
# `search.py` makes the tables of its index at the first search: they are derived.

# A member of a JSON object in a text; NULL where the text is not JSON that PostgreSQL accepts.
_MEMBER = """
CREATE FUNCTION vnb_member(document TEXT, name TEXT) RETURNS JSONB
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN CAST(document AS JSONB) -> name;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$
"""
_SQLITE = {
    "NUMBER": "INTEGER PRIMARY KEY",
    "COUNTER": "INTEGER PRIMARY KEY AUTOINCREMENT",
}
_IDENTITY = "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"
_POSTGRESQL = {
    "NUMBER": _IDENTITY,
    "COUNTER": _IDENTITY,
    "INTEGER": "BIGINT",
    "REAL": "DOUBLE PRECISION",
    "TEXT": 'TEXT COLLATE "C"',  # orders are those of SQLite
}

TABLES = tuple(re.findall(r"CREATE TABLE (\w+)", _TABLES))


def make_first_version(transaction: Transaction) -> None:
    """Make the tables of version 1."""
    is_sqlite = transaction.dialect.name == "sqlite"
    types = _SQLITE if is_sqlite else _POSTGRESQL
    names = re.compile(rf"\b({'|'.join(types)})\b")
    for statement in _TABLES.strip().removesuffix(";").split(";\n"):
        sql = names.sub(lambda found: types[found[0]], statement)
        is_strict = is_sqlite and statement.startswith("CREATE TABLE")
        transaction.execute(sql + " STRICT" * is_strict)
    if not is_sqlite:
        transaction.execute(_MEMBER)


MIGRATIONS: Sequence[Callable[[Transaction], None]] = (make_first_version,)


def refuse_old(application_id: int) -> str | None:
    """Return why a file made before the first release cannot be used, or None."""
    if application_id != _UNRELEASED_ID:
        return None
    return (
        "it was made by a version before the first release; export it with that version "
        "(`vellum-nb history export runs.jsonl`), then `vellum-nb history merge runs.jsonl`"
    )

"""Columns of a run, and schema of a history for SQLite and PostgreSQL.

`MIGRATIONS` is append only: the first n functions create version n. Timestamps are microseconds
since the epoch in UTC. Payloads are JSON text in a separate table, so lists of runs read narrow
rows only. A deleted run keeps its row, with the number of the deletion, until `vacuum`.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

from vellum_nb.errors import InputError
from vellum_nb.models.blind import blind_signature
from vellum_nb.models.checks import refuse
from vellum_nb.models.run import continued_case_id
from vellum_nb.models.sweeps import signature

Kind = Literal["text", "time", "float", "int", "count", "tag", "state", "flag"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of frames and of the table `runs`, named after a field of `Run`."""

    kind: Kind  # a "flag" is not part of a frame
    set_by: Literal["begin", "finish", "annotate"] = "begin"
    is_late: bool = False  # a merge fills in missing values of ended runs
    is_optional: bool = False  # frames omit the column if no run has a value
    is_payload: bool = False  # stored in the table `payloads`, as JSON text
    is_short: bool = False  # part of ``frame(columns="short")``
    version: int = 1  # of the schema that added the column


# The order is that of a frame, with inputs, outputs and desired outputs after `latency_s`.
COLUMNS: Mapping[str, Column] = {
    "release_tag": Column("tag", is_short=True),
    "timestamp": Column("time", is_short=True),
    "deployment": Column("text", is_short=True),
    "state": Column("state", "finish", is_short=True),
    "latency_s": Column("float", "finish", is_short=True),
    "error_code": Column("text", "finish"),
    "error_message": Column("text", "finish", is_short=True),
    "doubt": Column("text", "finish", is_optional=True, version=2, is_short=True),
    "quality": Column("float", "annotate", is_short=True),
    "note": Column("text", "annotate", is_short=True),
    "tags": Column("text", "annotate"),
    "cost_usd": Column("float", "finish", is_late=True, is_short=True),
    "tokens_in": Column("count", "finish", is_late=True),
    "tokens_out": Column("count", "finish", is_late=True),
    "model": Column("text", "finish", is_late=True),
    "environment": Column("text", "finish"),
    "finished_at": Column("time", "finish"),
    "repeat": Column("int", is_short=True),
    "turn": Column("count", is_optional=True, version=4, is_short=True),
    "author": Column("text", is_late=True, is_optional=True),
    "metadata": Column("text", is_payload=True),
    "case_id": Column("text", is_short=True),
    "sweep_id": Column("text"),
    "conversation_id": Column("text", is_optional=True, version=4),
    "release_id": Column("text", "finish"),
    "external_id": Column("text"),
    "execution_id": Column("text", "finish", is_late=True),
    "previous_execution_id": Column("text"),
    "id": Column("text", is_short=True),
    "tag_moved": Column("flag"),
}
FRAMED = ("inputs", "outputs", "metadata", "desired")
"""Payload columns that a frame shows."""
PAYLOADS = (*FRAMED, "output_types", "not_sent", "nodes")
"""Columns of the table `payloads`, in which a run has JSON text."""
SCALARS = ("id", *(n for n, c in COLUMNS.items() if n != "id" and not c.is_payload))
WHOLE = (*SCALARS, *PAYLOADS)
ENDED = tuple(name for name, column in COLUMNS.items() if column.set_by == "finish")
"""Columns that finishing a run sets."""
COLUMN_KINDS: dict[str, str] = {n: c.kind for n, c in COLUMNS.items() if c.kind != "flag"}
"""Kinds of the columns that every frame has, without inputs and outputs, in their order."""
OPTIONAL_COLUMNS = frozenset(name for name, column in COLUMNS.items() if column.is_optional)
"""Columns that a frame omits if no run has a value."""
HEAD = tuple(COLUMN_KINDS)[: tuple(COLUMN_KINDS).index("latency_s") + 1]
"""Columns of a frame in front of inputs and outputs."""
FIRST_ID = "case_id"
"""Column of a frame from which on all columns are ids."""

FrameView = Literal["short", "all"]
"""Columns of a frame: all, or those to read on a screen."""


def check_view(columns: object) -> None:
    """Raise an error for an unknown view of a frame."""
    if columns not in get_args(FrameView):
        refuse("columns", columns, "'short' or 'all'")


def refuse_short_view(columns: Iterable[object], name: str) -> None:
    """Raise if a table of runs is a short view, which lacks conversations and releases."""
    present = {str(column) for column in columns}
    short = {name for name, one in COLUMNS.items() if one.is_short and not one.is_optional}
    if short <= present and not present & {"execution_id", "previous_execution_id", "release_id"}:
        msg = f"{name} has runs without the ids of executions and releases: give columns='all'"
        raise InputError(msg)


APPLICATION_ID = 0x766E6231  # "vnb1"
_UNRELEASED_ID = 0x766E6268  # seven versions before the first release

# The types are replaced by those of the database. NUMBER is an automatic key; keys of type COUNTER
# are not reused.
_TABLES = """
CREATE TABLE runs (
    seq NUMBER,
    id TEXT NOT NULL UNIQUE,
    execution_id TEXT,
    external_id TEXT UNIQUE,
    deployment TEXT NOT NULL,
    release_tag TEXT NOT NULL, release_id TEXT,
    environment TEXT,
    timestamp INTEGER NOT NULL, finished_at INTEGER, latency_s REAL,
    state TEXT NOT NULL,
    error_code TEXT, error_message TEXT,
    case_id TEXT NOT NULL,
    sweep_id TEXT, repeat INTEGER NOT NULL,
    previous_execution_id TEXT,
    quality REAL, note TEXT, tags TEXT,
    cost_usd REAL, tokens_in INTEGER, tokens_out INTEGER, model TEXT,
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
    inputs TEXT NOT NULL, outputs TEXT NOT NULL, output_types TEXT NOT NULL,
    not_sent TEXT NOT NULL, metadata TEXT, desired TEXT, nodes TEXT,
    large TEXT
);
CREATE TABLE large_values (hash TEXT PRIMARY KEY, size INTEGER NOT NULL, value TEXT NOT NULL);
CREATE TABLE deletions (number COUNTER, deleted_at INTEGER NOT NULL, why TEXT NOT NULL);
CREATE TABLE sweeps (
    seq NUMBER,
    id TEXT NOT NULL UNIQUE,
    deployment TEXT NOT NULL,
    environment TEXT,
    workspace TEXT,
    release_tags TEXT NOT NULL,
    repeats INTEGER NOT NULL, cases INTEGER NOT NULL,
    signature TEXT NOT NULL,
    created INTEGER NOT NULL, round INTEGER NOT NULL, ended INTEGER, why TEXT,
    releases TEXT NOT NULL, options TEXT NOT NULL
);
CREATE INDEX sweeps_of_signature ON sweeps (signature);
CREATE TABLE sweep_cases (
    sweep TEXT NOT NULL, position INTEGER NOT NULL,
    case_id TEXT NOT NULL, inputs TEXT NOT NULL, expected TEXT NOT NULL, labels TEXT NOT NULL,
    large TEXT,
    PRIMARY KEY (sweep, position)
);
CREATE TABLE sweep_reused (
    sweep TEXT NOT NULL, position INTEGER NOT NULL,
    release_tag TEXT NOT NULL, repeat INTEGER NOT NULL,
    run TEXT NOT NULL,
    PRIMARY KEY (sweep, position, release_tag, repeat)
);
CREATE TABLE leases (
    sweep TEXT PRIMARY KEY, token TEXT NOT NULL, holder TEXT NOT NULL, expires_at INTEGER NOT NULL
);
CREATE TABLE blind (
    seq NUMBER,
    id TEXT NOT NULL UNIQUE,
    deployment TEXT NOT NULL,
    first TEXT NOT NULL, second TEXT NOT NULL,
    seed INTEGER NOT NULL, question TEXT NOT NULL,
    signature TEXT NOT NULL,
    created INTEGER NOT NULL, ended INTEGER
);
CREATE INDEX blind_of_signature ON blind (signature);
CREATE TABLE blind_pairs (
    session TEXT NOT NULL, position INTEGER NOT NULL,
    number INTEGER NOT NULL, case_id TEXT NOT NULL,
    first TEXT NOT NULL, second TEXT NOT NULL, same INTEGER NOT NULL,
    PRIMARY KEY (session, position)
);
CREATE TABLE blind_ratings (
    seq NUMBER,
    session TEXT NOT NULL, position INTEGER NOT NULL,
    choice TEXT NOT NULL, a_first INTEGER NOT NULL, note TEXT NOT NULL,
    rated INTEGER NOT NULL, undone INTEGER, sent INTEGER
);
CREATE UNIQUE INDEX blind_rated_once ON blind_ratings (session, position)
WHERE undone IS NULL AND choice <> 'skip';
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE search_due (number NUMBER, seq INTEGER NOT NULL);
CREATE INDEX search_due_of_run ON search_due (seq);
"""
# `search.py` creates the tables of its index during the first search.
SEARCH_INDEX = (
    "CREATE VIRTUAL TABLE search_words USING fts5 "  # noqa: ISC004
    "(words, content='', columnsize=0, tokenize='ascii')",
    "CREATE TABLE search_rows (number INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER UNIQUE)",
)
"""Statements that create the search index in SQLite."""

# Member of a JSON object in a text, or NULL if PostgreSQL cannot parse the text.
_MEMBER = """
CREATE FUNCTION vnb_member(document TEXT, name TEXT) RETURNS JSONB
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN CAST(document AS JSONB) -> name;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$
"""
_SQLITE = {"NUMBER": "INTEGER PRIMARY KEY", "COUNTER": "INTEGER PRIMARY KEY AUTOINCREMENT"}
_IDENTITY = "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"
_POSTGRESQL = {
    "NUMBER": _IDENTITY,
    "COUNTER": _IDENTITY,
    "INTEGER": "BIGINT",
    "REAL": "DOUBLE PRECISION",
    "TEXT": 'TEXT COLLATE "C"',  # same order as in SQLite
}


def make_first_version(transaction: Any) -> None:
    """Create the tables of version 1."""
    _execute_all(transaction, _TABLES)
    if transaction.dialect.name != "sqlite":
        transaction.execute(_MEMBER)


def _execute_all(transaction: Any, statements: str) -> None:
    is_sqlite = transaction.dialect.name == "sqlite"
    types = _SQLITE if is_sqlite else _POSTGRESQL
    names = re.compile(rf"\b({'|'.join(types)})\b")
    for statement in statements.strip().removesuffix(";").split(";\n"):
        sql = names.sub(lambda match: types[match[0]], statement)
        is_strict = is_sqlite and statement.startswith("CREATE TABLE")
        transaction.execute(sql + " STRICT" * is_strict)


# Version 2: `doubt` marks runs that were sent and have no recorded answer, `doubt_since` is the
# start of the doubt by the database's clock. `generation` numbers the sweeps and blind ratings with
# the same plan; the unique index lets only one process insert each. `case_order` is the execution
# order of cases, `checked` the last time at which each release tag pointed to the planned release,
# and `judge` the base of the run ids and the lease name of a judge.
_SECOND = """
ALTER TABLE runs ADD COLUMN doubt TEXT;
ALTER TABLE runs ADD COLUMN doubt_since INTEGER;
CREATE INDEX runs_in_doubt ON runs (deployment) WHERE doubt IS NOT NULL;
ALTER TABLE sweeps ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sweeps ADD COLUMN case_order TEXT;
ALTER TABLE sweeps ADD COLUMN checked TEXT;
ALTER TABLE sweeps ADD COLUMN judge TEXT;
ALTER TABLE blind ADD COLUMN generation INTEGER NOT NULL DEFAULT 0
"""
_SECOND_INDEXES = """
DROP INDEX sweeps_of_signature;
CREATE UNIQUE INDEX sweeps_of_plan ON sweeps (signature, generation);
DROP INDEX blind_of_signature;
CREATE UNIQUE INDEX blind_of_plan ON blind (signature, generation)
"""
_IN_DOUBT = frozenset({"UNKNOWN_FATE", "TIMEOUT", "CONNECTION", "HTTP_404"})
_REFUSED = frozenset({"HTTP_400", "HTTP_409", "HTTP_422"})


def second_version_of(state: str, code: str | None, message: str | None) -> tuple[str, str | None]:
    """Return state and doubt of a run of version 1, which stored the doubt in the error."""
    code = code or ""
    if state == "REJECTED" and code == "WORKFLOW_CANCELLED":
        return "CANCELLED", None
    if state == "CANCELLED" and code == "CANCELLED":
        return state, "SENT"
    names_id = "id" in (message or "").lower().partition("external")[2]
    if state == "FAILED" and code in _REFUSED and names_id:
        return state, "EXECUTED"
    is_in_doubt = state == "FAILED" and (code in _IN_DOUBT or code.startswith("HTTP_5"))
    return state, "SENT" if is_in_doubt else None


def _mark_doubts(transaction: Any) -> None:
    sql = "SELECT id, state, error_code, error_message FROM runs WHERE error_code IS NOT NULL"
    rows = []
    for run_id, *texts in transaction.read(sql):
        state, code, message = (text if isinstance(text, str) else None for text in texts)
        if state is None:  # damaged
            continue
        new_state, doubt = second_version_of(state, code, message)
        if (new_state, doubt) != (state, None):
            rows.append({"id": run_id, "state": new_state, "doubt": doubt})
    sql = (
        "UPDATE runs SET state = :state, doubt = :doubt, doubt_since = "
        "CASE WHEN CAST(:doubt AS TEXT) IS NOT NULL THEN coalesce(finished_at, timestamp) END "
        "WHERE id = :id"
    )
    transaction.execute_many(sql, rows)


def make_second_version(transaction: Any) -> None:
    """Add the columns of version 2 and fill them for existing rows."""
    _execute_all(transaction, _SECOND)
    _mark_doubts(transaction)
    generations: Counter[str] = Counter()
    for sweep in transaction.read("SELECT id FROM sweeps ORDER BY seq"):
        _identify_sweep(transaction, sweep[0], generations)
    generations.clear()
    for session, plan in transaction.read("SELECT id, signature FROM blind ORDER BY seq"):
        generations[plan] += 1
        sql = "UPDATE blind SET generation = :number WHERE id = :id"
        transaction.execute(sql, {"number": generations[plan], "id": session})
    _execute_all(transaction, _SECOND_INDEXES)


def _identify_sweep(transaction: Any, sweep_id: str, generations: Counter[str]) -> None:
    """Set the signature, generation and order of a sweep of version 1."""
    sql = "SELECT deployment, release_tags, repeats, signature, options FROM sweeps WHERE id = :id"
    ((deployment, tags, repeats, plan, options),) = transaction.read(sql, {"id": sweep_id})
    sql = "SELECT case_id FROM sweep_cases WHERE sweep = :id ORDER BY position"
    case_ids = [case_id for (case_id,) in transaction.read(sql, {"id": sweep_id})]
    order = None
    try:
        plan = signature(deployment, json.loads(tags), repeats, case_ids)
        stored = json.loads(options)
        if stored.get("stop_when"):
            positions = list(range(len(case_ids)))
            random.Random(stored.get("seed", 0)).shuffle(positions)  # noqa: S311 - no secret
            order = json.dumps(positions)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        pass  # damaged: reported by `sweep_of`
    generations[plan] += 1
    fields = {"plan": plan, "number": generations[plan], "case_order": order, "id": sweep_id}
    sql = (
        "UPDATE sweeps SET signature = :plan, generation = :number, case_order = :case_order "
        "WHERE id = :id"
    )
    transaction.execute(sql, fields)


# Version 3: notes of the plan of a sweep, and the execution continued by a case. The `case_id` of a
# run that continues an execution depends on that execution. A server can return execution ids of
# any length; rows of a B-tree in PostgreSQL have at most 2,704 bytes.
_THIRD = """
ALTER TABLE sweeps ADD COLUMN notes TEXT;
ALTER TABLE sweep_cases ADD COLUMN previous_execution_id TEXT
"""
_THIRD_OF_POSTGRESQL = """
DROP INDEX runs_of_execution;
CREATE INDEX runs_of_execution ON runs USING hash (execution_id)
"""


def make_third_version(transaction: Any) -> None:
    """Add the columns of version 3 and assign separate cases to each conversation."""
    _execute_all(transaction, _THIRD)
    if transaction.dialect.name != "sqlite":
        _execute_all(transaction, _THIRD_OF_POSTGRESQL)
    sql = (
        "SELECT seq, case_id, previous_execution_id FROM runs "
        "WHERE previous_execution_id IS NOT NULL"
    )
    rows = [
        {"seq": seq, "case_id": continued_case_id(case_id, previous)}
        for seq, case_id, previous in transaction.read(sql)
        if isinstance(case_id, str) and isinstance(previous, str)  # otherwise damaged
    ]
    transaction.execute_many("UPDATE runs SET case_id = :case_id WHERE seq = :seq", rows)
    _give_blind_pairs_their_cases(transaction)


def _give_blind_pairs_their_cases(transaction: Any) -> None:
    """Update the case ids in blind ratings of conversations."""
    sql = "SELECT id, deployment, first, second, question, signature FROM blind ORDER BY seq"
    pairs = (
        "SELECT p.position, p.case_id, r.case_id FROM blind_pairs p LEFT JOIN runs r "
        "ON r.id = p.first AND r.previous_execution_id IS NOT NULL WHERE p.session = :id"
    )
    for session, deployment, first, second, question, old in transaction.read(sql):
        stored_pairs = transaction.read(pairs, {"id": session})
        cases = [case for _, case, _ in stored_pairs]
        cases_now = [new or case for _, case, new in stored_pairs]
        plan = (deployment, first, second, question)
        if not all(isinstance(text, str) for text in (*plan, *cases, *cases_now)):
            continue  # damaged
        if old != blind_signature(deployment, first, second, question, cases):
            continue
        rows = [{"id": session, "at": at, "new": new} for at, _, new in stored_pairs if new]
        sql = "UPDATE blind_pairs SET case_id = :new WHERE session = :id AND position = :at"
        transaction.execute_many(sql, rows)
        plan_now = blind_signature(deployment, first, second, question, cases_now)
        sql = "UPDATE blind SET signature = :plan WHERE id = :id"
        transaction.execute(sql, {"id": session, "plan": plan_now})


_FOURTH = """
ALTER TABLE sweep_cases ADD COLUMN turn INTEGER;
CREATE INDEX runs_of_conversation ON runs (conversation_id) WHERE conversation_id IS NOT NULL
"""


def make_fourth_version(transaction: Any) -> None:
    """Add the turns of conversations."""
    add_columns(transaction, version=4)
    _execute_all(transaction, _FOURTH)


# Version 5: case sets. A version has the cases of its `parent`, with its own changes applied; one
# without content removes the case. `merged` is the version of another history that it merges.
_FIFTH = """
CREATE TABLE case_set_versions (
    seq NUMBER,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL, number INTEGER NOT NULL,
    parent TEXT, merged TEXT,
    deployment TEXT, author TEXT, message TEXT NOT NULL, created INTEGER NOT NULL
);
CREATE UNIQUE INDEX versions_of_case_set ON case_set_versions (name, number);
CREATE TABLE case_set_changes (
    version TEXT NOT NULL, position INTEGER NOT NULL,
    case_id TEXT NOT NULL, content TEXT,
    PRIMARY KEY (version, position)
);
ALTER TABLE sweeps ADD COLUMN case_set TEXT;
ALTER TABLE sweeps ADD COLUMN case_set_version TEXT
"""
TABLES = tuple(re.findall(r"CREATE TABLE (\w+)", _TABLES + _FIFTH))


def make_fifth_version(transaction: Any) -> None:
    """Add case sets."""
    add_columns(transaction, version=5)
    _execute_all(transaction, _FIFTH)


def add_columns(transaction: Any, *, version: int) -> None:
    """Add the columns that `COLUMNS` declares for this version."""
    for name, column in COLUMNS.items():
        if column.version == version:
            sql_type = {"text": "TEXT", "tag": "TEXT", "float": "REAL"}.get(column.kind, "INTEGER")
            _execute_all(transaction, f"ALTER TABLE runs ADD COLUMN {name} {sql_type}")


_WRITTEN: Sequence[Callable[[Any], None]] = (
    make_first_version,
    make_second_version,
    make_third_version,
    make_fourth_version,
    make_fifth_version,
)
_NEWEST = max(column.version for column in COLUMNS.values())
MIGRATIONS: Sequence[Callable[[Any], None]] = (
    *_WRITTEN,
    *(partial(add_columns, version=n) for n in range(len(_WRITTEN) + 1, _NEWEST + 1)),
)


def refuse_old(application_id: int) -> str | None:
    """Return the reason for refusing a file made before the first release, or None."""
    if application_id != _UNRELEASED_ID:
        return None
    return (
        "it was made by a version before the first release; export it with that version "
        "(`vellum-nb history export runs.jsonl`), then `vellum-nb history merge runs.jsonl`"
    )

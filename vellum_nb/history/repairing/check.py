"""Whether a history is whole: its pages, its rows, and what one row says of another. Read only."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from vellum_nb.history.repairing.btrees import unreadable
from vellum_nb.history.repairing.pages import Pages
from vellum_nb.history.repairing.proof import faults
from vellum_nb.history.rows.rows import PAYLOADS, SCALARS, micros
from vellum_nb.history.sqlite.copies import looked_at
from vellum_nb.history.sqlite.files import explained, located, torn
from vellum_nb.history.sqlite.migrations import SCHEMA_VERSION, unfit
from vellum_nb.history.sqlite.waiting import patiently
from vellum_nb.history.store.large import hashes
from vellum_nb.history.store.sizes import human

__all__ = ["HistoryCheck", "check_history"]

_SHOWN = 20
_CHUNK = 500
_LONG = timedelta(days=1)
_FOREIGN = {
    "run(s) without payloads": "FROM runs x WHERE seq NOT IN (SELECT seq FROM payloads)",
    "payload(s) without a run": "FROM payloads x WHERE seq NOT IN (SELECT seq FROM runs)",
    "case(s) of no sweep": "FROM sweep_cases WHERE sweep NOT IN (SELECT seq FROM sweeps)",
    "pair(s) of no blind rating": "FROM blind_pairs WHERE session NOT IN (SELECT seq FROM blind)",
    "blind rating(s) of no pair": (
        "FROM blind_ratings r WHERE NOT EXISTS (SELECT 1 FROM blind_pairs p "
        "WHERE p.session = r.session AND p.position = r.position)"
    ),
}


@dataclass(frozen=True, slots=True, repr=False)
class HistoryCheck:
    """What `check_history` found.

    Attributes
    ----------
    path : Path
        The file.
    problems : tuple of str
        What is broken, a sentence each; at most some twenty of a kind.
    notes : tuple of str
        What is good to know.
    runs : int or None
        How many runs it has; None where that cannot be told.
    version : int or None
        The version of its tables.
    size : int
        Its bytes, those of its log included.
    """

    path: Path
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    runs: int | None
    version: int | None
    size: int

    @property
    def ok(self) -> bool:
        """Whether nothing is broken."""
        return not self.problems

    def __str__(self) -> str:
        runs = "runs that cannot be counted" if self.runs is None else f"{self.runs:,} runs"
        head = f"{self.path}: {runs}, {human(self.size)}, schema version {self.version or '?'}"
        lines = [f"problem: {each}" for each in self.problems] or ["no problem found"]
        lines += self.notes
        if self.problems and self.size:
            command = f"vellum-nb history repair {shlex.quote(str(self.path))}"
            lines.append(f"What can be read is saved into a new file by: {command}")
        return "\n".join([head, *lines])

    def __repr__(self) -> str:
        return f"<HistoryCheck: {self}>"


@dataclass(slots=True)
class _Findings:
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: int | None = None
    version: int | None = None


def check_history(path: str | Path | None = None) -> HistoryCheck:
    """Read every page and every run of a history, and say what is broken; nothing is changed.

    Others may write to it meanwhile.

    Parameters
    ----------
    path : str or Path, optional
        The file; default: as for `History`.

    Raises
    ------
    HistoryError
        There is no such file, it may not be read, or another program keeps it locked.

    Examples
    --------
    >>> from vellum_nb import History, check_history
    >>> History("runs.db").close()
    >>> check_history("runs.db").ok
    True
    """
    file = located(path)
    try:
        found = looked_at(file, partial(_found, file))
    except sqlite3.Error as exc:
        raise explained(exc, file) from exc
    if found.problems and file.stat().st_size:
        found.notes += _lost_pages(file)
    log = file.with_name(f"{file.name}-wal")
    size = file.stat().st_size + (log.stat().st_size if log.exists() else 0)
    problems, notes = tuple(found.problems), tuple(found.notes)
    return HistoryCheck(file, problems, notes, found.runs, found.version, size)


def _found(file: Path, connection: sqlite3.Connection) -> _Findings:
    found = _Findings()
    connection.text_factory = _text
    try:
        patiently(lambda: connection.execute("BEGIN"), file)
        problem = patiently(lambda: unfit(connection), file)
        if problem:
            found.problems.append(problem)
        elif not _there(connection, "runs", ("seq",)):
            found.problems.append("it is empty; nothing was recorded in it, or all of it is lost")
        else:
            if torn(connection, file):
                found.problems.append("it is cut off: it ends within a page")
            _look(connection, found)
    except sqlite3.DatabaseError as exc:
        if not _is_damage(exc):
            raise
        found.problems.append(_unread(exc))
    except UnicodeDecodeError:
        found.problems.append("SQLite cannot read it: a name in its list of tables is no text")
    return found


def _unread(exc: sqlite3.Error) -> str:
    if exc.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
        return "it is no SQLite file, so no history; or its first page is lost"
    return f"SQLite cannot read it: {exc}"


def _lost_pages(file: Path) -> list[str]:
    """Return which pages of tables and indexes are none; SQLite stops at the first."""
    lost = unreadable(Pages(file))
    shown = ", ".join(map(str, lost[:_SHOWN])) + (", …" if len(lost) > _SHOWN else "")
    return [f"{len(lost):,} page(s) of its tables and indexes cannot be read: {shown}"] * bool(lost)


def _text(content: bytes) -> str | bytes:
    """Return the text; bytes, which no run can be made of, where it is none any more."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _is_damage(exc: sqlite3.Error) -> bool:
    code = (getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}


def _look(connection: sqlite3.Connection, found: _Findings) -> None:
    found.version = connection.execute("PRAGMA user_version").fetchone()[0]
    if found.version < SCHEMA_VERSION:
        found.notes.append(
            f"it is of an earlier version; when it is next opened it is copied and brought to "
            f"version {SCHEMA_VERSION}"
        )
    for look in (_pages, _foreign, _runs, _large, _long_started):
        _trying(look, connection, found)


def _trying(
    look: Callable[[sqlite3.Connection, _Findings], None],
    connection: sqlite3.Connection,
    found: _Findings,
) -> None:
    """Look; damage in one place does not hide what is broken in another."""
    try:
        look(connection, found)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as exc:
        if isinstance(exc, sqlite3.Error) and not _is_damage(exc):
            raise
        text = f"SQLite cannot read all of it: {exc}"
        if text not in found.problems:
            found.problems.append(text)


def _pages(connection: sqlite3.Connection, found: _Findings) -> None:
    for (text,) in connection.execute(f"PRAGMA integrity_check({_SHOWN})"):
        if text != "ok":
            found.problems += [line for line in str(text).splitlines() if "***" not in line]


def _foreign(connection: sqlite3.Connection, found: _Findings) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    for what, where in _FOREIGN.items():
        if where.split()[1] in tables:
            count = connection.execute(f"SELECT count(*) {where}").fetchone()[0]
            if count:
                found.problems.append(f"{count:,} {what}")


def _runs(connection: sqlite3.Connection, found: _Findings) -> None:
    broken, count = [], 0
    for row in _rows(connection):
        count += 1
        wrong = faults(row)
        if wrong:
            broken.append(f"{', '.join(wrong)} of run {row['id']} cannot be read")
    found.runs = count
    found.problems += broken[:_SHOWN]
    if len(broken) > _SHOWN:
        found.problems.append(f"… and {len(broken) - _SHOWN:,} runs more that cannot be read")


def _rows(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """Yield every run with its payloads, without a column that its version does not have."""
    names = [f"r.{name}" for name in _there(connection, "runs", SCALARS)]
    names += [f"p.{name}" for name in _there(connection, "payloads", (*PAYLOADS, "large"))]
    sql = (
        f"SELECT r.seq, {', '.join(names)} FROM runs r JOIN payloads p ON p.seq = r.seq "
        f"WHERE r.seq > ? ORDER BY r.seq LIMIT {_CHUNK}"
    )
    last = -(1 << 63)
    while rows := connection.execute(sql, (last,)).fetchall():
        for row in rows:
            yield {name[2:]: value for name, value in zip(names, row[1:], strict=True)}
        last = rows[-1][0]


def _there(connection: sqlite3.Connection, table: str, names: tuple[str, ...]) -> list[str]:
    found = connection.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
    return [name for name in names if (name,) in found]


def _large(connection: sqlite3.Connection, found: _Findings) -> None:
    wanted: set[str] = set()
    for table in ("payloads", "sweep_cases"):
        if _there(connection, table, ("large",)):
            sql = f"SELECT large FROM {table} WHERE large IS NOT NULL"
            wanted = wanted.union(*(hashes(text) for (text,) in connection.execute(sql)))
    if wanted:
        wanted -= {name for (name,) in connection.execute("SELECT hash FROM large_values")}
    if wanted:
        found.problems.append(f"{len(wanted):,} large value(s) that runs or cases name are missing")


def _long_started(connection: sqlite3.Connection, found: _Findings) -> None:
    before = micros(datetime.now(UTC) - _LONG)
    sql = "SELECT count(*) FROM runs WHERE state = 'STARTED' AND timestamp < ?"
    count = connection.execute(sql, (before,)).fetchone()[0]
    if count:
        found.notes.append(
            f"{count:,} run(s) have been STARTED for more than a day: their answer was not "
            "recorded; ws.resume_pending() or ws.history.sync(...) asks what became of them"
        )

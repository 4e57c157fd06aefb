"""Check of a history's file: its pages, its rows, and what rows say of each other. Read only."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vellum_nb.errors import HistoryError
from vellum_nb.history import large
from vellum_nb.history.location import existing_file
from vellum_nb.history.rows import WHOLE, DamagedRunError, columns, micros, run_of
from vellum_nb.history.schema import APPLICATION_ID, MIGRATIONS, refuse_old
from vellum_nb.history.writes import format_bytes
from vellum_nb.sqlite import open_read_only, text_or_bytes

_SHOWN = 20
_LONG = timedelta(days=1)
_RELATIONS = {
    "run(s) without payloads": "FROM runs WHERE seq NOT IN (SELECT seq FROM payloads)",
    "payload(s) without a run": "FROM payloads WHERE seq NOT IN (SELECT seq FROM runs)",
    "case(s) without a sweep": "FROM sweep_cases WHERE sweep NOT IN (SELECT id FROM sweeps)",
    "pair(s) without a blind rating": (
        "FROM blind_pairs WHERE session NOT IN (SELECT id FROM blind)"
    ),
    "blind rating(s) without a pair": (
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
        How many runs it has; None where that cannot be read.
    size : int
        Its bytes, those of its log included.
    """

    path: Path
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    runs: int | None
    size: int

    @property
    def ok(self) -> bool:
        """Whether nothing is broken."""
        return not self.problems

    def __str__(self) -> str:
        runs = "runs that cannot be counted" if self.runs is None else f"{self.runs:,} runs"
        lines = [f"{self.path}: {runs}, {format_bytes(self.size)}"]
        lines += [f"problem: {each}" for each in self.problems] or ["no problem found"]
        lines += self.notes
        if self.problems and self.size:
            name = shlex.quote(str(self.path))
            command = f"sqlite3 {name} .recover | sqlite3 recovered.db"
            lines.append(f"What can be read is saved into a new file by: {command}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<HistoryCheck: {self}>"


@dataclass(slots=True)
class _Findings:
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: int | None = None


def check_history(path: str | Path | None = None) -> HistoryCheck:
    """Read every page and every run of a history and report what is broken; nothing is changed.

    Others may write to it during that.

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
    file = existing_file(path)
    found = _Findings()
    try:
        with closing(open_read_only(file)) as opened:
            opened.text_factory = text_or_bytes
            opened.execute("PRAGMA busy_timeout = 30000")
            _look(opened, found)
        size = file.stat().st_size
        log = file.with_name(f"{file.name}-wal")
        size += log.stat().st_size if log.exists() else 0
    except (sqlite3.Error, OSError) as exc:
        msg = f"The history {file} cannot be checked: {exc}"
        raise HistoryError(msg) from exc
    return HistoryCheck(file, tuple(found.problems), tuple(found.notes), found.runs, size)


def _look(connection: sqlite3.Connection, found: _Findings) -> None:
    """Look in every way; damage in one place does not hide what is broken in another."""
    for look in (_format, _pages, _relations, _runs, _large, _long_started):
        if found.problems and found.runs == 0:
            return  # not a history
        try:
            look(connection, found)
        except (sqlite3.DatabaseError, ValueError) as exc:
            locked = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN}
            if getattr(exc, "sqlite_errorcode", 0) & 0xFF in locked:
                raise
            text = f"SQLite cannot read all of it: {exc}"
            found.problems += [] if text in found.problems else [text]


def _format(connection: sqlite3.Connection, found: _Findings) -> None:
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    problem = None
    if application_id != APPLICATION_ID:
        problem = refuse_old(application_id) or "it is not a history, or all of it is lost"
    elif version > len(MIGRATIONS):
        problem = f"it was written by a newer vellum_nb (version {version})"
    if problem:
        found.problems.append(problem)
        found.runs = 0


def _pages(connection: sqlite3.Connection, found: _Findings) -> None:
    for (text,) in connection.execute(f"PRAGMA integrity_check({_SHOWN})"):
        if text != "ok":
            found.problems += [line for line in str(text).splitlines() if "***" not in line]


def _relations(connection: sqlite3.Connection, found: _Findings) -> None:
    for what, where in _RELATIONS.items():
        count = connection.execute(f"SELECT count(*) {where}").fetchone()[0]
        if count:
            found.problems.append(f"{count:,} {what}")


def _runs(connection: sqlite3.Connection, found: _Findings) -> None:
    damaged, count = [], 0
    sql = f"SELECT {columns(WHOLE)} FROM runs r JOIN payloads p ON p.seq = r.seq ORDER BY r.seq"
    for row in connection.execute(sql):
        count += 1
        try:
            run_of(row)
        except DamagedRunError as exc:
            damaged.append(str(exc).partition(";")[0])
    found.runs = count
    found.problems += damaged[:_SHOWN]
    if len(damaged) > _SHOWN:
        found.problems.append(f"… and {len(damaged) - _SHOWN:,} more damaged runs")


def _large(connection: sqlite3.Connection, found: _Findings) -> None:
    needed: set[str] = set()
    for table in ("payloads", "sweep_cases"):
        rows = connection.execute(f"SELECT large FROM {table} WHERE large IS NOT NULL")
        needed = needed.union(*(large.place_hashes(text) for (text,) in rows))
    needed -= {name for (name,) in connection.execute("SELECT hash FROM large_values")}
    if needed:
        found.problems.append(f"{len(needed):,} large value(s) of runs or cases are missing")


def _long_started(connection: sqlite3.Connection, found: _Findings) -> None:
    before = micros(datetime.now(UTC) - _LONG)
    sql = "SELECT count(*) FROM runs WHERE state = 'STARTED' AND deletion IS NULL AND timestamp < ?"
    count = connection.execute(sql, (before,)).fetchone()[0]
    if count:
        found.notes.append(
            f"{count:,} run(s) have been STARTED for more than a day: their answer was not "
            "recorded; ws.resume_pending() or ws.history.sync(...) looks them up"
        )

"""Integrity check of a history: pages, rows, and references between rows. Read only."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vellum_nb.errors import HistoryError
from vellum_nb.escaping import printed
from vellum_nb.history.backends import FORMAT, SqliteTransaction, existing_file, parse_location
from vellum_nb.history.case_sets import case_set_names, check_case_set
from vellum_nb.history.merge import plans_of
from vellum_nb.history.rows import DAMAGE, DamagedRunError, columns, large_hashes, run_of
from vellum_nb.history.schema import APPLICATION_ID, MIGRATIONS, SCALARS, WHOLE, refuse_old
from vellum_nb.history.writes import format_bytes
from vellum_nb.sqlite import reading, schema_problem, text_or_bytes

_MAX_PROBLEMS_PER_KIND = 20
_COUNTS = {
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
    "large value(s) of runs or cases are missing": (
        "FROM (SELECT DISTINCT value ->> 2 AS hash FROM (SELECT large FROM payloads UNION ALL "
        "SELECT large FROM sweep_cases), json_each(large)) "
        "WHERE hash NOT IN (SELECT hash FROM large_values)"
    ),
}
_STARTED = (
    "FROM runs WHERE state = 'STARTED' AND deletion IS NULL "
    "AND timestamp < (julianday('now') - 2440588.5) * 86400000000"
)


@dataclass(frozen=True, slots=True, repr=False)
class HistoryCheck:
    """Result of `check_history`.

    Attributes
    ----------
    path : Path
        Checked file.
    problems : tuple of str
        Descriptions of damage, about twenty of each kind at most.
    notes : tuple of str
        Further remarks.
    runs : int or None
        Number of runs; None if it cannot be read.
    size : int
        Size in bytes, including the write-ahead log.
    """

    path: Path
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    runs: int | None
    size: int

    @property
    def ok(self) -> bool:
        """Whether the history is intact."""
        return not self.problems

    @printed
    def __str__(self) -> str:
        runs = "an unknown number of runs" if self.runs is None else f"{self.runs:,} runs"
        lines = [f"{self.path}: {runs}, {format_bytes(self.size)}"]
        lines += [f"problem: {problem}" for problem in self.problems] or ["no problem found"]
        lines += self.notes
        if self.problems and self.size:
            name = shlex.quote(str(self.path))
            command = f"sqlite3 {name} .recover | sqlite3 recovered.db"
            lines.append(f"What can be read is saved into a new file by: {command}")
        return "\n".join(lines)

    @printed
    def __repr__(self) -> str:
        return f"<HistoryCheck: {self}>"


def check_history(path: str | Path | None = None) -> HistoryCheck:
    """Read all pages and runs of a history and report damage, without changing the file.

    Other processes can write to the history during the check.

    Parameters
    ----------
    path : str or Path, optional
        File to check. Default: as for `History`.

    Raises
    ------
    HistoryError
        The file does not exist, cannot be read, or is locked by another program.

    Examples
    --------
    >>> from vellum_nb import History, check_history
    >>> History("runs.db").close()
    >>> check_history("runs.db").ok
    True
    """
    path = parse_location(path)  # hides the password of a URL from tracebacks
    file = existing_file(path)
    if (names := file.stat().st_nlink) > 1:
        msg = f"The history {file} has {names} names (hard links), each with a log; copy it first"
        raise HistoryError(msg)
    problems, notes = list[str](), list[str]()
    runs: int | None = None
    try:
        with reading(file) as opened:
            opened.text_factory = text_or_bytes
            opened.execute("PRAGMA busy_timeout = 30000")
            for check in (_unfit, _pages, _relations, _damaged, _damaged_plans):
                problems += _collected(check(opened))  # continue after an error
                if check is _unfit and problems and "SQLite" not in problems[0]:
                    runs = 0
                    break
            else:
                with suppress(sqlite3.DatabaseError, *DAMAGE):
                    runs = _count(opened, "FROM runs")
                    if started := _count(opened, _STARTED):
                        notes.append(
                            f"{started:,} run(s) have been STARTED for more than a day: their "
                            "answer was not recorded; ws.resume_pending() or ws.sync(...) "
                            "looks them up"
                        )
        size, log = file.stat().st_size, file.with_name(f"{file.name}-wal")
        in_log = log.stat().st_size if log.exists() else 0
        if size % 512 and not in_log and not problems:
            problems.append("The file ends in the middle of a page")
    except (sqlite3.Error, OSError) as exc:
        msg = f"The history {file} cannot be checked: {exc}"
        raise HistoryError(msg) from exc
    return HistoryCheck(file, tuple(dict.fromkeys(problems)), tuple(notes), runs, size + in_log)


def _collected(iterator: Iterator[str]) -> list[str]:
    """Collect problems until an error of SQLite, which is a problem, too."""
    problems: list[str] = []
    try:
        for problem in iterator:
            problems.append(problem)  # noqa: PERF402  (keeps problems from before an error)
    except (sqlite3.DatabaseError, *DAMAGE) as exc:
        locked = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN}
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF in locked:
            raise
        problems.append(f"SQLite cannot read all of it: {exc}")
    return problems


def _count(connection: sqlite3.Connection, where: str) -> int:
    return int(connection.execute(f"SELECT count(*) {where}").fetchone()[0])


def _unfit(connection: sqlite3.Connection) -> Iterator[str]:
    marks = "SELECT * FROM pragma_application_id, pragma_user_version"
    application_id, version = connection.execute(marks).fetchone()
    if application_id != APPLICATION_ID:
        yield refuse_old(application_id) or "it is not a history, or nothing of it can be read"
    elif version > len(MIGRATIONS):
        yield f"it was written by a newer vellum_nb (version {version})"
    elif problem := schema_problem(connection, FORMAT, SqliteTransaction):
        yield problem


def _pages(connection: sqlite3.Connection) -> Iterator[str]:
    for (text,) in connection.execute(f"PRAGMA integrity_check({_MAX_PROBLEMS_PER_KIND})"):
        if text != "ok":
            yield from (line for line in str(text).splitlines() if "***" not in line)


def _relations(connection: sqlite3.Connection) -> Iterator[str]:
    for label, where in _COUNTS.items():
        if count := _count(connection, where):
            yield f"{count:,} {label}"


def _damaged(connection: sqlite3.Connection) -> Iterator[str]:
    damaged = 0
    info = connection.execute("SELECT name FROM pragma_table_info('runs')")
    new = set(SCALARS) - {name for (name,) in info}  # missing from a file of an older version
    selected = ", ".join("NULL" if name in new else columns([name]) for name in WHOLE)
    sql = f"SELECT {selected}, large FROM runs r JOIN payloads p USING (seq) ORDER BY seq"
    for row in connection.execute(sql):
        try:
            run_of(row[:-1])
            large_hashes(row[-1], row[0])
        except DamagedRunError as exc:
            damaged += 1
            if damaged <= _MAX_PROBLEMS_PER_KIND:
                yield str(exc).partition(";")[0]
    if damaged > _MAX_PROBLEMS_PER_KIND:
        yield f"… and {damaged - _MAX_PROBLEMS_PER_KIND:,} more damaged runs"


def _damaged_plans(connection: sqlite3.Connection) -> Iterator[str]:
    ((version,),) = connection.execute("SELECT * FROM pragma_user_version")
    if version == len(MIGRATIONS):  # columns of older versions differ
        for _, _, problem in plans_of(SqliteTransaction(connection)):
            if problem is not None:
                yield str(problem).partition(";")[0]
        yield from _damaged_case_sets(connection)


def _damaged_case_sets(connection: sqlite3.Connection) -> Iterator[str]:
    orphans = (
        "FROM case_set_changes WHERE version NOT IN (SELECT id FROM case_set_versions)",
        "FROM case_set_versions WHERE merged NOT IN (SELECT id FROM case_set_versions)",
    )
    if count := sum(_count(connection, where) for where in orphans):
        yield f"{count:,} change(s) or merge(s) of case sets without their version"
    reader = SqliteTransaction(connection)
    for name in case_set_names(reader):
        try:
            check_case_set(reader, name)
        except HistoryError as exc:
            yield str(exc).partition(";")[0]

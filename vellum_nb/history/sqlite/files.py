"""Where a history lies, how its file is opened, and what SQLite's refusals mean in plain words.

A file that is damaged, newer than we are, or not ours is looked at through a read-only
connection and left as it is.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from vellum_nb.errors import HistoryError
from vellum_nb.history.sqlite.backups import back_up
from vellum_nb.history.sqlite.migrations import SCHEMA_VERSION, migrate, outdated, unfit
from vellum_nb.history.sqlite.mounts import warn_of_network_drive
from vellum_nb.history.sqlite.waiting import PATIENCE_S, code_of, held_by, patiently
from vellum_nb.history.store.places import DatabaseUrl, guarded
from vellum_nb.models.checks import describe

__all__ = [
    "MEMORY",
    "explained",
    "locate",
    "located",
    "open_database",
    "open_reader",
    "torn",
]

MEMORY = ":memory:"
_BUSY_MS = 20
_PAGES = "page_size = 2048"
"""Of a new file. A run changes eleven pages, and SQLite writes each of them whole."""
_CHECKPOINTS = "wal_autocheckpoint = 8000"  # pages, 16 MB: each waits for the disk
_CHECKED_BYTES = 8 * 2**20
_SMALLEST_FILE = 512  # one page; SQLite takes a file of one byte for an empty one

_ADVICE = {
    sqlite3.SQLITE_BUSY: (
        f"another program has kept it locked for more than {PATIENCE_S / 60:.0f} minutes; "
        "end that program or its transaction and try again"
    ),
    sqlite3.SQLITE_READONLY: (
        "it cannot be written; change its permissions, or choose another file with history=... "
        "or VELLUM_NB_HISTORY"
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened; see that it is a file and its folder can be written, or choose "
        "another file with history=... or VELLUM_NB_HISTORY"
    ),
    sqlite3.SQLITE_CORRUPT: (
        "it is damaged and was left as it is; put a backup in its place, save what can be read "
        "with `vellum-nb history repair FILE`, or choose another file"
    ),
    sqlite3.SQLITE_NOTADB: (
        "it is not an SQLite file and was left as it is; choose another file, or, if it was a "
        "history, save what can be read with `vellum-nb history repair FILE`"
    ),
    sqlite3.SQLITE_FULL: "the disk is full; free some space and try again",
    sqlite3.SQLITE_IOERR: (
        "the disk could not be read or written; see that it is not full, and keep the history on "
        "a local disk, not on a network drive"
    ),
}
_ADVICE[sqlite3.SQLITE_LOCKED] = _ADVICE[sqlite3.SQLITE_PROTOCOL] = _ADVICE[sqlite3.SQLITE_BUSY]
_ADVICE[sqlite3.SQLITE_PERM] = _ADVICE[sqlite3.SQLITE_READONLY]

_NO_TEXT = "decode to UTF-8"  # Python's own words, which have no code


def locate(path: str | Path | None) -> Path | str:
    """Return `path`, else the file of ``VELLUM_NB_HISTORY``, else one in the user's data."""
    chosen: object = path if path is not None else os.environ.get("VELLUM_NB_HISTORY") or None
    if chosen is None:
        from platformdirs import user_data_path

        return user_data_path("vellum_nb", appauthor=False) / "runs.db"
    if not isinstance(chosen, str | os.PathLike) or "\0" in str(chosen):
        what = describe("path", chosen)
        msg = f"{what} is no history; name a file, such as 'runs.db', or ':memory:'"
        raise HistoryError(msg)
    if str(chosen) == MEMORY:
        return MEMORY
    return Path(chosen).expanduser().absolute()


def located(path: str | Path | None) -> Path:
    """Return the file of a history that must be there."""
    place = guarded(os.environ.get("VELLUM_NB_HISTORY") if path is None else path)
    if isinstance(place, DatabaseUrl):
        msg = f"The history {place} is no file; PostgreSQL has tools of its own for its damage"
        raise HistoryError(msg)
    found = locate(place)
    if not isinstance(found, Path) or not os.path.isfile(found):  # noqa: PTH113  (never raises)
        msg = f"There is no history {found}; name the file of one, such as runs.db"
        raise HistoryError(msg)
    return found


def open_database(path: Path | str) -> sqlite3.Connection:
    """Open the history at `path` for writing; make it, or bring it up to date, as needed."""
    if isinstance(path, Path):
        _prepare(path)
        warn_of_network_drive(path)
        _inspect(path)
    connection = _connect(str(path))
    try:
        settings = (_PAGES, "synchronous = NORMAL", "trusted_schema = OFF", _CHECKPOINTS)
        _set(connection, path, *settings)
        if isinstance(path, Path):
            patiently(lambda: _use_wal(connection, path), path)
        _bring_up_to_date(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a second connection to a history that `open_database` has opened, for reading only."""
    connection = _connect(str(path))
    try:
        _set(connection, path, "query_only = ON", "trusted_schema = OFF")
    except BaseException:
        connection.close()
        raise
    return connection


def explained(exc: sqlite3.Error, path: Path | str) -> HistoryError:
    """Return the error that tells the user what `exc` means and what to do."""
    is_no_text = _NO_TEXT in str(exc)
    code = sqlite3.SQLITE_CORRUPT if is_no_text else code_of(exc)
    advice = _ADVICE.get(code, "SQLite refused it")
    # Of a text that is none any more Python quotes all, and it may be long, or a secret.
    found = "a text is not UTF-8" if is_no_text else str(exc)
    holders = held_by(path) if code == sqlite3.SQLITE_BUSY else ""
    found += f"; {holders} writes to it" if holders else ""
    return HistoryError(f"The history {path} cannot be used: {advice} ({found})")


def _connect(target: str, *, uri: bool = False) -> sqlite3.Connection:
    # The timeout is set while opening, so that it holds for the first PRAGMA already.
    return sqlite3.connect(
        target, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False, uri=uri
    )


def _set(connection: sqlite3.Connection, path: Path | str, *pragmas: str) -> None:
    """Set `pragmas`; some of them read the file, which may be locked just then."""
    for pragma in pragmas:
        patiently(partial(connection.execute, f"PRAGMA {pragma}"), path)


def _prepare(path: Path) -> None:
    """Make the folder and the file, readable by their owner only."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):  # O_EXCL: a file that is there is not opened, see _inspect
            os.close(os.open(path.resolve(), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as exc:
        advice = _ADVICE[sqlite3.SQLITE_CANTOPEN]
        msg = f"The history {path} cannot be used: {advice} ({exc.strerror})"
        raise HistoryError(msg) from exc


def _inspect(path: Path) -> None:
    """Refuse a file that is damaged, newer, or not ours, without changing a byte of it.

    Only SQLite may open the file: closing any other handle of it would drop, as POSIX has it, the
    locks of every connection in this process, and the next process would delete the log under them.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # a pipe would not even let itself be opened
        msg = f"The history {path} cannot be used: {_ADVICE[sqlite3.SQLITE_CANTOPEN]}"
        raise HistoryError(msg)
    if 0 < found.st_size < _SMALLEST_FILE:
        msg = f"The history {path} cannot be used: {_ADVICE[sqlite3.SQLITE_NOTADB]}"
        raise HistoryError(msg)
    connection = _connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        # One snapshot, or a file that another process makes meanwhile would look half made.
        connection.execute("BEGIN")
        patiently(lambda: _refuse_unfit(connection, path), path)
        if found.st_size <= _CHECKED_BYTES or torn(connection, path):
            patiently(lambda: _refuse_damaged(connection, path), path)
    finally:
        connection.close()


def _refuse_unfit(connection: sqlite3.Connection, path: Path | str) -> None:
    problem = unfit(connection)
    if problem:
        msg = f"The history {path} cannot be used: {problem}"
        raise HistoryError(msg)


def _refuse_damaged(connection: sqlite3.Connection, path: Path) -> None:
    """Check every page; of a large file that would take seconds, so only small ones are."""
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0].splitlines()[-1]
    if found == "ok" and torn(connection, path):
        found = "it ends within a page"
    if found != "ok":
        msg = f"The history {path} cannot be used: {_ADVICE[sqlite3.SQLITE_CORRUPT]} ({found})"
        raise HistoryError(msg)


def torn(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file ends within a page; SQLite reads zeros there, and says nothing."""
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:  # it may be growing just now
        return False
    size: int = connection.execute("PRAGMA page_size").fetchone()[0]
    return path.stat().st_size % size > 0


def _use_wal(connection: sqlite3.Connection, path: Path) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        msg = f"The history {path} cannot be used: {_ADVICE[sqlite3.SQLITE_IOERR]}"
        raise HistoryError(msg)


def _bring_up_to_date(connection: sqlite3.Connection, path: Path | str) -> None:
    patiently(lambda: connection.execute("BEGIN IMMEDIATE"), path)
    _refuse_unfit(connection, path)
    version, copy = outdated(connection), None
    if version is not None and isinstance(path, Path):
        copy = back_up(path, version=version, target=SCHEMA_VERSION)
    migrate(connection)
    patiently(lambda: connection.execute("COMMIT"), path)
    if copy is not None and sys.stderr is not None:
        sys.stderr.write(
            f"The history {path} was brought from version {version} to {SCHEMA_VERSION}; "
            f"it is kept as it was in {copy}\n"
        )

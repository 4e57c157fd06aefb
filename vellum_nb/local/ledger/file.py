"""The SQLite file of a ledger: opened, locked, written to one transaction at a time."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vellum_nb.errors import VellumNBError
from vellum_nb.local.ledger.hold import Hold
from vellum_nb.local.ledger.rows import TABLES, VERSION

__all__ = ["LedgerFile"]


class LedgerFile:
    """The file ``executions.db`` in a folder; without a folder a temporary one of SQLite's own.

    Any thread may use it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = None if folder is None else folder / "executions.db"
        self._lock = threading.RLock()
        self._hold: Hold | None = None
        self._db: sqlite3.Connection | None = None
        self._end: weakref.finalize[Any, LedgerFile] | None = None
        with self._lock:
            self._connection()

    def hold(self) -> None:
        """Keep other servers off the folder, until `close`.

        Raises
        ------
        VellumNBError
            When another one is there.
        """
        with self._lock:
            if self._path is not None and self._hold is None:
                self._hold = Hold(self._path.parent)

    def close(self) -> None:
        """Close the file; the next call opens it again. Without a folder all stays as it is."""
        with self._lock:
            if self._hold is not None:
                self._hold.release()
                self._hold = None
            if self._end is not None and self._path is not None:
                self._end()
                self._db = self._end = None

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Say of what is damaged that it cannot be read."""
        try:
            yield
        except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as exc:
            raise _unusable(self._path, "read", exc) from exc

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            db = self._connection()
            if db.in_transaction:  # interrupted before it could end
                db.execute("ROLLBACK")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = _opened(self._path)
            self._end = weakref.finalize(self, self._db.close)
        return self._db


def _opened(path: Path | None) -> sqlite3.Connection:
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        # No name at all is a temporary file of SQLite's own: it holds little in memory.
        db = sqlite3.connect(path or "", timeout=10, isolation_level=None, check_same_thread=False)
    except (sqlite3.Error, OSError) as exc:
        raise _unusable(path, "opened", exc) from exc
    try:
        _prepare(db, path)
    except BaseException as exc:
        db.close()
        if isinstance(exc, sqlite3.DatabaseError):
            raise _unusable(path, "opened", exc) from exc
        raise
    return db


def _unusable(path: Path | None, done: str, exc: Exception) -> VellumNBError:
    msg = f"The executions in {path} cannot be {done} ({exc}); they were left as they are"
    return VellumNBError(msg)


def _prepare(db: sqlite3.Connection, path: Path | None) -> None:
    db.row_factory = sqlite3.Row
    db.execute(f"PRAGMA journal_mode = {'MEMORY' if path is None else 'WAL'}")
    db.execute(f"PRAGMA synchronous = {'OFF' if path is None else 'NORMAL'}")
    db.execute("BEGIN IMMEDIATE")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        msg = f"The executions in {path} were written by a newer vellum_nb; upgrade to read them"
        raise VellumNBError(msg)
    if version == 0:
        for statement in TABLES.strip().split(";\n"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")

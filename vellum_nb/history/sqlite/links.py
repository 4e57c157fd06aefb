"""The connections of a history's file: each under a lock, opened when it is first used."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from vellum_nb.history.sqlite import holding
from vellum_nb.history.sqlite.files import open_database

__all__ = ["HeldLink", "Link"]


class Link:
    """A connection that is opened on first use, and the lock that it is used under."""

    def __init__(self, opener: Callable[[], sqlite3.Connection]) -> None:
        self.lock = threading.RLock()
        self.transaction: AbstractContextManager[sqlite3.Connection] | None = None
        self._opener = opener
        self._connection: sqlite3.Connection | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, whose lock the caller holds."""
        if self._connection is None:
            self._connection = self._opener()
        return self._connection

    def close(self) -> None:
        """Close the connection once nobody uses it; the next use opens another."""
        with self.lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class HeldLink(Link):
    """The connection that writes to a file, and tells other processes that it is in use."""

    def __init__(self, path: Path) -> None:
        super().__init__(self._open)
        self._path = path
        self._handle: int | None = None

    def _open(self) -> sqlite3.Connection:
        connection = open_database(self._path)
        self._handle = holding.hold(self._path)
        return connection

    def close(self) -> None:
        """Close the connection; the last one of all processes clears up."""
        with self.lock:
            handle, self._handle = self._handle, None
            holding.let_go(handle)
            super().close()
            holding.close(handle)

    def after_fork(self) -> None:
        """Leave the file to the parent; there are no locks yet that this could drop."""
        if self._handle is not None:
            os.close(self._handle)

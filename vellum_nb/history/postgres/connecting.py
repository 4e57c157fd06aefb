"""Connections to the server: opened when they are needed, and anew where one was cut off.

The password is handed to libpq and held by nothing else; errors of connecting come without their
cause, whose frames hold it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from vellum_nb.history.postgres.refusals import PATIENCE_S
from vellum_nb.history.postgres.sql import Speaker, adapt
from vellum_nb.history.store.places import DatabaseUrl
from vellum_nb.history.store.store import OutOfReachError

__all__ = ["AT_LEISURE", "READ_ONLY", "RESTART_S", "SETTINGS", "Link", "connect", "roll_back"]

SETTINGS = (
    f"SET lock_timeout = '{PATIENCE_S}s'; SET idle_in_transaction_session_timeout = '60s'; "
    "SET extra_float_digits = 3; SET client_min_messages = warning; "
    "SELECT set_config('search_path', quote_ident(current_schema()), false)"  # no other's tables
)
READ_ONLY = (
    "; SET default_transaction_read_only = on"
    "; SET plan_cache_mode = force_custom_plan"  # one for any words would be a bad one for most
)
AT_LEISURE = "; SET idle_in_transaction_session_timeout = 0"

RESTART_S = 5.0
"""How long a read waits for a server that is started again."""

_MANNERS = {
    "client_encoding": "utf8",  # whatever PGCLIENTENCODING is
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "tcp_user_timeout": 30_000,
}
_POOLED = (
    f"SET LOCAL lock_timeout = '{PATIENCE_S}s'; "
    "SET LOCAL idle_in_transaction_session_timeout = '60s'; "
)
_NO_ROOM = ("too many", "connection slots")
_PAUSE_S = 0.2


class Link:
    """A connection that is opened on first use, and the lock that it is used under.

    Parameters
    ----------
    opener : callable
        Opens it.
    patience : float
        For how many seconds it is opened anew where it was cut off: a server that is started
        again takes a while.
    """

    def __init__(self, opener: Callable[[], Speaker], patience: float = 0) -> None:
        self.lock = threading.RLock()
        self._opener = opener
        self._patience = patience
        self.opened: Speaker | None = None

    @property
    def connection(self) -> Speaker:
        """The connection, opened now where there is none."""
        if self.opened is None or self.opened.raw.closed:
            self.opened = None
            self.opened = self._opener()
        return self.opened

    def twice(self, call: Callable[[Speaker], object]) -> Speaker:
        """Call with the connection, and with a new one where that was cut off meanwhile."""
        connection = self.connection
        try:
            call(connection)
        except BaseException as exc:  # an interrupt, too, may leave a transaction open
            if not (isinstance(exc, psycopg.Error) and connection.raw.closed):
                roll_back(connection)
                raise
            connection = self._anew()
            call(connection)
        return connection

    def _anew(self) -> Speaker:
        until = time.monotonic() + self._patience
        while True:
            try:
                return self.connection
            except OutOfReachError:
                if time.monotonic() >= until:
                    raise
            time.sleep(_PAUSE_S)

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self.lock:
            if self.opened is not None:
                self.opened.raw.close()
                self.opened = None


def connect(url: DatabaseUrl, settings: str) -> Speaker:
    """Open a connection; `settings` are SQL.

    Behind a pooler that hands out a session for a transaction each (PgBouncer), what is set or
    prepared would be met by others: there `settings` are only those of a transaction.
    """
    problem, at_begin = "", ""
    manners: dict[str, Any] = {
        name: value for name, value in _MANNERS.items() if f"{name}=" not in url.shown
    }
    try:
        raw = psycopg.connect(url.shown, autocommit=True, **manners, **url.secrets())
        ((backend,),) = raw.execute("SELECT pg_backend_pid()").fetchall()
        if backend == raw.info.backend_pid:
            raw.execute(settings)
        else:
            at_begin, raw.prepare_threshold = _POOLED, None
    except psycopg.Error as exc:
        problem = url.cleared(" ".join(str(exc).split()))
    if problem:
        msg = f"The history {url} cannot be reached: {_advice(problem)}"
        raise OutOfReachError(msg)
    adapt(raw)
    return Speaker(raw, at_begin)


def roll_back(connection: Speaker) -> None:
    """End the transaction that may be under way, or the connection where that cannot be."""
    try:
        if connection.raw.info.transaction_status != TransactionStatus.IDLE:
            connection.execute("ROLLBACK")
    except psycopg.Error:
        connection.raw.close()


def _advice(problem: str) -> str:
    if any(words in problem for words in _NO_ROOM):
        return f"its server has no connection left; end another program, or raise it ({problem})"
    return (
        "see that its server runs, and that host, database and user are right; a password is "
        f"looked for in the URL, PGPASSWORD and ~/.pgpass ({problem})"
    )

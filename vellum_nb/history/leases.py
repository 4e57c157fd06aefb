"""Leases: the right of one process to do what two must not do at once, such as drive a sweep.

A lease lasts a minute by the database's clock and is renewed by every write under it. The first
statement of such a write renews the lease if the token is still this process's, and nothing is
written otherwise. On one Linux machine the lease of a process that has ended is free at once.
"""

from __future__ import annotations

import json
import os
import platform
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from vellum_nb.clock import Deadline, boot_id, uptime
from vellum_nb.errors import HistoryError, OutOfReachError
from vellum_nb.history.backends import Reader, Store, Transaction
from vellum_nb.history.rows import DAMAGE
from vellum_nb.history.store import Row

T = TypeVar("T")

LENGTH_S = 60.0
"""Seconds after which a lease that was not renewed is free."""
_MARGIN_S = 15.0  # before its end nothing is sent any more: connecting takes up to 10 s
_LENGTH = int(LENGTH_S * 1e6)
_PROC = Path("/proc")


class LeaseLostError(HistoryError):
    """Another process holds the lease now, or it was released; nothing was written."""


class LeaseHeldError(HistoryError):
    """Another process, `holder`, holds the lease."""

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


class Lease:
    """A lease under `name`, which this process holds after `acquire`.

    `deadline` is until when its holder may act without renewing it, by a clock that counts
    suspension.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.name, self.token = name, uuid.uuid4().hex
        self.deadline = Deadline.after(0.0)
        self._store = store

    def acquire(
        self,
        prepare: Callable[[Transaction, int | None], object] = lambda *_: None,
        *,
        acts_elsewhere: bool = False,
    ) -> None:
        """Take the lease for this process.

        `prepare` is called in the same transaction with the moment until which an earlier holder
        may have acted, in microseconds by the database's clock, or None if it released the lease.
        That is the end of its lease if it `acts_elsewhere`, in processes that may outlive it.

        Raises
        ------
        LeaseHeldError
            Another process holds the lease.
        """
        now = self._store.dialect.now
        sql = (
            "INSERT INTO leases (sweep, token, holder, expires_at) "
            f"VALUES (:name, :token, :holder, {now} + :length) ON CONFLICT (sweep) DO UPDATE SET "
            "token = excluded.token, holder = excluded.holder, expires_at = excluded.expires_at "
            f"WHERE leases.expires_at <= {now} OR leases.token = :dead RETURNING token"
        )
        holder = _this_process() | ({"acts_elsewhere": True} if acts_elsewhere else {})
        row = {"name": self.name, "token": self.token, "length": _LENGTH}
        row["holder"] = json.dumps(holder)

        def take(tx: Transaction) -> None:
            earlier = leases(tx, self.name)
            dead = next((token for token, holder, *_ in earlier if has_ended(holder)), "")
            if not tx.read(sql, {**row, "dead": dead}):
                rows = leases(tx, self.name)
                raise LeaseHeldError(held_message(self.name, rows), _holder_name(rows[0][1]))
            prepare(tx, min((_acted_until(tx, lease) for lease in earlier), default=None))

        began = uptime()
        self._store.write(take)
        self.deadline = Deadline.after(LENGTH_S - _MARGIN_S, since=began)

    @property
    def may_send(self) -> bool:
        """True while no other process can hold the lease."""
        return self.deadline.left > 0

    def write(self, change: Callable[[Transaction], T]) -> T:
        """Call `change` in one transaction that renews the lease first.

        Raises
        ------
        LeaseLostError
            This process no longer holds the lease.
        OutOfReachError
            The database cannot be reached; a commit under way may have been made.
        """
        sql = (
            f"UPDATE leases SET expires_at = {self._store.dialect.now} + :length "
            "WHERE sweep = :name AND token = :token"
        )
        values = {"name": self.name, "token": self.token, "length": _LENGTH}

        def fenced(tx: Transaction) -> T:
            if not tx.execute(sql, values):
                raise LeaseLostError(held_message(self.name, leases(tx, self.name)))
            return change(tx)

        began = uptime()
        result = self._store.write(fenced)
        self.deadline = Deadline.after(LENGTH_S - _MARGIN_S, since=began)
        return result

    def renew(self) -> bool:
        """Hold the lease for another minute; return False if the database cannot be reached.

        Raises
        ------
        LeaseLostError
            This process no longer holds the lease.
        """
        try:
            self.write(lambda _: None)
        except OutOfReachError:
            return False
        return True

    def release(self) -> None:
        """Free the lease; does nothing if another process holds it."""
        sql = "DELETE FROM leases WHERE sweep = :name AND token = :token"
        values = {"name": self.name, "token": self.token}
        self.deadline = Deadline.after(0.0)
        with suppress(OutOfReachError):  # it expires
            self._store.write(lambda tx: tx.execute(sql, values))


def _acted_until(reader: Reader, lease: Row) -> int:
    """Return until when the holder of a lease that it has lost may have acted."""
    _, holder, expires_at, _ = lease
    if _parsed(holder).get("acts_elsewhere"):
        return int(expires_at)
    return min(int(expires_at), int(reader.read(f"SELECT {reader.dialect.now}")[0][0]))


def leases(reader: Reader, name: str) -> list[Row]:
    """Return token, holder, end, and whether that has come, of the lease `name`."""
    sql = (
        "SELECT token, holder, expires_at, "
        f"CASE WHEN expires_at <= {reader.dialect.now} THEN 1 ELSE 0 END "
        "FROM leases WHERE sweep = :name"
    )
    return reader.read(sql, {"name": name})


def held_message(name: str, rows: Sequence[Row]) -> str:
    """Return why the lease `name`, which has these rows, cannot be used by this process."""
    kind, is_other, rest = name.partition(":")
    noun, advice = f"Sweep {name}", ", or start another with restart=True"
    if is_other:
        noun, advice = f"{kind.capitalize()} {rest[:8]}", ""
    if not rows:
        return f"{noun} is no longer driven by this process: its lease was released; resume it"
    holder = _holder_name(rows[0][1])
    return (
        f"{noun} is running in {holder}; wait until it ends or stop it there (a process "
        f"that was killed loses it within a minute){advice}"
    )


def _holder_name(holder: str) -> str:
    known = _parsed(holder)
    is_mine = known | _this_process() == known
    return "this process" if is_mine else f"process {known.get('pid')} on {known.get('host')}"


def has_ended(holder: str) -> bool:
    """Return whether the holder of a lease is known to have ended: a process of this machine."""
    known = _parsed(holder)
    if _machine() is None or known.get("machine") != _machine():
        return False
    pid = known.get("pid")
    if not isinstance(pid, int):  # damaged
        return False
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in {"Z", "X"}


def _parsed(holder: str) -> dict[str, object]:
    with suppress(*DAMAGE):
        found = json.loads(holder)
        return found if isinstance(found, dict) else {}
    return {}


def _this_process() -> dict[str, object]:
    return {"host": platform.node(), "pid": os.getpid(), "machine": _machine()}


@cache
def _machine() -> str | None:
    """Return what no other machine, boot or container has; None if the system has no such id."""
    boot = boot_id()
    try:
        return boot and f"{boot.split()[0]} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return None

"""Leases: at most one process acts on a resource at a time, such as a sweep.

A lease lasts a minute by the database's clock. Every write under it first renews the lease, and
fails without an effect if the token of this process is no longer stored. On one Linux machine, the
lease of a terminated process is free immediately, and so is one that this process released while
the database was away.
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
from vellum_nb.history.store import LEASE_S, Row

T = TypeVar("T")

_MARGIN_S = 15.0  # no requests are sent during the last seconds: connecting takes up to 10 s
_LENGTH_US = int(LEASE_S * 1e6)
_PROC = Path("/proc")
_USED: set[str] = set()  # tokens of the leases that this process has not released


class LeaseLostError(HistoryError):
    """The lease was released or acquired by another process. No change was written."""


class LeaseHeldError(HistoryError):
    """Another process, `holder`, holds the lease."""

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


class Lease:
    """A lease named `name`, which this process holds after `acquire`.

    The holder can act without renewal until `deadline`, measured by a clock that includes
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
        """Acquire the lease for this process, or raise a `LeaseHeldError`.

        `prepare` is called in the same transaction with the last time at which an earlier holder
        could act, in microseconds by the database's clock, or None if it released the lease.
        `acts_elsewhere`: processes that can outlive this one act for it, until the lease expires.
        """
        now = self._store.dialect.now
        sql = (
            "INSERT INTO leases (sweep, token, holder, expires_at) "
            f"VALUES (:name, :token, :holder, {now} + :length) ON CONFLICT (sweep) DO UPDATE SET "
            "token = excluded.token, holder = excluded.holder, expires_at = excluded.expires_at "
            f"WHERE leases.expires_at <= {now} OR leases.token = :dead RETURNING token"
        )
        holder = _this_process() | ({"acts_elsewhere": True} if acts_elsewhere else {})
        row = {"name": self.name, "token": self.token, "length": _LENGTH_US}
        row["holder"] = json.dumps(holder)

        def take(tx: Transaction) -> None:
            earlier = leases(tx, self.name)
            dead = next((token for token, holder, *_ in earlier if has_ended(token, holder)), "")
            if not tx.read(sql, {**row, "dead": dead}):
                rows = leases(tx, self.name)
                raise held_error(self.name, rows)
            prepare(tx, min((_acted_until(tx, lease) for lease in earlier), default=None))

        began = uptime()
        _USED.add(self.token)
        try:
            self._store.write(take)
        except BaseException:
            _USED.discard(self.token)
            raise
        self.deadline = Deadline.after(LEASE_S - _MARGIN_S, since=began)

    @property
    def may_send(self) -> bool:
        """True until another process could hold the lease."""
        return self.deadline.left > 0

    def write(self, change: Callable[[Transaction], T]) -> T:
        """Call `change` in one transaction that renews the lease first.

        `LeaseLostError`: this process no longer holds it. `OutOfReachError`: the database cannot be
        reached, and the transaction may have been committed.
        """
        sql = (
            f"UPDATE leases SET expires_at = {self._store.dialect.now} + :length "
            "WHERE sweep = :name AND token = :token"
        )
        values = {"name": self.name, "token": self.token, "length": _LENGTH_US}

        def fenced(tx: Transaction) -> T:
            if not tx.execute(sql, values):
                raise LeaseLostError(held_message(self.name, leases(tx, self.name)))
            return change(tx)

        began = uptime()
        result = self._store.write(fenced)
        self.deadline = Deadline.after(LEASE_S - _MARGIN_S, since=began)
        return result

    def renew(self) -> bool:
        """Renew the lease as `write` does; return False if the database cannot be reached."""
        try:
            self.write(lambda _: None)
        except OutOfReachError:
            return False
        return True

    def release(self) -> None:
        """Release the lease, unless another process holds it."""
        sql = "DELETE FROM leases WHERE sweep = :name AND token = :token"
        values = {"name": self.name, "token": self.token}
        self.deadline = Deadline.after(0.0)
        _USED.discard(self.token)
        with suppress(OutOfReachError):  # it expires
            self._store.write(lambda tx: tx.execute(sql, values))


def _acted_until(reader: Reader, lease: Row) -> int:
    """Return the last time at which the holder of a lost lease could act."""
    _, holder, expires_at, _ = lease
    if _parsed(holder).get("acts_elsewhere"):
        return int(expires_at)
    return min(int(expires_at), int(reader.read(f"SELECT {reader.dialect.now}")[0][0]))


def leases(reader: Reader, name: str) -> list[Row]:
    """Return token, holder, expiry, and whether it has passed, for the lease `name`."""
    sql = (
        "SELECT token, holder, expires_at, "
        f"CASE WHEN expires_at <= {reader.dialect.now} THEN 1 ELSE 0 END "
        "FROM leases WHERE sweep = :name"
    )
    return reader.read(sql, {"name": name})


def held_error(name: str, rows: Sequence[Row]) -> LeaseHeldError:
    """Return the error for a lease `name` with these rows, which another process holds."""
    return LeaseHeldError(held_message(name, rows), _holder_name(rows[0][1]))


def held_message(name: str, rows: Sequence[Row]) -> str:
    """Return the message for a lease `name` that this process cannot use."""
    kind, is_no_sweep, owner_id = name.partition(":")
    noun = f"{kind.capitalize()} {owner_id[:8]}" if is_no_sweep else f"Sweep {name}"
    if not rows:
        return f"{noun} is no longer driven by this process, whose lease was released; resume it"
    holder = _holder_name(rows[0][1])
    return (
        f"{noun} is running in {holder}; wait for it to end or stop it there. The lease of a "
        "killed process expires within a minute"
    )


def _holder_name(holder: str) -> str:
    process = _parsed(holder)
    name = f"process {process.get('pid')} on {process.get('host')}"
    return "this process" if is_own(holder) else name


def is_own(holder: str) -> bool:
    """Return whether this process is the holder of a lease."""
    process = _parsed(holder)
    return process | _this_process() == process


def has_ended(token: str, holder: str) -> bool:
    """Return whether a lease is unused: a process of this machine was terminated or released it.

    A lease that was released while the database was away is still stored.
    """
    process = _parsed(holder)
    if _machine() is None or process.get("machine") != _machine():
        return False
    pid = process.get("pid")
    if not isinstance(pid, int):  # damaged
        return False
    if pid == os.getpid():
        return token not in _USED
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in {"Z", "X"}


def _parsed(holder: str) -> dict[str, object]:
    with suppress(*DAMAGE):
        process = json.loads(holder)
        return process if isinstance(process, dict) else {}
    return {}


def _this_process() -> dict[str, object]:
    return {"host": platform.node(), "pid": os.getpid(), "machine": _machine()}


@cache
def _machine() -> str | None:
    """Return an id of this machine, boot and container, or None if it cannot be determined."""
    boot = boot_id()
    try:
        return boot and f"{boot.split()[0]} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return None

"""Leases of sweeps: one process drives a sweep at a time, and a dead one loses it by itself.

A driver renews its lease while it works; times are those of the database's clock, so that two
hosts can never hold it at once. On one Linux machine the lease of a process that has ended is free
at once; everywhere else it is when it expires.
"""

from __future__ import annotations

import json
import os
import platform
import uuid
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.rows import from_micros
from vellum_nb.history.store import Reader, Store, Transaction

LEASE_S = 60
"""Seconds after which a lease that was not renewed is free."""

_PROC = Path("/proc")


def acquire(store: Store, sweep_id: str) -> str:
    """Take the lease of a sweep; return the token for `renew` and `release`.

    Raises
    ------
    HistoryError
        Another process drives the sweep, or another part of this one; or there is no such sweep.
    """
    token = uuid.uuid4().hex
    now = store.dialect.now
    sql = (
        "INSERT INTO leases (sweep, token, holder, expires_at) "
        f"VALUES (:sweep, :token, :holder, {now} + :length) ON CONFLICT (sweep) DO UPDATE SET "
        "token = excluded.token, holder = excluded.holder, expires_at = excluded.expires_at "
        f"WHERE leases.expires_at <= {now} OR leases.token = :dead RETURNING token"
    )
    lease = {"sweep": sweep_id, "token": token, "holder": _myself(), "length": LEASE_S * 1_000_000}

    def change(tx: Transaction) -> None:
        if not tx.read("SELECT 1 FROM sweeps WHERE id = :id", {"id": sweep_id}):
            msg = f"The history has no sweep {sweep_id!r}; ws.sweeps() lists those there are"
            raise HistoryError(msg)
        known = _leases(tx, sweep_id)
        dead = known[0][1] if known and _has_ended(known[0][2]) else ""
        if not tx.read(sql, {**lease, "dead": dead}):
            raise _is_held(sweep_id, _leases(tx, sweep_id))

    store.write(change)
    return token


def renew(store: Store, sweep_id: str, token: str) -> None:
    """Keep the lease for another `LEASE_S` seconds; call it several times within that time.

    Raises
    ------
    HistoryError
        Another process has the sweep now: it was not renewed in time.
    """
    sql = (
        f"UPDATE leases SET expires_at = {store.dialect.now} + :length "
        "WHERE sweep = :sweep AND token = :token"
    )
    values = {"sweep": sweep_id, "token": token, "length": LEASE_S * 1_000_000}
    if not store.write(lambda tx: tx.execute(sql, values)):
        raise _is_held(sweep_id, _leases(store, sweep_id))


def release(store: Store, sweep_id: str, token: str) -> None:
    """Give the lease back; does nothing where another process has it."""
    sql = "DELETE FROM leases WHERE sweep = :sweep AND token = :token"
    store.write(lambda tx: tx.execute(sql, {"sweep": sweep_id, "token": token}))


def held(reader: Reader) -> set[str]:
    """Return the ids of the sweeps that a process drives now."""
    sql = f"SELECT sweep, holder FROM leases WHERE expires_at > {reader.dialect.now}"
    return {sweep_id for sweep_id, holder in reader.read(sql) if not _has_ended(holder)}


def lost_since(reader: Reader, sweep_id: str) -> datetime | None:
    """Return when a driver that ended without releasing its lease last renewed it."""
    for _, _, holder, expires_at, is_expired in _leases(reader, sweep_id):
        if is_expired or _has_ended(holder):
            return from_micros(expires_at - LEASE_S * 1_000_000)
    return None


def _leases(reader: Reader, sweep_id: str) -> list[tuple[Any, ...]]:
    sql = (
        "SELECT sweep, token, holder, expires_at, "
        f"CASE WHEN expires_at <= {reader.dialect.now} THEN 1 ELSE 0 END "
        "FROM leases WHERE sweep = :sweep"
    )
    return reader.read(sql, {"sweep": sweep_id})


def _is_held(sweep_id: str, leases: list[tuple[Any, ...]]) -> HistoryError:
    if not leases:
        return HistoryError(f"The lease of sweep {sweep_id} was released; resume the sweep")
    holder = json.loads(leases[0][2])
    is_mine = holder == json.loads(_myself())
    where = "in this process" if is_mine else f"in process {holder['pid']} on {holder['host']}"
    return HistoryError(
        f"Sweep {sweep_id} is under way {where}; wait until it ends or stop it there (a process "
        f"that was killed loses it within {LEASE_S} seconds), or start another with restart=True"
    )


def _myself() -> str:
    pid = os.getpid()
    return json.dumps({"host": platform.node(), "pid": pid, "machine": _machine()})


@cache
def _machine() -> str | None:
    """Return what no other machine, boot or container has; None where the system has no such id."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return None


def _has_ended(holder: str) -> bool:
    """Return whether the holder is known to have ended: a process of this machine."""
    known = json.loads(holder)
    if _machine() is None or known["machine"] != _machine():
        return False
    try:
        stat = (_PROC / str(known["pid"]) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in {"Z", "X"}

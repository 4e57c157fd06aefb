"""Who drives a sweep: one process at a time, and one that was killed holds nothing back.

A holder writes down host, process and when that process started. On the same host it is looked at
whether that process still lives; of another host it is only known when the sweep last got on.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import uuid
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.rows.rows import from_micros, micros
from vellum_nb.history.store.later import later
from vellum_nb.history.store.store import Store

__all__ = ["LAST_SEEN", "is_held", "let_go", "lost", "process_start", "take"]

_SILENCE = timedelta(minutes=5)  # after which a holder on another host is given up
_PROC = Path("/proc")
_GONE = frozenset("ZX")  # a process that has ended, and waits for its parent to notice
_MINE: set[str] = set()
LAST_SEEN = (
    "SELECT max(CASE WHEN finished_at > timestamp THEN finished_at ELSE timestamp END) "
    "FROM runs WHERE sweep_id = ?"
)


def take(store: Store, sweep_id: str) -> str:
    """Hold the sweep for this process; return what `let_go` wants.

    Raises
    ------
    HistoryError
        Another process drives it, or another part of this one; or there is no such sweep.
    """
    token = uuid.uuid4().hex
    with store.write() as connection:
        sql = "SELECT holder FROM sweeps WHERE id = ?"
        found = connection.execute(sql, (sweep_id,)).fetchone()
        if found is None:
            msg = f"The history has no sweep {sweep_id!r}; ws.sweeps() lists those there are"
            raise HistoryError(msg)
        holder = json.loads(found[0]) if found[0] else None
        last = connection.execute(LAST_SEEN, (sweep_id,)).fetchone()[0]
        if holder is not None and _lives(holder, last):
            raise _held(sweep_id, holder)
        text = json.dumps(_myself() | {"token": token, "since": micros(datetime.now(UTC))})
        connection.execute("UPDATE sweeps SET holder = ? WHERE id = ?", (text, sweep_id))
    _MINE.add(token)
    return token


@later()
def let_go(store: Store, sweep_id: str, token: str) -> None:
    """Hold the sweep no longer; does nothing where another one holds it meanwhile."""
    _MINE.discard(token)
    with store.write() as connection:
        sql = "SELECT holder FROM sweeps WHERE id = ? AND holder IS NOT NULL"
        found = connection.execute(sql, (sweep_id,)).fetchone()
        if found and json.loads(found[0])["token"] == token:
            connection.execute("UPDATE sweeps SET holder = NULL WHERE id = ?", (sweep_id,))


def lost(store: Store, sweep_id: str) -> datetime | None:
    """Return when the holder was last heard of, where it ended without letting go; else None."""
    found = store.read("SELECT holder FROM sweeps WHERE id = ? AND holder IS NOT NULL", (sweep_id,))
    last = store.read(LAST_SEEN, (sweep_id,))[0][0]
    if not found or is_held(found[0][0], last):
        return None
    return from_micros(max(json.loads(found[0][0])["since"], last or 0))


def is_held(holder: str | None, last: int | None) -> bool:
    """Return whether the sweep of this `holder` is driven; `last` is when it last got on, in µs."""
    return holder is not None and _lives(json.loads(holder), last)


def process_start(pid: int) -> str | None:
    """Return what tells the process from a later one of the same number; None: it has ended.

    Raises
    ------
    LookupError
        This system does not tell.

    Examples
    --------
    >>> process_start(os.getpid()) == process_start(os.getpid())
    True
    """
    if (_PROC / "self" / "stat").exists():
        return _of_proc(pid)
    try:
        found = subprocess.run(  # noqa: S603  (a number of our own)
            ["ps", "-o", "lstart=", "-p", str(pid)],  # noqa: S607
            capture_output=True,
            check=False,
            text=True,
        )
    except OSError as exc:
        msg = f"process {pid} cannot be looked at"
        raise LookupError(msg) from exc
    return found.stdout.strip() or None


def _of_proc(pid: int) -> str | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    state, *rest = text.rpartition(")")[2].split()
    return None if state in _GONE else rest[18]


def _lives(holder: dict[str, Any], last: int | None) -> bool:
    here = _myself()
    if holder["host"] == here["host"] and holder["started"] is not None:
        if (holder["pid"], holder["started"]) == (here["pid"], here["started"]):
            return holder["token"] in _MINE
        return process_start(holder["pid"]) == str(holder["started"])
    seen: int = max(holder["since"], last or 0)
    return datetime.now(UTC) - from_micros(seen) < _SILENCE


def _held(sweep_id: str, holder: dict[str, Any]) -> HistoryError:
    since = from_micros(holder["since"]).isoformat(timespec="seconds")
    if holder["token"] in _MINE:
        where = "in this kernel already"
    else:
        where = f"in process {holder['pid']} on {holder['node']}"
    return HistoryError(
        f"Sweep {sweep_id} is under way {where}, since {since}; wait for its end, stop it there, "
        "or start another one with fresh=True"
    )


def _myself() -> dict[str, Any]:
    return dict(_described(os.getpid()))


@lru_cache(maxsize=1)
def _described(pid: int) -> tuple[tuple[str, Any], ...]:
    started: str | None
    try:
        started = process_start(pid)
    except LookupError:
        started = None
    node = platform.node()
    return (("host", f"{node} {_pid_space()}"), ("node", node), ("pid", pid), ("started", started))


def _pid_space() -> str:
    """Return what tells containers apart, whose processes have numbers of their own."""
    try:
        return str((_PROC / "self" / "ns" / "pid").readlink())
    except OSError:
        return ""

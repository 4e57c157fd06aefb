"""Clock that includes the time a machine is suspended, deadlines based on it, stored times.

Wall-clock time can be changed, and `time.monotonic` stops on Linux and macOS while a laptop is
suspended. Neither is safe to decide whether a run is sent.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path

_PROC = Path("/proc")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _clock_id() -> int | None:
    """Return the id of a clock that includes suspension; None if `time.monotonic` is one."""
    if sys.platform == "darwin":
        return getattr(time, "CLOCK_MONOTONIC", None)
    return getattr(time, "CLOCK_BOOTTIME", None)


_CLOCK = _clock_id()
uptime_ns: Callable[[], int] = (
    time.monotonic_ns if _CLOCK is None else partial(time.clock_gettime_ns, _CLOCK)
)
"""Return the nanoseconds since boot, including suspension.

It runs no Python code, so Ctrl-C cannot interrupt it.
"""


def uptime() -> float:
    """Return the seconds since boot, including suspension."""
    return uptime_ns() / 1e9


@cache
def boot_id() -> str | None:
    """Return the id of the current boot, or None on systems without one.

    Processes with the same id share the origin of `uptime`.
    """
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    try:
        return f"{boot} {(_PROC / 'self/ns/time').readlink()}"
    except OSError:  # an older kernel without time namespaces
        return boot


@dataclass(frozen=True, slots=True)
class Deadline:
    """Deadline by `uptime` for processes of this machine, by wall-clock time for others."""

    boot: str | None
    uptime_s: float
    wall: datetime

    @classmethod
    def after(cls, seconds: float, *, since: float | None = None) -> Deadline:
        """Return the deadline `seconds` after `since`, a value of `uptime` (default: now)."""
        now = uptime()
        remaining = seconds if since is None else seconds - (now - since)
        wall = datetime.fromtimestamp(time.time() + remaining, UTC)
        return cls(boot_id(), now + remaining, wall)

    @property
    def left(self) -> float:
        """Remaining seconds; negative after the deadline."""
        if self.boot is not None and self.boot == boot_id():
            return self.uptime_s - uptime()
        return (self.wall - datetime.now(UTC)).total_seconds()


def micros(moment: datetime) -> int:
    """Return microseconds since the epoch; a time without a zone is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(count: int) -> datetime:
    """Return the time in UTC for microseconds since the epoch."""
    return _EPOCH + count * _MICROSECOND

"""A clock that also counts while the machine sleeps, and deadlines by it.

The clock of the wall may be set, and `time.monotonic` stops on Linux and macOS while a laptop is
closed. Neither may decide whether a run is sent.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

_PROC = Path("/proc")


def _clock_id() -> int | None:
    """Return the system's clock that counts suspension, or None if `time.monotonic` does."""
    if sys.platform == "darwin":
        return getattr(time, "CLOCK_MONOTONIC", None)
    return getattr(time, "CLOCK_BOOTTIME", None)


_CLOCK = _clock_id()
uptime_ns: Callable[[], int] = (
    time.monotonic_ns if _CLOCK is None else partial(time.clock_gettime_ns, _CLOCK)
)
"""Returns nanoseconds since the machine was booted, including those for which it slept.

It runs no Python code, so that Ctrl-C cannot interrupt it.
"""


def uptime() -> float:
    """Return seconds since the machine was booted, including those for which it slept."""
    return uptime_ns() / 1e9


@cache
def boot_id() -> str | None:
    """Return the id of this boot of this machine; None on systems without one.

    Within one boot, `uptime` of all processes counts from the same moment.
    """
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    try:
        return f"{boot} {(_PROC / 'self/ns/time').readlink()}"
    except OSError:  # an older kernel has one such clock only
        return boot


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment that processes of this machine know exactly, and others by the wall clock."""

    boot: str | None
    uptime_s: float
    wall: datetime

    @classmethod
    def after(cls, seconds: float, *, since: float | None = None) -> Deadline:
        """Return the deadline `seconds` after `since`, a value of `uptime`; default: now."""
        now = uptime()
        left = seconds if since is None else seconds - (now - since)
        wall = datetime.fromtimestamp(time.time() + left, UTC)
        return cls(boot_id(), now + left, wall)

    @property
    def left(self) -> float:
        """Seconds that are left; negative after the deadline."""
        if self.boot is not None and self.boot == boot_id():
            return self.uptime_s - uptime()
        return (self.wall - datetime.now(UTC)).total_seconds()

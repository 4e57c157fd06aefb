"""Retry policy: which requests are sent again, how often, after how long. Nothing here waits."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["TRIES", "may_resend_after_failure", "may_resend_after_status", "pause", "retry_after"]

TRIES = 4
LONGEST = 30.0
_FIRST = 0.25
_JITTER = 0.25


def may_resend_after_failure(method: str, *, sent: bool, timed_out: bool) -> bool:
    """Return whether a request without an answer may be sent again.

    What was not sent may. What was sent may have run: only a GET goes again, unless the time was
    up, which it would be again.
    """
    return not sent or (method == "GET" and not timed_out)


def may_resend_after_status(method: str, status: int, requested: float | None) -> bool:
    """Return whether a request with the answer `status` may be sent again.

    A 429 says that nothing ran. A 503 says so when it names a time to come back (`requested`);
    without, it may come from a gateway that lost the server's answer.
    """
    if method == "GET":
        return status in {429, 502, 503, 504}
    return status == 429 or (status == 503 and requested is not None)  # noqa: PLR2004


def retry_after(header: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks to wait, or None.

    Examples
    --------
    >>> retry_after("2"), retry_after("soon"), retry_after(None)
    (2.0, None, None)
    """
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        return _until(header)
    return max(seconds, 0.0) if seconds == seconds else None  # noqa: PLR0124  # NaN


def pause(attempt: int, requested: float | None = None) -> float:
    """Return the seconds to wait after the attempt numbered `attempt` (from 1), with jitter.

    Never less than `requested`, the server's Retry-After, of which at most 30 seconds are kept.
    """
    jitter = 1 + _JITTER * random.random()  # noqa: S311  # spreads load, guards nothing
    if requested is not None:
        return min(requested, LONGEST) * jitter
    return _FIRST * 2.0 ** (attempt - 1) * jitter


def _until(header: str) -> float | None:
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max((when - datetime.now(UTC)).total_seconds(), 0.0)

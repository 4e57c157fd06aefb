"""Figures of a sweep in words: how long, how fast, how much. Pure."""

from __future__ import annotations

__all__ = ["duration", "money", "runs_word", "speed"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """Return a span of time for people, two units at most.

    Examples
    --------
    >>> duration(0.42), duration(17.2), duration(200), duration(4800), duration(200_000)
    ('0.4 s', '17 s', '3 min 20 s', '1 h 20 min', '2 d 7 h')
    """
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, name, small, below in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // small
            return f"{whole // unit:,} {name} {rest} {below}" if rest else f"{whole // unit} {name}"
    return f"{whole} s"


def money(usd: float) -> str:
    """Return an amount of dollars, with more digits where it is little.

    Examples
    --------
    >>> money(0.92), money(1240), money(0.00213), money(0)
    ('$0.92', '$1,240.00', '$0.0021', '$0.00')
    """
    digits = 2 if usd == 0 or abs(usd) >= 0.1 else 4  # noqa: PLR2004
    return f"${usd:,.{digits}f}"


def speed(rate: float) -> str:
    """Return how fast runs end.

    Examples
    --------
    >>> speed(4.31), speed(231.4), speed(0.05), speed(0)
    ('4.3 runs/s', '231 runs/s', '3.0 runs/min', '0 runs/s')
    """
    if rate == 0:
        return "0 runs/s"
    if rate < 0.2:  # noqa: PLR2004
        return f"{60 * rate:.1f} runs/min"
    return f"{rate:.1f} runs/s" if rate < 100 else f"{rate:,.0f} runs/s"  # noqa: PLR2004


def runs_word(count: int) -> str:
    """Return `count` with its noun.

    Examples
    --------
    >>> runs_word(1), runs_word(1200)
    ('1 run', '1,200 runs')
    """
    return "1 run" if count == 1 else f"{count:,} runs"

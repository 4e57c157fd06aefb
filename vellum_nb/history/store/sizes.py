"""Bytes in words."""

from __future__ import annotations

__all__ = ["human"]

_STEP = 1_000


def human(size: int) -> str:
    """Return a number of bytes as people say it.

    Examples
    --------
    >>> human(512), human(3_400_000)
    ('512 bytes', '3.4 MB')
    """
    if size < _STEP:
        return f"{size} bytes"
    value = size / _STEP
    units = ["kB", "MB", "GB"]
    while round(value, 1) >= _STEP and len(units) > 1:
        value /= _STEP
        del units[0]
    return f"{value:.1f} {units[0]}"

"""An exception in words."""

from __future__ import annotations

from contextlib import suppress

__all__ = ["in_words"]


def in_words(exc: BaseException) -> str:
    """Return its kind and what it says, even if it raises another one when it is asked for that.

    Examples
    --------
    >>> in_words(ValueError("no digits")), in_words(StopIteration())
    ('ValueError: no digits', 'StopIteration')
    """
    text = ""
    with suppress(BaseException):
        text = str(exc)
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__

r"""Text from servers, files and histories, made safe to print.

A terminal executes control characters, and bidirectional controls reorder what is around them.
Both are written as Python writes them in a literal, such as ``\x1b`` and ``\u202e``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

S = TypeVar("S")

_NOT_ASCII = re.compile(r"[^\n\t -~]")
# Spaces, the soft hyphen, joiners and marks of scripts written from right to left: no terminal acts
# on them, and texts in many languages need them.
_HARMLESS = frozenset("\xa0\xad\u1680\u202f\u205f\u3000") | {chr(n) for n in range(0x2000, 0x2010)}


def printable(text: str) -> str:
    r"""Return `text` with control characters escaped; line feeds and tabs stay.

    >>> printable("v1\x1b[2J\u202e2v")
    'v1\\x1b[2J\\u202e2v'
    """
    return text if text.isprintable() else _NOT_ASCII.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    letter = match[0]
    is_safe = letter.isprintable() or letter in _HARMLESS
    return letter if is_safe else letter.encode("unicode_escape").decode()


def warn(text: str, category: type[Warning] = UserWarning, *, stacklevel: int = 1) -> None:
    """Warn as `warnings.warn` does, with control characters escaped."""
    warnings.warn(printable(text), category, stacklevel=stacklevel + 1)


def printed(method: Callable[[S], str]) -> Callable[[S], str]:
    """Decorate a method that returns text for people, such as ``__repr__``, to escape controls."""

    @wraps(method)
    def escaped(self: S) -> str:
        return printable(method(self))

    return escaped

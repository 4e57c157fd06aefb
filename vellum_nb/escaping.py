r"""Text from servers, files and histories, made safe to print.

A terminal executes control characters, and bidirectional controls reorder what is around them.
Both are written as Python writes them in a literal, such as ``\x1b`` and ``\u202e``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

S = TypeVar("S")

_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return `text` with control characters escaped; line feeds and tabs stay.

    >>> printable("v1\x1b[2J\u202e2v")
    'v1\\x1b[2J\\u202e2v'
    """
    return text if text.isprintable() else _CONTROLS.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def printed(method: Callable[[S], str]) -> Callable[[S], str]:
    """Decorate a method that returns text for people, such as ``__repr__``, to escape controls."""

    @wraps(method)
    def escaped(self: S) -> str:
        return printable(method(self))

    return escaped

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

# C0 and C1 but tab and line feed, separators of lines, bidirectional controls, surrogates, the byte
# order mark, interlinear marks, noncharacters. Joiners and direction marks stay: scripts need them.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff]"
)


def printable(text: str) -> str:
    r"""Return `text` with control characters escaped; line feeds and tabs stay.

    >>> printable("v1\x1b[2J\u202e2v")
    'v1\\x1b[2J\\u202e2v'
    """
    return _CONTROLS.sub(_escaped, text.replace("\r\n", "\n"))


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def warn(text: str, category: type[Warning] = UserWarning, *, stacklevel: int = 1) -> None:
    """Warn as `warnings.warn` does, with control characters escaped."""
    warnings.warn(printable(text), category, stacklevel=stacklevel + 1)


def printed(method: Callable[[S], str]) -> Callable[[S], str]:
    """Decorate a method that returns text for people, such as ``__repr__``, to escape controls."""

    @wraps(method)
    def escaped(self: S) -> str:
        return printable(method(self))

    return escaped

r"""Escaping of text from servers, files and histories for printing.

Terminals execute control characters, and bidirectional controls reorder text. Both are replaced by
Python escapes such as ``\x1b`` and ``\u202e``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

S = TypeVar("S")

# C0 and C1 except tab and line feed, line separators, bidirectional controls, surrogates, the byte
# order mark, interlinear marks, noncharacters. Some scripts need joiners and direction marks.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff]"
)


def printable(text: str) -> str:
    r"""Escape the control characters in `text`, except line feeds and tabs.

    >>> printable("v1\x1b[2J\u202e2v")
    'v1\\x1b[2J\\u202e2v'
    """
    return _CONTROLS.sub(_escaped, text.replace("\r\n", "\n"))


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def warn(text: str, category: type[Warning] = UserWarning, *, stacklevel: int = 1) -> None:
    """Issue a warning with escaped control characters."""
    warnings.warn(printable(text), category, stacklevel=stacklevel + 1)


def printed(method: Callable[[S], str]) -> Callable[[S], str]:
    """Escape the control characters in the result of a method such as ``__repr__``."""

    @wraps(method)
    def escaped(self: S) -> str:
        return printable(method(self))

    return escaped

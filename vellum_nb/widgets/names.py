"""Names that others have given, as they may stand in a line of text."""

from __future__ import annotations

import re

__all__ = ["shown_name"]

# Bidirectional controls: they turn round what stands after them, beyond the name itself.
_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def shown_name(name: str) -> str:
    r"""Return `name` with the characters that turn text round written out.

    Examples
    --------
    >>> shown_name("v1\u202e2v")
    'v1[U+202E]2v'
    """
    return _TURNS.sub(lambda found: f"[U+{ord(found[0]):04X}]", name)

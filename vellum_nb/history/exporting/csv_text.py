"""One cell of CSV and one frame's worth of it: an ordinary CSV that keeps types apart.

Text is always quoted, a missing value is nothing at all, numbers and bools stand bare: so ``""``,
missing, ``"1"`` and ``1`` differ, and pandas, Excel and LibreOffice read the file as usual.

A spreadsheet runs text that starts with ``=``, ``+``, ``-`` or ``@`` (also after a tab or a line
break, and as wide as East Asian letters) as a formula. Such text, and text that starts with an
apostrophe, gets an apostrophe in front; reading takes it off again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

__all__ = ["DANGEROUS", "SEPARATORS", "Separator", "bare", "quoted", "split", "typed", "unguarded"]

Separator: TypeAlias = Literal[",", ";", "\t"]
SEPARATORS: tuple[Separator, ...] = (",", ";", "\t")
"""What stands between cells; spreadsheets write semicolons where ``1,5`` is a number."""

_GUARD = "'"
_WIDE = "\uff1d\uff0b\uff0d\uff20"  # = + - @ as wide as East Asian letters
DANGEROUS = frozenset({*"=+-@", *_WIDE, "\t", "\r", "\n", _GUARD})
"""What a text may not begin with in a spreadsheet, unless an apostrophe stands before it."""
_CELLS = {
    mark: re.compile(rf'(?:"((?:[^"]++|"")*+)"|([^{mark}\r\n"]*+))({mark}|\r\n|\r|\n|\Z)')
    for mark in SEPARATORS
}
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z|-?inf\Z")
_BOOLS = {"True": True, "False": False, "TRUE": True, "FALSE": False}


def quoted(text: str) -> str:
    r"""Return `text` as a quoted cell, guarded where a spreadsheet would run it.

    Examples
    --------
    >>> quoted('=HYPERLINK("x")')
    '"\'=HYPERLINK(""x"")"'
    """
    guard = _GUARD if text[:1] in DANGEROUS else ""
    return f'"{guard}{text.replace(chr(34), chr(34) * 2)}"'


def bare(value: Any) -> str:
    """Return any value of a frame as a cell."""
    if isinstance(value, str):
        return quoted(value)
    return float.__repr__(value) if isinstance(value, float) else str(value)


def unguarded(text: str) -> str:
    """Return the text of a cell without its guard."""
    return text[1:] if text[:1] == _GUARD and text[1:2] in DANGEROUS else text


def typed(text: str) -> Any:
    """Return the value of a cell that stood without quotes; programs that re-save drop quotes."""
    if text in _BOOLS:
        return _BOOLS[text]
    if _INTEGER.match(text):
        return int(text)
    if _DECIMAL.match(text):
        return float(text)
    return unguarded(text)


def split(text: str, separator: Separator = ",") -> Iterator[list[tuple[str, bool]]]:
    """Yield rows of cells, each its text and whether it was quoted.

    Raises
    ------
    ValueError
        With the number of the row in which the quotes do not fit.
    """
    cell = _CELLS[separator]
    row: list[tuple[str, bool]] = []
    at, number = 0, 1
    while at < len(text) or row:
        found = cell.match(text, at)
        if found is None:
            msg = f"row {number}: the quotes of cell {len(row) + 1} do not fit"
            raise ValueError(msg)
        inner, plain, end = found.groups()
        row.append((plain, False) if inner is None else (inner.replace('""', '"'), True))
        at = found.end()
        if end != separator:
            yield row
            row, number = [], number + 1

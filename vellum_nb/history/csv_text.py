r"""CSV that preserves types, and that no spreadsheet runs as formulas.

Text is always quoted, a missing value is nothing at all, numbers and bools stand bare. Text that a
spreadsheet would run, and text that starts with an apostrophe, gets an apostrophe in front.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import repeat
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import pandas as pd

Separator: TypeAlias = Literal[",", ";", "\t"]
SEPARATORS: tuple[Separator, ...] = (",", ";", "\t")  # semicolons where 1,5 is a number

_GUARD = "'"
_WIDE = "\uff1d\uff0b\uff0d\uff20"  # = + - @ as wide as East Asian letters
_DANGEROUS = frozenset({*"=+-@", *_WIDE, "\t", "\r", "\n", _GUARD})
_CELLS = {
    mark: re.compile(rf'(?:"((?:[^"]++|"")*+)"|([^{mark}\r\n"]*+))({mark}|\r\n|\r|\n|\Z)')
    for mark in SEPARATORS
}
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z|-?inf\Z")
_BOOLS = {"True": True, "False": False, "TRUE": True, "FALSE": False}

_PARTS = 8
_NUMBERS = frozenset({int, float, bool})


def header_line(names: Iterable[Any]) -> str:
    """Return the first line of a CSV."""
    return ",".join(_quoted(str(name)) for name in names) + "\n"


def csv_lines(frame: pd.DataFrame, names: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a frame, several at once; columns that it does not have are empty."""
    rows = len(frame)
    parts = [_pattern(frame[name]) if name in frame else ("", ()) for name in names]
    line = ",".join([pattern for pattern, _ in parts]) + "\n"
    filled = [values for pattern, values in parts if pattern]
    lines = list(map(line.__mod__, zip(*filled, strict=True) if filled else repeat((), rows)))
    step = rows // _PARTS + 1  # one text of them all would need fresh memory each time
    for start in range(0, rows, step):
        yield "".join(lines[start : start + step])


def values_of(series: pd.Series[Any]) -> list[Any]:
    """Return the values of a column, None where one is missing."""
    if series.hasnans:
        series = series.astype("object").where(series.notna(), None)
    return list(series.tolist())


def _pattern(series: pd.Series[Any]) -> tuple[str, Sequence[Any]]:
    """Return what a column adds to the pattern of a line, and what is put into it, if anything."""
    if str(series.dtype).startswith("datetime64"):
        import numpy as np

        texts = np.datetime_as_string(series.dt.tz_convert(None).to_numpy(), unit="us").tolist()
        if not series.hasnans:
            return "%s+00:00", texts
        return "%s", ["" if text == "NaT" else f"{text}+00:00" for text in texts]
    values = values_of(series)
    kinds = set(map(type, values))
    has_gaps = type(None) in kinds
    kinds.discard(type(None))
    if not kinds:
        return "", ()
    if kinds == {str}:
        return _text_pattern(values, has_gaps=has_gaps)
    if not kinds <= _NUMBERS:
        return "%s", [_cell(value) for value in values]
    return "%s", ["" if value is None else value for value in values] if has_gaps else values


def _text_pattern(values: Sequence[Any], *, has_gaps: bool) -> tuple[str, Sequence[Any]]:
    texts = [value for value in values if value is not None] if has_gaps else values
    if not _DANGEROUS.isdisjoint([text[:1] for text in texts]):
        return "%s", [_cell(value) for value in values]
    if '"' in "".join(texts):
        values = [value and value.replace('"', '""') for value in values]
    if has_gaps:
        return "%s", ["" if value is None else f'"{value}"' for value in values]
    return '"%s"', values


def _quoted(text: str) -> str:
    """Return `text` as a quoted cell, guarded where a spreadsheet would run it."""
    guard = _GUARD if text[:1] in _DANGEROUS else ""
    return f'"{guard}{text.replace(chr(34), chr(34) * 2)}"'


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    return "" if value is None else str(value)


def unguarded(text: str) -> str:
    """Return the text of a cell without its guard."""
    return text[1:] if text[:1] == _GUARD and text[1:2] in _DANGEROUS else text


def typed(text: str, *, decimal_comma: bool = False) -> Any:
    """Return the value of a cell without quotes, which spreadsheets drop when they save."""
    if text in _BOOLS:
        return _BOOLS[text]
    if _INTEGER.match(text):
        return int(text)
    number = text.replace(",", ".") if decimal_comma else text
    return float(number) if _DECIMAL.match(number) else unguarded(text)


def csv_table(content: bytes) -> tuple[Separator, list[str], list[list[tuple[str, bool]]]]:
    """Return the separator, the names of the columns, and rows of cells: text, whether quoted."""
    text = content.decode(
        "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    )
    separator = _separator_of(text)
    lines = list(split(text, separator)) or [[]]
    names = [unguarded(name) for name, _ in lines[0]]
    rows = []
    for number, row in enumerate(lines[1:], 2):
        if row == [("", False)] and len(names) > 1:  # an empty line
            continue
        if len(row) != len(names):
            msg = f"row {number} has {len(row)} cells, the header has {len(names)}"
            raise ValueError(msg)
        rows.append(row)
    return separator, names, rows


def _separator_of(text: str) -> Separator:
    """Return what separates the cells of the first line: what gives it the most cells."""
    counts: dict[Separator, int] = {}
    for mark in SEPARATORS:
        with suppress(ValueError):  # another separator stands between quoted cells
            counts[mark] = len(next(split(text, mark), []))
    return max(counts, key=counts.__getitem__, default=",")


def split(text: str, separator: Separator = ",") -> Iterator[list[tuple[str, bool]]]:
    """Yield rows of cells, each its text and whether it was quoted; raise a ValueError else."""
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

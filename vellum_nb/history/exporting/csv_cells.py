"""Columns of values as lines of CSV, a whole column at a time.

The cells are those that `csv_text.bare` gives for each value; what all values of a column have in
common is looked at once, and is part of the pattern that all lines are made by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import repeat
from typing import Any

from vellum_nb.history.exporting.csv_text import DANGEROUS, bare, quoted

__all__ = ["lines"]

_PIECES = 8
_SECOND = 1_000_000
_DAY = 86_400
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING = type(None)
_NUMBERS = frozenset({int, float, bool})

Part = tuple[str, Sequence[Any]]
"""What a column adds to the pattern of a line, and what is put into it, if anything."""


def lines(columns: Sequence[tuple[Sequence[Any], str | None]], rows: int) -> Iterator[str]:
    r"""Yield the lines of `rows` rows, several at once.

    `columns` are values, None where one is missing, each with its kind: one of `frames.KINDS`,
    None for any. ``float`` writes integers as floats, ``time`` takes microseconds.

    Examples
    --------
    >>> list(lines([(["=1", 'a"b'], None), ([0, None], "time"), ([2, True], None)], rows=2))
    ['"\'=1",1970-01-01 00:00:00+00:00,2\n', '"a""b",,True\n']
    """
    parts = [_part(values, kind) for values, kind in columns]
    put = [values for pattern, values in parts if pattern]
    line = ",".join([pattern for pattern, _ in parts]) + "\n"
    made = list(map(line.__mod__, zip(*put, strict=True) if put else repeat((), rows)))
    step = rows // _PIECES + 1  # one text of them all would need fresh memory each time
    for start in range(0, rows, step):
        yield "".join(made[start : start + step])


def _part(values: Sequence[Any], kind: str | None) -> Part:
    kinds = set(map(type, values))
    gaps = _NOTHING in kinds
    kinds.discard(_NOTHING)
    if not kinds:
        return "", ()
    if kinds == {str}:
        return _texts(values, gaps=gaps)
    if kind == "time":
        return _each(values, _moment)
    if kind == "float" and kinds != {float}:
        return _each(values, float)
    if kinds <= _NUMBERS:
        return "%s", ["" if value is None else value for value in values] if gaps else values
    return _each(values, bare)


def _texts(values: Sequence[Any], *, gaps: bool) -> Part:
    given = [value for value in values if value is not None] if gaps else values
    if not DANGEROUS.isdisjoint([value[:1] for value in given]):
        return _each(values, quoted)
    if '"' in "".join(given):
        values = [value and value.replace('"', '""') for value in values]
    if gaps:
        return "%s", ["" if value is None else f'"{value}"' for value in values]
    return '"%s"', values


def _each(values: Sequence[Any], cell: Callable[[Any], object]) -> Part:
    return "%s", ["" if value is None else cell(value) for value in values]


def _moment(micros: int) -> str:
    seconds, rest = divmod(micros, _SECOND)
    days, second = divmod(seconds, _DAY)
    fraction = f".{rest:06}" if rest else ""
    return f"{_date(days)} {_time(second)}{fraction}+00:00"


@lru_cache(maxsize=4096)
def _date(days: int) -> str:
    return (_FIRST + timedelta(days=days)).date().isoformat()


@lru_cache(maxsize=_DAY)
def _time(second: int) -> str:
    return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"

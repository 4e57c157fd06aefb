"""Columns of values as cells of CSV, a whole column at a time.

The cells are those that `csv_text.bare` gives for each value; what all values of a column have in
common is looked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from vellum_nb.history.exporting.csv_text import DANGEROUS, bare, quoted

__all__ = ["cells", "lines"]

_SECOND = 1_000_000
_DAY = 86_400
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING = type(None)
_TEXT = frozenset({str, _NOTHING})
_FLOAT = frozenset({float, _NOTHING})


def cells(values: Sequence[Any], kind: str | None = None) -> Sequence[str]:
    r"""Return `values`, None where one is missing, as cells.

    `kind` is one of `frames.KINDS`, None for any; ``float`` writes integers as floats, ``time``
    takes microseconds.

    Examples
    --------
    >>> cells(["=1", 'a"b', None, 2, True, 1.5])
    ['"\'=1"', '"a""b"', '', '2', 'True', '1.5']
    >>> cells([0, 1_500_000, None], "time")
    ['1970-01-01 00:00:00+00:00', '1970-01-01 00:00:01.500000+00:00', '']
    """
    kinds = set(map(type, values))
    if kinds == {_NOTHING}:
        return [""] * len(values)
    if kind is not None and kind in _WRITERS:
        write = float.__repr__ if kinds <= _FLOAT else _WRITERS[kind]
        if _NOTHING not in kinds:
            return list(map(write, values))
        return ["" if value is None else write(value) for value in values]
    if kinds <= _TEXT:
        return _texts(values, gaps=_NOTHING in kinds)
    if len(kinds) == 1 and kinds < _PLAIN.keys():
        return list(map(_PLAIN[kinds.pop()], values))
    return ["" if value is None else bare(value) for value in values]


def lines(columns: Iterable[Sequence[str]]) -> str:
    """Return the lines that stand for columns of cells."""
    text = "\n".join(map(",".join, zip(*columns, strict=True)))
    return text + "\n"


def _texts(values: Sequence[Any], *, gaps: bool) -> list[str]:
    if not DANGEROUS.isdisjoint([value[:1] for value in values if value]):
        return ["" if value is None else quoted(value) for value in values]
    if gaps:
        return ["" if v is None else f'"{v.replace(_QUOTE, _QUOTES)}"' for v in values]
    return [f'"{v.replace(_QUOTE, _QUOTES)}"' for v in values]


_QUOTE, _QUOTES = '"', '""'


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


_PLAIN: Mapping[type, Callable[[Any], str]] = {int: str, float: float.__repr__, bool: str}
_WRITERS: Mapping[str, Callable[[Any], str]] = {
    "time": _moment,
    "float": lambda number: repr(float(number)),
    # Few values, very often: each is looked at once.
    "state": lru_cache(maxsize=64)(quoted),
    "tag": lru_cache(maxsize=4096)(quoted),
    "name": lru_cache(maxsize=4096)(quoted),
}

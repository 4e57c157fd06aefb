"""What the browser may ask of the history table, read with suspicion.

Everything that arrives is untrusted: numbers are clipped, names are looked up, and what cannot be
understood is left out and said so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from vellum_nb.errors import HistoryError

__all__ = [
    "MAX_ROWS",
    "MAX_SELECTED",
    "Query",
    "Window",
    "ignored",
    "read_ids",
    "read_int",
    "read_query",
    "read_window",
    "selection",
]

MAX_ROWS = 200
_FEWEST_ROWS = 40  # what is in sight, and as much again
_MAX_CELLS = 4_000
MAX_SELECTED = 1000
_MAX_TEXT = 500
_MAX_COLUMNS = 100
_MAX_OFFSET = 2**53


@dataclass(frozen=True)
class Query:
    """Which runs are shown, in which order, with which columns."""

    search: str
    order_by: str
    descending: bool
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Window:
    """Which rows of the result are wanted, and which view on the page wants them."""

    view: str
    seq: int
    offset: int
    limit: int


def read_query(
    content: Mapping[str, Any], present: Query, *, known: Collection[str], order: Collection[str]
) -> tuple[Query, list[str]]:
    """Return the query of a message, and what in it was not understood.

    What is missing or not understood stays as it is at `present`.

    Examples
    --------
    >>> now = Query("", "timestamp", True, ("state",))
    >>> query, problems = read_query(
    ...     {"order_by": "1; DROP TABLE runs"}, now, known=["state"], order=["timestamp"]
    ... )
    >>> query.order_by, problems
    ('timestamp', ["cannot sort by '1; DROP TABLE runs'"])
    """
    problems: list[str] = []
    search = content.get("search", present.search)
    if not isinstance(search, str):
        problems.append("the text to filter by is no text")
        search = present.search
    order_by = content.get("order_by", present.order_by)
    if not isinstance(order_by, str) or order_by not in order:
        problems.append(f"cannot sort by {_short(order_by)}")
        order_by = present.order_by
    descending = content.get("descending", present.descending)
    columns = _columns(content.get("columns"), known, problems) or present.columns
    return Query(search[:_MAX_TEXT], order_by, descending is True, columns), problems


def _columns(value: object, known: Collection[str], problems: list[str]) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        problems.append("the columns are no list")
        return ()
    unknown = [name for name in value if not isinstance(name, str) or name not in known]
    problems.extend(f"there is no column {_short(name)}" for name in unknown[:3])
    good = [name for name in value if isinstance(name, str) and name in known]
    return tuple(dict.fromkeys(good))[:_MAX_COLUMNS]


def read_window(content: Mapping[str, Any], columns: int = 1) -> Window:
    """Return the rows that a message asks for, clipped to what may travel at once.

    Examples
    --------
    >>> read_window({"offset": -5, "limit": 10**9, "view": "a"})
    Window(view='a', seq=0, offset=0, limit=200)
    >>> read_window({"limit": 10**9}, columns=50).limit
    80
    """
    most = min(MAX_ROWS, max(_FEWEST_ROWS, _MAX_CELLS // max(1, columns)))
    view = content.get("view")
    return Window(
        view=view[:40] if isinstance(view, str) else "",
        seq=read_int(content.get("seq"), 0, _MAX_OFFSET),
        offset=read_int(content.get("offset"), 0, _MAX_OFFSET),
        limit=read_int(content.get("limit"), 1, most),
    )


def read_int(value: object, low: int, high: int) -> int:
    """Return `value` between `low` and `high`; what is no whole number is `low`."""
    if isinstance(value, bool) or not isinstance(value, int):
        return low
    return max(low, min(value, high))


def read_ids(value: object) -> list[str] | None:
    """Return a list of run ids without repeats, or None when it is none or too long.

    Examples
    --------
    >>> read_ids(["b", "a", "b"]), read_ids("ab"), read_ids([1])
    (['b', 'a'], None, None)
    """
    if not isinstance(value, list) or len(value) > MAX_SELECTED:
        return None
    if not all(isinstance(item, str) and len(item) <= _MAX_TEXT for item in value):
        return None
    return list(dict.fromkeys(value))


def selection(value: object) -> list[str]:
    """Return the run ids of a selection, or raise what the table then says."""
    ids = read_ids(value)
    if ids is None:
        ignored(f"a selection is a list of at most {MAX_SELECTED:,} run ids")
    return ids


def ignored(why: str) -> NoReturn:
    """Raise what the table says of a message that it could not use."""
    msg = f"The table left something out: {why}."
    raise HistoryError(msg)


def _short(value: object) -> str:
    return repr(value)[:60]

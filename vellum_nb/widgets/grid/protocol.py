"""What the browser may ask of the grid, read with suspicion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from vellum_nb.errors import InputError
from vellum_nb.widgets.table_protocol import read_int

__all__ = ["QUALITIES", "STATES", "GridQuery", "GridWindow", "read_query", "read_window", "refused"]

STATES = ("chosen", "different", "regressions", "missing", "unstable")
QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
_MAX_ROWS = 60
_MAX_TEXT = 500
_MAX_LABELS = 50


@dataclass(frozen=True)
class GridQuery:
    """Which cases are shown.

    Attributes
    ----------
    states : frozenset of str
        Of `STATES`; a case is shown that is in any. None: all cases.
    labels : tuple
        Label and values; a case is shown that has one of the values, of each label.
    search : str
        Words that the inputs, the outputs or an error have, as `History.search` takes them.
    """

    states: frozenset[str] = frozenset()
    labels: tuple[tuple[str, frozenset[str]], ...] = field(default=())
    search: str = ""


@dataclass(frozen=True)
class GridWindow:
    """Which rows are wanted, and which view on the page wants them."""

    view: str
    seq: int
    offset: int
    limit: int


def read_query(content: object) -> GridQuery:
    """Return the query of a message; what is not understood is left out.

    Examples
    --------
    >>> read_query({"states": ["missing", "all"], "search": 1})
    GridQuery(states=frozenset({'missing'}), labels=(), search='')
    """
    asked: Mapping[str, Any] = content if isinstance(content, dict) else {}
    search = asked.get("search")
    return GridQuery(
        states=frozenset(each for each in _texts(asked.get("states")) if each in STATES),
        labels=_labels(asked.get("labels")),
        search=search[:_MAX_TEXT] if isinstance(search, str) else "",
    )


def _labels(value: object) -> tuple[tuple[str, frozenset[str]], ...]:
    if not isinstance(value, dict):
        return ()
    pairs = [(name, frozenset(_texts(values))) for name, values in value.items()]
    return tuple(sorted((n, v) for n, v in pairs if isinstance(n, str) and v)[:_MAX_LABELS])


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        return []
    return [each for each in value[:_MAX_TEXT] if isinstance(each, str)]


def read_window(content: Mapping[str, Any]) -> GridWindow:
    """Return the rows that a message asks for, clipped to what may travel at once.

    Examples
    --------
    >>> read_window({"offset": -5, "limit": 10**9, "view": "a"})
    GridWindow(view='a', seq=0, offset=0, limit=60)
    """
    view = content.get("view")
    return GridWindow(
        view=view[:60] if isinstance(view, str) else "",
        seq=read_int(content.get("seq"), 0, 2**53),
        offset=read_int(content.get("offset"), 0, 2**53),
        limit=read_int(content.get("limit"), 1, _MAX_ROWS),
    )


def refused(why: str) -> NoReturn:
    """Raise what the grid says of a message that it could not use."""
    msg = f"The grid left something out: {why}."
    raise InputError(msg)

"""Filters and orders as SQL. Values are always bound; names come from our own lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias, TypedDict, get_args

from vellum_nb.errors import HistoryError
from vellum_nb.history.rows.rows import SCALARS, clean, micros
from vellum_nb.history.searching.search import condition
from vellum_nb.history.store.store import Condition, Dialect, Store
from vellum_nb.models import Run, RunState

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ALL",
    "NEWEST_FIRST",
    "Filters",
    "Ids",
    "PageFilters",
    "Selection",
    "ids_of",
    "moment",
    "order",
    "select",
    "words",
]

NEWEST_FIRST = "r.timestamp DESC, r.seq DESC"


Ids: TypeAlias = "str | Run | Iterable[str] | Iterable[Run] | pd.DataFrame"
"""Which runs: their ids, themselves, or a frame of them."""


class _Plain(TypedDict, total=False):
    """Which runs are meant; None, like leaving it out, means all.

    `since` is inclusive, `until` is not; without a zone they are UTC.
    """

    deployment: str | Sequence[str] | None
    release_tag: str | Sequence[str] | None
    state: str | Sequence[str] | None
    since: datetime | date | str | None
    until: datetime | date | str | None
    case_id: str | Sequence[str] | None
    sweep_id: str | Sequence[str] | None
    execution_id: str | Sequence[str] | None
    external_id: str | Sequence[str] | None
    author: str | Sequence[str] | None
    ids: Ids | None


class OtherFilters(_Plain, total=False):
    """What may be given beside a search."""

    limit: int | None


class PageFilters(_Plain, total=False):
    """What a page may be chosen by; `search`: words, as `History.search` takes them.

    `so_far`: what the index of words has by now is searched; it is not brought up to date.
    """

    search: str | None
    so_far: bool


class Filters(PageFilters, total=False):
    """The same, and `limit`: how many of the newest."""

    limit: int | None


_ONE_OF = {
    "deployment": "r.deployment",
    "release_tag": "r.release_tag",
    "state": "r.state",
    "case_id": "r.case_id",
    "sweep_id": "r.sweep_id",
    "execution_id": "r.execution_id",
    "external_id": "r.external_id",
    "author": "r.author",
    "ids": "r.id",
}
_STATES = get_args(RunState)
_ROOMS = {"input": "p.inputs", "output": "p.outputs", "desired": "p.desired"}
ALL = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Selection:
    """A WHERE clause with what it binds; where there are `parts`, just one holds for each row."""

    where: str
    bound: tuple[object, ...]
    limit: int
    parts: tuple[Condition, ...] = ()


def select(filters: Filters, store: Store, *, newest_first: bool = True) -> Selection:
    """Return the SQL of `filters`; raise for a name that is none of them.

    Where they are not read `newest_first` a limit is of no help to a search.
    """
    unknown = sorted(set(filters) - set(Filters.__annotations__))
    if unknown:
        known = ", ".join(Filters.__annotations__)
        msg = f"no filter is called {', '.join(unknown)}; there are: {known}"
        raise TypeError(msg)
    terms: list[str] = []
    bound: list[object] = []
    for name, value in filters.items():
        if value is not None and name not in {"limit", "search", "so_far"}:
            term, argument = _term(name, value, store.dialect)
            terms.append(term)
            bound.append(argument)
    where, limit = " AND ".join(terms) or "TRUE", _limit(filters.get("limit"))
    search = filters.get("search")
    if search is None or not words(search).strip():
        return Selection(where, tuple(bound), limit)
    newest, so_far = limit if newest_first else None, filters.get("so_far", False)
    found = condition(store, search, where, bound, newest=newest, so_far=so_far)
    parts = tuple((f"{where} AND {term}", (*bound, *more)) for term, more in found)
    either = " OR ".join(term for term, _ in found)
    every = (argument for _, more in found for argument in more)
    return Selection(f"{where} AND ({either})", (*bound, *every), limit, parts)


def words(search: object) -> str:
    """Return what is searched for; raise where it is no text."""
    if not isinstance(search, str):
        msg = f"search={search!r:.100} is no text; write the words in quotes"
        raise HistoryError(msg)
    return search


def order(
    order_by: str, dialect: Dialect, *, descending: bool, letters: int | None = None
) -> tuple[str, tuple[object, ...], bool]:
    """Return ORDER BY terms, what they bind, and whether they need the payloads.

    Missing values come last either way; equal ones are ordered newest first. Texts of payloads
    are compared by their first `letters`, where that is given.
    """
    way = "DESC" if descending else "ASC"
    if order_by == "timestamp":
        return f"r.timestamp {way}, r.seq {way}", (), False
    if order_by in SCALARS:
        return f"r.{order_by} {way} NULLS LAST, {NEWEST_FIRST}", (), False
    room, _, name = clean(str(order_by)).partition(".")
    if room == "metadata" and not name:
        return f"p.metadata {way} NULLS LAST, {NEWEST_FIRST}", (), True
    if room not in _ROOMS or not name:
        known = ", ".join((*SCALARS, "metadata", *(f"{room}.<name>" for room in _ROOMS)))
        msg = f"runs cannot be ordered by {order_by!r}; there are: {known}"
        raise HistoryError(msg)
    key, bound = dialect.member_key(_ROOMS[room], name, letters)
    return f"{key} {way} NULLS LAST, {NEWEST_FIRST}", bound, True


def _term(name: str, value: Any, dialect: Dialect) -> tuple[str, object]:
    if name == "since":
        return "r.timestamp >= ?", moment(name, value)
    if name == "until":
        return "r.timestamp < ?", moment(name, value)
    values = _names(name, value)
    if len(values) == 1:
        return f"{_ONE_OF[name]} = ?", values[0]
    return dialect.one_of(_ONE_OF[name]), dialect.listed(values)


def ids_of(given: Any) -> Any:
    """Return the ids where runs are given in their place: a frame of them, a list, or one."""
    columns = getattr(given, "columns", None)
    if columns is not None:
        if "id" not in columns:
            msg = f"ids= is a frame without the column id; it has {', '.join(map(str, columns))}"
            raise HistoryError(msg)
        return given["id"].tolist()
    if isinstance(given, Run):
        return [given.id]
    if isinstance(given, str) or not isinstance(given, Iterable):
        return given
    return [each.id if isinstance(each, Run) else each for each in given]


def _names(name: str, value: Any) -> list[str]:
    value = ids_of(value) if name == "ids" else value
    is_list = isinstance(value, Iterable) and not isinstance(value, str)
    is_list = is_list and getattr(value, "ndim", 1) == 1  # going through a table yields its columns
    values = list(value) if is_list else [value]
    wrong = [each for each in values if not isinstance(each, str)]
    if wrong:
        msg = f"{name}={wrong[0]!r:.100} is no name; write it in quotes, or give a list of names"
        raise HistoryError(msg)
    unknown = [each for each in values if name == "state" and each not in _STATES]
    if unknown:
        msg = f"state={unknown[0]!r:.100} is no state; there are: {', '.join(_STATES)}"
        raise HistoryError(msg)
    return [clean(each) for each in values]


def moment(name: str, value: datetime | date | str) -> int:
    """Return a time as the database has it; `name` is whose, for the message."""
    if isinstance(value, datetime) and value == value:  # noqa: PLR0124  (pandas' NaT is none)
        return micros(value)
    try:
        return micros(datetime.fromisoformat(str(value)))
    except ValueError as exc:
        msg = f"{name}={value!r} is no time; write it like '2026-07-01' or '2026-07-01T09:30Z'"
        raise HistoryError(msg) from exc


def _limit(limit: object) -> int:
    if limit is None:
        return ALL
    if not isinstance(limit, SupportsIndex) or isinstance(limit, bool) or int(limit) < 0:
        msg = f"limit={limit!r} keeps no runs; give a number from 0, or None for all"
        raise HistoryError(msg)
    return min(int(limit), ALL)

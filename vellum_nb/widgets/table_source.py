"""Where the history table gets its rows from: pages, counts and columns of one history."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from vellum_nb.errors import HistoryError, VellumNBError
from vellum_nb.history import History, OrderedRuns
from vellum_nb.models import Run
from vellum_nb.widgets.table_protocol import Query, Window
from vellum_nb.widgets.table_rows import (
    JOINED,
    column_kind,
    default_columns,
    fitting_rows,
    known_columns,
    static_html,
)

__all__ = ["LONG", "Counts", "TableSource"]

LONG = 20_000
"""Histories of more runs are read outside the kernel's own thread."""
_COUNTED = 1000  # that many are counted in no time

_FILTERS = [
    "deployment",
    "release_tag",
    "state",
    "since",
    "until",
    "case_id",
    "sweep_id",
    "author",
    "ids",
    "search",
]
_SAMPLE = 100
_STATIC_ROWS = 10
_MAX_PATH = 500


class Counts(NamedTuple):
    """How many runs are found, and how many there are; where `rough`, at least so many."""

    total: int
    recorded: int
    rough: bool


class TableSource:
    """The rows of a table: a history, the filters given in code, and what columns there are.

    Inputs and outputs become columns as they are met: those of the newest runs at first, then
    those of every row that was looked at.

    Raises
    ------
    TypeError
        A filter has an unknown name.
    """

    def __init__(self, history: History, filters: Mapping[str, Any]) -> None:
        unknown = sorted(set(filters) - set(_FILTERS))
        if unknown:
            msg = f"There is no filter {', '.join(unknown)}; there are: {', '.join(_FILTERS)}"
            raise TypeError(msg)
        self._history = history
        self._lock = threading.RLock()
        self._key: tuple[str, str] | None = None
        self._ordered: OrderedRuns | None = None
        self._filters = {key: value for key, value in filters.items() if value is not None}
        self.first_search = str(self._filters.pop("search", ""))
        self._counts = Counts(0, 0, rough=False)
        self._counted = ""
        self._inputs: dict[str, None] = {}
        self._outputs: dict[str, None] = {}
        self._deployments: set[str] = set()
        self._signed = False
        self._meet(history.runs(**self._filters, limit=_SAMPLE, skip_damaged=True))
        self.default_columns = self._defaults()

    @property
    def known(self) -> list[str]:
        """The names of all columns."""
        return known_columns(self._inputs, self._outputs, signed=self._signed)

    @property
    def sortable(self) -> list[str]:
        """The columns that runs can be ordered by."""
        return [name for name in self.known if name not in JOINED]

    def head(self) -> dict[str, Any]:
        """Return what the browser must know beside the rows: title, chips, columns."""
        known = self.known
        # Before the first run nobody could know the inputs: the first one joins the default.
        self.default_columns = self._defaults()
        deployment = self._filters.get("deployment")
        title = deployment if isinstance(deployment, str) else ", ".join(deployment or ())
        chips = [
            {"name": name, "text": _chip(name, value)}
            for name, value in self._filters.items()
            if name != "deployment"
        ]
        columns = [
            {"name": name, "kind": column_kind(name), "sortable": name not in JOINED}
            for name in known
        ]
        return {
            "title": title,
            "chips": chips,
            "columns": columns,
            "default": self.default_columns,
        }

    def drop(self, name: object) -> bool:
        """Take a filter away; return whether there was one that may go."""
        if name not in self._filters or name == "deployment":
            return False
        del self._filters[str(name)]
        return True

    @property
    def is_long(self) -> bool:
        """Whether answers may take more than a moment."""
        return self._history.count(limit=LONG + 1) > LONG

    def rows(
        self,
        query: Query,
        window: Window,
        *,
        counting: str,
        on_start: Callable[[Callable[[], None]], None] = lambda _cancel: None,
    ) -> dict[str, Any]:
        """Return the rows of `window`, and how many there are in all.

        `counting` is ``quick``, ``exact``, or ``no``: as it was, while only the window moves.
        `on_start` is called with a function that cancels a sort from another thread.
        """
        if self._counted != (key := repr((self._with(query), query.order_by))):
            self._counted, counting = key, counting.replace("no", "quick")
        again = counting != "no"
        runs = self._window(query, window.offset, window.limit, again=again, on_start=on_start)
        seen = window.offset + len(runs)
        if counting != "no":
            self._counts = self._count(query, seen, exact=counting == "exact")
        elif self._counts.rough:
            self._counts = self._count(query, max(seen, self._counts.total), exact=False)
        self._meet(runs)
        return {
            "view": window.view,
            "seq": window.seq,
            "offset": window.offset,
            "limit": window.limit,
            "total": self._counts.total,
            "all": self._counts.recorded,
            "rough": self._counts.rough,
            "columns": list(query.columns),
            "search": query.search,
            "rows": fitting_rows(runs, query.columns, search=query.search),
        }

    def index(self, on_progress: Callable[[int, int], None]) -> None:
        """Bring the search index up to date."""
        self._history.index_for_search(on_progress)

    def counts(self, query: Query, *, exact: bool) -> Counts:
        """Return how many runs `query` finds, and how many there are: counted, or as known."""
        return self._count(query, 0, exact=exact)

    def page(self, query: Query, *, offset: int, limit: int) -> list[Run]:
        """Return runs in the order of `query`."""
        return self._window(query, offset, limit)

    def ids(self, query: Query, *, offset: int, limit: int) -> list[str]:
        """Return the ids of rows by their position."""
        return [run.id for run in self.page(query, offset=offset, limit=max(0, limit))]

    def summary(self, query: Query) -> str:
        """Return how many runs `query` finds, in words; of very many only that they are."""
        total = self._history.count(**self._with(query), limit=LONG + 1)
        return f"over {LONG:,} runs" if total > LONG else f"{total:,} run{'s'[: total != 1]}"

    def runs(self, ids: Sequence[str]) -> list[Run]:
        """Return the runs with these ids, newest first."""
        return self._history.runs(ids=list(ids), skip_damaged=True) if ids else []

    def static_html(self, query: Query) -> str:
        """Return the first rows for where no widget can live."""
        try:
            runs = self.page(query, offset=0, limit=_STATIC_ROWS)
            return static_html(runs, self.summary(query), query.columns)
        except HistoryError:
            return "<p>The history is closed or unreadable.</p>"

    def export(self, query: Query, name: object) -> dict[str, Any]:
        """Write all runs that `query` finds to a new file; return the message about it."""
        try:
            path = _new_csv(name)
            self._history.to_csv(path, progress=False, **self._with(query))
            return {"path": str(path), "count": self.counts(query, exact=True).total}
        except (OSError, VellumNBError) as exc:
            return {"error": str(exc)}

    def _with(self, query: Query) -> dict[str, Any]:
        search = {"search": query.search} if query.search.strip() else {}
        return self._filters | search

    def _window(
        self,
        query: Query,
        offset: int,
        limit: int,
        *,
        again: bool = False,
        on_start: Callable[[Callable[[], None]], None] = lambda _cancel: None,
    ) -> list[Run]:
        """Return the runs of a window; an order of another column is determined once."""
        filters = self._with(query)
        order: dict[str, Any] = {"order_by": query.order_by, "descending": query.descending}
        order["whole"] = "search" in filters  # a match may be far into a large value
        if query.order_by == "timestamp":
            page = self._history.page
            return page(offset=offset, limit=limit, skip_damaged=True, **order, **filters)
        with self._lock:
            key = (repr(sorted(filters.items())), repr(order))
            if again or key != self._key or self._ordered is None:
                self._ordered = self._history.ordered(on_start=on_start, **order, **filters)
                self._key = key
            ordered = self._ordered
        return ordered.runs(offset=offset, limit=limit)

    def _count(self, query: Query, seen: int, *, exact: bool) -> Counts:
        total, rough = self._counted_with(self._with(query), seen, exact=exact)
        deployment = self._filters.get("deployment")
        if not query.search and set(self._filters) <= {"deployment"}:
            return Counts(total, total, rough=rough)
        of_all = {} if deployment is None else {"deployment": deployment}
        recorded, rougher = self._counted_with(of_all, total, exact=exact)
        return Counts(total, recorded, rough=rough or rougher)

    def _counted_with(
        self, filters: Mapping[str, Any], at_least: int, *, exact: bool
    ) -> tuple[int, bool]:
        """Return how many runs there are, and whether there may be more."""
        if exact or not self.is_long:
            return self._history.count(**filters), False
        counted = self._history.count(**filters, limit=_COUNTED)
        return max(at_least, counted), counted >= _COUNTED

    def _meet(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self._inputs.update(dict.fromkeys(run.inputs))
            self._outputs.update(dict.fromkeys(run.outputs))
            self._deployments.add(run.deployment)
            self._signed = self._signed or run.author is not None

    def _defaults(self) -> list[str]:
        return default_columns(self.known, mixed=len(self._deployments) > 1)


def _chip(name: str, value: Any) -> str:
    if name in {"since", "until"}:
        return f"{name} {_day(value)}"
    if name == "ids":
        return f"{len(list(value))} chosen runs"
    words = value if isinstance(value, str) else ", ".join(str(item) for item in value)
    return f"{name} {words}"


def _day(value: Any) -> str:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    clock = f" {moment:%H:%M}" if (moment.hour, moment.minute) != (0, 0) else ""
    return f"{moment.day} {moment:%b %Y}{clock}"


def _new_csv(value: object) -> Path:
    """Return the file that a message names; raise when it is no name, or taken.

    Raises
    ------
    HistoryError
        There is such a file already: nothing is ever written over.
    """
    if not isinstance(value, str) or not value.strip() or "\0" in value or len(value) > _MAX_PATH:
        msg = "Give the file a name, such as runs.csv"
        raise HistoryError(msg)
    path = Path(value.strip()).expanduser()
    if not path.suffix:
        path = path.with_suffix(".csv")
    if path.exists():
        msg = f"{path} exists already and was left as it is; choose another name"
        raise HistoryError(msg)
    return path.resolve()

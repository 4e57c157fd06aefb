"""Where the history table gets its rows from: pages, counts and columns of one history."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from vellum_nb.errors import HistoryError, VellumNBError
from vellum_nb.history import History
from vellum_nb.history.reading.ordered import Ordered
from vellum_nb.models import Run
from vellum_nb.widgets.base import export_target
from vellum_nb.widgets.table_pages import LONG, Pages
from vellum_nb.widgets.table_protocol import Query, Window
from vellum_nb.widgets.table_rows import (
    JOINED,
    column_kind,
    default_columns,
    fitting_rows,
    known_columns,
    static_html,
)

__all__ = ["Counts", "TableSource"]

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
_MOST_NAMES = 250  # of inputs, and of outputs
_STATIC_ROWS = 10


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
            msg = f"no filter is called {', '.join(unknown)}; there are: {', '.join(_FILTERS)}"
            raise TypeError(msg)
        self._history = history
        self._pages = Pages(history)
        self._filters = {key: value for key, value in filters.items() if value is not None}
        self.first_search = str(self._filters.pop("search", ""))
        self._counts = Counts(0, 0, rough=False)
        self._counted = ""
        self._inputs: dict[str, None] = {}
        self._outputs: dict[str, None] = {}
        self._deployments: set[str] = set()
        self._signed = False
        self._meet(history.runs(**self._filters, limit=_SAMPLE))
        self.default_columns = self._defaults()

    @property
    def known(self) -> list[str]:
        """The names of all columns."""
        inputs, outputs = (islice(each, _MOST_NAMES) for each in (self._inputs, self._outputs))
        return known_columns(inputs, outputs, signed=self._signed)

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
            "note": self._note(),
        }

    def _note(self) -> str:
        """Return that there are more inputs or outputs than can be columns."""
        kinds = {"inputs": len(self._inputs), "outputs": len(self._outputs)}
        many = [f"{count:,} {kind}" for kind, count in kinds.items() if count > _MOST_NAMES]
        return f"{' and '.join(many)}; the first {_MOST_NAMES} can be columns" if many else ""

    def drop(self, name: object) -> bool:
        """Take a filter away; return whether there was one that may go."""
        if name not in self._filters or name == "deployment":
            return False
        del self._filters[str(name)]
        return True

    @property
    def is_long(self) -> bool:
        """Whether answers may take more than a moment."""
        return self._pages.is_long

    def is_near(self, window: Window) -> bool:
        """Return whether a window is among what an order that takes long finds first."""
        return self._pages.is_near(window.offset, window.limit)

    def rows(
        self,
        query: Query,
        window: Window,
        *,
        counting: str,
        told: Callable[[int, int, Callable[[Window], dict[str, Any]]], None],
    ) -> dict[str, Any]:
        """Return the rows of `window`, and how many there are in all.

        `counting` is ``quick``, ``exact``, or ``no``: as it was, while only the window moves.
        Where an order takes long, `told` hears how many runs were read of how many, and how to get
        what would be returned of those, for any near window.
        """

        def heard(done: int, total: int, found: Callable[[], Ordered]) -> None:
            def so_far(now: Window) -> dict[str, Any]:
                runs = found().runs(offset=now.offset, limit=now.limit)
                return self._rows(query, now, runs, quickly)

            told(done, total, so_far)

        if self._counted != (asked := repr((self._with(query), query.order_by))):
            self._counted, counting = asked, counting.replace("no", "quick")
        quickly = counting.replace("exact", "quick")
        runs = self._pages.window(
            self._with(query),
            (query.order_by, query.descending),
            offset=window.offset,
            limit=window.limit,
            told=heard,
            again=counting != "no",
        )
        return self._rows(query, window, runs, counting)

    def _rows(
        self, query: Query, window: Window, runs: Sequence[Run], counting: str
    ) -> dict[str, Any]:
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

    def reading(self, query: Query) -> Iterator[tuple[int, int]]:
        """Read for the search of `query` by and by; yield how far it is until it is whole."""
        return self._history.prepare(search=query.search.strip())

    def keeping(self, query: Query) -> Iterator[tuple[int, int]]:
        """Keep by and by what `query` sorts by; yield how far it is until it is done."""
        return self._history.prepare(order_by=query.order_by)

    def counts(self, query: Query, *, exact: bool) -> Counts:
        """Return how many runs `query` finds, and how many there are: counted, or as known."""
        return self._count(query, 0, exact=exact)

    def page(self, query: Query, *, offset: int, limit: int) -> list[Run]:
        """Return runs in the order of `query`."""
        order = (query.order_by, query.descending)
        return self._pages.window(self._with(query), order, offset=offset, limit=limit)

    def ids(self, query: Query, *, offset: int, limit: int) -> list[str]:
        """Return the ids of rows by their position."""
        return [run.id for run in self.page(query, offset=offset, limit=max(0, limit))]

    def told(self, query: Query) -> str:
        """Return how many runs `query` finds, in words; of very many only that they are."""
        total = self._history.count(**self._with(query), limit=LONG + 1)
        told = f"over {LONG:,} runs" if total > LONG else f"{total:,} run{'s'[: total != 1]}"
        return told if next(self.reading(query), None) is None else f"{told} so far"

    def runs(self, ids: Sequence[str]) -> list[Run]:
        """Return the runs with these ids, newest first."""
        return self._history.runs(ids=list(ids)) if ids else []

    def static_html(self, query: Query) -> str:
        """Return the first rows for where no widget can live."""
        try:
            runs = self.page(query, offset=0, limit=_STATIC_ROWS)
            return static_html(runs, self.told(query), query.columns)
        except HistoryError:
            return "<p>The history is closed or unreadable.</p>"

    def export(self, query: Query, name: object, folder: Path | None) -> dict[str, Any]:
        """Write all runs that `query` finds to a new file; return what there is to tell of it."""
        try:
            path = export_target(name, ".csv", folder)
            self._history.to_csv(path, progress=False, **self._with(query) | {"so_far": False})
            return {"path": str(path), "count": self.counts(query, exact=True).total}
        except (OSError, VellumNBError) as exc:
            return {"error": str(exc)}

    def _with(self, query: Query) -> dict[str, Any]:
        search = {"search": query.search, "so_far": True} if query.search.strip() else {}
        return self._filters | search

    def _count(self, query: Query, seen: int, *, exact: bool) -> Counts:
        total, rough = self._pages.count(self._with(query), at_least=seen, exact=exact)
        deployment = self._filters.get("deployment")
        if not query.search and set(self._filters) <= {"deployment"}:
            return Counts(total, total, rough=rough)
        of_all = {} if deployment is None else {"deployment": deployment}
        recorded, rougher = self._pages.count(of_all, at_least=total, exact=exact)
        return Counts(total, recorded, rough=rough or rougher)

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

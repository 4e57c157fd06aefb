"""The grid itself in the page: answers what the browser asks for, window by window."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import traitlets

from vellum_nb.errors import VellumNBError
from vellum_nb.experiments.cases import Case, in_turn
from vellum_nb.history.reading.payloads import GoneError
from vellum_nb.widgets.base import ThreadSafeWidget
from vellum_nb.widgets.grid.cells import Shown, row
from vellum_nb.widgets.grid.protocol import (
    QUALITIES,
    GridQuery,
    GridWindow,
    read_query,
    read_window,
    refused,
)
from vellum_nb.widgets.grid.shelf import Shelf
from vellum_nb.widgets.markup import asset, script

__all__ = ["GridTable", "Host"]

_FIRST_CELLS, _FIRST_ROWS = 24, 4  # as many cells as fill the page, at least four rows
MAX_PAGE = 80_000  # bytes of the rows in one message
_KEPT = 8  # orders that are remembered


class Host(Protocol):
    """Whose grid it is: what is shown, and what is done about a click."""

    def shelf(self) -> Shelf:
        """Return the cases in their order."""

    def shown(self) -> Shown:
        """Return what rows are made of."""

    def open_case(self, case: Case) -> None:
        """Show a case in full."""

    def close_case(self) -> None:
        """Show it no more."""

    def rate(self, case: Case, release: str, quality: float) -> None:
        """Rate the answer of a case on a release."""

    def replay(self, case: Case, release: str) -> None:
        """Run a case on a release."""

    def set_metric(self, name: str) -> None:
        """Rank the cases by another metric."""

    def set_baseline(self, release: str) -> None:
        """Hold the others against `release`."""

    def export(self, kind: object, path: object) -> None:
        """Write a file."""

    def rate_blind(self, release: str) -> None:
        """Open the blind rating of the baseline and `release`."""

    def look_again(self) -> None:
        """Look soon which runs there are still."""


class GridTable(ThreadSafeWidget):
    """Draws the grid; `ComparisonView` owns it and does what is asked for.

    Attributes
    ----------
    turn : RLock
        Held by whoever changes what is shown.
    """

    _esm = traitlets.Unicode(script("grid.js")).tag(sync=True)
    _css = traitlets.Unicode(asset("colours.css", "grid.css")).tag(sync=True)

    error = traitlets.Unicode("").tag(sync=True)
    opened = traitlets.Unicode("").tag(sync=True)
    _head = traitlets.Dict().tag(sync=True)
    _first = traitlets.Dict().tag(sync=True)

    def __init__(self, host: Host, head: Mapping[str, Any]) -> None:
        self._host = host
        self.turn = threading.RLock()
        self._orders: dict[GridQuery, list[int]] = {}
        super().__init__(_head=dict(head), _first=self._answer(GridQuery(), self._first_window))
        self._kinds: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "rows": self._on_rows,
            "open": lambda content: host.open_case(self._case(content)),
            "close": lambda _content: host.close_case(),
            "rate": self._on_rate,
            "replay": lambda content: host.replay(self._case(content), _release(content)),
            "baseline": lambda content: host.set_baseline(_release(content)),
            "metric": lambda content: host.set_metric(_text(content, "name")),
            "export": lambda content: host.export(content.get("format"), content.get("path")),
            "blind": lambda content: host.rate_blind(_release(content)),
        }
        self.on_msg(self._on_message)

    def renew(self, head: Mapping[str, Any], *, reorder: bool) -> None:
        """Show what is so now; with `reorder` cases may change their places."""
        with self.turn:
            if reorder:
                self._orders.clear()
            self._first = self._answer(GridQuery(), self._first_window)
            self._head = dict(head)

    def tell(self, **content: Any) -> None:
        """Send a message to every view on the page."""
        self.send(content)

    def send_row(self, case: Case) -> None:
        """Send one row anew, where it is in sight it is drawn."""
        with self.turn:
            try:
                self.send({"kind": "row", "row": row(self._host.shown(), case)})
            except GoneError as exc:
                self.lost(exc)

    def fail(self, exc: BaseException) -> None:
        """Show what went wrong."""
        known = isinstance(exc, VellumNBError)
        self.error = str(exc) if known else f"{type(exc).__name__}: {exc}"

    def lost(self, exc: GoneError) -> None:
        """Say that a run went unheard, and have it looked which there are still."""
        self.fail(exc)
        self._host.look_again()

    def _order(self, query: GridQuery) -> list[int]:
        """Return the places of the cases; the same until the query changes, so nothing jumps."""
        if query not in self._orders:
            self._orders[query] = self._host.shelf().find(query)
            while len(self._orders) > _KEPT:
                del self._orders[next(iter(self._orders))]
        return self._orders[query]

    @property
    def _first_window(self) -> GridWindow:
        releases = max(1, len(self._host.shown().comparison.releases))
        return GridWindow("", 0, 0, max(_FIRST_ROWS, _FIRST_CELLS // releases))

    def _answer(self, query: GridQuery, window: GridWindow) -> dict[str, Any]:
        """Return the rows of `window`, as many as may travel at once; at least one."""
        places = self._order(query)
        shown = self._host.shown()
        cases = shown.comparison.cases
        rows: list[dict[str, Any]] = []
        size = 0
        wanted = places[window.offset : window.offset + window.limit]
        for case in in_turn(cases[place] for place in wanted):
            made = row(shown, case)
            size += len(json.dumps(made))
            if rows and size > MAX_PAGE:
                break
            rows.append(made)
        return {
            "kind": "rows",
            "view": window.view,
            "seq": window.seq,
            "offset": window.offset,
            "total": len(places),
            "all": len(cases),
            "rows": rows,
        }

    def _on_rows(self, content: Mapping[str, Any]) -> None:
        self.send(self._answer(read_query(content.get("query")), read_window(content)))

    def _on_rate(self, content: Mapping[str, Any]) -> None:
        quality = content.get("quality")
        if isinstance(quality, bool) or quality not in QUALITIES:
            refused(f"a rating is one of {QUALITIES}, not {quality!r:.60}")
        self._host.rate(self._case(content), _release(content), float(quality))

    def _case(self, content: Mapping[str, Any]) -> Case:
        wanted = content.get("id")
        cases = self._host.shown().comparison.cases
        found = next((each for each in cases if each.case_id == wanted), None)
        if found is None:
            refused(f"there is no case {wanted!r:.60}")
        return found

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        message = content if isinstance(content, dict) else {}
        kind = message.get("kind")
        handler = self._kinds.get(kind) if isinstance(kind, str) else None
        with self.turn:
            try:
                if handler is None:
                    refused(f"it does not know the message {kind!r:.60}")
                handler(message)
            except GoneError as exc:
                self.lost(exc)
            except VellumNBError as exc:
                self.fail(exc)
            except Exception as exc:
                self.fail(exc)
                raise
            else:
                if kind != "rows":
                    self.error = ""


def _release(content: Mapping[str, Any]) -> str:
    return _text(content, "release")


def _text(content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str):
        refused(f"{value!r:.60} is no {key}")
    return value

"""How the history table gets at its runs: which question to the history costs least.

The first rows of a search are found with a limit, the first thousand of another order once, and
kept. As soon as somebody scrolls further, the whole order is found once and kept. Of a long
history rows come before counts: a count that would take a moment stands at what is known to be
there, until it was counted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from vellum_nb.history import History
from vellum_nb.history.reading.ordered import Ordered
from vellum_nb.models import Run

__all__ = ["LONG", "Pages"]

LONG = 20_000
"""More runs than these are asked for aside of the kernel's own thread."""
_NEAR = 1000  # rows that are found much sooner than all
_COUNTED = 1000  # as many are counted in no time


class Pages:
    """Windows and counts of one history; one window at a time."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._lock = threading.RLock()
        self._key: tuple[Any, ...] = ()
        self._ordered: Ordered | None = None
        self._is_whole = False
        self._counting = threading.Lock()
        self._counts: dict[str, int] = {}
        self._sure: set[str] = set()

    @property
    def is_long(self) -> bool:
        """Whether a search or another order may take more than a moment."""
        return self.history.has_many(LONG)

    def is_near(self, offset: int, limit: int) -> bool:
        """Return whether a window is among the first rows of an order."""
        return offset + limit <= _NEAR

    def window(
        self,
        filters: Mapping[str, Any],
        order: tuple[str, bool],
        *,
        offset: int,
        limit: int,
        told: Callable[[int, int, Callable[[], Ordered]], None] | None = None,
        again: bool = False,
    ) -> list[Run]:
        """Return the runs of a window; `again`: forget what was found before."""
        order_by, descending = order
        with self._lock:
            key = (repr(sorted(filters.items())), order)
            if again or key != self._key:
                self._key, self._ordered = key, None
                self._sure.clear()
            near, by_time = self.is_near(offset, limit), order_by == "timestamp"
            whole = bool(filters.get("search"))  # what was found may be far into a large value
            if self._ordered is None and by_time and (near or not whole):
                return self.history.page(
                    offset=offset,
                    limit=limit,
                    order_by=order_by,
                    descending=descending,
                    whole=whole,
                    **filters,
                )
            if self._ordered is None or not (near or self._is_whole):
                self._ordered = self.history.ordered(
                    order_by=order_by,
                    descending=descending,
                    whole=whole,
                    first=_NEAR if near else None,
                    told=told,
                    **filters,
                )
                self._is_whole = not near
            return self._ordered.runs(offset=offset, limit=limit)

    def count(self, filters: Mapping[str, Any], *, at_least: int, exact: bool) -> tuple[int, bool]:
        """Return how many runs there are, and whether there may be more.

        Of a long history, unless `exact`, that is what is known: what another thread has counted
        since the rows were asked for is exact, too.
        """
        key = repr(sorted(filters.items()))
        if exact or not self.is_long:
            with self._counting:
                self._counts[key] = self.history.count(**filters)
                self._sure.add(key)
        if key in self._sure:
            return self._counts[key], False
        if not filters.get("search"):
            counted = self.history.count(**filters, limit=_COUNTED)
            if counted < _COUNTED:
                return counted, False
            at_least = max(at_least, counted)
        return max(at_least, self._counts.get(key, 0)), True

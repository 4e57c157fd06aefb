"""How the history table gets at its runs: which question to the history costs least.

The first rows of any order are found with a limit. As soon as somebody scrolls far into a search or
a sort, the whole order is found once and kept. Of a long history rows come before counts: a count
that would take a moment stands at what is known to be there, until `counts` has counted.
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
_NEAR = 1000  # rows that are cheaper found again than kept
_COUNTED = 1000  # as many are counted in no time


class Pages:
    """Windows and counts of one history; one question at a time.

    Attributes
    ----------
    rough : bool
        Whether there may be more than what was counted last.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self.rough = False
        self._lock = threading.RLock()
        self._key: tuple[Any, ...] = ()
        self._ordered: Ordered | None = None
        self._counts: dict[str, int] = {}

    @property
    def is_long(self) -> bool:
        """Whether a search or another order may take more than a moment."""
        return self.history.has_many(LONG)

    def window(
        self,
        filters: Mapping[str, Any],
        order: tuple[str, bool],
        *,
        offset: int,
        limit: int,
        told: Callable[[int, int, Callable[[], list[Run]]], None] | None = None,
        again: bool = False,
    ) -> list[Run]:
        """Return the runs of a window; `again`: forget what was found before."""
        order_by, descending = order
        with self._lock:
            key = (repr(sorted(filters.items())), order)
            if again or key != self._key:
                self._key, self._ordered = key, None
            is_plain = order_by == "timestamp" and not filters.get("search")
            whole = bool(filters.get("search"))  # what was found may be far into a large value
            if self._ordered is None and (is_plain or offset + limit <= _NEAR):
                return self.history.page(
                    offset=offset,
                    limit=limit,
                    order_by=order_by,
                    descending=descending,
                    whole=whole,
                    told=told,
                    **filters,
                )
            if self._ordered is None:
                self._ordered = self.history.ordered(
                    order_by=order_by,
                    descending=descending,
                    whole=whole,
                    **filters,
                )
            return self._ordered.runs(offset=offset, limit=limit)

    def count(self, filters: Mapping[str, Any], *, at_least: int, exact: bool) -> int:
        """Return how many runs there are; of a long history, unless `exact`, what is known."""
        key = repr(sorted(filters.items()))
        with self._lock:
            if exact or not self.is_long:
                self._counts[key] = self.history.count(**filters)
                return self._counts[key]
            if not filters.get("search"):
                counted = self.history.count(**filters, limit=_COUNTED)
                if counted < _COUNTED:
                    return counted
                at_least = max(at_least, counted)
            self.rough = True
            return max(at_least, self._counts.get(key, 0))

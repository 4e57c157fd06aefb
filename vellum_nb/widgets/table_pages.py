"""How the history table gets at its runs: which question to the history costs least.

The newest runs are read by their index. What is searched for is found once and kept as an order;
so is what is sorted by, as soon as somebody scrolls far into it. Counts are exact up to
`COUNTED_AT_ONCE` runs; beyond, the last exact one stands until a refresh has counted again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from vellum_nb.history import History
from vellum_nb.history.ordered import Ordered
from vellum_nb.models import Run

__all__ = ["COUNTED_AT_ONCE", "Pages"]

COUNTED_AT_ONCE = 20_000
_NEAR = 1000  # rows that are cheaper found again than kept


class Pages:
    """Windows and counts of one history; one question at a time.

    Attributes
    ----------
    rough : bool
        Whether the last count stopped at `COUNTED_AT_ONCE`: there may be more.
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
        return self.history.count(limit=COUNTED_AT_ONCE) == COUNTED_AT_ONCE

    def window(
        self,
        filters: Mapping[str, Any],
        order: tuple[str, bool],
        *,
        offset: int,
        limit: int,
        told: Callable[[int, int], None] | None = None,
        again: bool = False,
    ) -> list[Run]:
        """Return the runs of a window; `again`: forget what was found before."""
        with self._lock:
            key = (repr(sorted(filters.items())), order)
            if again or key != self._key:
                self._key, self._ordered = key, None
            order_by, descending = order
            near = not filters.get("search") and offset + limit <= _NEAR
            if near or (order_by == "timestamp" and not filters.get("search")):
                return self.history.page(
                    offset=offset,
                    limit=limit,
                    order_by=order_by,
                    descending=descending,
                    whole=False,
                    **filters,
                )
            if self._ordered is None:
                self._ordered = self.history.ordered(
                    order_by=order_by,
                    descending=descending,
                    whole=bool(filters.get("search")),  # what was found is shown
                    told=told,
                    **filters,
                )
            return self._ordered.runs(offset=offset, limit=limit)

    def count(self, filters: Mapping[str, Any], *, exact: bool) -> int:
        """Return how many runs there are; unless `exact`, what is quickly known of them."""
        with self._lock:
            if filters.get("search") and self._ordered is not None:
                return len(self._ordered)
            key = repr(sorted(filters.items()))
            if not exact:
                found = self.history.count(**filters, limit=COUNTED_AT_ONCE)
                if found < COUNTED_AT_ONCE:
                    return found
                self.rough = True
                return max(found, self._counts.get(key, 0))
            self._counts[key] = self.history.count(**filters)
            return self._counts[key]

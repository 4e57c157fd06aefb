"""Runs in an order that was found once: any stretch of it is then read quickly."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from vellum_nb.models import Run

__all__ = ["Ordered"]


class Ordered:
    """Runs as `History.ordered` found and ordered them; 8 bytes each are held.

    Runs that were recorded later are not in it, those that were deleted since are left out.
    """

    def __init__(self, seqs: array[int], fetch: Callable[[Sequence[int]], list[Run]]) -> None:
        self._seqs = seqs
        self._fetch = fetch

    def __len__(self) -> int:
        return len(self._seqs)

    def runs(self, *, offset: int, limit: int) -> list[Run]:
        """Return `limit` runs from `offset` on."""
        return self._fetch(self._seqs[max(0, offset) : max(0, offset) + limit])

    def __repr__(self) -> str:
        return f"<Ordered: {len(self):,} run{'' if len(self) == 1 else 's'}>"

"""Runs that are read a batch at a time: from one history, or from its archives as well."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from vellum_nb.history.reading import reads
from vellum_nb.history.reading.query import Selection
from vellum_nb.history.rows.rows import PAYLOADS
from vellum_nb.history.sqlite.snapshot import in_batches
from vellum_nb.history.store.store import Row, Snapshot

__all__ = ["Source"]


class Source:
    """The runs that are chosen in one or more places, newest first.

    Parameters
    ----------
    *places : tuple of Snapshot and Selection
        What is chosen of which state. No run is in two of them, and all have the same limit.
    """

    def __init__(self, *places: tuple[Snapshot, Selection]) -> None:
        self._places = places
        self._limit = places[0][1].limit

    def count(self) -> int:
        """Return how many runs they are."""
        return min(self._limit, sum(reads.count_selected(*place) for place in self._places))

    def is_empty(self) -> bool:
        """Whether there is none."""
        return not any(reads.are_at_least(*place, 1) for place in self._places)

    def names(self, column: str) -> list[str]:
        """Return what stands in a column of all runs in these places, chosen or not, sorted."""
        sql = f"SELECT DISTINCT {column} FROM runs WHERE {column} IS NOT NULL"
        return sorted({name for snapshot, _ in self._places for (name,) in snapshot.read(sql)})

    def batches(self, names: Sequence[str]) -> Iterator[list[Row]]:
        """Yield these columns of the runs; few rows where they hold much text."""
        if len(self._places) == 1:
            return reads.stream(*self._places[0], names)
        asked = list(dict.fromkeys((*names, "timestamp")))
        at = asked.index("timestamp")
        found = [chain.from_iterable(reads.stream(*place, asked)) for place in self._places]
        merged = islice(heapq.merge(*found, key=lambda row: -row[at]), self._limit)
        heavy = [at for at, name in enumerate(names) if name in PAYLOADS]
        number = len(names)
        return in_batches(lambda most: [row[:number] for row in islice(merged, most)], heavy)

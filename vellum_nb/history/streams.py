"""The rows of an export: read twice from one state of the history, a batch at a time.

The first reading finds the columns and their kinds, the second one gives the cells. So as much
memory is needed for a million runs as for a thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from vellum_nb.history import reads
from vellum_nb.history.frames import ROOMS
from vellum_nb.history.query import Selection
from vellum_nb.history.rows import run_of
from vellum_nb.history.shape import Column, Findings, batch_cells
from vellum_nb.history.store import Snapshot
from vellum_nb.models import Run

__all__ = ["Stream"]


class Stream:
    """The runs of a selection, newest first, as columns of cells.

    Parameters
    ----------
    snapshot : Snapshot
        The state of the history that is exported.
    selection : Selection
        Which runs.
    chosen : sequence of str, optional
        Which columns; all.
    tick : callable
        Told after each batch how many rows it had; of both readings.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        selection: Selection,
        chosen: Sequence[str] | None,
        tick: Callable[[int], object],
    ) -> None:
        self._snapshot = snapshot
        self._selection = selection
        self.chosen = chosen
        self._tick = tick

    @property
    def rows(self) -> int:
        """How many runs they are."""
        return self._findings.rows

    @property
    def tags(self) -> list[str]:
        """Their release tags, sorted."""
        return sorted(self._findings.tags)

    @cached_property
    def columns(self) -> list[Column]:
        """The columns, in their order."""
        return self._findings.columns(self.chosen)

    def batches(self, *, raw: bool = False) -> Iterator[list[Sequence[Any]]]:
        """Yield the cells of some rows after others: a list for each of `columns`.

        `raw` gives structured values and times as JSON has them, in place of cells.
        """
        names = list(dict.fromkeys(column.payload or column.name for column in self.columns))
        for rows in reads.stream(self._snapshot, self._selection, names):
            yield batch_cells(rows, names, self.columns, raw=raw)
            self._tick(len(rows))

    def runs(self) -> Iterator[Run]:
        """Yield the runs themselves."""
        for rows in reads.stream(self._snapshot, self._selection, reads.WHOLE):
            yield from map(run_of, rows)
            self._tick(len(rows))

    @cached_property
    def _findings(self) -> Findings:
        rooms = {name.partition(".")[0] for name in self.chosen or ROOMS}
        findings = Findings([payload for room, payload in ROOMS.items() if room in rooms])
        names = ["release_tag", *findings.payloads]
        for rows in reads.stream(self._snapshot, self._selection, names):
            findings.meet(rows)
            self._tick(len(rows))
        return findings

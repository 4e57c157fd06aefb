"""The rows of an export: read twice from one state of the history, a batch at a time.

The first reading finds the columns and their kinds, the second one gives the cells. So as much
memory is needed for a million runs as for a thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

from vellum_nb.history.exporting.batches import Batch, Column
from vellum_nb.history.exporting.shape import Findings
from vellum_nb.history.reading import reads
from vellum_nb.history.reading.source import Source
from vellum_nb.history.rows.frames import KINDS, ROOMS
from vellum_nb.history.rows.rows import run_of
from vellum_nb.models import Run

__all__ = ["Stream"]


class Stream:
    """The runs of a selection, newest first, as columns of cells.

    Parameters
    ----------
    source : Source
        Which runs, in one state of the history.
    chosen : sequence of str, optional
        Which columns; all.
    tick : callable
        Told after each batch how many rows it had; of both readings.
    """

    def __init__(
        self,
        source: Source,
        chosen: Sequence[str] | None,
        tick: Callable[[int], object],
    ) -> None:
        self._source = source
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
        if self.chosen is not None and KINDS.keys() >= set(self.chosen):
            return [Column(name, KINDS[name]) for name in self.chosen]
        return self._findings.columns(self.chosen)

    def batches(self, *, raw: bool = False) -> Iterator[list[Sequence[Any]]]:
        """Yield the cells of some rows after others: a list for each of `columns`.

        `raw` gives structured values and times as JSON has them, in place of cells.
        """
        names = list(dict.fromkeys(column.payload or column.name for column in self.columns))
        for rows in self._source.batches(names):
            yield Batch(rows, names).cells(self.columns, raw=raw)
            self._tick(len(rows))

    def guesses(self) -> Iterator[tuple[list[Column], Callable[[], list[Sequence[Any]]]]]:
        """Yield the columns of all rows so far and what gives the cells of the last ones.

        It is the first reading: after it `columns` are known. Only for all columns.
        """
        names = [name for name in KINDS if name != "release_tag"]
        names = ["release_tag", *names, *self._payloads]
        findings = Findings(self._payloads)
        for rows in self._source.batches(names):
            batch = Batch(rows, names)
            findings.meet(batch)
            columns = findings.columns(None)
            yield columns, partial(batch.cells, columns)
            self._tick(len(rows))
        self._findings = findings

    def skip_second(self) -> None:
        """Tell that the second reading is not needed."""
        self._tick(self.rows)

    def runs(self) -> Iterator[Run]:
        """Yield the runs themselves."""
        for rows in self._source.batches(reads.WHOLE):
            yield from map(run_of, rows)
            self._tick(len(rows))

    @cached_property
    def _findings(self) -> Findings:
        findings = Findings(self._payloads)
        names = ["release_tag", "author", *self._payloads]
        for rows in self._source.batches(names):
            findings.meet(Batch(rows, names))
            self._tick(len(rows))
        return findings

    @property
    def _payloads(self) -> list[str]:
        """The payloads that columns come from."""
        rooms = {name.partition(".")[0] for name in self.chosen or ROOMS}
        return [payload for room, payload in ROOMS.items() if room in rooms]

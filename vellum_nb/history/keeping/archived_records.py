"""Light rows of runs in archives; what was said is read from their files when it is asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vellum_nb.history.keeping.archive_files import as_rows
from vellum_nb.history.keeping.archived_places import Files, picked
from vellum_nb.history.keeping.choosing import Choice
from vellum_nb.history.reading.light import SAID, WHOLE, hold_few
from vellum_nb.history.reading.payloads import Payloads
from vellum_nb.history.reading.query import Filters
from vellum_nb.history.reading.records import Record
from vellum_nb.history.rows.rows import LIGHT
from vellum_nb.history.store.store import Reader, Row
from vellum_nb.models import Run

__all__ = ["archived_records"]

_LOTS = _ROWS = 2**24  # a run's number is made of its file, lot and place: more than there are
_ROOM = 64 * 2**20  # bytes of lots that are kept, as one lot has 5,000 runs or 16 MB


def archived_records(
    reader: Reader, files: Files, filters: Filters, trace: Callable[[Run], Any]
) -> list[Record]:
    """Return the records of the runs that `filters` name in archives and that are not here."""
    lots, choice = _Lots(files), Choice(filters)
    payloads = Payloads(partial(lots.read, SAID), partial(lots.read, WHOLE), trace)
    numbers: list[int] = []
    found: list[Record] = []
    order = {file.path: number for number, file in enumerate(files)}
    for lot, places in picked(reader, files, choice, set(), wanted=choice.meets):
        rows = lot.only(LIGHT)
        first = (order[lot.path] * _LOTS + lot.number) * _ROWS
        numbers += [first + at for at in places]
        found += [Record.of_row(first + at, rows[at], payloads) for at in places]
    hold_few(payloads, numbers, partial(_Lots(files).read, WHOLE))
    return found


class _Lots:
    """Reads rows of archives by their numbers; the lots that were read last are kept."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Any] = OrderedDict()

    def read(self, names: Sequence[str], numbers: Sequence[int]) -> dict[int, Row]:
        """Return the columns `names` of rows, by their numbers."""
        wanted: dict[int, list[int]] = {}
        for number in numbers:
            wanted.setdefault(number // _ROWS, []).append(number)
        found: dict[int, Row] = {}
        for lot, some in wanted.items():
            table = self._lot(lot)
            there = [name for name in names if name in table.column_names]
            rows = table.select(there).take([number % _ROWS for number in some])
            found |= zip(some, as_rows(rows, names), strict=True)
        return found

    def _lot(self, lot: int) -> Any:
        with self._lock:
            if lot in self._kept:
                self._kept.move_to_end(lot)
                return self._kept[lot]
            self._kept[lot] = self._files[lot // _LOTS].columns(WHOLE, lot % _LOTS)
            while len(self._kept) > 1 and sum(t.nbytes for t in self._kept.values()) > _ROOM:
                self._kept.popitem(last=False)
            return self._kept[lot]

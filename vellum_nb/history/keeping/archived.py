"""Runs in archives, read as if they were still in the history."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count as counted
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from vellum_nb.errors import HistoryError
from vellum_nb.history.keeping.archive_files import COLUMNS, ArchiveFile, Lot
from vellum_nb.history.keeping.archive_notes import brought_in, buried, noted
from vellum_nb.history.keeping.archived_places import Files, among, picked
from vellum_nb.history.keeping.choosing import Choice
from vellum_nb.history.keeping.one_state import held, in_one_state
from vellum_nb.history.reading import loading, reads
from vellum_nb.history.reading.query import ALL, Filters, Selection, ids_of, select
from vellum_nb.history.rows.frames import frame_of_rows
from vellum_nb.history.rows.rows import PAYLOADS, SCALARS
from vellum_nb.history.sqlite.sqlite import SqliteStore
from vellum_nb.history.store.store import Batches, Reader, Row, Snapshot, Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["both", "count", "frame", "lots", "with_archived"]

_AT_ONCE = 250  # runs in a transaction: other writers wait for it
_ID, _TIME = SCALARS.index("id"), SCALARS.index("timestamp")

Picked = Callable[[set[str]], Iterator[tuple[Lot, list[int]]]]
T = TypeVar("T")


def with_archived(store: Store, filters: Filters, names: Sequence[str]) -> list[Row]:
    """Return the columns `names` of the rows that are chosen here and in archives, newest first.

    `names` are `SCALARS` and the first of `PAYLOADS`. A run that is here, too, counts as it is
    here; one in several archives, as in the last one.
    """
    filters = _plain(filters)

    def read(snapshot: Snapshot, chosen: Selection, noted: Files) -> list[Row]:
        rows = reads.rows_of(snapshot, chosen, names)
        files = among(snapshot, noted, filters)
        return _joined(rows, snapshot, files, filters, names)

    return in_one_state(store, filters, read)


def _joined(
    rows: list[Row], snapshot: Snapshot, files: Files, filters: Filters, names: Sequence[str]
) -> list[Row]:
    limit, choice = filters.get("limit"), Choice(filters)

    def wanted(first: int, last: int) -> bool:
        full = limit is not None and len(rows) >= limit > 0
        return choice.meets(first, last) and (not full or last >= rows[-1][_TIME])

    here = {row[_ID] for row in rows}
    for lot, at in picked(snapshot, files, choice, here, wanted=wanted):
        found = lot.rows(at)
        if choice.is_searched:
            rows += _searched(found, filters, partial(reads.rows_of, names=names))
        else:
            rows += [row[1 : 1 + len(names)] for row in found]
        rows.sort(key=lambda row: row[_TIME], reverse=True)
        del rows[len(rows) if limit is None else limit :]
    return rows


def frame(store: Store, filters: Filters) -> pd.DataFrame:
    """Return the frame of the runs that `filters` name here and in the archives, newest first."""
    filters = _plain(filters)
    found = _frame_in_bulk(store, filters)
    if found is None:
        return frame_of_rows(with_archived(store, filters, reads.SHOWN))
    if found["timestamp"].is_monotonic_decreasing:
        return found
    return found.sort_values("timestamp", ascending=False, kind="stable", ignore_index=True)


def _frame_in_bulk(store: Store, filters: Filters) -> pd.DataFrame | None:
    """Return the same runs in some order; None where they are few, or were moved meanwhile."""
    before, choice = brought_in(store.read), Choice(filters)
    runs = sum(file.runs for file in among(store, noted(store), filters))
    if runs < loading.MANY or choice.is_searched or filters.get("limit") is not None:
        return None

    def others(here: set[str]) -> Iterator[tuple[Lot, list[int]]]:
        with store.snapshot() as snapshot:  # later than what is here was read
            if brought_in(snapshot.read) != before:
                raise _MovedError
            files = among(snapshot, noted(store, snapshot.read), filters)
            try:
                yield from picked(snapshot, files, choice, here, wanted=choice.meets)
            except HistoryError as exc:  # a file may be another by now; as rows all is told
                raise _MovedError from exc

    followed = partial(_followed, others)
    try:
        return loading.load_in_bulk(
            store, select(filters, store), searched=False, followed=followed
        )
    except _MovedError:
        return None


class _MovedError(Exception):
    """Runs may have come back from an archive while the others were read."""


def _followed(picked: Picked, batches: Batches) -> Batches:
    from vellum_nb.history.keeping.archived_frames import followed  # wants pyarrow

    return followed(picked, batches)


def count(store: Store, filters: Filters) -> int:
    """Return how many runs `filters` name here and in the archives."""
    filters = _plain(filters)
    whole, choice = Filters({**filters, "limit": None}), Choice(filters)

    def read(snapshot: Snapshot, chosen: Selection, noted: Files) -> int:
        found = reads.count_selected(snapshot, replace(chosen, limit=ALL))
        files = among(snapshot, noted, filters)
        for lot, at in picked(snapshot, files, choice, set(), wanted=choice.meets):
            words = choice.is_searched
            found += _searched(lot.rows(at), whole, reads.count_selected) if words else len(at)
        return min(found, chosen.limit)

    return in_one_state(store, filters, read)


def both(stack: ExitStack, store: Store, filters: Filters) -> list[tuple[Snapshot, Selection]]:
    """Return what is chosen here, and in archives what is not here, to be read as if it were here.

    It is held until `stack` ends, that of archives in a file for temporary files: an archive has no
    order but its own.
    """
    filters = _plain(filters)

    def read(
        held: ExitStack, snapshot: Snapshot, chosen: Selection, noted: Files
    ) -> list[tuple[Snapshot, Selection]]:
        files = among(snapshot, noted, filters)
        folder = held.enter_context(TemporaryDirectory(prefix="vellum_nb-"))
        there = SqliteStore(Path(folder) / "runs.db")
        held.callback(there.close)
        # Of equal times the first one that is found comes first.
        numbers = counted(sum(file.runs for file in files), -1)
        choice = Choice(filters)
        for lot, at in picked(snapshot, files, choice, set(), wanted=choice.meets):
            _put(there, [(next(numbers), *row[1:]) for row in lot.rows(at)])
        archives = select(filters, there)
        return [(snapshot, chosen), (held.enter_context(there.snapshot()), archives)]

    return held(stack, store, filters, read)


def _plain(filters: Filters) -> Filters:
    """Return the filters with their ids as a list: what gives them may do so only once."""
    ids = filters.get("ids")
    return filters if ids is None else {**filters, "ids": ids_of(ids)}


def _searched(rows: Sequence[Row], filters: Filters, read: Callable[[Reader, Selection], T]) -> T:
    """Return what `read` finds in these rows, as a history in memory: words mean the same."""
    memory = SqliteStore(":memory:")
    try:
        _put(memory, rows)
        return read(memory, select(filters, memory))
    finally:
        memory.close()


def lots(store: Store, file: ArchiveFile) -> Iterator[list[dict[str, Any]]]:
    """Yield the runs of an archive as another history's are, in lots."""
    gone = buried(store, file)
    for group in file.groups():
        rows = [dict(zip(COLUMNS, row, strict=True)) | {"large": None} for row in group]
        stay = [row for row in rows if row["id"] not in gone]
        for start in range(0, len(stay), _AT_ONCE):
            yield stay[start : start + _AT_ONCE]


def _put(memory: Store, rows: Sequence[Row]) -> None:
    split = 1 + len(SCALARS)
    with memory.write() as connection:
        for table, names in (("runs", SCALARS), ("payloads", PAYLOADS)):
            marks = ", ".join("?" * (1 + len(names)))
            sql = f"INSERT INTO {table} (seq, {', '.join(names)}) VALUES ({marks})"
            cut = (
                (row[:split] for row in rows)
                if table == "runs"
                else ((row[0], *row[split:]) for row in rows)
            )
            connection.executemany(sql, cut)

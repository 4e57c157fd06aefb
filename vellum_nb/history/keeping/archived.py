"""Runs in archives, read as if they were still in the history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count as counted
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.keeping.archive_files import COLUMNS, ArchiveFile, Lot
from vellum_nb.history.keeping.archive_notes import buried, hidden, noted
from vellum_nb.history.keeping.choosing import Choice
from vellum_nb.history.reading import loading, reads
from vellum_nb.history.reading.query import ALL, Filters, Selection, ids_of, select
from vellum_nb.history.rows.frames import frame_of_rows
from vellum_nb.history.rows.rows import PAYLOADS, SCALARS
from vellum_nb.history.sqlite.sqlite import SqliteStore
from vellum_nb.history.store.large import Read
from vellum_nb.history.store.store import Batches, Reader, Snapshot, Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Fetch",
    "apart",
    "count",
    "frame",
    "in_archives",
    "known",
    "lots",
    "sound",
    "states_of_sweep",
    "tallies",
    "with_archived",
]

_ID, _TIME = SCALARS.index("id"), SCALARS.index("timestamp")
_TALLIED = ("sweep_id", "id", "state")
_AT_ONCE = 5_000

Row = tuple[Any, ...]
Fetch = Callable[[Store, Filters], list[Row]]
Picked = Callable[[set[str]], Iterator[tuple[Lot, list[int]]]]


def with_archived(store: Store, filters: Filters, fetch: Fetch, names: Sequence[str]) -> list[Row]:
    """Return the rows that `fetch` finds here and in the archives, newest first.

    `names` are its columns: `SCALARS` and the first of `PAYLOADS`. A run that is here, too, counts
    as it is here; one in several archives, as in the last one.
    """
    rows = fetch(store, filters)
    limit = filters.get("limit")
    choice = Choice(filters)

    def wanted(first: int, last: int) -> bool:
        full = limit is not None and len(rows) >= limit > 0
        return choice.meets(first, last) and (not full or last >= rows[-1][_TIME])

    here = {row[_ID] for row in rows}
    for lot, at in _picked(store, _files(store, filters), choice, here, wanted=wanted):
        found = lot.rows(at)
        if choice.is_searched:
            rows += _searched(found, filters, fetch)
        else:
            rows += [row[1 : 1 + len(names)] for row in found]
        rows.sort(key=lambda row: row[_TIME], reverse=True)
        del rows[len(rows) if limit is None else limit :]
    return rows


def frame(store: Store, filters: Filters) -> pd.DataFrame:
    """Return the frame of the runs that `filters` name here and in the archives, newest first."""
    choice = Choice(filters)
    are_many = sum(file.runs for file in _files(store, filters)) >= loading.MANY
    found: pd.DataFrame | None = None
    if are_many and not choice.is_searched and filters.get("limit") is None:

        def picked(here: set[str]) -> Iterator[tuple[Lot, list[int]]]:
            files = _files(store, filters)  # when all that is here was read, as it may move there
            return _picked(store, files, choice, here, wanted=choice.meets)

        chosen, more = select(filters, store), partial(_followed, picked)
        found = loading.load_in_bulk(store, chosen, searched=False, followed=more)
    if found is None:
        return frame_of_rows(with_archived(store, filters, reads.framed, reads.SHOWN))
    if found["timestamp"].is_monotonic_decreasing:
        return found
    return found.sort_values("timestamp", ascending=False, kind="stable", ignore_index=True)


def _followed(picked: Picked, batches: Batches) -> Batches:
    from vellum_nb.history.keeping.archived_frames import followed  # wants pyarrow

    return followed(picked, batches)


def count(store: Store, filters: Filters) -> int:
    """Return how many runs `filters` name here and in the archives, in one state of both."""
    whole: Filters = {**filters, "limit": None}
    asked, choice = select(filters, store), Choice(filters)
    with store.snapshot() as snapshot:
        found = reads.count_selected(snapshot, replace(asked, limit=ALL))
        files = noted(store, snapshot.read)
        for lot, at in _picked(snapshot, files, choice, set(), wanted=choice.meets):
            words = choice.is_searched
            found += len(_searched(lot.rows(at), whole, reads.rows) if words else at)
    return min(found, asked.limit)


@contextmanager
def apart(
    store: Store, snapshot: Snapshot, filters: Filters
) -> Iterator[tuple[Snapshot, Selection]]:
    """Hold for the block what `filters` choose in the archives and is not here, to be read as here.

    It lies in a file for temporary files: an archive has no order but its own.
    """
    choice, files = Choice(filters), _files(store, filters, snapshot.read)
    # Of equal times the first one that is found comes first.
    numbers = counted(sum(file.runs for file in files), -1)
    with TemporaryDirectory(prefix="vellum_nb-") as folder:
        there = SqliteStore(Path(folder) / "runs.db")
        try:
            found = _picked(snapshot, files, choice, set(), wanted=choice.meets)
            for lot, places in found:
                _put(there, [(next(numbers), *row[1:]) for row in lot.rows(places)])
            chosen = select(filters, there)
            with there.snapshot() as archives:
                yield archives, chosen
        finally:
            there.close()


def _picked(
    reader: Reader,
    files: Sequence[ArchiveFile],
    choice: Choice,
    here: set[str],
    *,
    wanted: Callable[[int, int], bool],
) -> Iterator[tuple[Lot, list[int]]]:
    """Yield lots of archives, and at which places of each are runs that are chosen.

    The last ones come first. Those that are `here`, or that `reader` finds here now, are left out.
    """
    for number, file in reversed(list(enumerate(files))):
        others = _in_later(file, files[number + 1 :]) | hidden(reader, file) | here
        for lot in sound(file).lots(wanted):
            rows = lot.only(choice.columns)
            found = {
                row[0]: at
                for at, row in enumerate(rows)
                if row[0] not in others and choice.picks(row)
            }
            for run_id in _here(reader, list(found)):
                del found[run_id]
            if found:
                yield lot, sorted(found.values(), key=lambda at: (rows[at][1], at), reverse=True)


def _searched(rows: Sequence[Row], filters: Filters, fetch: Fetch) -> list[Row]:
    """Return what `fetch` finds in these rows, as a history in memory: words mean the same."""
    if not rows:
        return []
    memory = SqliteStore(":memory:")
    try:
        _put(memory, rows)
        return fetch(memory, filters)
    finally:
        memory.close()


def _in_later(file: ArchiveFile, later: Iterable[ArchiveFile]) -> set[str]:
    """Return the ids in later archives that may be in this one, too: of the same time."""
    found: set[str] = set()
    for other in later:
        if other.first <= file.last and file.first <= other.last and other.path.is_file():
            found.update(run_id for (run_id,) in other.only(("id",)))
    return found


def in_archives(store: Store, filters: Filters) -> bool:
    """Return whether there are archives that may hold runs which `filters` name."""
    return bool(_files(store, filters))


def _files(store: Store, filters: Filters, read: Read | None = None) -> list[ArchiveFile]:
    """Return the archives to look into; none where all is here that was named."""
    sweep_id, ids = filters.get("sweep_id"), filters.get("ids")
    if isinstance(sweep_id, str):
        return _with_sweep(store, sweep_id, read)
    files = noted(store, read)
    if not files or ids is None:
        return files
    names = ids_of(ids)
    return files if len(_here(store, names)) < len(set(names)) else []


def sound(file: ArchiveFile) -> ArchiveFile:
    """Return the file as it says it is; refuse one that is not what was noted."""
    found = ArchiveFile.at(file.path)
    if found != file:
        msg = (
            f"{file.path} is not the archive that was written there, of {file.runs:,} runs; "
            "put that one back, or read without archived=True"
        )
        raise HistoryError(msg)
    return found


def states_of_sweep(store: Store, sweep_id: str) -> dict[str, str]:
    """Return the state of each archived run of a sweep, by the run's id."""
    found: dict[str, str] = {}
    for file in _with_sweep(store, sweep_id):
        rows = sound(file).only(("id", "state", "sweep_id"))
        gone = hidden(store, file)
        found |= {run: state for run, state, of in rows if of == sweep_id and run not in gone}
    return found


def known(store: Store, sweep_id: str, run_ids: Iterable[str]) -> set[str]:
    """Return which of these runs, that a sweep took over, are in an archive."""
    wanted, found = set(run_ids), set[str]()
    if wanted:
        for file in _with_sweep(store, sweep_id):
            ids = {run_id for (run_id,) in sound(file).only(("id",)) if run_id in wanted}
            found |= ids - hidden(store, file)
    return found


def tallies(store: Store) -> dict[str, Counter[str]]:
    """Return of each sweep how many runs are in which state and only in files that are there."""
    found: dict[str, Counter[str]] = {}
    files = [file for file in noted(store) if file.path.is_file()]
    for number, file in enumerate(files):
        others = _in_later(file, files[number + 1 :]) | hidden(store, file)
        rows = [row for row in file.only(_TALLIED) if row[0] is not None and row[1] not in others]
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            here = _here(store, [run_id for _, run_id, _ in some])
            for sweep_id, run_id, state in some:
                if run_id not in here:
                    found.setdefault(sweep_id, Counter())[state] += 1
    return found


def _with_sweep(store: Store, sweep_id: str, read: Read | None = None) -> list[ArchiveFile]:
    """Return the archives that may have runs of a sweep: those that were made after it."""
    files = noted(store, read)
    if not files:
        return []
    made = store.read("SELECT created FROM sweeps WHERE id = ?", (sweep_id,))
    return [file for file in files if made and file.created >= made[0][0]]


def lots(store: Store, file: ArchiveFile) -> Iterator[list[dict[str, Any]]]:
    """Yield the runs of an archive as another history's are, in lots."""
    gone = buried(store, file)
    for group in file.groups():
        rows = [dict(zip(COLUMNS, row, strict=True)) | {"large": None} for row in group]
        yield [row for row in rows if row["id"] not in gone]


def _here(reader: Reader, ids: Sequence[str]) -> set[str]:
    """Return which of these runs are here."""
    sql = f"SELECT id FROM runs WHERE {reader.dialect.one_of('id')}"
    return {run_id for (run_id,) in reader.read(sql, (reader.dialect.listed(ids),))}


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

"""Runs in archives, read as if they were still in the history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.keeping.archive_files import COLUMNS, ArchiveFile
from vellum_nb.history.keeping.archive_notes import buried, hidden, noted
from vellum_nb.history.reading.query import Filters, moment
from vellum_nb.history.rows.rows import PAYLOADS, SCALARS
from vellum_nb.history.sqlite.sqlite import SqliteStore
from vellum_nb.history.store.store import Store

__all__ = [
    "Fetch",
    "in_archives",
    "known",
    "lots",
    "sound",
    "states_of_sweep",
    "tallies",
    "with_archived",
]

_ID, _TIME = SCALARS.index("id"), SCALARS.index("timestamp")
_LAST = 2**63 - 1
_TALLIED = ("sweep_id", "id", "state")
_AT_ONCE = 5_000
_NAMES = ("deployment", "release_tag", "state", "case_id", "sweep_id", "execution_id", "ids")

Row = tuple[Any, ...]
Fetch = Callable[[Store, Filters], list[Row]]


def with_archived(store: Store, filters: Filters, fetch: Fetch) -> list[Row]:
    """Return the rows that `fetch` finds here and in the archives, newest first.

    Each lot of an archive becomes a history in memory for a moment, so that a filter means the
    same there. A run that is here, too, counts as it is here; one in several, as in the last one.
    """
    rows = fetch(store, filters)
    limit = filters.get("limit")
    since, until = _times(filters)

    def wanted(first: int, last: int) -> bool:
        full = limit is not None and len(rows) >= limit > 0
        return last >= max(since, rows[-1][_TIME] if full else since) and first < until

    files = _files(store, filters)
    for number, file in reversed(list(enumerate(files))):
        others = _in_later(file, files[number + 1 :]) | hidden(store, file)
        others |= {row[_ID] for row in rows}  # one that is archived meanwhile
        for group in sound(file).groups(wanted):
            left = [row for row in group if row[1] not in others] if others else group
            rows += _found(store, left, filters, fetch)
            rows.sort(key=lambda row: row[_TIME], reverse=True)
            del rows[len(rows) if limit is None else limit :]
    return rows


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


def _times(filters: Filters) -> tuple[int, int]:
    since, until = filters.get("since"), filters.get("until")
    return (
        -_LAST if since is None else moment("since", since),
        _LAST if until is None else moment("until", until),
    )


def _files(store: Store, filters: Filters) -> list[ArchiveFile]:
    """Return the archives to look into; none where all is here that was named."""
    sweep_id, ids = filters.get("sweep_id"), filters.get("ids")
    if isinstance(sweep_id, str):
        return _with_sweep(store, sweep_id)
    files = noted(store)
    if not files or ids is None:
        return files
    sql = f"SELECT count(*) FROM runs WHERE {store.dialect.one_of('id')}"
    here = store.read(sql, (store.dialect.listed(list(ids)),))[0][0]
    return files if here < len(set(ids)) else []


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
            for sweep_id, _, state in _only_there(store, rows[start : start + _AT_ONCE]):
                found.setdefault(sweep_id, Counter())[state] += 1
    return found


def _with_sweep(store: Store, sweep_id: str) -> list[ArchiveFile]:
    """Return the archives that may have runs of a sweep: those that were made after it."""
    files = noted(store)
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


def _found(store: Store, group: Sequence[Row], filters: Filters, fetch: Fetch) -> list[Row]:
    memory = SqliteStore(":memory:")
    try:
        _put(memory, _only_there(store, _named(group, filters)))
        return fetch(memory, filters)
    finally:
        memory.close()


def _named(group: Sequence[Row], filters: Filters) -> list[Row]:
    """Return the rows that have what is named, so that few are looked at more closely."""
    rows = list(group)
    for name in _NAMES:
        value: Any = filters.get(name)
        at = COLUMNS.index("id" if name == "ids" else name)
        if value is not None:
            wanted = {value} if isinstance(value, str) else set(value)
            rows = [row for row in rows if row[at] in wanted]
    return rows


def _only_there(store: Store, group: Sequence[Row]) -> list[Row]:
    """Return the rows, whose second value is the id, that are not here."""
    ids = store.dialect.listed([row[1] for row in group])
    sql = f"SELECT id FROM runs WHERE {store.dialect.one_of('id')}"
    here = {run_id for (run_id,) in store.read(sql, (ids,))}
    return [row for row in group if row[1] not in here]


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

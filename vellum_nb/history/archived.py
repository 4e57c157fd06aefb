"""Runs in archives, read as if they were still in the history."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.archive_files import COLUMNS, ArchiveFile
from vellum_nb.history.archive_notes import noted
from vellum_nb.history.query import Filters, moment
from vellum_nb.history.rows import PAYLOADS, SCALARS
from vellum_nb.history.sqlite import SqliteStore
from vellum_nb.history.store import Store

__all__ = ["Fetch", "lots", "sound", "with_archived"]

_ID, _TIME = SCALARS.index("id"), SCALARS.index("timestamp")

Row = tuple[Any, ...]
Fetch = Callable[[Store, Filters], list[Row]]


def with_archived(store: Store, filters: Filters, fetch: Fetch) -> list[Row]:
    """Return the rows that `fetch` finds here and in the archives, newest first.

    Each lot of an archive becomes a history in memory for a moment, so that a filter means the
    same there. A run that is here, too, counts as it is here.
    """
    rows = fetch(store, filters)
    for file in noted(store)[::-1]:
        rows += _found(store, sound(file), filters, fetch)
    rows.sort(key=lambda row: row[_TIME], reverse=True)
    limit = filters.get("limit")
    return rows if limit is None else rows[:limit]


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


def lots(file: ArchiveFile) -> Iterator[list[dict[str, Any]]]:
    """Yield the runs of an archive as another history's are, in lots."""
    for group in file.groups():
        yield [dict(zip(COLUMNS, row, strict=True)) | {"large": None} for row in group]


def _found(store: Store, file: ArchiveFile, filters: Filters, fetch: Fetch) -> Iterator[Row]:
    since, until = filters.get("since"), filters.get("until")
    groups = file.groups(
        None if since is None else moment("since", since),
        None if until is None else moment("until", until),
    )
    for group in groups:
        memory = SqliteStore(":memory:")
        try:
            _put(memory, _only_there(store, group))
            yield from fetch(memory, filters)
        finally:
            memory.close()


def _only_there(store: Store, group: Sequence[Row]) -> list[Row]:
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

"""Where in archives the runs are that filters choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from vellum_nb.history.keeping.archive_files import ArchiveFile, Lot
from vellum_nb.history.keeping.archive_notes import hidden
from vellum_nb.history.keeping.choosing import Choice
from vellum_nb.history.reading.query import Filters, ids_of
from vellum_nb.history.store.store import Reader

__all__ = ["Files", "among", "here_of", "in_later", "picked", "with_sweep"]

Files: TypeAlias = Sequence[ArchiveFile]


def among(reader: Reader, files: Files, filters: Filters) -> Files:
    """Return the archives to look into; none where all is here that was named."""
    sweep_id, ids = filters.get("sweep_id"), filters.get("ids")
    if isinstance(sweep_id, str):
        return with_sweep(reader, files, sweep_id)
    if not files or ids is None:
        return files
    names = ids_of(ids)
    names = [names] if isinstance(names, str) else names
    return files if len(here_of(reader, names)) < len(set(names)) else []


def with_sweep(reader: Reader, files: Files, sweep_id: str) -> Files:
    """Return the archives that may have runs of a sweep: those that were made after it."""
    if not files:
        return []
    made = reader.read("SELECT created FROM sweeps WHERE id = ?", (sweep_id,))
    return [file for file in files if made and file.created >= made[0][0]]


def picked(
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
        others = in_later(file, files[number + 1 :]) | hidden(reader, file) | here
        for lot in file.lots(wanted):
            rows = lot.only(choice.columns)
            found = {
                row[0]: at
                for at, row in enumerate(rows)
                if row[0] not in others and choice.picks(row)
            }
            for run_id in here_of(reader, list(found)):
                del found[run_id]
            if found:
                yield lot, sorted(found.values(), key=lambda at: (rows[at][1], at), reverse=True)


def in_later(file: ArchiveFile, later: Files) -> set[str]:
    """Return the ids in later archives that may be in this one, too: of the same time."""
    found: set[str] = set()
    for other in later:
        if other.first <= file.last and file.first <= other.last:
            found.update(run_id for (run_id,) in other.only(("id",)))
    return found


def here_of(reader: Reader, ids: Sequence[str]) -> set[str]:
    """Return which of these runs are here."""
    sql = f"SELECT id FROM runs WHERE {reader.dialect.one_of('id')}"
    return {run_id for (run_id,) in reader.read(sql, (reader.dialect.listed(ids),))}

"""A history and its archives as they were at one instant, whoever moves runs meanwhile.

The rows are read in one snapshot. What it cannot hold are the files, and a selection that was
made before: where an archive was brought back in between, all is read once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

from vellum_nb.errors import HistoryError
from vellum_nb.history.keeping.archive_files import ArchiveFile
from vellum_nb.history.keeping.archive_notes import brought_in, noted
from vellum_nb.history.reading.query import Filters, Selection, select
from vellum_nb.history.store.store import OutOfReachError, Snapshot, Store

__all__ = ["held", "in_one_state", "there"]

T = TypeVar("T")


def in_one_state(
    store: Store, filters: Filters, read: Callable[[Snapshot, Selection, Sequence[ArchiveFile]], T]
) -> T:
    """Return what `read` finds, which is given a state."""
    with ExitStack() as stack:
        return held(stack, store, filters, lambda _, *state: read(*state))


def held(
    stack: ExitStack,
    store: Store,
    filters: Filters,
    read: Callable[[ExitStack, Snapshot, Selection, Sequence[ArchiveFile]], T],
) -> T:
    """Return what `read` finds, and hold the state, and what `read` entered, until `stack` ends."""
    was_lost = False
    while True:
        files: Sequence[ArchiveFile] = ()
        before = brought_in(store.read)
        chosen = select(filters, store)
        try:
            with ExitStack() as attempt:
                snapshot = attempt.enter_context(store.snapshot())
                if brought_in(snapshot.read) != before:
                    continue
                files = noted(store, snapshot.read)
                found = read(attempt, snapshot, chosen, files)
                stack.enter_context(attempt.pop_all())
                return found
        except OutOfReachError:
            if was_lost:
                raise
            was_lost = True
            store.read("SELECT 1")  # waits for a server that is started again
        except HistoryError:
            if set(files) <= set(noted(store)):  # else a file may be gone, or another
                raise


def there(store: Store, files: Sequence[ArchiveFile]) -> list[ArchiveFile]:
    """Return those that are there, for who can do without the others.

    Raises
    ------
    HistoryError
        One went, and was brought back before; `in_one_state` reads once more then.
    """
    found = [file for file in files if file.path.is_file()]
    if not set(files) <= {*found, *noted(store)}:
        msg = f"An archive of the history {store.path} was brought back just now; try again"
        raise HistoryError(msg)
    return found

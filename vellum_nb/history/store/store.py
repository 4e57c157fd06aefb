"""What a history wants of its database, and the few words of SQL in which databases differ.

Everything else in this room is SQL that SQLite and PostgreSQL both understand. ``?`` stands for
the next value and ``:name`` for a named one; scalar ``max`` is written as ``CASE``, truth as
``TRUE``, and ``ON CONFLICT DO NOTHING`` where a row may be there already.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from vellum_nb.errors import HistoryError
from vellum_nb.history.store.refused import Refused, Retried

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Batches",
    "Condition",
    "Connection",
    "Cursor",
    "Dialect",
    "Journal",
    "OutOfReachError",
    "Reader",
    "RefusedError",
    "Row",
    "Snapshot",
    "Store",
]

Row = tuple[Any, ...]
Condition: TypeAlias = "tuple[str, tuple[object, ...]]"
"""SQL that is true or false of a run, and what it binds."""
Batches: TypeAlias = "Generator[tuple[pa.RecordBatch, pa.RecordBatch], None, None]"
"""Runs in Arrow, newest first: their scalars and metadata, and their JSON objects, a line each."""


class OutOfReachError(HistoryError):
    """The server cannot be reached, or takes no writes now; the last one may have been made."""


class RefusedError(HistoryError):
    """The server refuses a write for its values, however often it is tried."""


class Cursor(Protocol):
    """What became of a statement."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""

    @property
    def lastrowid(self) -> int | None:
        """The number that the row it inserted was given; of no use where it inserted none."""

    def fetchone(self) -> Any:
        """Return the next row, None after the last."""

    def fetchall(self) -> list[Any]:
        """Return the other rows."""


class Connection(Protocol):
    """A transaction under way."""

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ..., /) -> Cursor:
        """Execute a statement."""

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Any:
        """Execute a statement once for each of `parameters`."""


class Dialect(Protocol):
    """The SQL that is not the same everywhere."""

    name: str

    def one_of(self, column: str) -> str:
        """Return a term that is true where `column` is one of the values that `listed` binds."""

    def listed(self, values: Iterable[str | int]) -> object:
        """Return what `one_of` binds for `values`."""

    def member_key(
        self, column: str, name: str, letters: int | None
    ) -> tuple[str, tuple[object, ...]]:
        """Return what runs are sorted by for the member `name` of a JSON object, and what it binds.

        Numbers come before texts. Texts are compared by their first `letters`, where that is given.
        """


class Journal(Protocol):
    """Where writes wait for a server that is out of reach."""

    def make(
        self,
        store: Any,
        name: str,
        write: Callable[[], None],
        args: Sequence[Any],
        named: Mapping[str, Any],
    ) -> None:
        """Call `write`, or keep it for later, by its name and with what it is given."""

    def refused(self) -> list[Refused]:
        """Return what the server refused and is kept, the oldest first."""

    def retry(self, store: Any) -> Retried:
        """Try once more what the server refused."""


class Reader(Protocol):
    """What can be asked."""

    @property
    def dialect(self) -> Dialect:
        """The SQL of this database."""

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a query."""


class Snapshot(Reader, Protocol):
    """One state of a history, for reads that take long: what is written meanwhile is not in it.

    It has a connection of its own, so that nobody waits for it, and is for one thread.
    """

    def batches(
        self, columns: str, source: str, which: str, bound: Sequence[Any], *, heavy: Sequence[int]
    ) -> Iterator[list[Row]]:
        """Yield `columns`, of which the last is ``r.seq``, few rows where `heavy` hold much text.

        `which` tells by ``runs r`` alone which rows, and in what order; it binds `bound`.
        """

    def cancel(self) -> None:
        """End the query that is under way, from another thread; it raises there."""


class Store(Reader, Protocol):
    """An open history: a file, memory, or a database on a server."""

    path: Path | str
    closed: bool

    @property
    def journal(self) -> Journal | None:
        """What keeps writes while the server is out of reach; None where there is no server."""

    @property
    def bulk_needs(self) -> Sequence[str]:
        """The modules without which `bulk` cannot be called."""

    def write(self) -> AbstractContextManager[Connection]:
        """Hold the write lock for the block, and commit at its end; an error undoes it all."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Hold one state of the history for the block; no writer waits for it."""

    def size(self) -> int:
        """Return how many bytes it takes."""

    def compact(self) -> None:
        """Give the space that nothing takes any more back to the disk."""

    def bulk(self, sql: str, parameters: Sequence[Any] = ()) -> Batches:
        """Yield what the query of `reads.bulk` finds, in Arrow.

        Raises
        ------
        BulkError
            The rows cannot be had this way; `read` may.
        """

    def close(self) -> None:
        """Close it; does nothing the second time. Waits for what is under way."""

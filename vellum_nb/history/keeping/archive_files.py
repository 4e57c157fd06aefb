"""Runs as a Parquet file that holds every field as it is stored, and back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vellum_nb.errors import HistoryError
from vellum_nb.history.rows.rows import PAYLOADS, SCALARS
from vellum_nb.history.store.kinds import ARCHIVE, PARQUET

__all__ = ["COLUMNS", "ArchiveFile", "Lot", "as_rows", "write"]

COLUMNS = ("seq", *SCALARS, *PAYLOADS)
_MARK = b"vellum_nb"
_KNOWN = "history.archives() lists those there are; a history is brought in by merge"
_WHOLE = frozenset(
    {"seq", "timestamp", "finished_at", "repeat", "tokens_in", "tokens_out", "tag_moved"}
)
_REAL = frozenset({"latency_s", "quality", "cost_usd"})
_GROUP_ROWS = 5_000
_GROUP_CHARACTERS = 16 * 2**20

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """A file of archived runs.

    `created` tells it from any other; `first` and `last` are when its runs were sent.
    """

    path: Path
    created: int
    runs: int
    first: int
    last: int

    @classmethod
    def at(cls, path: Path) -> ArchiveFile:
        """Return what the file says of itself.

        Raises
        ------
        HistoryError
            There is no such file, it is damaged, or no archive.
        """
        with _opened(path) as file:
            return cls._told_by(file, path)

    @classmethod
    def _told_by(cls, file: Any, path: Path) -> ArchiveFile:
        found = (file.schema_arrow.metadata or {}).get(_MARK)
        told = json.loads(found) if found else {}
        if told.get(ARCHIVE) is None or told["runs"] != file.metadata.num_rows:
            msg = f"{path} is no archive of a history. {_KNOWN}"
            raise HistoryError(msg)
        return cls(path, *(told[name] for name in ("created", "runs", "first", "last")))

    def only(self, names: Sequence[str]) -> list[Row]:
        """Return some columns of every row."""
        return [row for lot in self.lots() for row in lot.only(names)]

    def groups(self) -> Iterator[list[Row]]:
        """Yield the rows in lots, the last first."""
        for lot in self.lots():
            yield lot.rows()

    def lots(self, wanted: Callable[[int, int], bool] | None = None) -> Iterator[Lot]:
        """Yield the lots, the last first; those whose first and last time are `wanted`.

        Each can be read until the next one is asked for.

        Raises
        ------
        HistoryError
            The file is not this one.
        """
        with self._itself() as file:
            at = file.schema_arrow.names.index("timestamp")
            for number in reversed(range(file.metadata.num_row_groups)):
                times = file.metadata.row_group(number).column(at).statistics
                if wanted is None or wanted(times.min, times.max):
                    yield Lot(self.path, number, file)

    def columns(self, names: Sequence[str], number: int) -> Any:
        """Return some columns of the lot of this number in Arrow."""
        with self._itself() as file:
            return Lot(self.path, number, file).columns(names)

    @contextmanager
    def _itself(self) -> Iterator[Any]:
        with _opened(self.path) as file:
            if self._told_by(file, self.path) != self:
                msg = (
                    f"{self.path} is not the archive that was written there, of {self.runs:,} "
                    "runs; put that one back, or read without archived=True"
                )
                raise HistoryError(msg)
            yield file


@dataclass(frozen=True, slots=True)
class Lot:
    """A few thousand rows of an archive; what an older version did not have is None."""

    path: Path
    number: int
    _file: Any

    def only(self, names: Sequence[str]) -> list[Row]:
        """Return some columns of each row."""
        return as_rows(self.columns(names), names)

    def columns(self, names: Sequence[str]) -> Any:
        """Return the same in Arrow, without those that are not there."""
        there = [name for name in names if name in self._file.schema_arrow.names]
        with _told(self.path):
            return self._file.read_row_group(self.number, columns=there)

    def rows(self, at: Sequence[int] | None = None) -> list[Row]:
        """Return the values of `COLUMNS` of each row, or of those `at` some places."""
        return as_rows(self.table(at), COLUMNS)

    def table(self, at: Sequence[int] | None = None) -> Any:
        """Return the rows, or those `at` some places, in Arrow."""
        with _told(self.path):
            found = self._file.read_row_group(self.number)
        return found if at is None else found.take(at)


def write(file: BinaryIO, rows: Iterable[Row], told: dict[str, int]) -> None:
    """Write `rows` of `COLUMNS` to an open file; it is on the disk when this returns."""
    pa, pq = _arrow()
    note = json.dumps({**told, ARCHIVE: COLUMNS})
    schema = pa.schema([(name, _type(pa, name)) for name in COLUMNS], metadata={_MARK: note})
    with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
        for group in _grouped(rows):
            columns = zip(*group, strict=True)
            arrays = [
                pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    file.flush()
    os.fsync(file.fileno())


def _grouped(rows: Iterable[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    size = 0
    first = 1 + len(SCALARS)
    for row in rows:
        group.append(row)
        size += sum(len(text) for text in row[first:] if text)
        if len(group) >= _GROUP_ROWS or size >= _GROUP_CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group


def as_rows(table: Any, names: Sequence[str]) -> list[Row]:
    """Return the columns `names` of a table in Arrow; what it has not is None."""
    there = set(table.column_names)
    missing = [None] * table.num_rows
    columns: Sequence[list[Any]] = [
        table.column(name).to_pylist() if name in there else missing for name in names
    ]
    return list(zip(*columns, strict=True))


def _type(pa: Any, name: str) -> Any:
    if name in _WHOLE:
        return pa.int64()
    return pa.float64() if name in _REAL else pa.large_string()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    _, pq = _arrow()
    if not os.path.isfile(path):  # noqa: PTH113  (raises nothing, however long a name is)
        msg = (
            f"The archive {path} is not there; put it back, or read without archived=True; "
            "history.archives() lists those there are"
        )
        if os.path.isdir(path):  # noqa: PTH112  (raises nothing, likewise)
            msg = f"{path} is a folder; name the file of an archive, see history.archives()"
        raise HistoryError(msg)
    with _told(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        yield file


@contextmanager
def _told(path: Path) -> Iterator[None]:
    pa, _ = _arrow()
    try:
        yield
    except (pa.ArrowException, OSError) as exc:
        if not _is_parquet(path):
            msg = f"{path} is no archive of a history: it is no Parquet file. {_KNOWN}"
            raise HistoryError(msg) from exc
        msg = f"The archive {path} is damaged, put a backup in its place: {exc}"
        raise HistoryError(msg) from exc


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(PARQUET)) == PARQUET
    except OSError:
        return True


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        msg = "Archives need pyarrow: pip install 'vellum-nb[fast]'"
        raise HistoryError(msg) from exc
    return pa, pq

"""A program that reads runs through ADBC and writes them to its output as Arrow messages.

It is a process of its own because ADBC brings an SQLite of its own, and two of them in one process
destroy each other's locks: POSIX takes them for one owner's, and drops them all when either closes
the file. It is started by its path and imports nothing of ours. Its arguments are folders.

In: one line of JSON, ``{"path", "sql", "bound", "rows", "apart"}``. The first row that `sql` finds
only tells the types. Out, for each `rows` rows: a message with the columns up to number `apart`,
and one with the others, so that who keeps the first need not keep the second. First of all come
the two schemas. It exits with 0 only when all is written.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any, BinaryIO

if __name__ == "__main__":
    sys.path += sys.argv[1:]  # where packages are that only the caller's environment names
    sys.modules["numpy"] = None  # type: ignore[assignment]  # most of the start, not needed here

import adbc_driver_manager as manager
import adbc_driver_sqlite
import pyarrow as pa

_TYPES = 1  # rows
_MAPPED = 2**31  # bytes; SQLite maps no more
_LOOK_S = 1.0


def _bind(statement: manager.AdbcStatement, values: list[Any]) -> None:
    if values:
        names = [str(at) for at in range(len(values))]
        statement.bind(pa.record_batch([pa.array([value]) for value in values], names))


def _parts(batch: pa.RecordBatch, apart: int) -> list[pa.RecordBatch]:
    return [batch.select(range(apart)), batch.select(range(apart, batch.num_columns))]


def _end_with(parent: int) -> None:
    """End when who reads is no more: a process that was forked from it may hold the pipe open."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


def main() -> None:
    """Read one request and answer it."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        _answer(json.loads(sys.stdin.readline()), sys.stdout.buffer)
    except manager.Error as exc:
        sys.exit(str(exc).partition("\n")[0])  # the next lines are the query


def _answer(wanted: dict[str, Any], out: BinaryIO) -> None:
    with (
        adbc_driver_sqlite.connect(wanted["path"]) as database,
        manager.AdbcConnection(database) as connection,
        manager.AdbcStatement(connection) as statement,
    ):
        statement.set_sql_query(f"PRAGMA mmap_size = {_MAPPED}")
        statement.execute_query()
        statement.set_options(**{"adbc.sqlite.query.batch_rows": str(wanted["rows"])})
        statement.set_sql_query(wanted["sql"])
        _bind(statement, wanted["bound"])
        found, _ = statement.execute_query()
        for at, batch in enumerate(pa.RecordBatchReader.from_stream(found)):
            parts = _parts(batch if at else batch.slice(_TYPES), wanted["apart"])
            if not at:
                out.writelines(part.schema.serialize() for part in parts)
            out.writelines(part.serialize() for part in parts)
    out.flush()
    os._exit(0)  # what was imported need not be torn down


if __name__ == "__main__":
    main()

"""A program that reads runs through ADBC and writes them to its output as Arrow streams.

It is a process of its own because ADBC brings an SQLite of its own, and two of them in one process
destroy each other's locks: POSIX takes them for one owner's, and drops them all when either closes
the file. It is started by its path and imports nothing of ours.

In: one line of JSON, ``{"path", "sql", "bound", "rows", "apart"}``. The first row that `sql` finds
only tells the types. Out, for every `rows` rows: `MORE`, a stream with the columns up to number
`apart`, and one with the others, so that who keeps the first need not keep the second. Last `END`.
"""

from __future__ import annotations

import json
import sys
from typing import Any, BinaryIO

import adbc_driver_manager as manager
import adbc_driver_sqlite
import pyarrow as pa

MORE, END = b"\x01", b"\x00"
_TYPES = 1  # rows


def _bind(statement: manager.AdbcStatement, values: list[Any]) -> None:
    if values:
        names = [str(at) for at in range(len(values))]
        statement.bind(pa.record_batch([pa.array([value]) for value in values], names))


def _write(batch: pa.RecordBatch, apart: int, out: BinaryIO) -> None:
    out.write(MORE)
    for columns in (range(apart), range(apart, batch.num_columns)):
        some = batch.select(columns)
        with pa.ipc.new_stream(out, some.schema) as stream:
            stream.write_batch(some)


def main() -> None:
    """Read one request and answer it."""
    wanted = json.loads(sys.stdin.readline())
    out = sys.stdout.buffer
    with (
        adbc_driver_sqlite.connect(wanted["path"]) as database,
        manager.AdbcConnection(database) as connection,
        manager.AdbcStatement(connection) as statement,
    ):
        statement.set_options(**{"adbc.sqlite.query.batch_rows": str(wanted["rows"])})
        statement.set_sql_query(wanted["sql"])
        _bind(statement, wanted["bound"])
        found, _ = statement.execute_query()
        skip = _TYPES
        for batch in pa.RecordBatchReader.from_stream(found):
            _write(batch.slice(skip), wanted["apart"], out)
            skip = 0
    out.write(END)
    out.flush()


if __name__ == "__main__":
    main()

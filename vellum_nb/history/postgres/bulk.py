"""Many runs at once from PostgreSQL, by ADBC on a connection of its own."""

from __future__ import annotations

import adbc_driver_manager as manager
import adbc_driver_postgresql
import pyarrow as pa
import pyarrow.compute as pc

from vellum_nb.history.postgres.sql import plain
from vellum_nb.history.sqlite.bulk import BATCH, SCALARS, BulkError
from vellum_nb.history.store.places import DatabaseUrl
from vellum_nb.history.store.store import Batches

__all__ = ["read"]


def read(url: DatabaseUrl, sql: str) -> Batches:
    """Yield what the query of `reads.bulk` finds; its values stand in `sql`."""
    problem = ""
    try:
        with (
            adbc_driver_postgresql.connect(url.whole()) as database,
            manager.AdbcConnection(database) as connection,
            manager.AdbcStatement(connection) as statement,
        ):
            statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH)})
            statement.set_sql_query(sql)
            found, _ = statement.execute_query()
            for batch in pa.RecordBatchReader.from_stream(found):
                names = batch.schema.names
                apart = len(SCALARS)
                yield _unescaped(batch.select(names[:apart])), batch.select(names[apart:])
    except (manager.Error, pa.ArrowException) as exc:
        problem = url.cleared(str(exc))
    if problem:  # without its cause, whose frames hold the password
        raise BulkError(problem)


def _unescaped(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the texts as they were before PostgreSQL, which holds no NUL."""
    columns = [
        pa.array([None if text is None else plain(text) for text in column.to_pylist()])
        if pa.types.is_string(column.type) and pc.any(pc.match_substring(column, "\x01")).as_py()
        else column
        for column in batch.columns
    ]
    return pa.record_batch(columns, batch.schema.names)

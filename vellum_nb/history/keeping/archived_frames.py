"""Runs in archives as the batches that a frame of very many runs is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from vellum_nb.history.keeping.archive_files import Lot
from vellum_nb.history.rows.frames import KINDS, PLAIN, ROOMS
from vellum_nb.history.store.store import Batches

__all__ = ["followed"]

_TYPES = {"time": pa.int64(), "int": pa.int64(), "count": pa.int64(), "float": pa.float64()}
_SCHEMA = pa.schema([(name, _TYPES.get(KINDS[name], pa.string())) for name in (*PLAIN, "metadata")])
_LONG = pa.large_string()
_LINE_END = [pa.scalar(text, _LONG) for text in ("\n", "")]


def followed(
    picked: Callable[[set[str]], Iterator[tuple[Lot, list[int]]]], batches: Batches
) -> Batches:
    """Yield `batches`, of the runs that are here, and those of archives.

    `picked` is given which runs are here, and yields lots of archives with the places of others.
    """
    here: set[str] = set()
    schema = _SCHEMA
    for scalars, lines in batches:
        schema = scalars.schema
        here.update(scalars["id"].to_pylist())
        yield scalars, lines
    for lot, at in picked(here):
        for runs in lot.table(at).to_batches():
            yield _pair(schema, runs)


def _pair(schema: pa.Schema, runs: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Return rows of an archive as `Store.bulk` yields those that are here."""
    there = set(runs.schema.names)

    def column(name: str) -> pa.Array:
        return runs[name] if name in there else pa.nulls(len(runs), pa.string())

    scalars = [column(name).cast(schema.field(name).type) for name in schema.names]
    lines = [
        pc.binary_join_element_wise(pc.fill_null(column(name).cast(_LONG), "{}"), *_LINE_END)
        for name in ROOMS.values()
    ]
    return (
        pa.record_batch(scalars, schema=schema),
        pa.record_batch(lines, names=list(ROOMS.values())),
    )

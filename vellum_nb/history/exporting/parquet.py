"""Frames, and the runs of a history, as Parquet, by pyarrow.

Parquet has one type a column. A column of mixed types is written as JSON text, and its name is
noted in the file, so that `reading.read_parquet` gives the values back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from vellum_nb.errors import HistoryError
from vellum_nb.history.exporting.batches import Column
from vellum_nb.history.rows.frames import categories
from vellum_nb.history.rows.frames import column as frame_column

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from vellum_nb.history.exporting.streams import Stream

from vellum_nb.history.store.replacing import replacing_bytes

__all__ = ["AS_JSON", "arrow", "parquet_of_stream", "write_parquet"]

AS_JSON = b"vellum_nb.json"
"""Where a file lists its columns that hold JSON text in place of mixed types."""

_OPTIONS = {"compression": "zstd"}
_GROUP_ROWS = 50_000
_GROUP_BYTES = 16_000_000


def arrow(caller: str) -> Any:
    """Return pyarrow.

    Raises
    ------
    HistoryError
        It is not installed; `caller` is named as what needs it.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as exc:
        msg = f"{caller} needs pyarrow: pip install 'vellum-nb[fast]'"
        raise HistoryError(msg) from exc
    return pa


def write_parquet(frame: pd.DataFrame, path: Path) -> Path:
    """Write `frame` to `path`; columns of mixed types as JSON text."""
    pa = arrow("to_parquet")
    mixed = [str(name) for name in frame.columns if _is_mixed(frame[name])]
    texts = frame.assign(**{name: frame[name].map(_json_text) for name in mixed})
    table = pa.Table.from_pandas(texts)
    table = table.replace_schema_metadata({**table.schema.metadata, **_noted(mixed)})
    with replacing_bytes(path) as file:
        pa.parquet.write_table(table, file, **_OPTIONS)
    return path


def parquet_of_stream(stream: Stream, file: BinaryIO) -> None:
    """Write `stream` to an open file, a group of rows after the other."""
    pa = arrow("to_parquet")
    columns = stream.columns
    schema = _schema(pa, columns, stream)
    makers = [_maker(pa, column, schema.field(column.name).type, stream) for column in columns]
    with pa.parquet.ParquetWriter(file, schema, **_OPTIONS) as writer:
        tables = (
            pa.Table.from_arrays(
                [make(values) for make, values in zip(makers, batch, strict=True)], schema=schema
            )
            for batch in stream.batches()
        )
        for group in _grouped(tables):
            writer.write_table(pa.concat_tables(group))


def _grouped(tables: Iterator[Any]) -> Iterator[list[Any]]:
    """Yield lists of tables that are worth a group of rows each."""
    group: list[Any] = []
    rows = size = 0
    for table in tables:
        group.append(table)
        rows, size = rows + table.num_rows, size + table.nbytes
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group


def _schema(pa: Any, columns: Sequence[Column], stream: Stream) -> Any:
    """Return the schema that the whole frame would have, with what pandas notes of its dtypes."""
    import pandas as pd

    empty = {column.name: _empty(column, stream) for column in columns}
    found = pa.Schema.from_pandas(pd.DataFrame(empty))
    notes = json.loads(found.metadata[b"pandas"])
    notes["index_columns"][0]["stop"] = stream.rows
    mixed = [column.name for column in columns if column.kind == "mixed"]
    # pandas 2 keeps text as objects, and of no objects Arrow knows no type.
    fields = [f.with_type(pa.string()) if pa.types.is_null(f.type) else f for f in found]
    return pa.schema(fields, {b"pandas": json.dumps(notes).encode(), **_noted(mixed)})


def _empty(column: Column, stream: Stream) -> Any:
    if column.kind == "tag":
        return frame_column(list(stream.tags), "tag").iloc[:0]
    if column.kind == "bool":
        return frame_column([], "text").astype("boolean")
    return frame_column([], "text" if column.kind == "mixed" else column.kind)


def _maker(pa: Any, column: Column, kind: Any, stream: Stream) -> Callable[[Sequence[Any]], Any]:
    """Return what makes an Arrow array of cells."""
    if column.kind in {"tag", "state"}:
        known = categories(stream.tags if column.kind == "tag" else (), column.kind)
        places = {name: at for at, name in enumerate(known)}
        dictionary = pa.array(known, kind.value_type)
        return lambda values: pa.DictionaryArray.from_arrays(
            pa.array([places[value] for value in values], kind.index_type), dictionary
        )
    if column.kind == "time":
        return lambda values: pa.array(values, pa.int64()).cast(kind)
    if column.kind == "mixed":
        return lambda values: pa.array(list(map(_json_text, values)), kind)
    return lambda values: pa.array(values, kind)


def _noted(mixed: Sequence[str]) -> Mapping[bytes, bytes]:
    return {AS_JSON: json.dumps(mixed).encode()}


def _is_mixed(column: pd.Series[Any]) -> bool:
    """Return whether Arrow has no type for the column; pandas 2 holds plain text as objects."""
    return column.dtype == object and not all(isinstance(v, str) for v in column.dropna())


def _json_text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)

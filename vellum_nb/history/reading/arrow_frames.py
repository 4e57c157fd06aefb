"""Arrow to the history frame: the same columns, dtypes and values as `frames` makes of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from vellum_nb.history.reading.spreading import Piece, spread
from vellum_nb.history.rows.cells import cells
from vellum_nb.history.rows.frames import (
    EXACT,
    KINDS,
    NO_TIME,
    PLAIN,
    ROOMS,
    assembled,
    categories,
    column,
    text_column,
    time_column,
)
from vellum_nb.history.rows.rows import clean
from vellum_nb.history.store.store import Batches

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame_of_batches"]

_Spread = dict[str, Piece]


def frame_of_batches(read: Callable[[], Batches]) -> pd.DataFrame:
    """Return the frame of the runs that `read` gives.

    Where a name turns out to have numbers and other values, all is read once more: only then it
    matters whether a number was 1 or 1.0.
    """
    exact: dict[str, set[str]] = {room: set() for room in ROOMS}
    while True:
        scalars: list[pa.RecordBatch] = []
        spreads: dict[str, list[tuple[_Spread, int]]] = {room: [] for room in ROOMS}
        for some, lines in read():
            scalars.append(some)
            for room, name in ROOMS.items():
                spreads[room].append((spread(lines[name], exact[room]), len(some)))
        mixed = {room: _mixed(spreads[room]) - exact[room] for room in ROOMS}
        if not any(mixed.values()):
            return _frame(scalars, spreads)
        exact = {room: exact[room] | mixed[room] for room in ROOMS}


def _mixed(batches: Sequence[tuple[_Spread, int]]) -> set[str]:
    """Return the names whose floats are in one column with what is no float."""
    found: dict[str, set[str]] = {}
    for pieces, _ in batches:
        for name, piece in pieces.items():
            kind = _kind(piece)
            found.setdefault(name, set()).add(kind if _fits_float(piece) else "large")
    return {name for name, kinds in found.items() if "float" in kinds and kinds - _NUMBERS}


def _frame(
    scalars: Sequence[pa.RecordBatch], spreads: dict[str, list[tuple[_Spread, int]]]
) -> pd.DataFrame:
    table = pa.Table.from_batches(scalars)
    columns = {name: _PLAIN_MAKERS[KINDS[name]](table[name]) for name in PLAIN}
    columns["metadata"] = _texts(_canonical(table["metadata"]))
    spread_out: dict[str, Any] = {}
    for room in ROOMS:
        batches = spreads.pop(room)
        for name in dict.fromkeys(name for pieces, _ in reversed(batches) for name in pieces):
            pieces = [pieces.pop(name, pa.nulls(rows)) for pieces, rows in batches]
            spread_out[clean(f"{room}.{name}")] = _column(pieces)
    return assembled(columns, spread_out, table.num_rows)


def _column(pieces: Sequence[Piece]) -> Any:
    kinds = {_kind(piece) for piece in pieces} - {"null"}
    if kinds == {"float", "int"} and all(_fits_float(piece) for piece in pieces):
        kinds = {"float"}
    if len(kinds) > 1 or "mixed" in kinds:
        return column([value for piece in pieces for value in _listed(piece)], None)
    return _joined(pieces, kinds.pop() if kinds else "text")


def _joined(pieces: Sequence[Piece], kind: str) -> Any:
    dtype = _ARROW[kind]
    arrays: list[pa.Array[Any]] = []
    for piece in pieces:
        arrays += piece.chunks if isinstance(piece, pa.ChunkedArray) else [piece]
    return _MAKERS[kind](pa.chunked_array([each.cast(dtype) for each in arrays], type=dtype))


def _kind(piece: Piece) -> str:
    if isinstance(piece, list):
        return "mixed"
    if piece.null_count == len(piece):
        return "null"
    return _KINDS[str(piece.type)]


def _fits_float(piece: Piece) -> bool:
    if _kind(piece) != "int":
        return True
    ends = pc.min_max(piece)
    return ends["min"].as_py() in EXACT and ends["max"].as_py() in EXACT


def _listed(piece: Piece) -> list[Any]:
    found: list[Any] = piece if isinstance(piece, list) else piece.to_pylist()
    return found


def _canonical(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return JSON texts as the frame shows them; equal ones are read once."""
    distinct = texts.unique().drop_null()
    shown = pa.array(cells(distinct.to_pylist()), pa.string())
    return shown.take(pc.index_in(texts, value_set=distinct))


def _texts(cells: pa.ChunkedArray) -> Any:
    import pandas as pd

    dtype = text_column([]).dtype
    if not isinstance(dtype, pd.StringDtype):
        return pd.Series(cells.to_pandas(), dtype="object")
    return _series(dtype, cells)


def _series(dtype: Any, cells: pa.ChunkedArray) -> Any:
    import pandas as pd

    return pd.Series(dtype.__from_arrow__(cells))


def _times(counts: pa.ChunkedArray) -> Any:
    return time_column(pc.fill_null(counts, NO_TIME).to_numpy())


def _category(cells: pa.ChunkedArray, kind: str) -> Any:
    import pandas as pd

    known = categories(cells.unique().to_pylist(), kind)
    codes = pc.fill_null(pc.index_in(cells, value_set=pa.array(known, pa.string())), -1)
    return pd.Series(pd.Categorical.from_codes(codes.to_numpy(), text_column(known)))


def _floats(cells: pa.ChunkedArray) -> Any:
    import pandas as pd

    return pd.Series(cells.to_numpy())


def _integers(cells: pa.ChunkedArray) -> Any:
    return _floats(cells) if cells.null_count == 0 else _counts(cells)


def _counts(cells: pa.ChunkedArray) -> Any:
    import pandas as pd

    return _series(pd.Int64Dtype(), cells)


def _bools(cells: pa.ChunkedArray) -> Any:
    import pandas as pd

    return _series(pd.BooleanDtype(), cells)


_NUMBERS = {"float", "int", "null"}
_KINDS = {"string": "text", "large_string": "text", "int64": "int", "double": "float"}
_KINDS |= {"bool": "bool"}
_ARROW = {"text": pa.large_string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
_MAKERS: dict[str, Callable[[pa.ChunkedArray], Any]] = {
    "text": _texts,
    "int": _integers,
    "float": _floats,
    "bool": _bools,
}
_PLAIN_MAKERS: dict[str, Callable[[pa.ChunkedArray], Any]] = {
    "text": _texts,
    "time": _times,
    "float": _floats,
    "int": lambda cells: _floats(pc.fill_null(cells, 0)),
    "count": _counts,
    "tag": partial(_category, kind="tag"),
    "state": partial(_category, kind="state"),
}

"""JSON objects to columns in Arrow, a batch at a time, by Arrow's own JSON reader.

The values are those that `frames.cell` gives for each, name by name. What Arrow cannot read as
it is meant (mixed types, integers beyond 64 bits, halves of a surrogate pair) is read by `json`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from vellum_nb.history.rows.frames import EXACT, INT64, cell

__all__ = ["Piece", "spread"]

Piece: TypeAlias = "pa.Array[Any] | pa.ChunkedArray[Any] | list[Any]"
"""The cells of one name in one batch: in Arrow if they have one type, else as they are."""

_BLOCK = 2**20
_FEW = 50


def spread(lines: pa.Array[Any], exact: Collection[str] = ()) -> dict[str, Piece]:
    """Return the cells of each name in `lines`, JSON objects that end in a newline, newest first.

    The names come in the order in which the oldest runs brought them. Numbers that are named
    `exact` keep 1 and 1.0 apart.
    """
    if (pc.sum(pc.binary_length(lines)).as_py() or 0) == len("{}\n") * len(lines):
        return {}
    table = _read(lines)
    if table is None:
        return _spread_by_json(lines)
    odd = [name for name in table.column_names if name in exact or _is_odd(table[name])]
    slow = _spread_by_json(lines, odd) if odd else {}
    return {name: slow.get(name, table[name]) for name in _in_order(lines, table.column_names)}


def _read(lines: pa.Array[Any]) -> pa.Table | None:
    """Return the names and cells as Arrow reads them; None where that is not what `json` reads."""
    texts: list[str] = []
    for _ in range(2):
        try:
            table = _parsed(lines, texts)
        except pa.ArrowInvalid:
            return None
        # A text like 2026-07-01 is a text.
        times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
        if not times:
            return table if table.num_rows == len(lines) else None
        texts = times
    return None


def _parsed(lines: pa.Array[Any], texts: Sequence[str]) -> pa.Table:
    longest = pc.max(pc.binary_length(lines)).as_py()
    return pyarrow.json.read_json(
        pa.BufferReader(_buffer(lines)),
        read_options=pyarrow.json.ReadOptions(
            use_threads=False, block_size=max(_BLOCK, 2 * longest)
        ),
        parse_options=pyarrow.json.ParseOptions(
            explicit_schema=pa.schema([(name, pa.string()) for name in texts]) if texts else None
        ),
    )


def _buffer(lines: pa.Array[Any]) -> Any:
    """Return the bytes of all `lines`, one after the other, without copying them."""
    _, offsets, values = lines.buffers()
    all_of_them = memoryview(offsets)
    at = all_of_them.cast("q") if pa.types.is_large_string(lines.type) else all_of_them.cast("i")
    first, last = at[lines.offset], at[lines.offset + len(lines)]
    return values.slice(first, last - first)


def _is_odd(cells: pa.ChunkedArray[Any]) -> bool:
    """Return whether Arrow's type hides what the values were, or is no scalar."""
    kind = cells.type
    if not pa.types.is_floating(kind):
        return bool(pa.types.is_nested(kind))
    # NaN is a missing value; an integer among them that a float cannot hold makes it mixed.
    size = pc.max(pc.if_else(pc.is_nan(cells), float("inf"), pc.abs(cells))).as_py()
    return bool(size is not None and size >= EXACT[-1])


def _in_order(lines: pa.Array[Any], names: Sequence[str]) -> list[str]:
    """Return `names` in the order in which the objects bring them, the last line first."""
    found: dict[str, None] = {}
    for at in range(len(lines) - 1, max(-1, len(lines) - 1 - _FEW), -1):
        found |= dict.fromkeys(json.loads(lines[at].as_py()))
        if len(found) == len(names):
            return list(found)
    late = {name: _last_line(lines, name) for name in names if name not in found}
    for at in sorted(set(late.values()), reverse=True):
        found |= dict.fromkeys(json.loads(lines[at].as_py()))
    return list(found)


def _last_line(lines: pa.Array[Any], name: str) -> int:
    told = json.dumps(name, ensure_ascii=False)
    for at in reversed(pc.indices_nonzero(pc.match_substring(lines, f"{told}:")).to_pylist()):
        if name in json.loads(lines[at].as_py()):
            return int(at)
    return next(at for at in reversed(range(len(lines))) if name in json.loads(lines[at].as_py()))


def _spread_by_json(lines: pa.Array[Any], only: Sequence[str] | None = None) -> dict[str, Piece]:
    values = json.loads(f"[{','.join(lines.to_pylist())}]")
    names = only or dict.fromkeys(name for value in reversed(values) for name in value)
    return {name: _packed([cell(value.get(name)) for value in values]) for name in names}


def _packed(cells: list[Any]) -> Piece:
    """Return the cells in Arrow if they have one type."""
    kinds = {type(value) for value in cells} - {type(None)}
    if len(kinds) > 1 or (kinds == {int} and not all(v in INT64 for v in cells if v is not None)):
        return cells
    return pa.array(cells)

"""JSON objects to columns in Arrow, a batch at a time, by Arrow's own JSON reader.

The values are those that `cells.cell` gives for each, name by name. What Arrow cannot read as it is
meant (mixed types, integers beyond 64 bits, halves of a surrogate pair, lists that begin with null)
is read by `json`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from vellum_nb.history.reading.structured import Structured, is_misread, names_in
from vellum_nb.history.rows.cells import members
from vellum_nb.history.rows.frames import EXACT

__all__ = ["Piece", "spread"]

Piece: TypeAlias = "pa.Array[Any] | pa.ChunkedArray[Any] | list[Any]"
"""The cells of one name in one batch: in Arrow if they have one type, else as they are."""

_FEW = 50
_MANY = 64
"""Names within a structured column: of more, most are in few runs, and Arrow has a place in all."""


def spread(lines: pa.Array[Any], exact: Collection[str] = ()) -> dict[str, Piece]:
    """Return the cells of each name in `lines`, JSON objects that end in a newline, newest first.

    The names come in the order in which the oldest runs brought them. Numbers that are named
    `exact` keep 1 and 1.0 apart.
    """
    if (pc.sum(pc.binary_length(lines)).as_py() or 0) == len("{}\n") * len(lines):
        return {}
    table = _read(lines)
    if table is None:
        return _by_json(lines)
    odd = {name for name in table.column_names if name in exact or _is_odd(table[name])}
    found = _by_json(lines, odd) if odd else {}
    structured = Structured(lines, table)
    for name in table.column_names:
        if name not in found:
            is_nested = pa.types.is_nested(table[name].type)
            found[name] = _texts(lines, structured, name) if is_nested else table[name]
    return {name: found[name] for name in _in_order(lines, table.column_names)}


def _texts(lines: pa.Array[Any], structured: Structured, name: str) -> Piece:
    texts, doubt = structured.texts(name)
    if doubt is None:
        return texts
    cells = members(lines.filter(doubt).to_pylist(), [name])[name]
    return pc.replace_with_mask(texts, doubt, pa.array(cells, pa.string()))


def _read(lines: pa.Array[Any]) -> pa.Table | None:
    """Return the names and cells as Arrow reads them; None where that is not what `json` reads."""
    texts: list[pa.Field[Any]] = []
    for _ in range(2):
        try:
            table = _parsed(lines, texts)
        except (pa.ArrowInvalid, OverflowError):  # or it is more than 2 GB
            return None
        # A text like 2026-07-01 is a text.
        told = [(field, field.with_type(_untimed(field.type))) for field in table.schema]
        texts = [field for read, field in told if field != read]
        if not texts:
            is_whole = table.num_rows == len(lines) and not is_misread(lines, table.schema)
            return table if is_whole else None
    return None


def _untimed(kind: pa.DataType) -> pa.DataType:
    """Return the type with texts for times."""
    if isinstance(kind, pa.ListType):
        return pa.list_(_untimed(kind.value_type))
    if isinstance(kind, pa.StructType):
        return pa.struct([field.with_type(_untimed(field.type)) for field in kind])
    return pa.string() if pa.types.is_timestamp(kind) else kind


def _parsed(lines: pa.Array[Any], texts: Sequence[pa.Field[Any]]) -> pa.Table:
    # Read as one block: Arrow crashes where a later one has lists in the place of scalars.
    whole = _buffer(lines)
    return pyarrow.json.read_json(
        pa.BufferReader(whole),
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=whole.size),
        parse_options=pyarrow.json.ParseOptions(
            explicit_schema=pa.schema(texts) if texts else None
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
    """Return whether Arrow's type hides what the numbers were, or is quicker to read by `json`."""
    if not pa.types.is_floating(cells.type):
        return names_in(cells.type) > _MANY
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


def _by_json(lines: pa.Array[Any], only: Collection[str] = ()) -> dict[str, Piece]:
    found = members(lines.to_pylist(), only)
    return {name: _packed(cells) for name, cells in found.items()}


def _packed(cells: list[Any]) -> Piece:
    """Return the cells in Arrow if they have one type."""
    kinds = set(map(type, cells)) - {type(None)}
    if len(kinds) > 1:
        return cells
    try:
        return pa.array(cells, pa.int64() if int in kinds else None)
    except OverflowError:
        return cells

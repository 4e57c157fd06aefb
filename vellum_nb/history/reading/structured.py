"""Structured values that Arrow read, as the JSON text that `cell` gives, by Arrow's functions only.

Arrow's types forget whether a missing member was null, and whether a number was 1 or 1.0. The
JSON text still knows: keys and fractions are counted in it, for all runs of a batch at once.
What that does not settle is told to be in doubt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cached_property, reduce
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Structured", "is_misread", "names_in"]

Array: TypeAlias = "pa.Array[Any]"
Texts: TypeAlias = "tuple[Array, Array | None]"
"""A text for each value, None where there is none; which are in doubt, None where none is."""

_PLAIN = (1e-4, 1e9)
"""Python and Arrow spell the fractions between these in the same way, without an exponent."""
_NULL_FIRST = r"\[\s*null"
_FRACTION = r'\w":-?\d+\.\d+[,}\]]'
_COUNTED = re.compile(r"\w[ !#-\[\]-~]*", re.ASCII)
"""Names whose spelling, in quotes and before a colon, is nothing but a key."""
_MOST_COUNTED = 8
"""Names that are counted: of more, `json` is quicker than to look through all texts for each."""
_ESCAPED = r'["\\\x00-\x1f]'
_ESCAPES = {text: json.dumps(text)[1:-1] for text in ("\\", '"', *map(chr, range(32)))}


class Structured:
    """The lists and objects of a batch of JSON objects, given as lines and as Arrow read them."""

    def __init__(self, lines: Array, table: pa.Table) -> None:
        self._lines = lines
        self._table = table
        self._nulls: dict[str, bool | None] = {}

    def texts(self, name: str) -> Texts:
        """Return the canonical JSON of each value of one column."""
        return self._written(self._table[name].combine_chunks())

    def _written(self, values: Array, *, is_member: bool = False) -> Texts:
        kind = values.type
        if pa.types.is_struct(kind):
            return self._objects(values)
        if pa.types.is_list(kind):
            return self._lists(values)
        if pa.types.is_floating(kind):
            return self._floats(values, is_member=is_member)
        if pa.types.is_string(kind):
            return _joined('"', _escaped(values), '"'), None
        return values.cast(pa.string()), None

    def _lists(self, values: Any) -> Texts:
        items, doubt = self._written(values.values)
        ends = values.offsets
        filled = pa.ListArray.from_arrays(ends, pc.fill_null(items, "null"))
        texts = _joined("[", pc.binary_join(filled, ","), "]")
        if doubt is not None:
            so_far = pc.cumulative_sum(doubt.cast(pa.int64()))
            before = pa.concat_arrays([pa.array([0]), so_far])
            doubt = pc.not_equal(before.take(ends[1:]), before.take(ends[:-1]))
        return _like(values, texts), doubt

    def _objects(self, values: Any) -> Texts:
        pieces: list[Array | str] = []
        doubts: list[Array] = []
        fields = dict(zip(values.type.names, values.flatten(), strict=True))
        if sum(each.null_count > values.null_count for each in fields.values()) > _MOST_COUNTED:
            return pa.nulls(len(values), pa.string()), values.is_valid()
        for name, field in sorted(fields.items()):
            texts, doubt = self._written(field, is_member=True)
            doubts += [] if doubt is None else [doubt]
            if texts.null_count > values.null_count:
                are_written = self._nulls_are_written(name)
                if are_written is None:
                    doubts.append(pc.and_(values.is_valid(), texts.is_null()))
                elif are_written:
                    texts = pc.fill_null(texts, "null")
            told = f",{json.dumps(name, ensure_ascii=False)}:"
            has_gaps = texts.null_count > values.null_count
            pieces += [pc.fill_null(_joined(told, texts), "")] if has_gaps else [told, texts]
        texts = _like(values, _braced(pieces, len(values)))
        return texts, reduce(pc.or_, doubts) if doubts else None

    def _floats(self, values: Array, *, is_member: bool) -> Texts:
        texts, size = values.cast(pa.string()), pc.abs(values)
        is_known = pc.greater_equal(size, _PLAIN[0])
        is_whole = pc.equal(values, pc.trunc(values))
        if pc.any(is_whole).as_py():
            is_told = is_member and self._are_fractions
            is_known = pc.if_else(is_whole, is_told, is_known)
            texts = pc.if_else(is_whole, _joined(texts, ".0"), texts)
        is_known = pc.and_(is_known, pc.less(size, _PLAIN[1]))
        doubt = pc.fill_null(pc.invert(is_known), fill_value=False)
        return texts, doubt if pc.any(doubt).as_py() else None

    @cached_property
    def _are_fractions(self) -> bool:
        """Whether each float that has a name is written as a fraction."""
        floats = [field for _, _, field in self._members if pa.types.is_floating(field.type)]
        number = sum(len(each) - each.null_count for each in floats)
        return bool(self._count(_FRACTION) == number)

    def _nulls_are_written(self, name: str) -> bool | None:
        """Return whether what has no `name` says null; None where some do and some leave it out."""
        if name not in self._nulls:
            is_asked = len(self._nulls) < _MOST_COUNTED and _COUNTED.fullmatch(name)
            self._nulls[name] = self._count_nulls(name) if is_asked else None
        return self._nulls[name]

    def _count_nulls(self, name: str) -> bool | None:
        found = [(size, field) for told, size, field in self._members if told == name]
        key = rf'"{re.escape(name)}"\s*:'
        number = self._count(key) - self._count(r"\\" + key)  # quicker than `[^\\]` before it
        if number == sum(size for size, _ in found):
            return True
        given = sum(len(field) - field.null_count for _, field in found)
        return False if number == given else None

    @cached_property
    def _members(self) -> list[tuple[str, int, Any]]:
        """Each name, how many objects may have it, and the values."""
        columns = zip(self._table.column_names, self._table.columns, strict=True)
        return [each for name, values in columns for each in _members(name, values)]

    def _count(self, pattern: str) -> int:
        return _count(self._lines, pattern)


def is_misread(lines: Array, schema: pa.Schema) -> bool:
    """Return whether Arrow may have lost values: behind a null that is the first in a list.

    The column is not even whole then, and must not be touched.
    """
    return any(map(_has_lists, schema.types)) and _count(lines, _NULL_FIRST) > 0


def names_in(kind: pa.DataType) -> int:
    """Return how many names there are in the objects of a type."""
    if isinstance(kind, pa.ListType):
        return names_in(kind.value_type)
    if not isinstance(kind, pa.StructType):
        return 0
    return int(kind.num_fields) + sum(names_in(field.type) for field in kind)


def _count(lines: Array, pattern: str) -> int:
    return int(pc.sum(pc.count_substring_regex(lines, pattern)).as_py() or 0)


def _members(name: str, values: pa.ChunkedArray[Any]) -> Iterator[tuple[str, int, Any]]:
    yield name, len(values), values
    for chunk in values.chunks if pa.types.is_nested(values.type) else ():
        yield from _within(chunk)


def _within(values: Any) -> Iterator[tuple[str, int, Array]]:
    if pa.types.is_list(values.type):
        yield from _within(values.values)
    elif pa.types.is_struct(values.type):
        for name, field in zip(values.type.names, values.flatten(), strict=True):
            yield name, len(values) - values.null_count, field
            yield from _within(field)


def _has_lists(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.StructType):
        return any(_has_lists(field.type) for field in kind)
    return bool(pa.types.is_list(kind))


def _escaped(texts: Array) -> Array:
    odd = pc.fill_null(pc.match_substring_regex(texts, _ESCAPED), fill_value=False)
    if not pc.any(odd).as_py():
        return texts
    some = texts.filter(odd)
    for text, spelled in _ESCAPES.items():
        if pc.any(pc.match_substring(some, text)).as_py():
            some = pc.replace_substring(some, text, spelled)
    return pc.replace_with_mask(texts, odd, some)


def _joined(*pieces: Array | str) -> Array:
    parts = [pa.scalar(each, pa.string()) if isinstance(each, str) else each for each in pieces]
    return pc.binary_join_element_wise(*parts, pa.scalar("", pa.string()))


def _braced(pieces: Sequence[Array | str], number: int) -> Array:
    """Return objects of members that each begin with a comma, of which the first is left out."""
    if not pieces:
        return pa.repeat(pa.scalar("{}", pa.string()), number)
    first, *others = pieces
    if isinstance(first, str):
        return _joined("{" + first.removeprefix(","), *others, "}")
    return _joined("{", pc.ascii_ltrim(_joined("", *pieces), ","), "}")


def _like(values: Array, texts: Array) -> Array:
    """Return `texts` without those of missing values."""
    return pc.if_else(values.is_valid(), texts, None) if values.null_count else texts

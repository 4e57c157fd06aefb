"""What stands in the pages of an SQLite file: trees, cells and records, however damaged.

A cell that is not exactly as SQLite writes it is no cell: nothing is guessed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from vellum_nb.history.repairing.pages import Pages

__all__ = [
    "BadCellError",
    "Cell",
    "Tree",
    "cells",
    "free_pages",
    "kind_of",
    "roots",
    "unreadable",
    "walk",
]

LEAF, INDEX_LEAF = 13, 10
INNER, INDEX_INNER = 5, 2
_KINDS = frozenset({LEAF, INDEX_LEAF, INNER, INDEX_INNER})
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_FLOAT, _ZERO, _ONE, _FIRST_BLOB = 7, 8, 9, 12
_LONGEST = 9
_LISTED = 5  # type, name, tbl_name, rootpage, sql


class BadCellError(ValueError):
    """Something in a page is not as SQLite writes it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A row: its number (None in an index) and its values."""

    rowid: int | None
    values: tuple[Any, ...]


@dataclass(slots=True)
class Tree:
    """The pages of one table or index that can be reached, and those of them that have rows.

    It is `whole` where none is missing.
    """

    pages: list[int] = field(default_factory=list)
    reached: set[int] = field(default_factory=set)
    whole: bool = True
    lost: list[int] = field(default_factory=list)


def kind_of(number: int, page: bytes) -> int:
    """Return what the page says that it is."""
    return page[100 if number == 1 else 0]


def walk(pages: Pages, root: int) -> Tree:
    """Return the pages with rows below `root`, in order, and whether none is missing."""
    tree, left = Tree(), [root]
    while left:
        number = left.pop()
        page = pages.read(number)
        kind = None if page is None else kind_of(number, page)
        if page is None or kind not in _KINDS or number in tree.reached:
            tree.whole = False
            tree.lost.append(number)
            continue
        tree.reached.add(number)
        if kind != INNER:
            tree.pages.append(number)
        if kind in {INNER, INDEX_INNER}:
            try:
                left += reversed(_children(pages, number, page))
            except BadCellError:
                tree.whole = False
    return tree


def cells(pages: Pages, number: int, *, bad: list[int] | None = None) -> Iterator[Cell]:
    """Yield the rows of a page; of each that cannot be read, add the page to `bad`."""
    page = pages.read(number)
    if page is None:
        return
    kind = kind_of(number, page)
    try:
        pointers = _pointers(pages, number, page)
    except BadCellError:
        pointers = ()
        if bad is not None:
            bad.append(number)
    for pointer in pointers:
        try:
            yield _cell(pages, page, pointer, kind)
        except (BadCellError, IndexError, struct.error, UnicodeDecodeError):
            if bad is not None:
                bad.append(number)


def roots(pages: Pages) -> Iterator[tuple[str, str, str, int]]:
    """Yield kind, name, table and first page of all that the list of tables names."""
    for number in walk(pages, 1).pages:
        for cell in cells(pages, number):
            if len(cell.values) == _LISTED and isinstance(cell.values[3], int):
                kind, name, table, root, _ = cell.values
                if root > 1:
                    yield kind, name, table, root


def unreadable(pages: Pages) -> list[int]:
    """Return the pages that a table or an index leads to, and that are none."""
    lost = set(walk(pages, 1).lost)
    return sorted(lost.union(*(walk(pages, root).lost for *_, root in roots(pages))))


def free_pages(pages: Pages) -> set[int]:
    """Return the pages that are in no use, as far as the list of them can be read."""
    first = pages.read(1)
    found: set[int] = set()
    if first is None or not pages.has_header:
        return found
    trunk = int.from_bytes(first[32:36], "big")
    while trunk and trunk not in found:
        page = pages.read(trunk)
        if page is None:
            break
        following, count = struct.unpack(">II", page[:8])
        if count > pages.usable // 4 - 2 or following > pages.count:
            break
        found.add(trunk)
        found.update(struct.unpack(f">{count}I", page[8 : 8 + 4 * count]))
        trunk = following
    return found


def _pointers(pages: Pages, number: int, page: bytes) -> tuple[int, ...]:
    start = 100 if number == 1 else 0
    kind = page[start]
    count = int.from_bytes(page[start + 3 : start + 5], "big")
    first = start + (12 if kind in {INNER, INDEX_INNER} else 8)
    if first + 2 * count > pages.usable:
        msg = "more cells than there is room for"
        raise BadCellError(msg)
    found = struct.unpack(f">{count}H", page[first : first + 2 * count])
    return tuple(each for each in found if first + 2 * count <= each < pages.usable)


def _children(pages: Pages, number: int, page: bytes) -> list[int]:
    start = 100 if number == 1 else 0
    last = int.from_bytes(page[start + 8 : start + 12], "big")
    pointers = _pointers(pages, number, page)
    return [*(int.from_bytes(page[each : each + 4], "big") for each in pointers), last]


def _cell(pages: Pages, page: bytes, at: int, kind: int) -> Cell:
    if kind == INDEX_INNER:
        at += 4
    length, at = _varint(page, at)
    rowid = None
    if kind == LEAF:
        number, at = _varint(page, at)
        rowid = number - (1 << 64) if number >= 1 << 63 else number
    if length > pages.count * pages.size:
        msg = "longer than the file"
        raise BadCellError(msg)
    return Cell(rowid, _values(_payload(pages, page, at, length, kind)))


def _payload(pages: Pages, page: bytes, at: int, length: int, kind: int) -> bytes:
    """Return the record, whose end lies in pages of its own where it is long."""
    usable = pages.usable
    most = usable - 35 if kind == LEAF else (usable - 12) * 64 // 255 - 23
    if length <= most:
        here = length
    else:
        least = (usable - 12) * 32 // 255 - 23
        here = least + (length - least) % (usable - 4)
        here = here if here <= most else least
    if at + here > usable:
        msg = "over the end of its page"
        raise BadCellError(msg)
    parts = [page[at : at + here]]
    left, following = length - here, int.from_bytes(page[at + here : at + here + 4], "big")
    while left:
        more = pages.read(following)
        if more is None:
            msg = "goes on in a page that is not there"
            raise BadCellError(msg)
        parts.append(more[4 : 4 + min(left, usable - 4)])
        left -= len(parts[-1])
        following = int.from_bytes(more[:4], "big")
    if following and length > here:
        msg = "goes on behind its end"
        raise BadCellError(msg)
    return b"".join(parts)


def _values(record: bytes) -> tuple[Any, ...]:
    """Return the values of a record, which must fill it exactly."""
    end, at = _varint(record, 0)
    if not at <= end <= len(record):
        msg = "a header that is longer than the record"
        raise BadCellError(msg)
    kinds = []
    while at < end:
        kind, at = _varint(record, at)
        kinds.append(kind)
    values = []
    for kind in kinds:
        width = _width(kind)
        if at + width > len(record):
            msg = "a value over the end of the record"
            raise BadCellError(msg)
        values.append(_value(kind, record[at : at + width]))
        at += width
    if at != len(record):
        msg = "bytes that belong to no value"
        raise BadCellError(msg)
    return tuple(values)


def _width(kind: int) -> int:
    if kind >= _FIRST_BLOB:
        return (kind - _FIRST_BLOB) // 2
    if kind in {_FIRST_BLOB - 2, _FIRST_BLOB - 1}:
        msg = f"a value of the kind {kind}"
        raise BadCellError(msg)
    return 8 if kind == _FLOAT else _INTEGERS.get(kind, 0)


def _value(kind: int, content: bytes) -> Any:
    if kind >= _FIRST_BLOB:
        return content.decode("utf-8") if kind % 2 else content
    if kind in _INTEGERS:
        return int.from_bytes(content, "big", signed=True)
    if kind == _FLOAT:
        return struct.unpack(">d", content)[0]
    return {_ZERO: 0, _ONE: 1}.get(kind)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(_LONGEST):
        byte = content[at + index]
        if index == _LONGEST - 1:
            return value << 8 | byte, at + _LONGEST
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            break
    return value, at + index + 1

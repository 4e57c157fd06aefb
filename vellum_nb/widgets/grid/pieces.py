"""Texts as they travel to the grid: cut to size, in pieces that say what changed.

A piece is a mark and a text: ``"="`` stands in both, ``"-"`` only in the old text, ``"+"`` only in
the new one, ``"~"`` is left out and the text says how much, ``"@"`` says where or by how much
something changed. The page puts them in as text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from vellum_nb.history import clean
from vellum_nb.rendering.diff import difference
from vellum_nb.rendering.text_diff import Op, word_diff
from vellum_nb.rendering.values import same_value, value_text

__all__ = ["Piece", "changed", "differing", "plain", "short"]

Piece: TypeAlias = tuple[str, str]

_MARKS = {"equal": "=", "delete": "-", "insert": "+"}
_AROUND = 60  # characters that are shown before and after a change
_ROWS = 8  # changes of a structured value
_LARGEST = 100_000  # characters of a structured value that is compared by its parts
_WINDOW = 3  # times the limit: as much text is searched for differences


def short(text: str, limit: int) -> str:
    """Return `text` clean, and cut with an ellipsis where it is longer than `limit`."""
    text = text[: limit + 1]
    return clean(text if len(text) <= limit else f"{text[: limit - 1]}…")


def plain(text: str, limit: int) -> tuple[list[Piece], bool]:
    """Return `text` in pieces, and whether some of it is left out.

    Examples
    --------
    >>> plain("charged twice", 7)
    ([('=', 'charged'), ('~', '6 characters')], True)
    """
    rest = len(text) - limit
    pieces = [("=", clean(text[:limit]))] if text else []
    return ([*pieces, ("~", f"{rest:,} characters")], True) if rest > 0 else (pieces, False)


def differing(old: Any, new: Any, kinds: tuple[str, str], limit: int) -> tuple[list[Piece], bool]:
    """Return how one value differs from another, by Vellum's types of the two.

    Examples
    --------
    >>> differing(2, 5, ("NUMBER", "NUMBER"), 100)
    ([('-', '2'), ('+', '5'), ('@', ' by +3')], False)
    """
    texts = value_text(old, kinds[0]), value_text(new, kinds[1])
    if same_value(old, new):
        return plain(texts[1], limit)
    is_text = isinstance(old, str) and isinstance(new, str)
    if is_text or max(map(len, texts)) > _LARGEST:
        return changed(*texts, limit)
    found = difference(old, new, kinds[1], old_kind=kinds[0])
    pieces: list[Piece] = []
    rows = found.rows(_ROWS)
    for row in rows:
        pieces += [("=", "\n")] if pieces else []
        pieces += [("@", short(f"{row.label}: ", 2 * _AROUND))] if row.label else []
        pieces += _shortened(row.ops, at_start=True)
        pieces += [("@", f" {row.remark}")] if row.remark else []
    rest = len(found.changes) - len(rows) if len(rows) == _ROWS else 0
    pieces += [("~", f"{rest:,} changes")] if rest > 0 else []
    pieces, is_cut = _fitting(pieces, limit)
    return pieces, is_cut or any(mark == "~" for mark, _ in pieces)


def changed(old: str, new: str, limit: int) -> tuple[list[Piece], bool]:
    """Return how `new` differs from `old`, in pieces; a change is in sight however far down it is.

    Examples
    --------
    >>> changed("charged twice", "charged once", 100)
    ([('=', 'charged '), ('-', 'twice'), ('+', 'once')], False)
    """
    start = _start(old, new)
    size = _WINDOW * limit
    parts = old[start : start + size], new[start : start + size]
    pieces: list[Piece] = [("~", f"{start:,} characters")] if start else []
    pieces += _shortened(word_diff(*parts), at_start=not start)
    rest = max(len(old), len(new)) - start - size
    if rest > 0:
        pieces.append(("~", f"{rest:,} characters"))
    pieces, is_cut = _fitting(pieces, limit)
    return pieces, is_cut or any(mark == "~" for mark, _ in pieces)


def _start(old: str, new: str) -> int:
    """Return where to begin: shortly before the first difference, at a word."""
    low, high = 0, min(len(old), len(new))
    while low < high:  # how much both begin with
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    if low <= 2 * _AROUND:
        return 0
    begin = low - _AROUND
    space = old.find(" ", begin, low)
    return space + 1 if space >= 0 else begin


def _shortened(ops: Iterable[Op], *, at_start: bool) -> list[Piece]:
    """Return the pieces without the middle of what both have in common."""
    found = list(ops)
    pieces: list[Piece] = []
    for place, op in enumerate(found):
        head = _AROUND if place or not at_start else 0
        tail = _AROUND if place < len(found) - 1 else 0
        gap = len(op.text) - head - tail
        if op.kind != "equal" or gap <= _AROUND:
            pieces.append((_MARKS[op.kind], clean(op.text)))
            continue
        kept = op.text[:head], op.text[len(op.text) - tail :]
        pieces += [("=", clean(kept[0])), ("~", f"{gap:,} characters"), ("=", clean(kept[1]))]
    return [(mark, text) for mark, text in pieces if text]


def _fitting(pieces: list[Piece], limit: int) -> tuple[list[Piece], bool]:
    room = limit
    for place, (mark, text) in enumerate(pieces):
        if mark == "~":
            continue
        if len(text) > room:
            rest = sum(len(other) for kind, other in pieces[place:] if kind != "~") - room
            head = [(mark, text[:room])] if room else []
            return [*pieces[:place], *head, ("~", f"{rest:,} characters")], True
        room -= len(text)
    return pieces, False

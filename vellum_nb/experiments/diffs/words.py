"""Differences between two texts: lines first, then what stands between spaces, then words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import Literal, NamedTuple

from vellum_nb.experiments.diffs.blocks import (
    Block,
    alternating,
    shared_weight,
    weight,
    without_islands,
)
from vellum_nb.experiments.diffs.stretches import (
    shared_end,
    shared_space,
    shared_start,
    stretches,
)

__all__ = ["Kind", "Op", "word_diff"]

Kind = Literal["equal", "insert", "delete"]

# Each token takes the space behind it along. Numbers and contractions stay whole; scripts written
# without spaces go by character.
_LINE = re.compile(r".*\n(?:[^\S\n]*\n)*|.+")
_WORD = re.compile(
    r"(?:\d+(?:[.,]\d+)*"
    r"|[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
    r"|[^\W_]\w*(?:['\u2019]\w+)*[\u0300-\u036f\w]*"
    r"|\S)\s*|\s+"
)
_UNLIKE = 0.25  # texts that share less than this are shown as one replacement
_PROSE = 500  # characters from which on a text counts as prose
_LONG = 10  # characters a word, with the space behind it, that are too many for prose
_LONG_WORD = 200  # characters; of such a word only the middle that differs is marked


class Op(NamedTuple):
    """One piece of a difference.

    Attributes
    ----------
    kind : {"equal", "insert", "delete"}
        `insert` is only in the new text, `delete` only in the old one.
    text : str
        The piece; never empty.
    """

    kind: Kind
    text: str


_op = partial(tuple.__new__, Op)  # half the time of `Op(...)`


def word_diff(a: str, b: str) -> list[Op]:
    """Return how `b` differs from `a`, word by word.

    The equal and deleted pieces joined give `a`, the equal and inserted ones `b`. Where the two
    have little in common the result is one replacement rather than confetti.

    Parameters
    ----------
    a, b : str
        The old and the new text.

    Returns
    -------
    list of Op
        In reading order; a deletion comes before the insertion that replaces it.

    Examples
    --------
    >>> [(op.kind, op.text) for op in word_diff("charged twice", "charged once")]
    [('equal', 'charged '), ('delete', 'twice'), ('insert', 'once')]
    """
    if a == b:
        return [Op("equal", a)] if a else []
    blocks: list[Block] = []
    for block in alternating(stretches(a, b, _LINE.findall)):
        blocks += [block] if block[0] else _words(block[1], block[2])
    return _ops(blocks)


def _words(old: str, new: str) -> list[Block]:
    """Return the difference of two changed blocks of lines, word by word, in turns."""
    if not old or not new:
        return [("", old, new)]
    least = _UNLIKE * min(weight(old), weight(new))
    coarse = without_islands(stretches(old, new, None))
    shared = shared_weight(coarse)
    if 2 * shared < least and _is_prose(old) and _is_prose(new):
        return _replaced_between(coarse, old, new)
    blocks = _refined(coarse)
    if len(blocks) == len(coarse) and shared >= least:
        return coarse
    merged = without_islands(blocks)
    if shared_weight(merged) >= least:
        return merged
    return _replaced_between(alternating(blocks), old, new)


def _is_prose(text: str) -> bool:
    """Return whether `text` has so many words, in spaces, that single letters do not matter."""
    return len(text) > _PROSE and len(text) < _LONG * text.count(" ")


def _refined(coarse: list[Block]) -> list[Block]:
    """Return `coarse` with each change looked at word by word."""
    refined: list[Block] = []
    for block in coarse:
        _, gone, come = block
        if not gone or not come or _are_letters(gone + come):
            refined.append(block)
        else:
            refined += stretches(gone, come, _WORD.findall)
    return refined


def _are_letters(text: str) -> bool:
    """Return whether `text` has no signs, so that words are what stands between its spaces."""
    return text.isascii() and text.replace(" ", "").isalpha()


def _replaced_between(blocks: list[Block], old: str, new: str) -> list[Block]:
    """Return one replacement between the words with which both texts begin and end."""
    head = _edge(blocks[0])
    tail = _edge(blocks[-1]) or shared_space(old, new)
    if min(len(old), len(new)) < len(head) + len(tail):
        tail = ""
    gone, come = (text[len(head) : len(text) - len(tail)] for text in (old, new))
    return alternating([(head, "", ""), ("", gone, come), (tail, "", "")])


def _edge(block: Block) -> str:
    return block[0] if any(map(str.isalnum, block[0])) else ""


def _ops(blocks: Iterable[Block]) -> list[Op]:
    """Return `blocks`, between any two changes something equal, as pieces."""
    ops: list[tuple[str, str]] = []
    same = ""
    for equal, old, new in blocks:
        if equal:
            same += equal
            continue
        head = tail = ""
        if len(old) >= _LONG_WORD and len(new) >= _LONG_WORD:
            head, old, new, tail = _middle(old, new)  # noqa: PLW2901
        if same or head:
            ops.append(("equal", same + head))
        if old:
            ops.append(("delete", old))
        if new:
            ops.append(("insert", new))
        same = tail
    if same:
        ops.append(("equal", same))
    return list(map(_op, ops))


def _middle(old: str, new: str) -> tuple[str, str, str, str]:
    """Return a change, of one very long word only what differs, between what both sides share."""
    if _has_space(old) or _has_space(new):
        return "", old, new, ""
    head = shared_start(old, new)
    tail = shared_end(old[head:], new[head:])
    end = len(old) - tail
    return old[:head], old[head:end], new[head : len(new) - tail], old[end:]


def _has_space(text: str) -> bool:
    return len(text.split(maxsplit=1)) > 1

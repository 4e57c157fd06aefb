"""Differences between two texts: lines first, then what stands between spaces, then words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from os.path import commonprefix
from typing import Literal, NamedTuple

from vellum_nb.experiments.diffs.matching import matches

__all__ = ["Op", "word_diff"]

Kind = Literal["equal", "insert", "delete"]
Block = tuple[str, str, str]  # what is equal, else what went and what came

# Each token takes the space behind it along. Numbers and contractions stay whole; scripts written
# without spaces go by character.
_LINE = re.compile(r".*\n(?:[^\S\n]*\n)*|.+")
_CHUNK = re.compile(r"\S+\s*|\s+")
_WORD = re.compile(
    r"(?:\d+(?:[.,]\d+)*"
    r"|[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
    r"|[^\W_]\w*(?:['\u2019]\w+)*[\u0300-\u036f\w]*"
    r"|\S)\s*|\s+"
)
_LEVELS = (_LINE, _CHUNK, _WORD)
_UNLIKE = 0.25  # texts that share less than this are shown as one replacement
_BRIDGE = 3  # blocks: a change, what is equal, a change
_ISLAND = 100  # characters; longer equal pieces always stand
_NEAR = 4 * _ISLAND  # characters of a change that an island is held against
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
    for equal, old, new in _stretches(a, b, _LINE):
        blocks += [(equal, "", "")] if equal else _words(old, new)
    return _ops(blocks)


def _words(old: str, new: str) -> list[Block]:
    """Return the difference of two changed blocks of lines, word by word."""
    if not old or not new:
        return [("", old, new)]
    blocks = _alternating(_refined(old, new))
    least = _UNLIKE * min(_weight(old), _weight(new))
    if _shared(blocks) >= least:
        merged = _without_islands(blocks)
        if _shared(merged) >= least:
            return merged
    return _replaced_between(blocks, old, new)


def _refined(old: str, new: str) -> Iterator[Block]:
    """Yield the stretches between spaces that are equal, and the others word by word."""
    for block in _stretches(old, new, _CHUNK):
        _, gone, come = block
        if gone and come:
            yield from _stretches(gone, come, _WORD)
        else:
            yield block


def _stretches(a: str, b: str, token: re.Pattern[str]) -> Iterator[Block]:
    """Yield what is equal and what differs in turns, token by token.

    Tokens are held against each other without the space behind them, so that a word at the end of
    a line is still the same word.
    """
    tokens_a, tokens_b = token.findall(a), token.findall(b)
    words_a, words_b = list(map(str.rstrip, tokens_a)), list(map(str.rstrip, tokens_b))
    at_a = at_b = 0
    for start_a, start_b, size in matches(words_a, words_b):
        if start_a > at_a or start_b > at_b:
            yield from _replacement(
                "".join(tokens_a[at_a:start_a]), "".join(tokens_b[at_b:start_b])
            )
        at_a, at_b = start_a + size, start_b + size
        run_a, run_b = tokens_a[start_a:at_a], tokens_b[start_b:at_b]
        if run_a == run_b:
            yield "".join(run_a), "", ""
        else:
            yield from _spaced(run_a, run_b)
    if at_a < len(tokens_a) or at_b < len(tokens_b):
        yield from _replacement("".join(tokens_a[at_a:]), "".join(tokens_b[at_b:]))


def _spaced(run_a: Sequence[str], run_b: Sequence[str]) -> Iterator[Block]:
    """Yield the blocks of two runs of the same words with other spaces between them."""
    for one, other in zip(run_a, run_b, strict=True):
        shared = one if one == other else commonprefix((one, other))
        if shared:
            yield shared, "", ""
        if one is not shared or other is not shared:
            yield from _replacement(one[len(shared) :], other[len(shared) :])


def _replacement(old: str, new: str) -> Iterator[Block]:
    """Yield a change; the space with which both sides end is equal."""
    if not old or not new:
        if old or new:
            yield "", old, new
        return
    end = _end(old, new)
    cut = len(end)
    yield ("", old[:-cut], new[:-cut]) if cut else ("", old, new)
    if cut:
        yield end, "", ""


def _end(old: str, new: str) -> str:
    """Return the space with which both end, as much of it as they share."""
    spaces = [text[len(text.rstrip()) :] for text in (old, new)]
    if spaces[0] == spaces[1]:
        return spaces[0]
    return commonprefix([space[::-1] for space in spaces])[::-1]


def _replaced_between(blocks: list[Block], old: str, new: str) -> list[Block]:
    """Return one replacement between the words with which both texts begin and end."""
    head = _edge(blocks[0])
    tail = _edge(blocks[-1]) or _end(old, new)
    if min(len(old), len(new)) < len(head) + len(tail):
        tail = ""
    gone, come = (text[len(head) : len(text) - len(tail)] for text in (old, new))
    return [(head, "", ""), ("", gone, come), (tail, "", "")]


def _edge(block: Block) -> str:
    return block[0] if any(map(str.isalnum, block[0])) else ""


def _weight(text: str) -> int:
    """Return how many characters of `text` can be seen."""
    return len("".join(text.split()))


def _shared(blocks: Iterable[Block]) -> int:
    return sum(_weight(block[0]) for block in blocks if block[0])


def _alternating(blocks: Iterable[Block]) -> list[Block]:
    """Join neighbours, so that what is equal and what differs take turns."""
    joined: list[Block] = []
    for block in blocks:
        if joined and bool(block[0]) == bool(joined[-1][0]):
            before = joined[-1]
            joined[-1] = (before[0] + block[0], before[1] + block[1], before[2] + block[2])
        elif block != ("", "", ""):
            joined.append(block)
    return joined


def _without_islands(blocks: Iterable[Block]) -> list[Block]:
    """Merge equal pieces that are small beside the changes on both sides of them."""
    kept: list[Block] = []
    for block in blocks:
        kept.append(block)
        while block[0] == "" and len(kept) >= _BRIDGE and _is_island(*kept[-3:]):
            (_, old, new), (island, _, _), (_, old_2, new_2) = kept[-3:]
            kept[-3:] = [("", old + island + old_2, new + island + new_2)]
    return kept


def _is_island(before: Block, island: Block, after: Block) -> bool:
    text = island[0]
    if len(text) > _ISLAND or "\n" in text:
        return False
    if text.isspace():
        # A space between two replaced words; between two mere insertions it keeps them apart.
        return bool(before[1] and after[1] and before[2] and after[2])
    least = 2 * _weight(text)
    return least <= _size(before) and least <= _size(after)


def _size(block: Block) -> int:
    return max(_weight(block[1][:_NEAR]), _weight(block[2][:_NEAR]))


def _ops(blocks: Iterable[Block]) -> list[Op]:
    """Return `blocks` as pieces, neighbours of one kind joined."""
    ops: list[Op] = []
    for equal, old, new in _alternating(part for block in blocks for part in _inner(block)):
        if equal:
            ops.append(Op("equal", equal))
        if old:
            ops.append(Op("delete", old))
        if new:
            ops.append(Op("insert", new))
    return ops


def _inner(block: Block) -> list[Block]:
    """Return a change of one very long word with its ends taken off, any other as it is."""
    _, old, new = block
    if min(len(old), len(new)) < _LONG_WORD or " " in old[:_LONG_WORD]:
        return [block]
    if len(old.split(maxsplit=1)) > 1 or len(new.split(maxsplit=1)) > 1:
        return [block]
    head = len(commonprefix((old, new)))
    room = min(len(old), len(new)) - head
    tail = len(commonprefix((old[: -room - 1 : -1], new[: -room - 1 : -1]))) if room else 0
    return [
        (old[:head], "", ""),
        ("", old[head : len(old) - tail], new[head : len(new) - tail]),
        (old[len(old) - tail :], "", ""),
    ]

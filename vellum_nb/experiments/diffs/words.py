"""Differences between two texts: lines first, then what stands between spaces, then words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

from vellum_nb.experiments.diffs.matching import matches

__all__ = ["Kind", "Op", "word_diff"]

Kind = Literal["equal", "insert", "delete"]
Block = tuple[str, str, str]  # what is equal, else what went and what came

# Each token takes the space behind it along. Numbers and contractions stay whole; scripts written
# without spaces go by character.
_LINE = re.compile(r".*\n(?:[^\S\n]*\n)*|.+")
_WORD = re.compile(
    r"(?:\d+(?:[.,]\d+)*"
    r"|[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
    r"|[^\W_]\w*(?:['\u2019]\w+)*[\u0300-\u036f\w]*"
    r"|\S)\s*|\s+"
)
_LETTERS = re.compile(r"[a-zA-Z \n]*").fullmatch  # words of letters alone
_UNLIKE = 0.25  # texts that share less than this are shown as one replacement
_BRIDGE = 3  # blocks: a change, what is equal, a change
_ISLAND = 100  # characters; longer equal pieces always stand
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
    for equal, old, new in _stretches(a, b, _LINE.findall):
        blocks += [(equal, "", "")] if equal else _words(old, new)
    return _ops(blocks)


def _words(old: str, new: str) -> list[Block]:
    """Return the difference of two changed blocks of lines, word by word."""
    if not old or not new:
        return [("", old, new)]
    least = _UNLIKE * min(_weight(old), _weight(new))
    coarse = _without_islands(_alternating(_stretches(old, new, _chunks)))
    if 2 * _shared(coarse) < least and _is_prose(old) and _is_prose(new):
        return _replaced_between(coarse, old, new)
    blocks = _alternating(_refined(coarse))
    if _shared(blocks) >= least:
        merged = _without_islands(blocks)
        if len(merged) == len(blocks) or _shared(merged) >= least:
            return merged
    return _replaced_between(blocks, old, new)


def _is_prose(text: str) -> bool:
    """Return whether `text` has so many words, in spaces, that single letters do not matter."""
    return len(text) > _PROSE and len(text) < _LONG * text.count(" ")


def _refined(coarse: list[Block]) -> list[Block]:
    """Return `coarse` with each change looked at word by word."""
    refined: list[Block] = []
    for block in coarse:
        _, gone, come = block
        if not gone or not come or (_LETTERS(gone) and _LETTERS(come)):
            refined.append(block)
        else:
            refined += _stretches(gone, come, _WORD.findall)
    return refined


def _chunks(text: str) -> list[str]:
    """Return what stands between spaces; three times as fast as with an expression."""
    if "\0" in text:
        return _WORD.findall(text)
    chunks = text.replace(" ", " \0").replace("\n", "\n\0").split("\0")
    return chunks if chunks[-1] else chunks[:-1]


def _stretches(a: str, b: str, split: Callable[[str], list[str]]) -> list[Block]:
    """Return what is equal and what differs in turns, token by token.

    Tokens are held against each other without the space behind them, so that a word at the end of
    a line is still the same word.
    """
    tokens_a, tokens_b = split(a), split(b)
    found = matches(list(map(str.rstrip, tokens_a)), list(map(str.rstrip, tokens_b)))
    starts_a = list(accumulate(map(len, tokens_a), initial=0))
    starts_b = list(accumulate(map(len, tokens_b), initial=0))
    blocks: list[Block] = []
    at_a = at_b = 0
    for start_a, start_b, size in [*found, (len(tokens_a), len(tokens_b), 0)]:
        begin_a, begin_b = starts_a[start_a], starts_b[start_b]
        if begin_a > at_a or begin_b > at_b:
            blocks += _replacement(a[at_a:begin_a], b[at_b:begin_b])
        at_a, at_b = starts_a[start_a + size], starts_b[start_b + size]
        same = a[begin_a:at_a]
        if same == b[begin_b:at_b]:
            blocks.append((same, "", ""))
        else:
            blocks += _spaced(
                tokens_a[start_a : start_a + size], tokens_b[start_b : start_b + size]
            )
    return blocks


def _spaced(run_a: Sequence[str], run_b: Sequence[str]) -> Iterator[Block]:
    """Yield the blocks of two runs of the same words with other spaces between them."""
    for one, other in zip(run_a, run_b, strict=True):
        shared = one if one == other else one[: _shared_start(one, other)]
        if shared:
            yield shared, "", ""
        if one is not shared or other is not shared:
            yield from _replacement(one[len(shared) :], other[len(shared) :])


def _replacement(old: str, new: str) -> list[Block]:
    """Return a change; the space with which both sides end is equal."""
    if not old or not new or not old[-1].isspace() or not new[-1].isspace():
        return [("", old, new)]
    last = old[-1]
    if last == new[-1] and not old[-2:-1].isspace():  # as nearly always
        return [("", old[:-1], new[:-1]), (last, "", "")]
    cut = len(end := _end(old, new))
    return [("", old[:-cut], new[:-cut]), (end, "", "")] if cut else [("", old, new)]


def _end(old: str, new: str) -> str:
    """Return the space with which both end, as much of it as they share."""
    one, other = old[len(old.rstrip()) :], new[len(new.rstrip()) :]
    if one == other:
        return one
    length = _shared_end(one, other)
    return one[-length:] if length else ""


def _shared_start(old: str, new: str) -> int:
    """Return with how many characters both begin."""
    from rapidfuzz.distance import Prefix

    return Prefix.similarity(old, new)


def _shared_end(old: str, new: str) -> int:
    """Return with how many characters both end."""
    from rapidfuzz.distance import Postfix

    return Postfix.similarity(old, new)


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
    return _weight("".join([block[0] for block in blocks]))


def _alternating(blocks: Iterable[Block]) -> list[Block]:
    """Join neighbours, so that what is equal and what differs take turns."""
    joined: list[Block] = []
    same = old = new = ""
    for equal, gone, come in blocks:
        if equal:
            if old or new:
                joined.append(("", old, new))
                old = new = ""
            same += equal
        elif gone or come:
            if same:
                joined.append((same, "", ""))
                same = ""
            old += gone
            new += come
    if same:
        joined.append((same, "", ""))
    elif old or new:
        joined.append(("", old, new))
    return joined


def _without_islands(blocks: Iterable[Block]) -> list[Block]:
    """Merge equal pieces that are small beside the changes on both sides of them."""
    kept: list[Block] = []
    for block in blocks:
        kept.append(block)
        if block[0]:
            continue
        while len(kept) >= _BRIDGE and _is_island(*kept[-3:]):
            (_, old, new), (island, _, _), (_, old_2, new_2) = kept[-3:]
            kept[-3:] = [("", old + island + old_2, new + island + new_2)]
    return kept


def _is_island(before: Block, island: Block, after: Block) -> bool:
    text = island[0]
    if len(text) > _ISLAND:
        return False
    least = 2 * len(text.strip())
    if not least:
        # A space between two replaced words; between two mere insertions it keeps them apart.
        return "\n" not in text and bool(before[1] and after[1] and before[2] and after[2])
    return (
        max(len(before[1]), len(before[2])) >= least
        and max(len(after[1]), len(after[2])) >= least
        and "\n" not in text
    )


def _ops(blocks: Iterable[Block]) -> list[Op]:
    """Return `blocks` as pieces, neighbours of one kind joined."""
    ops: list[Op] = []
    for equal, old, new in _alternating(_without_long_words(blocks)):
        if equal:
            ops.append(Op("equal", equal))
            continue
        if old:
            ops.append(Op("delete", old))
        if new:
            ops.append(Op("insert", new))
    return ops


def _without_long_words(blocks: Iterable[Block]) -> list[Block]:
    """Take the ends that both share off each change of one very long word."""
    parts: list[Block] = []
    for block in blocks:
        _, old, new = block
        if len(old) < _LONG_WORD or len(new) < _LONG_WORD or _has_space(old) or _has_space(new):
            parts.append(block)
            continue
        head = _shared_start(old, new)
        tail = _shared_end(old[head:], new[head:])
        end = len(old) - tail
        parts += [(old[:head], "", ""), ("", old[head:end], new[head : len(new) - tail])]
        parts.append((old[end:], "", ""))
    return parts


def _has_space(text: str) -> bool:
    return len(text.split(maxsplit=1)) > 1

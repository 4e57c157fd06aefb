"""Differences between two texts: lines first, then words; readable, exact and in bounded time."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

__all__ = ["Kind", "Op", "matches", "word_diff"]

Kind = Literal["equal", "insert", "delete"]
Match = tuple[int, int, int]  # start in a, start in b, length
Block = tuple[str, str, str]  # equal text, or deleted and inserted text

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
_MOST_PAIRS = 100_000_000  # pairs of tokens compared: about 20 ms, 15 MB
_AT_MOST = 10_000  # tokens of each side that are compared where there would be more pairs
_UNLIKE = 0.25  # texts that share less than this are shown as one replacement
_ISLAND = 100  # characters; longer equal pieces are never merged into a change
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

    Examples
    --------
    >>> [(op.kind, op.text) for op in word_diff("charged twice", "charged once")]
    [('equal', 'charged '), ('delete', 'twice'), ('insert', 'once')]
    """
    if a == b:
        return [Op("equal", a)] if a else []
    blocks: list[Block] = []
    for block in _joined(_token_diff(a, b, _LINE)):
        blocks += [block] if block[0] else _words(block[1], block[2])
    return _ops(_joined(blocks))


def matches(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[Match]:
    """Return the common stretches of `a` and `b` in order, none overlapping.

    The longest common subsequence, in bits; of very long sequences only what they share at both
    ends, and between those only the head.

    Examples
    --------
    >>> matches(["a", "b", "c"], ["a", "x", "c"])
    [(0, 0, 1), (2, 2, 1)]
    """
    from rapidfuzz.distance import LCSseq

    least = min(len(a), len(b))
    head = next((n for n in range(least) if a[n] != b[n]), least)
    tail = next((n for n in range(least - head) if a[-1 - n] != b[-1 - n]), least - head)
    middle_a, middle_b = a[head : len(a) - tail], b[head : len(b) - tail]
    if len(middle_a) * len(middle_b) > _MOST_PAIRS:
        middle_a, middle_b = middle_a[:_AT_MOST], middle_b[:_AT_MOST]
    found = [(0, 0, head)]
    if middle_a and middle_b:
        # rapidfuzz compares hashes: what it calls equal is compared once more.
        found += [
            (head + at.a, head + at.b, at.size)
            for at in LCSseq.editops(middle_a, middle_b).as_matching_blocks()
            if middle_a[at.a : at.a + at.size] == middle_b[at.b : at.b + at.size]
        ]
    found.append((len(a) - tail, len(b) - tail, tail))
    return [match for match in found if match[2]]


def _token_diff(a: str, b: str, pattern: re.Pattern[str]) -> Iterator[Block]:
    """Yield what is equal and what differs, token by token.

    Tokens are compared without the space behind them, so that a word at the end of a line is
    still the same word.
    """
    tokens_a, tokens_b = pattern.findall(a), pattern.findall(b)
    keys_a, keys_b = list(map(str.rstrip, tokens_a)), list(map(str.rstrip, tokens_b))
    starts_a = list(accumulate(map(len, tokens_a), initial=0))
    starts_b = list(accumulate(map(len, tokens_b), initial=0))
    at_a = at_b = 0
    for i, j, size in [*matches(keys_a, keys_b), (len(tokens_a), len(tokens_b), 0)]:
        yield "", a[starts_a[at_a] : starts_a[i]], b[starts_b[at_b] : starts_b[j]]
        at_a, at_b = i + size, j + size
        if a[starts_a[i] : starts_a[at_a]] == b[starts_b[j] : starts_b[at_b]]:
            yield a[starts_a[i] : starts_a[at_a]], "", ""
            continue
        for one, other in zip(tokens_a[i:at_a], tokens_b[j:at_b], strict=True):
            shared = _shared_start(one, other)
            yield one[:shared], "", ""
            yield "", one[shared:], other[shared:]


def _joined(blocks: Iterable[Block]) -> list[Block]:
    """Join neighbours, so that equal text and changes alternate.

    The space with which both sides of a change end becomes equal text.
    """
    joined: list[Block] = []
    for equal, old, new in blocks:
        if not (equal or old or new):
            continue
        last = joined[-1] if joined else ("", "", "")
        if joined and bool(last[0]) == bool(equal):
            joined[-1] = (last[0] + equal, last[1] + old, last[2] + new)
        else:
            joined.append((equal, old, new))
        if equal and len(joined) > 1:
            joined[-2:] = _space_moved(joined[-2], joined[-1])
    if joined and not joined[-1][0]:
        joined[-1:] = _space_moved(joined[-1], ("", "", ""))
    return joined


def _space_moved(change: Block, equal: Block) -> list[Block]:
    _, old, new = change
    if not (old and new and old[-1].isspace() and new[-1].isspace()):
        return [change, equal] if equal[0] else [change]
    one, other = old[len(old.rstrip()) :], new[len(new.rstrip()) :]
    size = _shared_start(one[::-1], other[::-1])
    if not size:
        return [change, equal] if equal[0] else [change]
    moved = ("", old[:-size], new[:-size])
    text = old[-size:] + equal[0]
    return [moved, (text, "", "")] if moved[1] or moved[2] else [(text, "", "")]


def _words(old: str, new: str) -> list[Block]:
    """Return the difference of two changed blocks of lines, word by word."""
    if not old or not new:
        return [("", old, new)]
    blocks: list[Block] = []
    for block in _without_islands(_joined(_token_diff(old, new, _CHUNK))):
        if block[0] or not block[1] or not block[2]:
            blocks.append(block)
        else:
            blocks += _token_diff(block[1], block[2], _WORD)
    blocks = _joined(blocks)
    merged = _without_islands(blocks)
    shared = _weight("".join(block[0] for block in merged))
    if shared >= _UNLIKE * min(_weight(old), _weight(new)):
        return merged
    return _replaced_between(blocks, old, new)


def _weight(text: str) -> int:
    """Return how many characters of `text` are visible."""
    return len(text) - text.count(" ") - text.count("\n") - text.count("\t")


def _without_islands(blocks: Iterable[Block]) -> list[Block]:
    """Merge equal pieces that are small beside the changes on both sides of them."""
    merged: list[Block] = []
    for block in blocks:
        if block[0]:
            merged.append(block)
            continue
        _, old, new = block
        while len(merged) > 1 and _is_island(merged[-1][0], merged[-2], (old, new)):
            island = merged.pop()[0]
            _, before_old, before_new = merged.pop()
            old, new = f"{before_old}{island}{old}", f"{before_new}{island}{new}"
        merged.append(("", old, new))
    return merged


def _is_island(island: str, before: Block, after: tuple[str, str]) -> bool:
    """Return whether `island` is small beside the changes before and after it."""
    least = 2 * len(island.strip())
    if len(island) > _ISLAND or "\n" in island:
        return False
    if not least:
        # A space between two replaced words; between two mere insertions it separates them.
        return all(before[1:]) and all(after)
    return max(map(len, before[1:])) >= least and max(map(len, after)) >= least


def _replaced_between(blocks: Sequence[Block], old: str, new: str) -> list[Block]:
    """Return one replacement between the words with which both texts begin and end."""
    head = blocks[0][0] if any(map(str.isalnum, blocks[0][0])) else ""
    tail = blocks[-1][0] if any(map(str.isalnum, blocks[-1][0])) else ""
    if min(len(old), len(new)) < len(head) + len(tail):
        tail = ""
    changed = [text[len(head) : len(text) - len(tail)] for text in (old, new)]
    return _joined([(head, "", ""), ("", changed[0], changed[1]), (tail, "", "")])


def _ops(blocks: Iterable[Block]) -> list[Op]:
    """Return `blocks` as pieces; neighbours of one kind are one piece."""
    ops: list[Op] = []
    for equal, old, new in blocks:
        head, old, new, tail = _middle(old, new)  # noqa: PLW2901
        pieces = (Op("equal", equal + head), Op("delete", old), Op("insert", new))
        for op in (*pieces, Op("equal", tail)):
            if op.text and ops and ops[-1].kind == op.kind:
                ops[-1] = Op(op.kind, ops[-1].text + op.text)
            elif op.text:
                ops.append(op)
    return ops


def _middle(old: str, new: str) -> tuple[str, str, str, str]:
    """Return a change, of one very long word only what differs, between what both sides share."""
    is_long = len(old) >= _LONG_WORD and len(new) >= _LONG_WORD
    if not is_long or any(len(text.split(maxsplit=1)) > 1 for text in (old, new)):
        return "", old, new, ""
    head = _shared_start(old, new)
    tail = _shared_start(old[head:][::-1], new[head:][::-1])
    return (
        old[:head],
        old[head : len(old) - tail],
        new[head : len(new) - tail],
        old[len(old) - tail :],
    )


def _shared_start(old: str, new: str) -> int:
    """Return with how many characters both begin."""
    from rapidfuzz.distance import Prefix

    return Prefix.similarity(old, new)

"""Which stretches two sequences of tokens have in common, in bounded time and memory.

`rapidfuzz` finds the longest common subsequence with bits, 64 pairs of tokens at a time; that takes
a bit of memory a pair. So what is very long is first cut at anchors, runs of tokens that occur once
in each (as in a patience diff), and only the gaps between them are looked at whole.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rapidfuzz.distance import Editops

__all__ = ["Match", "longest_rise", "matches"]

Match = tuple[int, int, int]  # start in a, start in b, length
Gap = tuple[int, int, int, int]  # start and end in a, start and end in b
Tokens = Sequence[Hashable]

_EXACT = 25_000_000  # pairs of tokens up to which a gap is looked at whole, about 2 ms
_BUDGET = 400_000_000  # pairs of tokens looked at in one call: about 50 ms, 50 MB
_FEW = 16  # tokens; below it asking first is cheaper
_LENGTHS = (4, 1, 12)  # of an anchor in tokens; a small vocabulary needs long ones


def matches(a: Tokens, b: Tokens, *, checked: bool = True) -> list[Match]:
    """Return the common stretches of `a` and `b` in order, none overlapping.

    Unless they are `checked`, tokens with the same hash may count as common.

    Examples
    --------
    >>> matches(["a", "b", "c"], ["a", "x", "c"])
    [(0, 0, 1), (2, 2, 1)]
    """
    if len(a) * len(b) <= _EXACT:
        return _longest(a, b, checked=checked)
    found: list[Match] = []
    gaps = [(0, len(a), 0, len(b))]
    hard: list[Gap] = []
    while gaps:
        gap, ends = _trimmed(a, b, gaps.pop())
        found += ends
        low_a, high_a, low_b, high_b = gap
        if low_a == high_a or low_b == high_b:
            continue
        anchors = [] if _pairs(gap) <= _EXACT else _anchors(a[low_a:high_a], b[low_b:high_b])
        if not anchors:
            hard.append(gap)
            continue
        placed = [(low_a + i, low_b + j, size) for i, j, size in anchors]
        found += placed
        for (i, j, size), (next_i, next_j, _) in pairwise(
            [(low_a, low_b, 0), *placed, (high_a, high_b, 0)]
        ):
            gaps.append((i + size, next_i, j + size, next_j))
    return sorted([*found, *_affordable(a, b, hard)])


def _longest(a: Tokens, b: Tokens, *, checked: bool = True) -> list[Match]:
    """Return the longest common subsequence as stretches."""
    if len(a) < _FEW and set(a).isdisjoint(b):
        return []
    found = [(at.a, at.b, at.size) for at in _editops()(a, b).as_matching_blocks() if at.size]
    if not checked:
        return found
    # rapidfuzz compares hashes: what it calls the same is looked at once more.
    return [(i, j, size) for i, j, size in found if a[i : i + size] == b[j : j + size]]


@cache
def _editops() -> Callable[[Tokens, Tokens], Editops]:
    """Load rapidfuzz when a difference is first looked for."""
    from rapidfuzz.distance import LCSseq

    return LCSseq.editops


def _trimmed(a: Tokens, b: Tokens, gap: Gap) -> tuple[Gap, list[Match]]:
    """Return `gap` without what both sides share at its ends, and those ends."""
    low_a, high_a, low_b, high_b = gap
    while low_a < high_a and low_b < high_b and a[low_a] == b[low_b]:
        low_a, low_b = low_a + 1, low_b + 1
    head = low_a - gap[0]
    while low_a < high_a and low_b < high_b and a[high_a - 1] == b[high_b - 1]:
        high_a, high_b = high_a - 1, high_b - 1
    tail = gap[1] - high_a
    ends = [(gap[0], gap[2], head), (high_a, high_b, tail)]
    return (low_a, high_a, low_b, high_b), [end for end in ends if end[2]]


def _pairs(gap: Gap) -> int:
    return (gap[1] - gap[0]) * (gap[3] - gap[2])


def _affordable(a: Tokens, b: Tokens, gaps: Sequence[Gap]) -> list[Match]:
    """Return what `gaps` have in common, small ones first, until the budget is spent."""
    found: list[Match] = []
    budget = _BUDGET
    for gap in sorted(gaps, key=_pairs):
        budget -= _pairs(gap)
        if budget < 0:
            break
        low_a, high_a, low_b, high_b = gap
        found += [
            (low_a + i, low_b + j, size)
            for i, j, size in _longest(a[low_a:high_a], b[low_b:high_b])
        ]
    return found


def _anchors(a: Tokens, b: Tokens) -> list[Match]:
    """Return stretches that `a` and `b` surely share, in order; empty when there are none."""
    for length in _LENGTHS:
        at_a, at_b = _once(a, length), _once(b, length)
        pairs = [(i, at_b[gram]) for gram, i in at_a.items() if gram in at_b]
        if pairs:
            return _joined(longest_rise(pairs), length)
    return []


def _once(tokens: Tokens, length: int) -> dict[tuple[Hashable, ...], int]:
    """Return where each run of `length` tokens stands that occurs exactly once, in order."""
    grams = list(zip(*(tokens[i:] for i in range(length)), strict=False))
    counts = Counter(grams)
    return {gram: place for place, gram in enumerate(grams) if counts[gram] == 1}


def longest_rise(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest part of `pairs`, rising in the first, that rises in the second too.

    Examples
    --------
    >>> longest_rise([(0, 2), (1, 0), (2, 1)])
    [(1, 0), (2, 1)]
    """
    tops: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for index, (_, place) in enumerate(pairs):
        pile = bisect_left(tops, place)
        before.append(ends[pile - 1] if pile else -1)
        if pile == len(tops):
            tops.append(place)
            ends.append(index)
        else:
            tops[pile] = place
            ends[pile] = index
    rise: list[tuple[int, int]] = []
    index = ends[-1] if ends else -1
    while index >= 0:
        rise.append(pairs[index])
        index = before[index]
    return rise[::-1]


def _joined(starts: Sequence[tuple[int, int]], length: int) -> list[Match]:
    """Join anchors that overlap on one diagonal, drop those that overlap otherwise."""
    joined: list[Match] = []
    for i, j in starts:
        if joined:
            at_a, at_b, size = joined[-1]
            if i - at_a == j - at_b and i <= at_a + size:
                joined[-1] = (at_a, at_b, i - at_a + length)
                continue
            if i < at_a + size or j < at_b + size:
                continue
        joined.append((i, j, length))
    return joined

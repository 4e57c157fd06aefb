"""Which items of two lists belong together, and which of them moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vellum_nb.experiments.diffs.matching import longest_rise, matches

__all__ = ["Alignment", "Item", "aligned"]


class Item(NamedTuple):
    """What an item is known by.

    Attributes
    ----------
    number : int
        The same for the same values.
    key : hashable, optional
        The same for items about the same thing, such as an id; None when there is no such thing.
    shape : hashable
        The same for items of which one may have become the other.
    """

    number: int
    key: Hashable
    shape: Hashable


@dataclass(frozen=True, slots=True)
class Alignment:
    """Items of two lists that belong together.

    Attributes
    ----------
    pairs : dict
        Place in the new list to place in the old one.
    moved : frozenset of int
        Places in the new list whose item stood elsewhere among the others.
    deleted : list of int
        Places in the old list that have no partner.
    """

    pairs: dict[int, int]
    moved: frozenset[int]
    deleted: list[int]


def aligned(old: Sequence[Item], new: Sequence[Item]) -> Alignment:
    """Return which items belong together.

    The same ones first, in order, then anywhere if there is but one; then those with one key;
    then, between two that stayed, those of one shape.

    Examples
    --------
    >>> a, b, c = (Item(number, None, "text") for number in range(3))
    >>> aligned([a, b, c], [c, a, b]).moved
    frozenset({0})
    """
    stayed = matches([item.number for item in old], [item.number for item in new])
    pairs = {j + n: i + n for i, j, size in stayed for n in range(size)}
    _pair(pairs, [item.number for item in old], [item.number for item in new])
    _pair(pairs, [item.key for item in old], [item.key for item in new])
    taken = set(pairs.values())
    at_i = at_j = 0
    for i, j, size in [*stayed, (len(old), len(new), 0)]:
        rest_i = [n for n in range(at_i, i) if n not in taken]
        rest_j = [n for n in range(at_j, j) if n not in pairs]
        shapes = ([old[n].shape for n in rest_i], [new[n].shape for n in rest_j])
        for start_i, start_j, count in matches(*shapes) if all(shapes) else ():
            pairs.update((rest_j[start_j + n], rest_i[start_i + n]) for n in range(count))
        at_i, at_j = i + size, j + size
    taken = set(pairs.values())
    return Alignment(pairs, _moved(pairs), [n for n in range(len(old)) if n not in taken])


def _pair(pairs: dict[int, int], old: Sequence[Hashable], new: Sequence[Hashable]) -> None:
    """Add the pairs of what is left and has a token that is left once on each side."""
    taken = set(pairs.values())
    left_old = _once(old, taken)
    for token, place in _once(new, pairs).items():
        if token in left_old:
            pairs[place] = left_old[token]


def _once(tokens: Sequence[Hashable], without: Container[int]) -> dict[Hashable, int]:
    """Return where each token stands that occurs once among those left."""
    left = [(place, token) for place, token in enumerate(tokens) if place not in without]
    counts = Counter(token for _, token in left)
    return {token: place for place, token in left if counts[token] == 1 and token is not None}


def _moved(pairs: dict[int, int]) -> frozenset[int]:
    by_old = sorted((i, j) for j, i in pairs.items())
    return frozenset(j for _, j in by_old) - {j for _, j in longest_rise(by_old)}

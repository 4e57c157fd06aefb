"""Which two runs of each case are held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vellum_nb.errors import InputError
from vellum_nb.experiments.cases import same_answer
from vellum_nb.models.blind import BlindPair

if TYPE_CHECKING:
    from vellum_nb.experiments.comparison.base import BaseComparison

__all__ = ["checked_pair", "pairs_of"]

_TWO = 2


def checked_pair(comparison: BaseComparison, pair: Sequence[str] | None) -> tuple[str, str]:
    """Return the two releases, the baseline first.

    Raises
    ------
    InputError
        There are not two, or more and none was chosen.
    """
    known = comparison.releases
    if pair is None:
        if len(known) == _TWO:
            return comparison.baseline, comparison.others[0]
        what = "one release only" if len(known) < _TWO else f"{len(known)} releases"
        msg = f"a blind rating is of two releases, and this comparison has {what}: {_choose(known)}"
        raise InputError(msg)
    chosen = tuple(pair) if not isinstance(pair, str) else (pair,)
    wrong = [each for each in chosen if each not in known]
    if len(chosen) != _TWO or len(set(chosen)) != _TWO or wrong:
        msg = f"pair={pair!r} does not fit: {_choose(known)}"
        raise InputError(msg)
    first, second = chosen
    return (second, first) if second == comparison.baseline else (first, second)


def _choose(known: Sequence[str]) -> str:
    if len(known) < _TWO:
        return "run the deployment on another release tag first"
    return f"give pair=({known[0]!r}, {known[1]!r}) or two others of: {', '.join(known)}"


def pairs_of(comparison: BaseComparison, first: str, second: str) -> list[BlindPair]:
    """Return the cases that were answered on both, each with the two runs that count."""
    found: list[BlindPair] = []
    for case in comparison.cases:
        one, other = case.counting(first), case.counting(second)
        if one is None or other is None or not (one.is_answer and other.is_answer):
            continue
        same = same_answer(one, other)
        at = len(found)
        found.append(BlindPair(at, case.number, case.case_id, one.id, other.id, same))
    return found

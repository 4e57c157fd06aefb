"""Records of a blind rating: two releases, the pairs of runs, the ratings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from vellum_nb.models.base import Model, canonical_json

BlindChoice = Literal["first", "second", "tie", "skip"]
"""The release with the better answer; "skip" leaves it open."""


class BlindRecord(Model):
    """Stored blind rating of two releases; `first` is the baseline."""

    id: str
    deployment: str
    first: str
    second: str
    seed: int  # decides which release is A in a case
    question: str
    signature: str
    created: datetime
    ended: datetime | None = None  # when the names of the releases were revealed
    generation: int = 1  # among the ratings of the same signature


@dataclass(frozen=True, slots=True)
class BlindPair:
    """Two runs of one case; `first` and `second` are their ids."""

    position: int  # among the pairs, from 0
    number: int  # of the case in its comparison
    case_id: str
    first: str
    second: str
    same: bool  # equal outputs are not rated


@dataclass(frozen=True, slots=True)
class BlindRating:
    """The rating of one pair."""

    seq: int  # the order of the ratings
    position: int
    choice: BlindChoice
    a_first: bool  # the first release was shown as A
    note: str
    rated: datetime
    undone: datetime | None = None
    sent: datetime | None = None


def a_is_first(seed: int, case_id: str) -> bool:
    """Return whether the first release is shown as A in this case.

    It depends only on the seed and the case, so a later kernel shows the same order.

    Examples
    --------
    >>> [a_is_first(7, case) for case in ("one", "two", "three", "four")]
    [False, False, True, True]
    """
    return hashlib.sha256(f"{seed}/{case_id}".encode()).digest()[0] % 2 == 0


def blind_signature(
    deployment: str, first: str, second: str, question: str, case_ids: Sequence[str]
) -> str:
    """Return the identity of a blind rating: ratings with the same plan share it."""
    plan = [deployment, sorted((first, second)), question, sorted(case_ids)]
    return hashlib.sha256(canonical_json(plan).encode()).hexdigest()[:32]

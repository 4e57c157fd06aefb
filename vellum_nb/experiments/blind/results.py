"""What came of a blind rating: which release won how often, and how sure that is. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vellum_nb.experiments.statistics import Estimate, win_rate
from vellum_nb.models.blind import BlindPair, BlindRating, BlindRecord

__all__ = ["BlindResult", "blind_result", "p_text", "percent"]

_SMALL = 0.1


@dataclass(frozen=True, slots=True)
class BlindResult:
    """Which of two releases was preferred, by a person who did not know which is which.

    Attributes
    ----------
    first, second : str
        The releases; the first is the baseline.
    wins, losses : int
        Cases in which the second was preferred, and the first.
    ties : int
        Cases that were rated a tie.
    same : int
        Cases with the same outputs on both: ties, without anybody being asked.
    skipped, unrated : int
        Cases that were left out, and that were not asked.
    rate : Estimate
        How often the second was preferred, ties left out, with its exact 95 % interval and the
        p value of the sign test.
    a_first : int
        In how many of the rated cases the first stood under A.
    preferred_a : int
        In how many of the decided cases A was preferred, whichever that was.
    """

    first: str
    second: str
    wins: int
    losses: int
    ties: int
    same: int
    skipped: int
    unrated: int
    rate: Estimate
    a_first: int
    preferred_a: int

    @property
    def rated(self) -> int:
        """In how many cases a person chose."""
        return self.wins + self.losses + self.ties

    @property
    def line(self) -> str:
        """The result in one line."""
        if not self.wins + self.losses:
            return f"{self.second} against {self.first}: nothing but ties, {self._counts}"
        rate = self.rate
        return (
            f"{self.second} preferred to {self.first} in {percent(rate.mean)} of the decided cases "
            f"(95 %: {percent(rate.low)} to {percent(rate.high)}), p = {p_text(rate.p)}: "
            f"{self._counts}"
        )

    @property
    def _counts(self) -> str:
        ties = self.ties + self.same
        noun = "tie" if ties == 1 else "ties"
        return f"{self.wins:,} better · {self.losses:,} worse · {ties:,} {noun}"

    def row(self) -> dict[str, Any]:
        """Return it as a row of figures."""
        rate = self.rate
        return {
            "first": self.first,
            "second": self.second,
            "wins": self.wins,
            "losses": self.losses,
            "ties": self.ties + self.same,
            "same_outputs": self.same,
            "skipped": self.skipped,
            "unrated": self.unrated,
            "win_rate": rate.mean,
            "win_rate.low": rate.low,
            "win_rate.high": rate.high,
            "p": float("nan") if rate.p is None else rate.p,
            "first_was_a": self.a_first,
            "preferred_a": self.preferred_a,
        }


def blind_result(
    record: BlindRecord, pairs: Sequence[BlindPair], ratings: Mapping[int, BlindRating]
) -> BlindResult:
    """Return what came of it; `ratings` are those that count, by position."""
    found = Counter(each.choice for each in ratings.values())
    rated = [each for each in ratings.values() if each.choice != "skip"]
    same = sum(pair.same for pair in pairs)
    return BlindResult(
        first=record.first,
        second=record.second,
        wins=found["second"],
        losses=found["first"],
        ties=found["tie"],
        same=same,
        skipped=found["skip"],
        unrated=len(pairs) - same - len(ratings),
        rate=win_rate(found["second"], found["first"]),
        a_first=sum(each.a_first for each in rated),
        preferred_a=sum(each.choice != "tie" and _chose_a(each) for each in rated),
    )


def _chose_a(rating: BlindRating) -> bool:
    return (rating.choice == "first") == rating.a_first


def p_text(p: float | None) -> str:
    """Return a p value in as many digits as tell something.

    Examples
    --------
    >>> p_text(0.4531), p_text(0.00391)
    ('0.45', '0.0039')
    """
    return "—" if p is None else f"{p:.2g}" if p < _SMALL else f"{p:.2f}"


def percent(share: float) -> str:
    """Return a share in whole percent.

    Examples
    --------
    >>> percent(0.714)
    '71 %'
    """
    return f"{100 * share:.0f} %"

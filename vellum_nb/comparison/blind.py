"""Blind rating: two releases rated case by case without knowing which is which."""

from __future__ import annotations

import math
import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from vellum_nb.comparison.cases import Case, same_answer
from vellum_nb.comparison.figures import p_sentence
from vellum_nb.comparison.statistics import Estimate, win_rate
from vellum_nb.errors import APIConnectionError, HistoryError, InputError, VellumNBError
from vellum_nb.history import BlindRatings, column, frame_of_cells, micros
from vellum_nb.models import Run
from vellum_nb.models.blind import (
    BlindChoice,
    BlindPair,
    BlindRating,
    BlindRecord,
    a_is_first,
    blind_signature,
)
from vellum_nb.rendering.format import percent, plural

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["QUESTION", "BlindResult", "BlindSession", "checked_pair", "newest", "opened"]

QUESTION = "Which answer would you rather send?"

State = Literal["empty", "asking", "ready", "ended"]
Choice = Literal["A", "B", "tie", "skip"]
SendRating = Callable[[Run, float, Mapping[str, Any]], object]
"""Called with a run, its quality and the metadata of the actuals."""

_CHOICES: tuple[Choice, ...] = ("A", "B", "tie", "skip")
_QUALITY = {"first": (1.0, 0.0), "second": (0.0, 1.0), "tie": (0.5, 0.5)}
_HIDDEN = ("preferred", "release_a", "release_b")  # until the rating has ended
_MOST = 2**63
_TWO = 2


def checked_pair(
    known: Sequence[str], baseline: str, pair: Sequence[str] | None
) -> tuple[str, str]:
    """Return the two releases, the baseline first.

    Raises
    ------
    InputError
        There are not two, or more and none was chosen.
    """
    if pair is None:
        if len(known) == _TWO:
            return baseline, next(each for each in known if each != baseline)
        what = "one release only" if len(known) < _TWO else f"{len(known)} releases"
        msg = f"a blind rating is of two releases, and this comparison has {what}: {_choose(known)}"
        raise InputError(msg)
    chosen = tuple(pair) if not isinstance(pair, str) else (pair,)
    wrong = [each for each in chosen if each not in known]
    if len(chosen) != _TWO or len(set(chosen)) != _TWO or wrong:
        msg = f"pair={pair!r} does not fit: {_choose(known)}"
        raise InputError(msg)
    first, second = chosen
    return (second, first) if second == baseline else (first, second)


def _choose(known: Sequence[str]) -> str:
    if len(known) < _TWO:
        return "run the deployment on another release tag first"
    return f"give pair=({known[0]!r}, {known[1]!r}) or two others of: {', '.join(known)}"


def _pairs_of(cases: Sequence[Case], first: str, second: str) -> list[BlindPair]:
    """Return the cases that were answered on both, each with the two runs that count."""
    found: list[BlindPair] = []
    for case in cases:
        one, other = case.answer(first), case.answer(second)
        if one is None or other is None:
            continue
        same = same_answer(one, other)
        at = len(found)
        found.append(BlindPair(at, case.number, case.case_id, one.id, other.id, same))
    return found


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
        Cases with the same outputs on both: ties, which are not asked.
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
            f"(95 %: {percent(rate.low)} to {percent(rate.high)}), {p_sentence(rate.p)}: "
            f"{self._counts}"
        )

    @property
    def _counts(self) -> str:
        ties = self.ties + self.same
        return f"{self.wins:,} better · {self.losses:,} worse · {plural(ties, 'tie')}"

    def row(self) -> dict[str, Any]:
        """Return it as a row of figures."""
        rate, names = self.rate, ("first", "second", "wins", "losses")
        return {name: getattr(self, name) for name in names} | {
            "ties": self.ties + self.same,
            "same_outputs": self.same,
            "skipped": self.skipped,
            "unrated": self.unrated,
            "win_rate": rate.mean,
            "win_rate.low": rate.low,
            "win_rate.high": rate.high,
            "p": math.nan if rate.p is None else rate.p,
            "first_was_a": self.a_first,
            "preferred_a": self.preferred_a,
        }


def _result(
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
        preferred_a=sum(_letter(each) == "A" for each in rated),
    )


def _letter(rating: BlindRating | None) -> Choice | None:
    """Return a rating as it was given, in letters."""
    if rating is None:
        return None
    if rating.choice in {"tie", "skip"}:
        return rating.choice
    return "A" if (rating.choice == "first") == rating.a_first else "B"


class BlindSession:
    """One blind rating: the pairs of a comparison, and the ratings so far.

    Nothing that is shown of it reveals which release is which before `finish`.

    Parameters
    ----------
    cases : sequence of Case
        The cases of the comparison.
    record : BlindRecord
        What is rated.
    ratings : BlindRatings
        Where ratings are kept.
    """

    def __init__(self, cases: Sequence[Case], record: BlindRecord, ratings: BlindRatings) -> None:
        self.record = record
        self._ratings = ratings
        self._number = len(cases)
        self._runs: dict[str, Run] = {
            each.id: each for case in cases for tries in case.tries.values() for each in tries
        }
        self.pairs = ratings.pairs(record.id)
        self._askable = [
            each.position
            for each in self.pairs
            if not each.same and each.first in self._runs and each.second in self._runs
        ]
        self._again: list[int] = []
        self._drafts: dict[int, str] = {}
        self._rated: dict[int, BlindRating] = {}
        self._last: BlindRating | None = None
        self.refresh()

    @property
    def state(self) -> State:
        """Whether there is nothing to rate, something to rate, nothing left, or it is over."""
        if self.record.ended is not None:
            return "ended"
        if self.current is not None:
            return "asking"
        return "ready" if self._rated else "empty"

    @property
    def current(self) -> BlindPair | None:
        """The pair that is asked now."""
        fresh = next((at for at in self._askable if at not in self._rated), None)
        at = next(iter(self._again), None) if fresh is None else fresh
        return None if at is None else self.pairs[at]

    @property
    def total(self) -> int:
        """How many cases there are to rate."""
        return len(self._askable)

    @property
    def rated(self) -> int:
        """How many are rated."""
        return sum(each.choice != "skip" for each in self._rated.values())

    @property
    def skipped(self) -> int:
        """How many were skipped."""
        return len(self._rated) - self.rated

    @property
    def same(self) -> int:
        """How many have the same outputs on both releases: ties, without asking."""
        return sum(pair.same for pair in self.pairs)

    @property
    def missing(self) -> int:
        """How many cases cannot be rated: without an answer on both, or their runs are deleted."""
        return self._number - self.same - self.total

    @property
    def is_kept(self) -> bool:
        """Whether ratings outlive the kernel."""
        return self._ratings.on_disk

    @property
    def last(self) -> Choice | None:
        """The last choice, in letters."""
        return _letter(self._last)

    @property
    def note(self) -> str:
        """The note of the pair that is asked now, where it was rated or skipped before."""
        pair = self.current
        if pair is None:
            return ""
        skipped = self._rated.get(pair.position)
        return self._drafts.get(pair.position) or (skipped.note if skipped else "")

    def names(self, pair: BlindPair) -> list[str]:
        """Return the names of the outputs in an order that does not reveal which release is A."""
        first, second = self._runs[pair.first], self._runs[pair.second]
        common = [name for name in first.outputs if name in second.outputs]
        return common + sorted(set(first.outputs) ^ set(second.outputs))

    def answers(self, pair: BlindPair) -> tuple[Run, Run]:
        """Return the runs under A and B."""
        first, second = self._runs[pair.first], self._runs[pair.second]
        return (first, second) if self._a_first(pair) else (second, first)

    def inputs(self, pair: BlindPair) -> Mapping[str, Any]:
        """Return the inputs of the case."""
        return self._runs[pair.first].inputs

    def rate(self, choice: Choice, *, note: str = "") -> bool:
        """Record which answer is better; return whether it counts.

        It does not where another kernel rated the case first.

        Raises
        ------
        InputError
            There is nothing to rate, or the choice is not A, B, tie or skip.
        """
        pair = self.current
        if choice not in _CHOICES:
            msg = f"{choice!r} is no rating; there are: {', '.join(_CHOICES)}"
            raise InputError(msg)
        if pair is None or self.record.ended is not None:
            msg = "there is nothing left to rate here; finish() shows the results"
            raise InputError(msg)
        a_first = self._a_first(pair)
        side: BlindChoice = "first" if (choice == "A") == a_first else "second"
        rating: BlindChoice = choice if choice in {"tie", "skip"} else side
        self._drafts[pair.position] = note  # until it is kept
        done = self._ratings.rate(
            self.record.id, pair.position, rating, a_first=a_first, note=note.strip()
        )
        if self._again[:1] == [pair.position]:
            self._again.pop(0)
        self._drafts.pop(pair.position, None)
        self.refresh()
        return done

    def undo(self) -> bool:
        """Take back the last rating; return whether there was one.

        It is the last that this session knows: never what another kernel rated since.
        """
        last = self._last
        undone = None if last is None else self._ratings.undo(self.record.id, last.seq)
        if undone is not None:
            self._drafts[undone.position] = undone.note
        self.refresh()
        if undone is not None and undone.position in self._rated:  # it was skipped before
            self._again.insert(0, undone.position)
        return undone is not None

    def ask_skipped(self) -> None:
        """Ask once more what was skipped."""
        self._again = [at for at, each in self._rated.items() if each.choice == "skip"]

    def finish(self) -> BlindResult:
        """End it and say which release is which; what is not rated by now is left out."""
        self._ratings.end(self.record.id)
        self.refresh()
        return self.result()

    def result(self) -> BlindResult:
        """Return what came of it.

        Raises
        ------
        InputError
            It has not ended: what is known must not sway the rest.
        """
        if self.record.ended is None:
            left = self.total - len(self._rated)
            what = f"{left:,} of {self.total:,} cases are not rated" if left else "it is not shown"
            msg = f"{what} yet, and results would sway them; finish() ends the rating now"
            raise InputError(msg)
        return _result(self.record, self.pairs, self._rated)

    def frame(self) -> pd.DataFrame:
        """Return one row a case; see `vellum_nb.Comparison.blind_results`."""
        return _case_frame(self.record, self.pairs, self._rated)

    def send(self, rate: SendRating) -> tuple[int, list[str]]:
        """Send ratings that were not sent yet as actuals; return how many, and what went wrong.

        The better answer gets quality 1, the other 0, both one half where it was a tie. Where
        nobody answers, the rest is not tried.
        """
        self.result()
        problems: list[str] = []
        sent = 0
        try:
            self.refresh()  # another kernel may have sent some
        except HistoryError as exc:
            return 0, [str(exc)]
        for each in self._unsent():
            try:
                self._send_one(each, rate)
                self._ratings.mark_sent([each.seq])
            except VellumNBError as exc:
                problems.append(str(exc))
                if isinstance(exc, APIConnectionError | HistoryError):
                    return sent, problems
            else:
                sent += 1
                self._rated[each.position] = replace(each, sent=datetime.now(UTC))
        return sent, problems

    @property
    def unsent(self) -> int:
        """How many ratings were not sent as actuals."""
        return len(self._unsent())

    def _unsent(self) -> list[BlindRating]:
        return [e for e in self._rated.values() if e.choice != "skip" and e.sent is None]

    def refresh(self) -> None:
        """Read what is kept: another kernel may have rated."""
        self.record = self._ratings.get(self.record.id)
        found = self._ratings.ratings(self.record.id)
        current: dict[int, BlindRating] = {}
        for each in found:
            known = current.get(each.position)
            if known is None or known.choice == "skip":
                current.pop(each.position, None)
                current[each.position] = each
        self._rated = current
        self._last = found[-1] if found else None
        self._again = [at for at in self._again if at in current and current[at].choice == "skip"]

    def _send_one(self, rating: BlindRating, rate: SendRating) -> None:
        pair = self.pairs[rating.position]
        about = {"source": "blind rating", "session": self.record.id, "seed": self.record.seed}
        if rating.note:
            about["note"] = rating.note
        for run_id, quality in zip((pair.first, pair.second), _QUALITY[rating.choice], strict=True):
            rate(self._runs[run_id], quality, about)

    def _a_first(self, pair: BlindPair) -> bool:
        return a_is_first(self.record.seed, pair.case_id)


def _case_frame(
    record: BlindRecord, pairs: Sequence[BlindPair], ratings: Mapping[int, BlindRating]
) -> pd.DataFrame:
    """Return one row a case; which release it was is missing until the rating has ended."""
    rows = [_row(record, pair, ratings.get(pair.position)) for pair in pairs]
    names = ("case_id", "choice", *_HIDDEN, "note")
    frame = frame_of_cells({name: [row[name] for row in rows] for name in names})
    times = [micros(each.rated) if (each := ratings.get(pair.position)) else None for pair in pairs]
    frame["rated"] = column(times, "time")
    return frame


def _row(record: BlindRecord, pair: BlindPair, rating: BlindRating | None) -> dict[str, Any]:
    first_is_a = a_is_first(record.seed, pair.case_id)
    row: dict[str, Any] = dict.fromkeys(_HIDDEN) | {
        "case_id": pair.case_id,
        "choice": "same outputs" if pair.same else _letter(rating),
        "note": (rating.note if rating else "") or None,
    }
    if record.ended is not None and not pair.same:
        a, b = (record.first, record.second) if first_is_a else (record.second, record.first)
        row |= {"release_a": a, "release_b": b}
        row["preferred"] = {"A": a, "B": b}.get(row["choice"] or "")
    return row


def newest(
    deployment: str,
    cases: Sequence[Case],
    pair: tuple[str, str],
    ratings: BlindRatings,
    *,
    question: str,
) -> BlindSession | None:
    """Return the newest session of these releases, cases and question, if there is one."""
    _, signature = _plan(deployment, cases, pair, question)
    record = ratings.newest(signature)
    return None if record is None else BlindSession(cases, record, ratings)


def opened(
    deployment: str,
    cases: Sequence[Case],
    pair: tuple[str, str],
    ratings: BlindRatings,
    *,
    question: str,
    seed: int | None,
    restart: bool,
) -> BlindSession:
    """Return the newest session of the same plan and seed; where there is none, another one."""
    pairs, signature = _plan(deployment, cases, pair, question)
    record = None if restart else ratings.newest(signature)
    if record is None or seed not in {None, record.seed}:
        record = BlindRecord(
            id=str(uuid.uuid4()),
            deployment=deployment,
            first=pair[0],
            second=pair[1],
            seed=secrets.randbits(32) if seed is None else _checked_seed(seed),
            question=question,
            signature=signature,
            created=datetime.now(UTC),
        )
        ratings.add(record, pairs)
    return BlindSession(cases, record, ratings)


def _checked_seed(seed: object) -> int:
    """Return `seed`, which must be a whole number that the history can keep."""
    if isinstance(seed, int) and not isinstance(seed, bool) and abs(seed) < _MOST:
        return seed
    msg = f"seed={seed!r:.60} does not fit: give a whole number"
    raise InputError(msg)


def _plan(
    deployment: str, cases: Sequence[Case], pair: tuple[str, str], question: str
) -> tuple[list[BlindPair], str]:
    pairs = _pairs_of(cases, *pair)
    ids = [each.case_id for each in pairs]
    return pairs, blind_signature(deployment, *pair, question, ids)

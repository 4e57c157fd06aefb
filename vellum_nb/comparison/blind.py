"""Blind rating: two releases rated case by case without knowing which is which."""

from __future__ import annotations

import math
import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from vellum_nb.comparison.cases import Case, same_answer
from vellum_nb.comparison.statistics import Estimate, Sequential, sequential_test, win_rate
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
from vellum_nb.models.checks import refuse
from vellum_nb.rendering.format import p_sentence, percent, plural

if TYPE_CHECKING:
    import pandas as pd


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
    """Return the two releases, the baseline first."""
    chosen = tuple(known if pair is None else [pair] if isinstance(pair, str) else pair)
    if len(set(chosen)) == len(chosen) == _TWO and set(chosen) <= set(known):
        first, second = chosen
        return (second, first) if second == baseline else (first, second)
    choose = f"compare a second one with {baseline}"
    if len(known) >= _TWO:
        choose = f"give pair=({known[0]!r}, {known[1]!r}) or two others of: {', '.join(known)}"
    what = "only one" if len(known) < _TWO else f"{len(known)} releases"
    msg = f"a blind rating is of two releases, and this comparison has {what}: {choose}"
    if pair is not None:
        msg = f"pair={pair!r} does not fit: {choose}"
    raise InputError(msg)


@dataclass(frozen=True, slots=True)
class BlindResult:
    """Which of two releases was preferred, by a person who did not know which is which."""

    first: str  # the baseline
    second: str
    wins: int  # cases in which the second was preferred
    losses: int
    ties: int  # that were rated so
    same: int  # ties that are not asked: the outputs are the same on both
    skipped: int
    unrated: int  # not asked
    rate: Estimate  # how often the second was preferred, ties left out; p is the sign test's
    a_first: int  # rated cases in which the first stood under A
    preferred_a: int  # cases in which A was preferred, whichever that was
    test: Sequential  # in the order of the ratings: it holds however often one looked and stopped

    @property
    def rated(self) -> int:
        """In how many cases a person chose."""
        return self.wins + self.losses + self.ties

    @property
    def p(self) -> float:
        """The p value of the sign test; of a rating that ended early, that of `test`."""
        fixed = None if self.unrated else self.rate.p
        return 1 / self.test.evidence if fixed is None else fixed

    @property
    def line(self) -> str:
        """The result in one line."""
        ties, rate = plural(self.ties + self.same, "tie"), self.rate
        counts = f"{self.wins:,} better · {self.losses:,} worse · {ties}"
        if not self.wins + self.losses:
            return f"{self.second} against {self.first}: nothing but ties, {counts}"
        return (
            f"{self.second} preferred to {self.first} in {percent(rate.mean)} of the cases with a "
            f"preference (95 %: {percent(rate.low)} to {percent(rate.high)}), "
            f"{p_sentence(self.p)}: {counts}"
            f"{f', decided after {self.test.cases:,}' if self.test.side else ''}"
        )

    def row(self) -> dict[str, Any]:
        """Return it as a row of figures."""
        names = ("first", "second", "wins", "losses")
        return {name: getattr(self, name) for name in names} | {
            "ties": self.ties + self.same,
            "same_outputs": self.same,
            "skipped": self.skipped,
            "unrated": self.unrated,
            **self.rate.columns("win_rate", "."),
            "p": math.nan if self.rate.p is None else self.rate.p,
            "p_at_any_time": 1 / self.test.evidence,
            "decided_after": self.test.cases if self.test.side else None,
            "first_was_a": self.a_first,
            "preferred_a": self.preferred_a,
        }


def _letter(rating: BlindRating | None) -> Choice | None:
    """Return a rating as it was given, in letters."""
    if rating is None or rating.choice in {"tie", "skip"}:
        return rating and rating.choice  # type: ignore[return-value]
    return "A" if (rating.choice == "first") == rating.a_first else "B"


class BlindSession:
    """One blind rating: the pairs of a comparison, and the ratings so far.

    Nothing that is shown of it reveals which release is which before `finish`.

    Attributes
    ----------
    record : BlindRecord
        What is rated.
    pairs : list of BlindPair
        The cases that were answered on both.
    total, same, missing : int
        How many cases there are to rate; with the same outputs on both, so that they are ties
        without asking; without an answer on both, or whose runs are deleted.
    is_kept : bool
        Whether ratings outlive the kernel.
    """

    def __init__(self, cases: Sequence[Case], record: BlindRecord, ratings: BlindRatings) -> None:
        self.record = record
        self._ratings = ratings
        self._runs: dict[str, Run] = {
            each.id: each for case in cases for tries in case.tries.values() for each in tries
        }
        self.pairs = ratings.pairs(record.id)
        self._askable = [
            each.position
            for each in self.pairs
            if not each.same and each.first in self._runs and each.second in self._runs
        ]
        self.total = len(self._askable)
        self.same = sum(pair.same for pair in self.pairs)
        self.missing = len(cases) - self.same - self.total
        self.is_kept = ratings.on_disk
        self._again: list[int] = []
        self._drafts: dict[int, str] = {}
        self._rated: dict[int, BlindRating] = {}
        self._last: BlindRating | None = None
        self.refresh()

    @property
    def state(self) -> State:
        """``empty``, ``rating``, ``rated`` or ``ended``."""
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
    def rated(self) -> int:
        """How many cases are rated."""
        return sum(each.choice != "skip" for each in self._rated.values())

    @property
    def skipped(self) -> int:
        """How many cases were skipped."""
        return len(self._rated) - self.rated

    @property
    def last(self) -> Choice | None:
        """The last choice, as text."""
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

    @property
    def is_decided(self) -> bool:
        """Whether one release is preferred, by a test that holds however often one looks."""
        return self._test().side != 0

    def _test(self) -> Sequential:
        """Return the test of the ratings, in the order in which they were given."""
        order = sorted(self._rated.values(), key=lambda each: each.seq)
        values = [{"first": -1.0, "second": 1.0}.get(each.choice, 0.0) for each in order]
        return sequential_test(values, left=self.total - len(values))

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
            msg = f"{choice!r} is not a rating; there are: {', '.join(_CHOICES)}"
            raise InputError(msg)
        if pair is None or self.record.ended is not None:
            msg = "there is nothing left to rate here; finish() shows the results"
            raise InputError(msg)
        a_first = self._a_first(pair)
        side: BlindChoice = "first" if (choice == "A") == a_first else "second"
        rating: BlindChoice = choice if choice in {"tie", "skip"} else side
        self._drafts[pair.position] = note  # until it is stored
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
        return self.outcome()

    def outcome(self) -> BlindResult:
        """Return what came of it.

        Raises
        ------
        InputError
            It has not ended: results so far would influence the rest.
        """
        if self.record.ended is None:
            left = self.total - len(self._rated)
            what = f"{left:,} of {self.total:,} cases are not rated" if left else "it is not shown"
            msg = f"{what} yet; results are available at the end, and finish() ends the rating now"
            raise InputError(msg)
        found = Counter(each.choice for each in self._rated.values())
        rated = [each for each in self._rated.values() if each.choice != "skip"]
        return BlindResult(
            first=self.record.first,
            second=self.record.second,
            wins=found["second"],
            losses=found["first"],
            ties=found["tie"],
            same=self.same,
            skipped=found["skip"],
            unrated=len(self.pairs) - self.same - len(self._rated),
            rate=win_rate(found["second"], found["first"]),
            a_first=sum(each.a_first for each in rated),
            preferred_a=sum(_letter(each) == "A" for each in rated),
            test=self._test(),
        )

    def results(self) -> pd.DataFrame:
        """Return one row per case.

        `choice` is A, B, tie, skip, "same outputs" (not asked) or missing (not rated).
        `preferred`, `release_a` and `release_b` are missing until the rating has ended.
        """
        ratings = [self._rated.get(pair.position) for pair in self.pairs]
        rows = [self._row(*both) for both in zip(self.pairs, ratings, strict=True)]
        names = ("case_id", "choice", *_HIDDEN, "note")
        frame = frame_of_cells({name: [row[name] for row in rows] for name in names})
        frame["rated"] = column([micros(each.rated) if each else None for each in ratings], "time")
        return frame

    def summary(self) -> pd.DataFrame:
        """Return the outcome in one row.

        `win_rate` is how often `second` was preferred to `first`, ties left out, with its exact
        95 % interval in ``.low`` and ``.high``; `p` is the sign test's, and that of `p_at_any_time`
        where cases were left unrated.

        Raises
        ------
        InputError
            The rating has not ended: results so far would influence the rest.
        """
        import pandas as pd

        row = self.outcome().row() | {"seed": self.record.seed, "session_id": self.record.id}
        return pd.DataFrame([row])

    def _row(self, pair: BlindPair, rating: BlindRating | None) -> dict[str, Any]:
        """Return one case; which release it was is missing until the rating has ended."""
        row: dict[str, Any] = dict.fromkeys(_HIDDEN) | {
            "case_id": pair.case_id,
            "choice": "same outputs" if pair.same else _letter(rating),
            "note": (rating.note if rating else "") or None,
        }
        if self.record.ended is not None and not pair.same:
            a, b = self.record.first, self.record.second
            a, b = (a, b) if self._a_first(pair) else (b, a)
            row |= {"release_a": a, "release_b": b}
            row["preferred"] = {"A": a, "B": b}.get(row["choice"] or "")
        return row

    def send(self, rate: SendRating) -> tuple[int, list[str]]:
        """Send the ratings as actuals that were not sent; return how many, and the problems.

        The better answer gets quality 1, the other 0, both one half for a tie. Only one process
        sends at a time. Stops at the first connection error.
        """
        self.outcome()
        problems: list[str] = []
        sent = 0
        try:
            self.refresh()
            if not self.unsent:
                return 0, []
            with self._ratings.sending(self.record.id) as lease:
                self.refresh()  # another process may have sent some
                for rating in self._unsent():
                    lease.write(lambda _: None)  # raises if another process sends meanwhile
                    problem = self._send_one(rating, rate)
                    problems += [problem] if problem else []
                    sent += not problem
        except (APIConnectionError, HistoryError) as exc:
            problems.append(str(exc))
        with suppress(HistoryError):
            self.refresh()
        return sent, problems

    @property
    def unsent(self) -> int:
        """How many ratings were not sent as actuals."""
        return len(self._unsent())

    def _unsent(self) -> list[BlindRating]:
        return [e for e in self._rated.values() if e.choice != "skip" and e.sent is None]

    def refresh(self) -> None:
        """Read the stored ratings: another kernel may have rated."""
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

    def _send_one(self, rating: BlindRating, rate: SendRating) -> str | None:
        """Send a rating and record that it was sent; return why the server refused it, or None."""
        pair = self.pairs[rating.position]
        about = {"source": "blind rating", "session": self.record.id, "seed": self.record.seed}
        if rating.note:
            about["note"] = rating.note
        runs = self._runs[pair.first], self._runs[pair.second]
        try:
            for run, quality in zip(runs, _QUALITY[rating.choice], strict=True):
                rate(run, quality, about)
        except (APIConnectionError, HistoryError):
            raise
        except VellumNBError as exc:
            return str(exc)
        self._ratings.mark_sent([rating.seq])
        return None

    def _a_first(self, pair: BlindPair) -> bool:
        return a_is_first(self.record.seed, pair.case_id)


def begin_blind_session(
    deployment: str,
    cases: Sequence[Case],
    pair: tuple[str, str],
    ratings: BlindRatings,
    *,
    question: str,
    seed: int | None,
    restart: bool,
) -> BlindSession:
    """Return the newest session, or begin one if `restart`, or if it has another `seed`.

    If another process begins one at the same time, that one is returned. Without `seed` one is
    drawn.
    """
    given: object = seed
    if given is not None and not (isinstance(given, int) and abs(given) < _MOST):
        refuse("seed", seed, "a whole number")
    pairs = _pairs_of(cases, *pair)
    signature = blind_signature(deployment, *pair, question, [p.case_id for p in pairs])
    while True:
        newest = ratings.newest(signature)
        if newest is not None and not restart and seed in {None, newest.seed}:
            return BlindSession(cases, newest, ratings)
        record = BlindRecord(
            id=str(uuid.uuid4()),
            deployment=deployment,
            first=pair[0],
            second=pair[1],
            seed=secrets.randbits(32) if seed is None else seed,
            question=question,
            signature=signature,
            created=datetime.now(UTC),
            generation=1 if newest is None else newest.generation + 1,
        )
        if ratings.add(record, pairs):
            return BlindSession(cases, record, ratings)
        restart = False


def _pairs_of(cases: Sequence[Case], first: str, second: str) -> list[BlindPair]:
    """Return the cases that were answered on both, each with the two runs that count."""
    found: list[BlindPair] = []
    for case in cases:
        one, other = case.answer(first), case.answer(second)
        if one is not None and other is not None:
            same = same_answer(one, other)
            ids = case.number, case.case_id, one.id, other.id
            found.append(BlindPair(len(found), *ids, same))
    return found

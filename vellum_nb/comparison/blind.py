"""Blind rating: two releases rated case by case without knowing which is which."""

from __future__ import annotations

import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from vellum_nb.clock import micros
from vellum_nb.comparison.cases import Case
from vellum_nb.comparison.statistics import Estimate, Sequential, sequential_test, win_rate
from vellum_nb.comparison.transcripts import Transcript
from vellum_nb.errors import APIConnectionError, HistoryError, InputError, VellumNBError
from vellum_nb.escaping import printed
from vellum_nb.history import BlindRatings, frame_of_records
from vellum_nb.lazy import pd
from vellum_nb.models import Run
from vellum_nb.models.blind import (
    BlindChoice,
    BlindPair,
    BlindRating,
    BlindRecord,
    a_is_first,
    blind_signature,
)
from vellum_nb.models.checks import available, check_text, check_texts, refuse
from vellum_nb.rendering.format import p_sentence, percent, plural

QUESTION = "Which answer would you rather send?"

State = Literal["empty", "asking", "ready", "ended"]
Choice = Literal["A", "B", "tie", "skip"]
SendRating = Callable[[Run, float, Mapping[str, Any]], object]
"""Function of a run, its quality and the metadata of the actuals."""

_CHOICES: tuple[Choice, ...] = ("A", "B", "tie", "skip")
_QUALITY = {"first": (1.0, 0.0), "second": (0.0, 1.0), "tie": (0.5, 0.5)}
_HIDDEN = ("preferred", "release_a", "release_b")  # until the rating has ended
_RESULTS = dict.fromkeys(("case_id", "choice", *_HIDDEN, "note"), "text") | {"rated": "time"}
_SEED_LIMIT = 2**63  # of an integer column
_PAIR_SIZE = 2


def checked_pair(
    releases: Sequence[str], baseline: str, pair: Sequence[str] | None
) -> tuple[str, str]:
    """Return the two releases to rate, the baseline first."""
    names = [pair] if isinstance(pair, str) else releases if pair is None else pair
    chosen = tuple(check_texts("pair", names))
    if len(set(chosen)) == len(chosen) == _PAIR_SIZE and set(chosen) <= set(releases):
        first, second = chosen
        return (second, first) if second == baseline else (first, second)
    choose = f"compare a second one with {baseline}"
    count = "only one" if len(releases) < _PAIR_SIZE else f"{len(releases)} releases"
    if len(releases) >= _PAIR_SIZE:
        choose = f"give pair=({releases[0]!r}, {releases[1]!r}) or two others{available(releases)}"
    msg = f"a blind rating compares two releases, and this comparison has {count}: {choose}"
    if pair is not None:
        msg = f"pair={pair!r} does not fit: {choose}"
    raise InputError(msg)


@dataclass(frozen=True, slots=True, repr=False)
class BlindResult:
    """How often a blind rater preferred each of two releases."""

    first: str  # the baseline
    second: str
    wins: int  # cases with the second preferred
    losses: int
    ties: int  # rated as ties
    same: int  # ties by identical outputs, not presented
    skipped: int
    unrated: int  # not presented
    rate: Estimate  # share of cases with the second preferred, without ties; p of the sign test
    a_first: int  # rated cases with the first release as A
    preferred_a: int  # cases with A preferred
    test: Sequential  # in the order of the ratings; valid at any time

    @property
    def rated(self) -> int:
        """Number of cases with a choice."""
        return self.wins + self.losses + self.ties

    @property
    def p(self) -> float:
        """P value of the sign test, or of `test` if the rating ended early."""
        fixed = None if self.unrated else self.rate.p
        return 1 / self.test.evidence if fixed is None else fixed

    @printed
    def __repr__(self) -> str:
        return f"<BlindResult: {self.line}>"

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
        """Return it as one row."""
        names = ("first", "second", "wins", "losses")
        return {name: getattr(self, name) for name in names} | {
            "ties": self.ties + self.same,
            "same_outputs": self.same,
            "skipped": self.skipped,
            "unrated": self.unrated,
            **self.rate.columns("win_rate", "."),
            "p": self.p,
            "p_at_any_time": 1 / self.test.evidence,
            "decided_after": self.test.cases if self.test.side else None,
            "first_was_a": self.a_first,
            "preferred_a": self.preferred_a,
        }


def _ordered(run: Run, names: Sequence[str]) -> Run:
    """Return a run with its outputs in the order of `names`, as the own order could reveal it."""
    ordered = dict.fromkeys([*names, *sorted(run.outputs)])
    outputs = {name: run.outputs[name] for name in ordered if name in run.outputs}
    return run.model_copy(update={"outputs": outputs})


def _letter(rating: BlindRating | None) -> Choice | None:
    """Return a rating as the letter that was chosen."""
    if rating is None or rating.choice in {"tie", "skip"}:
        return rating and rating.choice  # type: ignore[return-value]
    return "A" if (rating.choice == "first") == rating.a_first else "B"


class BlindSession:
    """Blind rating of two releases: the pairs of a comparison, and the ratings so far.

    It does not reveal which release is which before `finish`.

    Attributes
    ----------
    record : BlindRecord
        Deployment, releases, question and seed.
    pairs : list of BlindPair
        The cases with an answer on both releases.
    total, same, missing : int
        Number of cases to rate; with identical outputs, which are ties; without an answer on one
        of the releases, or with deleted runs.
    is_kept : bool
        Whether ratings outlive the kernel.
    """

    def __init__(self, cases: Sequence[Case], record: BlindRecord, ratings: BlindRatings) -> None:
        self.record = record
        self._ratings = ratings
        self._cases = {case.case_id: case for case in cases}
        self._runs: dict[str, Run] = {
            run.id: run for case in cases for repeats in case.tries.values() for run in repeats
        }
        self.pairs = ratings.pairs(record.id)
        self._askable = [
            pair.position
            for pair in self.pairs
            if not pair.same and pair.first in self._runs and pair.second in self._runs
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

    @printed
    def __repr__(self) -> str:
        return f"<BlindSession of {self.record.deployment}: {self.rated} of {self.total} rated>"

    @property
    def state(self) -> State:
        """``empty``, ``asking``, ``ready`` or ``ended``."""
        if self.record.ended is not None:
            return "ended"
        if self.current is not None:
            return "asking"
        return "ready" if self._rated else "empty"

    @property
    def current(self) -> BlindPair | None:
        """The pair to rate now."""
        fresh = next((at for at in self._askable if at not in self._rated), None)
        at = next(iter(self._again), None) if fresh is None else fresh
        return None if at is None else self.pairs[at]

    @property
    def rated(self) -> int:
        """Number of rated cases."""
        return sum(rating.choice != "skip" for rating in self._rated.values())

    @property
    def skipped(self) -> int:
        """Number of skipped cases."""
        return len(self._rated) - self.rated

    @property
    def last(self) -> Choice | None:
        """The last choice, as text."""
        return _letter(self._last)

    @property
    def note(self) -> str:
        """The note on the current pair from an earlier rating or skip."""
        pair = self.current
        if pair is None:
            return ""
        skipped = self._rated.get(pair.position)
        return self._drafts.get(pair.position) or (skipped.note if skipped else "")

    @property
    def hidden_note(self) -> str:
        """The sentence in place of the results of a comparison until the rating ends."""
        first, second = self.record.first, self.record.second
        return f"Results are hidden while the blind rating of {first} and {second} is open."

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
        """Return the inputs of the case; of a conversation, only what the user said in each turn.

        The inputs of a later turn can contain earlier answers, which would reveal the release.
        """
        if (talk := self.transcript(pair)) is None:
            return self._runs[pair.first].inputs
        return {"turns": [turn.message or turn.answers[0].message for turn in talk.turns]}

    def transcript(self, pair: BlindPair) -> Transcript | None:
        """Return all turns of a conversation under A and B, without marks; None for other cases."""
        case = self._cases[pair.case_id]
        if not case.turns:
            return None
        names = self.names(pair)
        sides = {
            letter: {turn.turn or 1: _ordered(turn, names) for turn in case.turn_runs(run)}
            for letter, run in zip("AB", self.answers(pair), strict=True)
        }
        return Transcript.side_by_side(sides, lambda _: {}, case.turns, is_marked=False)

    @property
    def is_decided(self) -> bool:
        """Whether one release is preferred, by a test that is valid at any time."""
        return self._test().side != 0

    def _test(self) -> Sequential:
        """Return the test of the ratings in their order."""
        order = sorted(self._rated.values(), key=lambda rating: rating.seq)
        values = [{"first": -1.0, "second": 1.0}.get(rating.choice, 0.0) for rating in order]
        return sequential_test(values, left=self.total - len(values))

    def rate(self, choice: Choice, *, note: str = "") -> bool:
        """Record which answer is better; return False if another kernel rated the case first.

        Raises
        ------
        InputError
            All cases are rated, or the choice is not A, B, tie or skip.
        """
        check_text("note", note)
        pair = self.current
        if choice not in _CHOICES:
            msg = f"{choice!r} is not a rating{available(_CHOICES)}"
            raise InputError(msg)
        if pair is None or self.record.ended is not None:
            msg = "there is nothing left to rate here; finish() shows the results"
            raise InputError(msg)
        a_first = self._a_first(pair)
        side: BlindChoice = "first" if (choice == "A") == a_first else "second"
        rating: BlindChoice = choice if choice in {"tie", "skip"} else side
        self._drafts[pair.position] = note  # until it is stored
        is_new = self._ratings.rate(
            self.record.id, pair.position, rating, a_first=a_first, note=note.strip()
        )
        if self._again[:1] == [pair.position]:
            self._again.pop(0)
        self._drafts.pop(pair.position, None)
        self.refresh()
        if len(self._rated) == 1:  # from now on, the results are hidden
            self._ratings.on_change()
        return is_new

    def undo(self) -> bool:
        """Undo the last rating of this session; return whether there was one.

        Later ratings by other kernels are not affected.
        """
        last = self._last
        undone = None if last is None else self._ratings.undo(self.record.id, last.seq)
        if undone is not None:
            self._drafts[undone.position] = undone.note
        self.refresh()
        if undone is not None and undone.position in self._rated:  # it was skipped before
            self._again.insert(0, undone.position)
        if not self._rated:
            self._ratings.on_change()
        return undone is not None

    def ask_skipped(self) -> None:
        """Present the skipped cases again."""
        self._again = [at for at, rating in self._rated.items() if rating.choice == "skip"]

    def finish(self) -> BlindResult:
        """End the rating and reveal the releases. Unrated cases are ignored."""
        self._ratings.end(self.record.id)
        self.refresh()
        return self.outcome()

    def outcome(self) -> BlindResult:
        """Return the result.

        Raises
        ------
        InputError
            The rating has not ended: early results would influence later ratings.
        """
        if self.record.ended is None:
            remaining = self.total - len(self._rated)
            state = f"{remaining:,} of {self.total:,} cases are not rated yet"
            state = state if remaining else "the rating has not ended yet"
            msg = f"{state}; results are available at the end, and finish() ends the rating now"
            raise InputError(msg)
        counts = Counter(rating.choice for rating in self._rated.values())
        rated = [rating for rating in self._rated.values() if rating.choice != "skip"]
        return BlindResult(
            first=self.record.first,
            second=self.record.second,
            wins=counts["second"],
            losses=counts["first"],
            ties=counts["tie"],
            same=self.same,
            skipped=counts["skip"],
            unrated=len(self.pairs) - self.same - len(self._rated),
            rate=win_rate(counts["second"], counts["first"]),
            a_first=sum(rating.a_first for rating in rated),
            preferred_a=sum(_letter(rating) == "A" for rating in rated),
            test=self._test(),
        )

    def results(self) -> pd.DataFrame:
        """Return one row per case.

        `choice` is A, B, tie, skip, "same outputs" (not presented) or missing (not rated).
        `preferred`, `release_a` and `release_b` are missing until the rating has ended.
        """
        rows = [self._row(pair, self._rated.get(pair.position)) for pair in self.pairs]
        return frame_of_records(_RESULTS, rows)

    def summary(self) -> pd.DataFrame:
        """Return the result in one row; raises as `outcome`.

        `win_rate` is the share of cases with `second` preferred to `first`, without ties, and its
        exact 95 % interval is in ``.low`` and ``.high``. `p` is that of the sign test, or
        `p_at_any_time` if cases are unrated.
        """
        row = self.outcome().row() | {"seed": self.record.seed, "session_id": self.record.id}
        return pd.DataFrame([row])

    def _row(self, pair: BlindPair, rating: BlindRating | None) -> dict[str, Any]:
        """Return one case; the releases are missing until the rating has ended."""
        row: dict[str, Any] = dict.fromkeys(_HIDDEN) | {
            "case_id": pair.case_id,
            "choice": "same outputs" if pair.same else _letter(rating),
            "note": (rating.note if rating else "") or None,
            "rated": rating and micros(rating.rated),
        }
        if self.record.ended is not None and not pair.same:
            a, b = self.record.first, self.record.second
            a, b = (a, b) if self._a_first(pair) else (b, a)
            row |= {"release_a": a, "release_b": b}
            row["preferred"] = {"A": a, "B": b}.get(row["choice"] or "")
        return row

    def send(self, rate: SendRating) -> tuple[int, list[str]]:
        """Send unsent ratings as actuals; return the number sent, and the problems.

        The better answer gets quality 1, the other 0, and both get 0.5 for a tie. Only one process
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
                self.refresh()  # excludes those sent by another process
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
        """Number of ratings not sent as actuals."""
        return len(self._unsent())

    def _unsent(self) -> list[BlindRating]:
        return [e for e in self._rated.values() if e.choice != "skip" and e.sent is None]

    def refresh(self) -> None:
        """Read the stored ratings, including those of other kernels."""
        self.record = self._ratings.get(self.record.id)
        ratings = self._ratings.ratings(self.record.id)
        current: dict[int, BlindRating] = {}
        for rating in ratings:
            earlier = current.get(rating.position)
            if earlier is None or earlier.choice == "skip":
                current.pop(rating.position, None)
                current[rating.position] = rating
        self._rated = current
        self._last = ratings[-1] if ratings else None
        self._again = [at for at in self._again if at in current and current[at].choice == "skip"]

    def refresh_if_ended(self) -> bool:
        """Refresh if another view has ended the rating; return whether one has.

        Otherwise, the current pair stays the displayed one.
        """
        if self.record.ended is not None or self._ratings.get(self.record.id).ended is None:
            return False
        self.refresh()
        return True

    def _send_one(self, rating: BlindRating, rate: SendRating) -> str | None:
        """Send a rating and mark it as sent; return the reason if the server refused it."""
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


def open_session(
    deployment: str, cases: Sequence[Case], ratings: BlindRatings
) -> BlindSession | None:
    """Return the newest blind rating of these runs that has begun and not ended."""
    sessions = (BlindSession(cases, record, ratings) for record in ratings.open(deployment))
    return next((each for each in sessions if each.total and each.rated + each.skipped), None)


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
    """Return the newest session; begin another with `restart` or a different `seed`.

    A session that another process begins at the same time is returned instead. The default seed is
    random.
    """
    check_text("question", question)
    if seed is not None and not (isinstance(seed, int) and abs(seed) < _SEED_LIMIT):  # type: ignore[redundant-expr]
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
    """Return the cases with an answer on both, each with the two runs that represent it."""
    pairs: list[BlindPair] = []
    for case in cases:
        first_run, second_run = case.answer(first), case.answer(second)
        if first_run is not None and second_run is not None:
            is_same = case.is_same(first_run, second_run)
            ids = case.number, case.case_id, first_run.id, second_run.id
            pairs.append(BlindPair(len(pairs), *ids, is_same))
    return pairs

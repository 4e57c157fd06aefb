"""`BlindSession`: one blind rating while it goes on; what it tells never says which release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from vellum_nb.errors import APIConnectionError, HistoryError, InputError, VellumNBError
from vellum_nb.experiments.blind.frames import case_rows
from vellum_nb.experiments.blind.results import BlindResult, blind_result
from vellum_nb.history.plans.blind import BlindRatings
from vellum_nb.history.reading.records import Record
from vellum_nb.models import Run
from vellum_nb.models.blind import (
    BlindChoice,
    BlindPair,
    BlindRating,
    BlindRecord,
    a_is_first,
)

if TYPE_CHECKING:
    import pandas as pd

    from vellum_nb.experiments.comparison.base import BaseComparison

__all__ = ["BlindSession", "Said", "State"]

State = Literal["empty", "asking", "ready", "ended"]
Said = Literal["A", "B", "tie", "skip"]
Sent = Callable[[Run, float, Mapping[str, Any]], object]
"""Called with a run, its quality and what is kept with it."""

_SAID: tuple[Said, ...] = ("A", "B", "tie", "skip")
_QUALITY = {"first": (1.0, 0.0), "second": (0.0, 1.0), "tie": (0.5, 0.5)}


class BlindSession:
    """One blind rating: the pairs of a comparison, and what was said of them so far.

    Nothing that is shown of it tells which release is which before `finish`.

    Parameters
    ----------
    comparison : Comparison
        Where the runs come from.
    record : BlindRecord
        What is rated.
    ratings : BlindRatings
        Where ratings are kept.
    """

    def __init__(
        self, comparison: BaseComparison, record: BlindRecord, ratings: BlindRatings
    ) -> None:
        self.record = record
        self._kept = ratings
        self._comparison = comparison
        self._runs = _runs(comparison)
        self.pairs = ratings.pairs(record.id)
        self._askable = [
            each.position
            for each in self.pairs
            if not each.same and each.first in self._runs and each.second in self._runs
        ]
        self._again: list[int] = []
        self._drafts: dict[int, str] = {}
        self._said: dict[int, BlindRating] = {}
        self._last: BlindRating | None = None
        self.refresh()

    @property
    def state(self) -> State:
        """Whether there is nothing to rate, something to rate, nothing left, or it is over."""
        if self.record.ended is not None:
            return "ended"
        if self.current is not None:
            return "asking"
        return "ready" if self._said else "empty"

    @property
    def current(self) -> BlindPair | None:
        """The pair that is asked now."""
        fresh = next((at for at in self._askable if at not in self._said), None)
        at = next(iter(self._again), None) if fresh is None else fresh
        return None if at is None else self.pairs[at]

    @property
    def total(self) -> int:
        """How many cases there are to rate."""
        return len(self._askable)

    @property
    def rated(self) -> int:
        """How many are rated."""
        return sum(each.choice != "skip" for each in self._said.values())

    @property
    def skipped(self) -> int:
        """How many were skipped."""
        return len(self._said) - self.rated

    @property
    def same(self) -> int:
        """How many have the same outputs on both releases: ties, without asking."""
        return sum(pair.same for pair in self.pairs)

    @property
    def missing(self) -> int:
        """How many cases cannot be rated: without an answer on both, or their runs are deleted."""
        return len(self._comparison.cases) - self.same - self.total

    @property
    def is_kept(self) -> bool:
        """Whether ratings outlive the kernel."""
        return self._kept.on_disk

    @property
    def last(self) -> Said | None:
        """What was said last, in letters."""
        if self._last is None:
            return None
        if self._last.choice in {"tie", "skip"}:
            return self._last.choice
        return "A" if (self._last.choice == "first") == self._last.a_first else "B"

    @property
    def note(self) -> str:
        """The note of the pair that is asked now, where it was rated or skipped before."""
        pair = self.current
        if pair is None:
            return ""
        skipped = self._said.get(pair.position)
        return self._drafts.get(pair.position) or (skipped.note if skipped else "")

    def names(self, pair: BlindPair) -> list[str]:
        """Return the names of the outputs in an order that does not tell which release is A."""
        first, second = self._runs[pair.first].run, self._runs[pair.second].run
        common = [name for name in first.outputs if name in second.outputs]
        return common + sorted(set(first.outputs) ^ set(second.outputs))

    def answers(self, pair: BlindPair) -> tuple[Run, Run]:
        """Return the runs under A and B."""
        first, second = self._runs[pair.first].run, self._runs[pair.second].run
        return (first, second) if self._a_first(pair) else (second, first)

    def inputs(self, pair: BlindPair) -> Mapping[str, Any]:
        """Return the inputs of the case."""
        return self._runs[pair.first].inputs

    def rate(self, said: Said, *, note: str = "") -> bool:
        """Say which answer is better; return whether it counts.

        It does not where another kernel has rated the case meanwhile.

        Raises
        ------
        InputError
            There is nothing to rate, or it is none of A, B, tie, skip.
        """
        pair = self.current
        if said not in _SAID:
            msg = f"{said!r} is no rating; there are: {', '.join(_SAID)}"
            raise InputError(msg)
        if pair is None or self.record.ended is not None:
            msg = "there is nothing left to rate here; finish() shows the results"
            raise InputError(msg)
        a_first = self._a_first(pair)
        first = (said == "A") == a_first
        choice: BlindChoice = said if said in {"tie", "skip"} else "first" if first else "second"
        self._drafts[pair.position] = note  # until it is kept
        done = self._kept.rate(
            self.record.id, pair.position, choice, a_first=a_first, note=note.strip()
        )
        if self._again[:1] == [pair.position]:
            self._again.pop(0)
        self._drafts.pop(pair.position, None)
        self.refresh()
        return done

    def undo(self) -> bool:
        """Take back what was said last; return whether there was anything.

        It is what is known here as the last: never what another kernel has said since.
        """
        last = self._last
        undone = None if last is None else self._kept.undo(self.record.id, last.seq)
        if undone is not None:
            self._drafts[undone.position] = undone.note
        self.refresh()
        if undone is not None and undone.position in self._said:  # it was skipped before
            self._again.insert(0, undone.position)
        return undone is not None

    def ask_skipped(self) -> None:
        """Ask once more what was skipped."""
        self._again = [at for at, each in self._said.items() if each.choice == "skip"]

    def finish(self) -> BlindResult:
        """End it and say which release is which; what is not rated by now is left out."""
        self._kept.end(self.record.id)
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
            left = self.total - len(self._said)
            what = f"{left:,} of {self.total:,} cases are not rated" if left else "it is not shown"
            msg = f"{what} yet, and results would sway them; finish() ends the rating now"
            raise InputError(msg)
        return blind_result(self.record, self.pairs, self._said)

    def frame(self) -> pd.DataFrame:
        """Return one row a case; see `vellum_nb.Comparison.blind_results`."""
        return case_rows(self.record, self.pairs, self._said)

    def send(self, rate: Sent) -> tuple[int, list[str]]:
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
                self._kept.mark_sent([each.seq])
            except VellumNBError as exc:
                problems.append(str(exc))
                if isinstance(exc, APIConnectionError | HistoryError):
                    return sent, problems
            else:
                sent += 1
                self._said[each.position] = replace(each, sent=datetime.now(UTC))
        return sent, problems

    @property
    def unsent(self) -> int:
        """How many ratings were not sent as actuals."""
        return len(self._unsent())

    def _unsent(self) -> list[BlindRating]:
        return [e for e in self._said.values() if e.choice != "skip" and e.sent is None]

    def refresh(self) -> None:
        """Read what is kept: another kernel may have rated meanwhile."""
        self.record = self._kept.get(self.record.id)
        found = self._kept.ratings(self.record.id)
        said: dict[int, BlindRating] = {}
        for each in found:
            known = said.get(each.position)
            if known is None or known.choice == "skip":
                said.pop(each.position, None)
                said[each.position] = each
        self._said = said
        self._last = found[-1] if found else None
        self._again = [at for at in self._again if at in said and said[at].choice == "skip"]

    def _send_one(self, rating: BlindRating, rate: Sent) -> None:
        pair = self.pairs[rating.position]
        about = {"source": "blind rating", "session": self.record.id, "seed": self.record.seed}
        if rating.note:
            about["note"] = rating.note
        for run_id, quality in zip((pair.first, pair.second), _QUALITY[rating.choice], strict=True):
            rate(self._runs[run_id].run, quality, about)

    def _a_first(self, pair: BlindPair) -> bool:
        return a_is_first(self.record.seed, pair.case_id)


def _runs(comparison: BaseComparison) -> dict[str, Record]:
    return {
        each.id: each
        for case in comparison.cases
        for tries in case.tries.values()
        for each in tries
    }

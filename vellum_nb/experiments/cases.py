"""Stored runs laid side by side: which case was answered how on which release."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

from vellum_nb.experiments.metrics.expected import checks
from vellum_nb.history.reading.records import Record, fetch
from vellum_nb.models import Run
from vellum_nb.models.sweeps import SweepCase

__all__ = ["Case", "Status", "align", "in_turn"]

Status = Literal["same", "differs", "missing"]
_AT_ONCE = 20  # cases whose payloads are read at once


class Case:
    """One case and its runs on each release.

    Attributes
    ----------
    number : int
        Its place among the cases, from 1.
    case_id : str
        The identity of the inputs.
    baseline : str
        The release the others are held against.
    tries : dict
        Release to all its runs of this case, oldest first; a release without any is absent.
    expected : dict
        Output name to what it should be, where that is known.
    labels : dict
        What the table of cases says besides.
    """

    __slots__ = ("_inputs", "_runs", "baseline", "case_id", "expected", "labels", "number", "tries")

    def __init__(
        self, case_id: str, baseline: str, inputs: Record | Mapping[str, Any], number: int = 0
    ) -> None:
        self.case_id = case_id
        self.baseline = baseline
        self.number = number
        self.tries: dict[str, list[Record]] = {}
        self.expected: dict[str, Any] = {}
        self.labels: dict[str, Any] = {}
        self._inputs = inputs
        self._runs: dict[str, Run] | None = None

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The inputs themselves."""
        return self._inputs.inputs if isinstance(self._inputs, Record) else self._inputs

    @property
    def runs(self) -> dict[str, Run]:
        """Release to the run that counts; a release without any run is absent."""
        if self._runs is None:
            self._runs = {release: self.counting(release).run for release in self.tries}  # type: ignore[union-attr]
        return self._runs

    def counting(self, release: str) -> Record | None:
        """Return the run that counts: the newest that brought an answer, else the newest."""
        tries = self.tries.get(release)
        if not tries:
            return None
        if tries[-1].is_answer:
            return tries[-1]
        return next((each for each in reversed(tries) if each.is_answer), tries[-1])

    def answers(self, release: str) -> list[Record]:
        """Return all runs on `release` that brought an answer, oldest first."""
        return [each for each in self.tries.get(release, ()) if each.is_answer]

    def answer(self, release: str) -> Run | None:
        """Return the run that counts if it brought an answer, FULFILLED or REJECTED."""
        found = self.counting(release)
        return found.run if found is not None and found.is_answer else None

    def status(self, release: str) -> Status:
        """Return how the answer on `release` stands to the baseline's; missing without both."""
        base, other = self.counting(self.baseline), self.counting(release)
        if base is None or other is None or not (base.is_answer and other.is_answer):
            return "missing"
        return "same" if same_answer(base, other) else "differs"

    def repeats(self, release: str) -> tuple[int, int]:
        """Return how many answers on `release` differ from the one that counts, of how many."""
        answers = self.answers(release)
        if not answers:
            return 0, 0
        return sum(not same_answer(each, answers[-1]) for each in answers), len(answers)

    @property
    def is_unstable(self) -> bool:
        """Whether repeats on one release brought different answers."""
        return any(self.repeats(release)[0] for release in self.tries)

    def records(self, *, answers: bool) -> Iterator[Record]:
        """Yield the record that knows the inputs, and those of all runs."""
        if isinstance(self._inputs, Record):
            yield self._inputs
        for tries in self.tries.values() if answers else ():
            yield from tries

    def checks(self, release: str) -> dict[str, bool]:
        """Return for each expected output whether the run that counts met it; {}: no answer."""
        found = self.counting(release)
        if found is None or not found.is_answer:
            return {}
        return checks(found.outputs, self.expected)


def same_answer(a: Record, b: Record) -> bool:
    """Return whether two runs brought the same outputs, or the same error."""
    if a is b:
        return True
    return a.state == b.state and a.error == b.error and a.mark == b.mark


def in_turn(cases: Iterable[Case], *, answers: bool = True) -> Iterator[Case]:
    """Yield `cases`, the payloads of many read at once: of inputs, and of `answers`."""
    todo = iter(cases)
    while some := list(islice(todo, _AT_ONCE)):
        fetch(each for case in some for each in case.records(answers=answers))
        yield from some


def align(
    records: Iterable[Record],
    *,
    releases: Sequence[str],
    baseline: str,
    known: Sequence[SweepCase] = (),
    only: frozenset[str] | None = None,
) -> tuple[Case, ...]:
    """Return one `Case` for each set of inputs, those `known` first, then as they were first run.

    Parameters
    ----------
    records
        Runs, each under its `group`; those of other releases are left out.
    known
        Cases that belong to it, run or not, with what is expected of them.
    only
        The cases that are meant. Default: all.

    Examples
    --------
    >>> align([], releases=["v1", "v2"], baseline="v1")
    ()
    """
    cases: dict[str, Case] = {}
    for each in known:
        case = cases.setdefault(each.case_id, Case(each.case_id, baseline, each.inputs))
        case.expected = {**each.expected, **case.expected}
        case.labels = {**each.labels, **case.labels}
    wanted = frozenset(releases)
    for record in sorted(records, key=_moment):
        if record.group not in wanted:
            continue
        found = cases.get(record.case_id)
        if found is None:
            found = cases[record.case_id] = Case(record.case_id, baseline, record)
        found.tries.setdefault(record.group, []).append(record)
        if record.desired:  # what a reader said goes before what a table says
            found.expected.update(record.desired)
    meant = [case for case in cases.values() if only is None or case.case_id in only]
    for number, case in enumerate(meant, 1):
        case.number = number
    return tuple(meant)


def _moment(record: Record) -> int:
    return record.micros

"""Runs aligned: which release is a column, which run belongs to which case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal

from vellum_nb.errors import InputError
from vellum_nb.history import RunSummary, fetch
from vellum_nb.models import Run
from vellum_nb.models.sweeps import SweepCase
from vellum_nb.rendering.values import same_value

__all__ = ["Case", "Columns", "RunSummary", "Status", "align", "in_turn", "same_answer", "split"]

Status = Literal["same", "differs", "missing"]
Kind = tuple[str | None, str | None]  # environment and release id

_AT_ONCE = 20  # cases whose payloads are read at once
_SHORT = 8  # characters of an id
_NOTHING: Any = object()


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One case and its runs on each release.

    Attributes
    ----------
    number : int
        Its place among the cases, from 1.
    case_id : str
        The identity of the inputs.
    baseline : str
        The release the others are compared with.
    tries : dict
        Release to all its runs of this case, oldest first; a release without any is absent.
    expected : dict
        Output name to what it should be, where that is known.
    labels : dict
        The other columns of the table of cases.
    """

    case_id: str
    baseline: str
    number: int = 0
    tries: Mapping[str, Sequence[RunSummary]] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    planned_inputs: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The inputs themselves."""
        if self.planned_inputs is not None:
            return self.planned_inputs
        first = next((tries[0] for tries in self.tries.values() if tries), None)
        return {} if first is None else first.inputs

    @property
    def runs(self) -> dict[str, Run]:
        """Release to the run that counts; a release without any run is absent."""
        return {release: tries.run for release in self.tries if (tries := self.counting(release))}

    def counting(self, release: str) -> RunSummary | None:
        """Return the run that counts: the newest that brought an answer, else the newest."""
        tries = self.tries.get(release)
        if not tries:
            return None
        return next((each for each in reversed(tries) if each.is_answer), tries[-1])

    def answers(self, release: str) -> list[RunSummary]:
        """Return all runs on `release` that brought an answer, oldest first."""
        return [each for each in self.tries.get(release, ()) if each.is_answer]

    def answer(self, release: str) -> Run | None:
        """Return the run that counts if it brought an answer, FULFILLED or REJECTED."""
        found = self.counting(release)
        return found.run if found is not None and found.is_answer else None

    def status(self, release: str) -> Status:
        """Return whether the answer differs from the baseline's; missing without both."""
        base, other = self.counting(self.baseline), self.counting(release)
        if base is None or other is None or not (base.is_answer and other.is_answer):
            return "missing"
        return "same" if same_answer(base, other) else "differs"

    def repeats(self, release: str) -> tuple[int, int]:
        """Return how many answers on `release` differ from the one that counts, of how many."""
        answers = self.answers(release)
        return sum(not same_answer(each, answers[-1]) for each in answers), len(answers)

    @property
    def is_unstable(self) -> bool:
        """Whether repeats on one release brought different answers."""
        return any(self.repeats(release)[0] for release in self.tries)

    def checks(self, release: str) -> dict[str, bool]:
        """Return for each expected output whether the run that counts met it; {}: no answer."""
        found = self.counting(release)
        if found is None or not found.is_answer:
            return {}
        return checks(found.outputs, self.expected)


def checks(outputs: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, bool]:
    """Return for each output with a known expected value whether it is that value.

    Examples
    --------
    >>> checks({"category": "billing"}, {"category": "billing", "priority": "high"})
    {'category': True, 'priority': False}
    """
    return {
        name: same_value(outputs.get(name, _NOTHING), value) for name, value in expected.items()
    }


def same_answer(a: RunSummary, b: RunSummary) -> bool:
    """Return whether two runs brought the same outputs, or the same error."""
    return a is b or (a.state == b.state and a.error == b.error and a.mark == b.mark)


def in_turn(cases: Iterable[Case], *, answers: bool = True) -> Iterator[Case]:
    """Yield `cases`, the payloads of many read at once: of inputs, and of `answers`."""
    rest = iter(cases)
    while some := list(islice(rest, _AT_ONCE)):
        fetch(
            run
            for case in some
            for tries in case.tries.values()
            for run in (tries if answers else tries[:1])
        )
        yield from some


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a comparison.

    Attributes
    ----------
    labels : tuple of str
        In their order.
    of_tag : dict
        Release tag to its columns, oldest first; one, but where a tag moved.
    moved : tuple of str
        Tags that pointed at several releases of one environment.
    runs : list
        Each run with its column.
    """

    labels: tuple[str, ...]
    of_tag: dict[str, tuple[str, ...]]
    moved: tuple[str, ...]
    runs: list[tuple[str, RunSummary]]

    def baseline(self, name: str | None) -> str:
        """Return the column that is the baseline; of a tag that moved, its newest.

        Raises
        ------
        InputError
            There is no such column.
        """
        if name is None:
            return next(iter(self.of_tag.values()))[-1]
        if name in self.labels:
            return name
        if name in self.of_tag:
            return self.of_tag[name][-1]
        msg = f"{name!r} is not among the release tags compared: {', '.join(self.labels)}"
        raise InputError(msg)


def split(runs: Iterable[RunSummary], tags: Sequence[str], *, by_tag: bool = True) -> Columns:
    """Return the columns of `tags`, and the column of each of `runs`.

    Runs of one tag on several releases, or in several environments, have columns of their own.
    """
    of_tag: dict[str, list[RunSummary]] = {tag: [] for tag in tags}
    for run in runs:
        if run.group in of_tag:
            of_tag[run.group].append(run)
    if not by_tag:
        pairs = [(tag, run) for tag, own in of_tag.items() for run in own]
        return Columns(tuple(tags), {tag: (tag,) for tag in tags}, (), pairs)
    placed: list[tuple[str, RunSummary]] = []
    labels: dict[str, tuple[str, ...]] = {}
    for tag, own in of_tag.items():
        pairs = sorted(_labelled(tag, own), key=lambda pair: pair[1].micros, reverse=True)
        placed += pairs
        newest_first = dict.fromkeys(label for label, _ in pairs)
        labels[tag] = tuple(reversed(newest_first)) or (tag,)
    moved = tuple(tag for tag, own in of_tag.items() if _has_moved(own))
    return Columns(tuple(label for own in labels.values() for label in own), labels, moved, placed)


def _labelled(tag: str, runs: Sequence[RunSummary]) -> list[tuple[str, RunSummary]]:
    """Return each run of one tag with its column."""
    kinds: set[Kind] = {(run.environment, run.release_id) for run in runs if run.release_id}
    if len(kinds) < 2:  # noqa: PLR2004  (one release, or none is known)
        return [(tag, run) for run in runs]
    names = _names(tag, kinds)
    unknown = f"{tag} (release unknown)"
    return [(names.get((run.environment, run.release_id), unknown), run) for run in runs]


def _names(tag: str, kinds: set[Kind]) -> dict[Kind, str]:
    environments = {environment for environment, _ in kinds}
    ids = [release or "" for _, release in kinds]
    short = len({each[:_SHORT] for each in ids}) == len(set(ids))
    names: dict[Kind, str] = {}
    for environment, release in kinds:
        parts = [environment or "no environment"] if len(environments) > 1 else []
        if sum(other == environment for other, _ in kinds) > 1:
            text = release or ""
            is_cut = short and len(text) > _SHORT
            parts.append(f"release {text[:_SHORT]}…" if is_cut else f"release {text}")
        names[environment, release] = f"{tag} ({', '.join(parts)})"
    return names


def _has_moved(runs: Sequence[RunSummary]) -> bool:
    if any(run.tag_moved for run in runs):
        return True
    kinds = {(run.environment, run.release_id) for run in runs if run.release_id}
    return len({environment for environment, _ in kinds}) < len(kinds)


def align(
    columns: Columns,
    baseline: str,
    *,
    known: Sequence[SweepCase] = (),
    only: frozenset[str] | None = None,
) -> tuple[Case, ...]:
    """Return one `Case` for each set of inputs, those `known` first, then as they were first run.

    `known` are cases that belong to the comparison, run or not; `only` the ids of those compared.
    """
    cases: dict[str, Case] = {}
    for each in known:
        old = cases.get(each.case_id, Case(each.case_id, baseline, planned_inputs=each.inputs))
        expected, labels = {**each.expected, **old.expected}, {**each.labels, **old.labels}
        cases[each.case_id] = replace(old, expected=expected, labels=labels)
    tries: dict[str, dict[str, list[RunSummary]]] = {}
    desired: dict[str, dict[str, Any]] = {}
    for release, run in sorted(columns.runs, key=lambda pair: pair[1].micros):
        tries.setdefault(run.case_id, {}).setdefault(release, []).append(run)
        cases.setdefault(run.case_id, Case(run.case_id, baseline))
        if run.desired:  # a correction goes before the table
            desired.setdefault(run.case_id, {}).update(run.desired)
    chosen = [case for case in cases.values() if only is None or case.case_id in only]
    return tuple(
        replace(
            case,
            number=number,
            tries=tries.get(case.case_id, {}),
            expected={**case.expected, **desired.get(case.case_id, {})},
        )
        for number, case in enumerate(chosen, 1)
    )

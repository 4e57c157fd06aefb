"""A comparison held against another baseline, and one that takes in what has happened since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, TypeAlias

from vellum_nb.errors import InputError
from vellum_nb.experiments.cases import Case
from vellum_nb.history.reading.records import Record
from vellum_nb.models import Run

if TYPE_CHECKING:
    from vellum_nb.experiments.comparison.base import BaseComparison

__all__ = ["Gone", "added", "held_against_other", "recalled", "renewed"]

Gone: TypeAlias = dict[str, tuple[Case, str]]
"""Runs that were deleted meanwhile, by their ids: of which case, and on which release."""

_OF_ANSWERS = ("answers", "output_names")  # what `cached_property` keeps
_OF_STATUS = ("statuses",)


def held_against_other(comparison: BaseComparison, baseline: str) -> BaseComparison:
    """Return the same answers held against `baseline`; figures of metrics are not made anew."""
    comparison._column(baseline)  # noqa: SLF001  (of this package)
    other = copy(comparison)
    _forget(other, *_OF_STATUS)
    other._against = {}  # noqa: SLF001
    other.baseline = baseline
    other.cases = tuple(_rebased(case, baseline) for case in comparison.cases)
    return other


def _rebased(case: Case, baseline: str) -> Case:
    other = copy(case)
    other.baseline = baseline
    return other


def renewed(comparison: BaseComparison, run: Run) -> bool:
    """Take in a run as it is now; return whether it was rated otherwise than was known.

    What a reader said that its outputs should have been is expected of the case from now on.
    """
    places = (
        (case, each)
        for case in comparison.cases
        if case.case_id == run.case_id
        for tries in case.tries.values()
        for each in tries
    )
    case, found = next((pair for pair in places if pair[1].id == run.id), (None, None))
    if case is None or found is None:
        return False
    now = Record.of_run(run)
    is_corrected = bool(now.desired) and now.desired != found.desired
    is_rated = is_corrected or now.quality != found.quality or now.desired != found.desired
    for name in ("quality", "_make", "_desired"):
        setattr(found, name, getattr(now, name))
    case._runs = None  # noqa: SLF001  (it is made again from its records)
    if not is_rated:
        return False
    if is_corrected:
        case.expected.update(now.desired or {})
    meant = [m.name for m in comparison.metrics if is_corrected or m.name == "quality"]
    _forget_figures(comparison, meant)
    return True


def added(comparison: BaseComparison, run: Run, release: str) -> None:
    """Take in another run of one of the cases, on `release`.

    Raises
    ------
    InputError
        It is a run of none of the cases.
    """
    comparison._column(release)  # noqa: SLF001
    case = next((each for each in comparison.cases if each.case_id == run.case_id), None)
    if case is None:
        msg = f"the run {run.id} is of none of the cases compared (case_id {run.case_id})"
        raise InputError(msg)
    record = Record.of_run(run)
    record.group = release
    case.tries.setdefault(release, []).append(record)
    case._runs = None  # noqa: SLF001
    _forget(comparison, *_OF_ANSWERS, *_OF_STATUS)
    comparison._against = {}  # noqa: SLF001


def recalled(comparison: BaseComparison, now: Mapping[str, Record | None], gone: Gone) -> bool:
    """Take in which runs are there `now`, None where one went; return whether some did, or came.

    `gone` is who went before, and is kept up to date.
    """
    came = [(run_id, found) for run_id, found in now.items() if found and run_id in gone]
    for run_id, found in came:
        case, found.group = gone.pop(run_id)
        tries = case.tries.setdefault(found.group, [])
        tries.append(found)
        tries.sort(key=lambda each: each.micros)
    went: Gone = {}
    for case in comparison.cases:
        went |= _taken_away(case, now)
    gone |= went
    if went or came:
        _forget(comparison, *_OF_ANSWERS, *_OF_STATUS)
        comparison._against = {}  # noqa: SLF001
    return bool(went or came)


def _taken_away(case: Case, now: Mapping[str, Record | None]) -> Gone:
    """Take the runs of a case away that went; read the others as they are."""
    went: Gone = {}
    for release, tries in list(case.tries.items()):
        for each in tries:
            found = now.get(each.id, each)
            if found is None:
                went[each.id] = case, release
            else:
                each.read_as(found)
        case.tries[release] = [each for each in tries if each.id not in went]
        if not case.tries[release]:
            del case.tries[release]
    case._runs = None  # noqa: SLF001  (it is made again from its records)
    left = next((tries[0] for tries in case.tries.values()), None)
    if left is not None and isinstance(case._inputs, Record):  # noqa: SLF001
        case._inputs = left  # noqa: SLF001  (the one that told them may have gone)
    return went


def _forget_figures(comparison: BaseComparison, metrics: Sequence[str]) -> None:
    for case in comparison.cases:
        case._runs = None  # noqa: SLF001  (they are made again from their records)
    for name in metrics:
        comparison.answers._scored.pop(name, None)  # noqa: SLF001
    for key in [key for key in comparison._against if key[1] in metrics]:  # noqa: SLF001
        del comparison._against[key]  # noqa: SLF001


def _forget(comparison: BaseComparison, *names: str) -> None:
    for name in names:
        comparison.__dict__.pop(name, None)

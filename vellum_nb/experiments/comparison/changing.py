"""A comparison held against another baseline, and one that takes in what has happened since."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING

from vellum_nb.errors import InputError
from vellum_nb.experiments.cases import Case
from vellum_nb.history.reading.records import Record
from vellum_nb.models import Run

if TYPE_CHECKING:
    from vellum_nb.experiments.comparison.base import BaseComparison

__all__ = ["added", "held_against_other", "renewed"]

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

"""The figures of all answers, as arrays: one metric at a time, then case by release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vellum_nb.experiments.cases import Case
from vellum_nb.experiments.metrics.metric import Metric
from vellum_nb.experiments.noise import pooled_variance, unlike_pairs
from vellum_nb.history.reading.records import Record, in_turn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Answers", "Scored"]


class Answers:
    """All answers in one row, each with its case and its release; and what metrics say of them."""

    def __init__(self, cases: Sequence[Case], releases: Sequence[str]) -> None:
        import numpy as np

        self.cases = cases
        self.releases = tuple(releases)
        self.records: list[Record] = []
        at_case: list[int] = []
        at_release: list[int] = []
        for row, case in enumerate(cases):
            for column, release in enumerate(self.releases):
                found = case.answers(release)
                self.records += found
                at_case += [row] * len(found)
                at_release += [column] * len(found)
        self.case = np.asarray(at_case, dtype=np.intp)
        self.release = np.asarray(at_release, dtype=np.intp)
        self.cell = self.case * len(self.releases) + self.release
        self._scored: dict[str, Scored] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """Cases and releases."""
        return len(self.cases), len(self.releases)

    def scored(self, metric: Metric) -> Scored:
        """Return what `metric` says; it is asked once a run."""
        if metric.name not in self._scored:
            self._scored[metric.name] = _scored(self, metric)
        return self._scored[metric.name]

    @cached_property
    def kinds(self) -> NDArray[np.intp]:
        """Of each answer a number that equal answers share."""
        import numpy as np

        known: dict[Any, int] = {}
        keys = ((each.state, each.error, each.mark) for each in self.records)
        return np.asarray([known.setdefault(key, len(known)) for key in keys], dtype=np.intp)

    def unlike(self, columns: Sequence[int], kinds: NDArray[np.intp]) -> tuple[int, int]:
        """Return how many pairs of repeats differ on these releases, and how many there are."""
        import numpy as np

        chosen = np.isin(self.release, columns) & (kinds >= 0)
        return unlike_pairs(self.cell[chosen], kinds[chosen])


@dataclass(frozen=True, slots=True)
class Scored:
    """What one metric says of all answers.

    Attributes
    ----------
    values : array
        Of each answer; NaN where there is no figure.
    errors : dict
        Which answer to what the metric raised.
    mean, count, variance : array
        Case by release, over the repeats; the variance is NaN where there are fewer than two.
    failed : array
        Case by release, how often the metric raised.
    pooled : tuple
        Of each release, the variance between repeats; None where nothing was repeated.
    passes : bool
        Whether every figure is pass or fail.
    kinds : array
        Of each answer a number that equal figures share; -1 without a figure.
    """

    metric: Metric
    values: NDArray[np.float64]
    errors: dict[int, str]
    mean: NDArray[np.float64]
    count: NDArray[np.int64]
    variance: NDArray[np.float64]
    failed: NDArray[np.int64]
    pooled: tuple[float | None, ...]
    passes: bool
    kinds: NDArray[np.intp]


def _scored(answers: Answers, metric: Metric) -> Scored:
    import numpy as np

    values, errors = _evaluated(answers, metric)
    has = ~np.isnan(values)
    cells, found = answers.cell[has], values[has]
    size = answers.shape[0] * answers.shape[1]
    count = np.bincount(cells, minlength=size)
    with np.errstate(all="ignore"):  # cells without a figure; figures near the end of floats
        mean = np.bincount(cells, weights=found, minlength=size) / count
        squares = np.bincount(cells, weights=(found - mean[cells]) ** 2, minlength=size)
        variance = np.where(count > 1, squares / (count - 1), np.nan)
    raised = np.fromiter(errors, dtype=np.intp, count=len(errors))
    failed = np.bincount(answers.cell[raised], minlength=size)
    columns = range(answers.shape[1])
    pooled = tuple(
        pooled_variance(cells[at], found[at]) for at in (answers.release[has] == c for c in columns)
    )
    step = metric.tolerance or 1e-9
    kinds = np.full(len(values), -1, dtype=np.intp)
    with np.errstate(over="ignore"):
        kinds[has] = np.unique(np.round(found / step), return_inverse=True)[1]
    return Scored(
        metric,
        values,
        errors,
        mean.reshape(answers.shape),
        count.reshape(answers.shape),
        variance.reshape(answers.shape),
        failed.reshape(answers.shape),
        pooled,
        bool(np.isin(found, (0.0, 1.0)).all()),
        kinds,
    )


def _evaluated(answers: Answers, metric: Metric) -> tuple[NDArray[np.float64], dict[int, str]]:
    import numpy as np

    expected = [case.expected for case in answers.cases]
    work = [
        (record, expected[row])
        for record, row in zip(answers.records, answers.case.tolist(), strict=True)
    ]
    values = np.full(len(work), np.nan)
    unknown = _unknown_output(answers, metric)
    if unknown is not None:
        return values, dict.fromkeys(range(len(work)), unknown)
    metric.prepare(work)
    errors: dict[int, str] = {}
    for at, record in enumerate(in_turn(answers.records, whole=not metric.is_built_in)):
        value, problem = metric.evaluate(record, work[at][1])
        if value is not None:
            values[at] = value
        elif problem is not None:
            errors[at] = problem
    return values, errors


def _unknown_output(answers: Answers, metric: Metric) -> str | None:
    """Return what is wrong where no run has the output that a metric looks at: a slip."""
    if metric.looks_at is None:
        return None
    known: dict[str, None] = {}
    for record in answers.records:
        outputs = record.output_names if record.state == "FULFILLED" else ()
        if metric.looks_at in outputs:
            return None
        known |= dict.fromkeys(outputs)
    names = ", ".join(known)
    return f"no run has an output called {metric.looks_at!r}; there are: {names}" if known else None

"""Stopping a sweep early: a sequential test per release, in a fixed order of the cases."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from statistics import fmean
from types import FunctionType

from vellum_nb.comparison.cases import is_answer
from vellum_nb.comparison.decisions import MayReplace, checked_margin, head_text
from vellum_nb.comparison.metrics import Judge, Metric, as_metrics
from vellum_nb.comparison.pairs import (
    SHARE,
    acceptable_losses,
    are_many,
    differences,
    finite_bounds,
    lacks_pair,
    missing_policy,
)
from vellum_nb.comparison.statistics import gain_evidence, sequential_test
from vellum_nb.errors import InputError
from vellum_nb.lazy import Bools, Floats, np
from vellum_nb.models import Run
from vellum_nb.models.sweeps import SweepCase, SweepRecord
from vellum_nb.rendering.format import plural
from vellum_nb.sweep.options import StopWhen
from vellum_nb.sweep.plan import PlannedRun

_FAILED_CASES = 5  # a metric that fails on all of the first cases stops the sweep
_LOOKS = 50  # looks per sweep: each one walks through all compared cases


def checked_stop_when(
    stop_when: StopWhen, tags: Sequence[str], cases: Sequence[SweepCase]
) -> StopWhen:
    """Return the rule with its metric; raise an `InputError` if it can never decide."""
    (metric,) = as_metrics("score" if stop_when.metric is None else stop_when.metric)
    alpha, baseline = stop_when.alpha / max(1, len(tags) - 1), stop_when.baseline
    distinct, cases_text = len({case.case_id for case in cases}), plural(len(cases), "case")
    has_target = stop_when.metric is not None or any(case.expected for case in cases)
    is_unbounded = metric.bounds is not None and finite_bounds(metric, passes=False) is None
    if stop_when.margin is not None:
        checked_margin(stop_when.margin, is_score=metric.bounds == SHARE)
    can_decide = sequential_test([], left=len(cases), alpha=alpha).can_decide
    problems = {
        "it compares releases: give two release tags or more": len(tags) == 1,
        f"baseline={baseline!r} is not among the release tags {', '.join(tags)}": (
            baseline not in {None, *tags}
        ),
        "its metric decides while the sweep runs: give one that is no judge": (
            isinstance(metric, Judge)
        ),
        _needs_bounds(metric): stop_when.margin is not None and is_unbounded,
        "give vnb.StopWhen(metric=...), or cases with expected.<output>": not has_target,
        f"only {distinct:,} of {cases_text} are distinct: give each once, with repeats=": (
            distinct < len(cases)
        ),
        f"{cases_text} cannot decide at alpha={stop_when.alpha}: give more": not can_decide,
    }
    for problem, applies in problems.items():
        if applies:
            msg = f"stop_when: {problem}"
            raise InputError(msg)
    return replace(stop_when, metric=metric)


def _needs_bounds(metric: Metric) -> str:
    return f"with a margin, {metric.name} needs bounds: give vnb.Metric(fn, bounds=(low, high))"


def has_same_metric(first: StopWhen, second: StopWhen) -> bool:
    """Return whether the metrics of two rules are equal, or one is not stored.

    Functions with the same code and values are equal, as a cell can be executed again.
    """
    if first.metric is None or second.metric is None:
        return True
    (one,), (other,) = as_metrics(first.metric), as_metrics(second.metric)
    try:
        return bool(_identity(one) == _identity(other))
    except Exception:  # noqa: BLE001  (values that cannot be compared, such as arrays)
        return False


def _identity(metric: Metric) -> object:
    settings = (metric.name, metric.sign, metric.tolerance, metric.rejected, metric.bounds)
    function = metric.fn
    if not isinstance(function, FunctionType):
        return settings, function
    values = [cell.cell_contents for cell in function.__closure__ or ()]
    values += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
    return settings, function.__code__, [getattr(value, "__code__", value) for value in values]


class StopRule:
    """Stops a sweep once each release is better or worse than the baseline, or cannot be decided.

    With a margin: once each may or should not replace the baseline, as `decide` would say.

    A `sequential_test` compares each release with the baseline, case by case in the order of the
    plan, up to the first case with missing runs. The releases share `alpha`. A slow case holds up
    later ones (`startable`), as they may not be needed. Lost answers count as in a comparison.
    """

    def __init__(
        self,
        sweep: SweepRecord,
        cases: Sequence[SweepCase],
        stop_when: StopWhen,
        planned: Sequence[PlannedRun],
    ) -> None:
        self.why: str | None = None
        self.problem: str | None = None  # the metric's last failure
        self._failed: set[int] = set()  # positions of cases on which the metric failed
        self._works = False  # it returned a value, or None, for an answer
        (self._metric,) = as_metrics(stop_when.metric or "score")
        self._order, self._cases = sweep.order(), cases
        baseline = stop_when.baseline or sweep.release_tags[0]
        self._candidates = [tag for tag in sweep.release_tags if tag != baseline]
        self._tags = (baseline, *self._candidates)
        self._margin = None if stop_when.margin is None else checked_margin(stop_when.margin)
        self._margin_text = str(stop_when.margin)
        self._lacks_bounds = False  # with a margin
        self._alpha, self._repeats = stop_when.alpha / len(self._candidates), sweep.repeats
        self._places = {run.run_id: run.place for run in planned}
        ranks = {position: rank for rank, position in enumerate(self._order)}
        self._unsent_ranks = [ranks[run.place.position] for run in planned if run.state is None]
        # Figures of the repeats: None if the run failed or was rejected, else NaN without a figure.
        self._values = defaultdict[tuple[int, str], dict[int, float | None]](dict)
        self._means: list[list[float]] = []  # of compared cases, by release
        self._lost: list[list[bool]] = []  # whether no repeat has an answer
        self._passes = True  # all figures of compared cases are pass or fail
        self._next_look = 1  # compared cases
        for run in planned:
            if run.state not in {None, "STARTED", "IN_DOUBT"}:  # NaN remains for a deleted run
                self._values[run.place.position, run.place.release_tag][run.place.repeat] = math.nan

    def reason(self, ended: Iterable[Run]) -> str | None:
        """Add runs that ended, and return the reason to stop, if any."""
        for run in ended:
            place = self._places[run.id]
            value = self._evaluate(run, place.position) if is_answer(run) else None
            if value is None and run.state not in {"FAILED", "REJECTED"}:
                value = math.nan
            self._values[place.position, place.release_tag][place.repeat] = value
        if not self._works and len(self._failed) >= _FAILED_CASES:
            return f"stop_when cannot decide: {self.problem}"
        compared = self._compare_cases()
        if self.why is None and compared >= self._next_look:
            self._next_look = compared + max(1, compared // _LOOKS)
            self.why = self._decision()
        if self._lacks_bounds:
            return f"stop_when cannot decide: {_needs_bounds(self._metric)}"
        return self.why

    def _evaluate(self, run: Run, position: int) -> float | None:
        value, problem = self._metric.evaluate(run, self._cases[position].expected)
        if problem is None:
            self._works = True
        else:
            self._failed.add(position)
            cases = plural(len(self._failed), "case")
            self.problem = f"the metric {self._metric.name} failed on {cases}: {problem:.200}"
        return value

    def add(self, run: PlannedRun) -> None:
        """Add another attempt at a planned run."""
        self._places[run.run_id] = run.place

    def startable(self, more: int) -> int:
        """Return how many runs can start: up to the next case to compare, and `more`."""
        return bisect_right(self._unsent_ranks, len(self._means)) + more

    def _compare_cases(self) -> int:
        """Compare the next cases without missing runs; return the number of compared cases."""
        for position in self._order[len(self._means) :]:
            runs = [self._values[position, tag].values() for tag in self._tags]
            if any(len(values) < self._repeats for values in runs):
                break
            figures = [[v for v in run if v is not None and not math.isnan(v)] for run in runs]
            self._means.append([fmean(values) if values else math.nan for values in figures])
            self._lost.append([all(value is None for value in values) for values in runs])
            self._passes = self._passes and {0, 1}.issuperset(chain.from_iterable(figures))
        return len(self._means)

    @property
    def _bounds(self) -> tuple[float, float] | None:
        return finite_bounds(self._metric, passes=self._passes)

    def _tested(self, column: int) -> tuple[int, int, bool]:
        """Return the side that a release is decided for, after how many cases, and if it can be."""
        bounds, sign = self._bounds, self._metric.sign
        policy = missing_policy(self._metric, None, bounds)
        mean, lost = (np.array(rows)[:, [0, column]] for rows in (self._means, self._lost))
        extremes = [sign * delta for delta in differences(mean, lost, sign, bounds, policy)]
        left = len(self._order) - len(mean)
        tests = [
            sequential_test(
                np.where(np.abs(gains) > self._metric.tolerance, gains, 0.0),
                left=left,
                alpha=self._alpha,
            )
            for gains in extremes
        ]
        sides = {test.side for test in tests}
        side = sides.pop() if len(sides) == 1 else 0
        if policy == "drop" and side > 0 and (lost[:, 1] & ~np.isnan(mean[:, 0])).any():
            side = 0
        used, can_decide = max(test.cases for test in tests), all(test.can_decide for test in tests)
        if self._margin is None or bounds is None:
            return side, used, can_decide
        gains, base = extremes[0], mean[:, 0]
        if policy == "fail":
            base = np.where(lost[:, 0], bounds[::sign][0], base)
        base = np.where(np.isnan(gains), np.nan, np.nan_to_num(base))
        after, can_pass = self._excluded(gains, base, bounds, used if side < 0 else len(mean))
        if self._has_gaps(mean, lost, gains):
            after, side, can_pass = None, min(side, 0), True
        return (side, used, can_decide or can_pass) if after is None else (1, after, True)

    def _excluded(
        self, gains: Floats, base: Floats, bounds: tuple[float, float], until: int
    ) -> tuple[int | None, bool]:
        """Return after how many of the cases a loss of the margin is excluded, and if it can be."""
        margin, is_relative = self._margin or (math.nan, False)
        allowed, least = acceptable_losses(
            margin, base, bounds, self._metric.sign, is_relative=is_relative
        )
        best = bounds[1] - bounds[0] + margin * (max(map(abs, bounds)) if is_relative else 1.0)
        rows, gains = np.flatnonzero(~np.isnan(gains[:until])), gains + allowed
        left = np.full(len(self._order) - len(gains), best)
        evidence = gain_evidence(np.append(gains[rows], left), least)
        reached = np.flatnonzero(evidence >= -math.log(self._alpha))
        is_excluded = len(reached) and reached[0] < len(rows) and np.nanmean(gains) > 0
        return (int(rows[reached[0]]) + 1 if is_excluded else None), len(reached) > 0

    def _has_gaps(self, mean: Floats, lost: Bools, gains: Floats) -> bool:
        """Return whether so many cases have no pair that, by `decide`, no release may replace."""
        has_failed = np.isin(self._order[: len(mean)], list(self._failed))
        is_unscored = np.isnan(mean).all(axis=1) & ~(lost.any(axis=1) | has_failed)
        has_pair = ~np.isnan(gains)
        gaps = lacks_pair(has_pair, is_unscored, lost)
        return are_many(int(gaps.sum()), int(has_pair.sum()))

    def _decision(self) -> str | None:
        verdicts, number, used, is_open = [], len(self._order), 0, False
        if self._margin is not None and self._bounds is None:
            self._lacks_bounds = True
            return None
        for column, tag in enumerate(self._candidates, start=1):
            side, cases, can_decide = self._tested(column)
            if can_decide and not side:
                return None
            verdict = f"{tag} is {('undecided', 'better', 'worse')[side]}"
            if self._margin is not None:
                verdict = head_text(tag, self._tags[0], _VERDICTS[side])
            verdicts.append(verdict)
            used, is_open = max(used, cases), is_open or not side
        start = f"{'can no longer be ' if is_open else ''}decided by {self._metric.name}"
        if self._margin is not None:
            start += f" with margin {self._margin_text}"
        problem = f"; {self.problem}" if self.problem else ""
        decision = f"{start} after {used:,} of {plural(number, 'case')}: {', '.join(verdicts)}"
        return decision + problem


_VERDICTS: tuple[MayReplace, ...] = ("cannot tell yet", "may replace", "should not replace")
"""By side: 0, 1 and -1."""

"""The half of `vellum_nb.Comparison` that knows: cases, columns, figures, verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from vellum_nb.errors import InputError
from vellum_nb.experiments.cases import Case, Status, align, in_turn
from vellum_nb.experiments.comparison.changing import held_against_other
from vellum_nb.experiments.comparison.releases import baseline_of, split, tags_of
from vellum_nb.experiments.comparison.scores import Answers
from vellum_nb.experiments.comparison.tools import Tools
from vellum_nb.experiments.comparison.verdicts import VERDICTS, Against, Verdict, held_against
from vellum_nb.experiments.metrics import quality, score
from vellum_nb.experiments.metrics.choosing import Metrics, chosen
from vellum_nb.experiments.metrics.judges import Judge, Judging
from vellum_nb.experiments.metrics.metric import Metric
from vellum_nb.experiments.statistics import holm
from vellum_nb.history.reading.records import Record
from vellum_nb.models import Run
from vellum_nb.models.plain import shown
from vellum_nb.models.sweeps import SweepCase

if TYPE_CHECKING:
    from vellum_nb.experiments.comparison.comparison import Comparison

__all__ = ["BaseComparison"]


class BaseComparison:
    """Aligned runs and what metrics say of them; `vellum_nb.Comparison` documents it."""

    tools: Tools = Tools()
    """What it acts with and is shown by; whoever makes a comparison sets it."""

    def __init__(
        self,
        runs: Iterable[Run | Record],
        *,
        deployment: str,
        release_tags: Sequence[str],
        baseline: str | None = None,
        render: Callable[[Comparison], str] | None = None,
        metrics: Metrics | None = None,
        cases: Sequence[SweepCase] = (),
        only: Iterable[str] | None = None,
        by: str = "release_tag",
        alpha: float = 0.05,
        seed: int = 0,
        judging: Judging | None = None,
    ) -> None:
        self.deployment = deployment
        self.release_tags = tags_of(release_tags)
        self.by = by
        self.alpha = _checked_alpha(alpha)
        self.seed = seed
        records = [each if isinstance(each, Record) else Record.of_run(each) for each in runs]
        records = [each for each in records if each.deployment == deployment]
        columns = split(records, self.release_tags, by_tag=by == "release_tag")
        self.releases = columns.labels
        self.moved_tags = columns.moved
        self.baseline = baseline_of(baseline, columns)
        self.cases = align(
            records,
            releases=self.releases,
            baseline=self.baseline,
            known=cases,
            only=None if only is None else frozenset(only),
        )
        given = self._default() if metrics is None else chosen(metrics)
        self.metrics = tuple(metric.bound(judging) for metric in given)
        self._render = render
        self._against: dict[tuple[str, str], Against] = {}
        for metric in self.metrics:
            if isinstance(metric, Judge):  # what may be paid for is done now, not by a repr
                self.answers.scored(metric)

    @property
    def others(self) -> tuple[str, ...]:
        """The releases without the baseline."""
        return tuple(each for each in self.releases if each != self.baseline)

    @property
    def metric(self) -> Metric | None:
        """The metric that verdicts go by where none is named: the first."""
        return self.metrics[0] if self.metrics else None

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """The names of all outputs, in the order in which runs brought them."""
        return tuple(
            dict.fromkeys(
                name
                for case in self.cases
                for release in self.releases
                for found in (case.counting(release),)
                if found is not None
                for name in found.output_names
            )
        )

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        """The names of all inputs."""
        cases = in_turn(self.cases, answers=False)
        return tuple(dict.fromkeys(name for case in cases for name in case.inputs))

    @cached_property
    def answers(self) -> Answers:
        """All answers, and what metrics say of them."""
        return Answers(self.cases, self.releases)

    @cached_property
    def statuses(self) -> dict[str, list[Status]]:
        """Of each release but the baseline, how each case's answer stands to the baseline's."""
        return {each: [case.status(each) for case in self.cases] for each in self.others}

    def count(self, release: str, status: str) -> int:
        """Return in how many cases `release` is "same", "differs" or "missing".

        Or, with a metric, "better", "worse", "noise", "unscored", "error". "same" and "missing"
        are told from the outputs, not from the metric.

        Raises
        ------
        InputError
            There is no such release in this comparison, or no such status.
        """
        self._column(release)
        if status not in (known := dict.fromkeys(("same", "differs", "missing", *VERDICTS))):
            msg = f"no cases are counted as {status!r}; there are: {', '.join(known)}"
            raise InputError(msg)
        if status in {"same", "differs", "missing"}:
            found = self.statuses.get(release) or [case.status(release) for case in self.cases]
            return sum(each == status for each in found)
        return self.against(release).counts[status]  # type: ignore[index]  # checked above

    def against(self, release: str, metric: str | None = None) -> Against:
        """Return what came of holding `release` against the baseline by a metric.

        Raises
        ------
        InputError
            There is no such release or metric, or there is no metric at all.
        """
        column, meant = self._column(release), self._metric(metric)
        key = release, meant.name
        if key not in self._against:
            scored = self.answers.scored(meant)
            base = self._column(self.baseline)
            alpha = self.alpha / max(1, len(self.others))  # what Holm leaves of it for each
            found = held_against(self.answers, scored, base, column, seed=self.seed, alpha=alpha)
            self._against[key] = found
        return self._against[key]

    def p(self, release: str, metric: str | None = None, *, signs: bool = False) -> float | None:
        """Return how likely such a difference is by chance, corrected for several releases.

        Of the mean difference; with `signs` of better against worse cases. Holm's correction is
        over the releases that are held against the baseline.
        """
        found = [self.against(each, metric) for each in self.others]
        values = holm([each.sign_p if signs else each.change.p for each in found])
        return values[self.others.index(release)] if release in self.others else None

    def verdict(self, case: Case, release: str, metric: str | None = None) -> Verdict:
        """Return how a case fares on `release` against the baseline by a metric.

        ``"better"``, ``"worse"``, ``"same"``; ``"noise"`` where repeats differ as much;
        ``"missing"`` without an answer on both; ``"unscored"`` where the metric does not apply;
        ``"error"`` where it raised.
        """
        return VERDICTS[int(self.against(release, metric).codes[case.number - 1])]

    def value(self, case: Case, release: str, metric: str | None = None) -> float | None:
        """Return a metric's mean over the repeats of a case on `release`, if there is one."""
        scored = self.answers.scored(self._metric(metric))
        return _known(scored.mean[case.number - 1, self._column(release)])

    def delta(self, case: Case, release: str, metric: str | None = None) -> float | None:
        """Return the difference to the baseline's, as the metric counts, if there is one."""
        return _known(self.against(release, metric).delta[case.number - 1])

    def with_baseline(self, baseline: str) -> Self:
        """Return the same comparison with the others held against `baseline`.

        Raises
        ------
        InputError
            There is no such release in this comparison.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> for tag in ("v1", "v2"):
        ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
        >>> ws.compare("ticket-triage").with_baseline("v2")
        <Comparison of ticket-triage against v2, 1 case: v1 1 differs>
        """
        return held_against_other(self, baseline)  # type: ignore[return-value]  # a copy of self

    def _metric(self, name: str | None) -> Metric:
        if name is None and self.metrics:
            return self.metrics[0]
        found = next((each for each in self.metrics if each.name == name), None)
        if found is not None:
            return found
        if not self.cases:
            names = ", ".join(self.releases)
            msg = f"{self.deployment} has no stored runs on {names}, so there is nothing to compare"
            raise InputError(msg)
        if not self.metrics:
            msg = (
                "nothing tells better from worse here: give metrics=..., cases with "
                "expected.<output>, or rate runs; changed() is known without"
            )
            raise InputError(msg)
        known = ", ".join(each.name for each in self.metrics)
        msg = f"no metric of this comparison is called {name!r}; there are: {known}"
        raise InputError(msg)

    def _column(self, release: str) -> int:
        if release not in self.releases:
            known = ", ".join(self.releases)
            msg = f"{release!r} is not among the release tags compared: {known}"
            raise InputError(msg)
        return self.releases.index(release)

    def _default(self) -> tuple[Metric, ...]:
        found = [score()] if any(case.expected for case in self.cases) else []
        rated = any(
            each.quality is not None
            for case in self.cases
            for tries in case.tries.values()
            for each in tries
        )
        return (*found, quality()) if rated else tuple(found)


def _checked_alpha(alpha: Any) -> float:
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1:
        msg = f"alpha={shown(alpha)} does not fit: give a number between 0 and 1, such as 0.05"
        raise InputError(msg)
    return float(alpha)


def _known(value: Any) -> float | None:
    number = float(value)
    return None if number != number else number  # noqa: PLR0124  (NaN)

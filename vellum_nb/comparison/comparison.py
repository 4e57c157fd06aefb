"""`Comparison`: stored runs of a deployment side by side, one row per case."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

from vellum_nb.comparison import report
from vellum_nb.comparison.agreement import Agreement, rater_check
from vellum_nb.comparison.blind import (
    QUESTION,
    BlindSession,
    begin_blind_session,
    blind_session,
    checked_pair,
)
from vellum_nb.comparison.cases import (
    Case,
    Chosen,
    Status,
    align,
    cluster_numbers,
    is_answer,
    replay_rows,
    split,
    with_run,
    without_run,
)
from vellum_nb.comparison.figures import (
    VERDICTS,
    Against,
    ComparisonFigures,
    Finding,
    Scored,
    Verdict,
    case_frame,
    error_frame,
    failure_frame,
    run_frame,
    runs_table,
    summary_frame,
    summary_rows,
)
from vellum_nb.comparison.gate import check, failures, junit
from vellum_nb.comparison.metrics import (
    Evaluation,
    Judge,
    Judgement,
    Metric,
    Metrics,
    as_metrics,
    quality,
    score,
)
from vellum_nb.errors import InputError
from vellum_nb.files import write_file
from vellum_nb.history import BlindRatings, History, write_csv_frame, write_parquet_frame
from vellum_nb.models import Run
from vellum_nb.models.checks import refuse
from vellum_nb.models.inputs import format_value
from vellum_nb.models.sweeps import SweepCase
from vellum_nb.rendering.format import plural, printable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from vellum_nb.comparison.charts import Chart, Picture


Rows = Literal["cases", "runs"]
Names = str | Sequence[str] | None


class SweepRuns(Protocol):
    """A `vellum_nb.Sweep`, as a protocol: this package does not import it."""

    def frame(self) -> pd.DataFrame:
        """Return its runs, one row per run."""

    def runs(self) -> list[Run]:
        """Return its runs."""

    def compare(self, *args: Any, **options: Any) -> Comparison:
        """Compare its releases."""


@dataclass(frozen=True, slots=True)
class Services:
    """The services of a comparison, which itself knows no server and no widget."""

    # Runs cases: the deployment's name, rows as of stored runs, the options of `Workspace.sweep`.
    sweep: Callable[[str, Any, Mapping[str, Any]], SweepRuns] | None = None
    leaks: Callable[[str], bool] | None = None  # whether a text contains the API key
    grid: Callable[[Any], Any] | None = None  # the grid of a comparison
    blind: Callable[[Any], Any] | None = None  # the widget of a `BlindSession`
    history: History | None = None  # of blind ratings, which else last as long as the comparison
    # Release tag and id to path to text; None: not readable, or the tag is on another release now.
    code: Callable[[str, str], Mapping[str, str] | None] | None = None


class Comparison:
    """Stored runs of one deployment, case by case on several releases.

    Of several runs of a case on a release, the newest with an answer (FULFILLED or
    REJECTED) is shown; metrics go over all of them, and their mean counts. A case is *missing* on a
    release where it was not run, and *failed* where no run has an answer: never the same,
    never a pass. A tag that moved between runs has one column per release.

    A comparison does not change: `with_baseline` and `with_runs` return another one. Everywhere
    `metric` is a name, by default the first metric's, and `release` a column; `InputError` says
    which there are.

    Parameters
    ----------
    runs : iterable of Run
        In any order; runs of other deployments and tags are left out.
    deployment : str
        The deployment's name.
    release_tags : sequence of str
        The release tags, in the order of the columns.
    baseline : str, optional
        The tag the others are compared with. Default: the first.
    metrics : metric or sequence, optional
        `vellum_nb.Metric`, functions of a run, names of `vellum_nb.metrics`; the first decides
        what is better. Default: ``score`` where outputs are expected, and ``quality`` where runs
        were rated. `ws.compare` runs judges; this does not.
    cases : sequence of SweepCase, optional
        Cases that belong to it, run or not, with what is expected of them.
    only : iterable of str, optional
        The `case_id` of the cases to compare. Default: all.
    order : sequence of str, optional
        The `case_id` of cases in the order in which a sweep ran them that could stop after every
        one (`stop_when`). Their p values then hold whenever one looks, by `sequential_test`.
    notes : iterable of str
        Notes on its cases, such as those of the plan of a sweep; `notes` has them first.
    by : str, default "release_tag"
        What the columns are.
    groups : sequence of str, optional
        The column of each run, where that is not its release tag; none is split then.
    alpha : float, default 0.05
        Significance level: the p value up to which a release is better or worse.
    seed : int, default 0
        Without effect since intervals are computed, not drawn; kept for calls that name it.
    cluster : str, optional
        What cases share that are not independent: a label, as in ``"label.document"``, or an
        input. Intervals and p values then hold for other documents, not for these alone.
    services : Services, optional
        What it runs cases with and is shown by; `vellum_nb.Workspace` gives it.

    Attributes
    ----------
    releases : tuple of str
        The columns: a release tag each, more where a tag moved.
    baseline : str
        The column the others are compared with.
    cases : tuple of Case
        In the order in which they were given, or first run.
    metrics : tuple of Metric
        The first decides.
    moved_tags : tuple of str
        The release tags that pointed at several releases while these runs were made.
    answers : DataFrame
        One row per run: `case` and `release` by place, `repeat`, `run`, `is_answer`, `state`,
        `latency_s`, `cost_usd`, `quality`, `rating` (people's mean), `kind` (equal for equal
        answers), ``metric.<name>``.

    Raises
    ------
    InputError
        There is no release tag, the baseline is not among them, or a metric does not fit.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> vnb.Comparison([], deployment="ticket-triage", release_tags=["v1", "v2"])
    <Comparison of ticket-triage: no stored runs on v1, v2>
    """

    deployment: str
    release_tags: tuple[str, ...]
    by: str
    alpha: float
    seed: int
    cluster: str | None
    _order: tuple[int, ...] | None
    _plan_notes: tuple[str, ...]
    releases: tuple[str, ...]
    moved_tags: tuple[str, ...]
    baseline: str
    cases: tuple[Case, ...]
    metrics: tuple[Metric, ...]
    answers: pd.DataFrame
    _services: Services

    def __init__(
        self,
        runs: Iterable[Run],
        *,
        deployment: str,
        release_tags: Sequence[str],
        baseline: str | None = None,
        metrics: Metrics | None = None,
        cases: Sequence[SweepCase] = (),
        only: Iterable[str] | None = None,
        order: Sequence[str] | None = None,
        notes: Iterable[str] = (),
        by: str = "release_tag",
        groups: Sequence[str] | None = None,
        alpha: float = 0.05,
        seed: int = 0,
        cluster: str | None = None,
        services: Services | None = None,
    ) -> None:
        if not isinstance(alpha, float) or not 0 < alpha < 1:  # type: ignore[redundant-expr]
            refuse("alpha", alpha, "a number such as 0.05, below 1")
        tags = (release_tags,) if isinstance(release_tags, str) else tuple(release_tags)
        if not tags:
            msg = "a comparison needs release tags, such as release_tags=['v1', 'v2']"
            raise InputError(msg)
        every = list(runs)
        pairs = zip(every, groups or [run.release_tag for run in every], strict=True)
        own = (pair for pair in pairs if pair[0].deployment == deployment)
        columns = split(own, tags, by_tag=groups is None)
        base = columns.baseline(baseline)
        aligned = align(columns, base, known=cases, only=None if only is None else frozenset(only))
        found = _default_metrics(aligned) if metrics is None else as_metrics(metrics)
        if cluster is not None and aligned:
            cluster_numbers(aligned, cluster)  # raises where there is no such label or input
        vars(self).update(
            deployment=deployment,
            release_tags=tuple(dict.fromkeys(tags)),
            by=by,
            alpha=float(alpha),
            seed=seed,
            cluster=cluster,
            _order=None if order is None else _places(aligned, order),
            _plan_notes=tuple(notes),
            releases=columns.labels,
            moved_tags=columns.moved,
            baseline=base,
            cases=aligned,
            metrics=found,
            _services=services or Services(),
            answers=runs_table(aligned, columns.labels, found, {}),
        )

    def __setattr__(self, name: str, value: object) -> None:
        msg = (
            f"a Comparison does not change, so {name} cannot be set; with_baseline(...) and "
            "with_runs(...) return another one"
        )
        raise AttributeError(msg)

    def _replaced(self, **changes: Any) -> Comparison:
        """Return another comparison with these attributes; what was computed is dropped."""
        other = object.__new__(type(self))
        names = [name for name in type(self).__annotations__ if name in vars(self)]
        vars(other).update({name: vars(self)[name] for name in names} | changes)
        return other

    def with_baseline(self, baseline: str) -> Comparison:
        """Return the same runs compared with another release; metrics are not computed again.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> for tag in ("v1", "v2"):
        ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
        >>> ws.compare("ticket-triage").with_baseline("v2")
        <Comparison of ticket-triage against v2, 1 case: v1 1 differs>
        """
        self._check_release(baseline)
        cases = tuple(replace(case, baseline=baseline) for case in self.cases)
        return self._replaced(baseline=baseline, cases=cases)

    def with_runs(
        self, runs: Iterable[Run] = (), *, release: str | None = None, without: Collection[str] = ()
    ) -> Comparison:
        """Return a comparison that knows of runs that were rated, made or deleted since.

        Metrics are computed for these runs only, and for the cases whose expected outputs change.

        Parameters
        ----------
        runs : iterable of Run
            One whose `id` is known takes the place of the old one; others are added.
        release : str, optional
            The column of those that are added. Default: their release tag.
        without : collection of str
            The `id` of runs that are left out.

        Raises
        ------
        InputError
            A run is of none of the cases, or of none of the releases.
        """
        changed = {run.id: run for run in runs}
        known = {run.id: (tag, case.number - 1) for run, case, tag in self.figures.runs}
        places = {case.case_id: at for at, case in enumerate(self.cases)}
        cases = list(self.cases)
        for run in changed.values():
            if run.id not in known:
                column = release or run.release_tag
                self._check_release(column)
                if run.case_id not in places:
                    msg = f"the run {run.id} is of none of the cases compared ({run.case_id})"
                    raise InputError(msg)
                known[run.id] = column, places[run.case_id]
            column, at = known[run.id]
            cases[at] = with_run(cases[at], column, run)
        for run_id in known.keys() & set(without):
            column, at = known[run_id]
            cases[at] = without_run(cases[at], column, run_id)
        if tuple(cases) == self.cases:
            return self
        again = {at for at, case in enumerate(cases) if case.expected != self.cases[at].expected}
        return self._evaluated(self._evaluations(changed.keys(), again), cases=tuple(cases))

    def with_judgements(self, judgements: Mapping[str, Mapping[str, Judgement]]) -> Comparison:
        """Return a comparison whose judges know these judgements.

        Parameters
        ----------
        judgements : mapping
            Name of the metric to `case_id` of the judge's inputs to its runs, or why it has none.
        """
        metrics = tuple(
            metric.replaced(judgements=judgements[metric.name])
            if isinstance(metric, Judge) and metric.name in judgements
            else metric
            for metric in self.metrics
        )
        known = {name: e for name, e in self._evaluations().items() if name not in judgements}
        return self._evaluated(known, metrics=metrics)

    def _evaluated(
        self, known: Mapping[str, Mapping[str, Evaluation]], **changes: Any
    ) -> Comparison:
        cases, metrics = changes.get("cases", self.cases), changes.get("metrics", self.metrics)
        table = runs_table(cases, self.releases, metrics, known)
        return self._replaced(answers=table, **changes)

    def _evaluations(
        self, changed: Collection[str] = (), cases: Collection[int] = ()
    ) -> dict[str, dict[str, Evaluation]]:
        """Return what metrics returned for the runs that stay as they are."""
        same = self.answers[~self.answers["case"].isin(cases) & self.answers["is_answer"]]
        found: dict[str, dict[str, Evaluation]] = {}
        for metric in self.metrics:
            names = ("run", f"metric.{metric.name}", f"metric_error.{metric.name}")
            columns = (same[name].tolist() for name in names)
            found[metric.name] = {
                run.id: (None if value != value else value, problem)  # noqa: PLR0124  (NaN)
                for run, value, problem in zip(*columns, strict=True)
                if run.id not in changed
            }
        return found

    def answered(self) -> list[tuple[Run, Mapping[str, Any]]]:
        """Return each run with an answer, and the expected outputs of its case."""
        return [(run, case.expected) for run, case, _ in self.figures.runs if is_answer(run)]

    @cached_property
    def figures(self) -> ComparisonFigures:
        """All figures: scores, verdicts, p values."""
        own: Any = {each.name: vars(self).get(each.name) for each in fields(ComparisonFigures)}
        own |= {"order": self._order, "plan_notes": self._plan_notes}
        return ComparisonFigures(**own | {"table": self.answers})

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before reading it: unused columns, an early stop, unchecked judges."""
        return self.figures.notes

    @property
    def others(self) -> tuple[str, ...]:
        """The releases without the baseline."""
        return self.figures.others

    @property
    def metric(self) -> Metric | None:
        """The metric that is used by default: the first."""
        return self.metrics[0] if self.metrics else None

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """The names of all outputs, in the order in which they first appear."""
        return self.figures.output_names

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        """The names of all inputs."""
        return tuple(dict.fromkeys(name for case in self.cases for name in case.inputs))

    @property
    def statuses(self) -> Mapping[str, Sequence[Status]]:
        """Of each release but the baseline, whether each case's answer differs from its."""
        return self.figures.statuses

    @cached_property
    def unstable_cases(self) -> NDArray[np.bool_]:
        """Of each case whether repeats on one release have different answers."""
        return self.figures.unstable

    def scored(self, metric: str | None = None) -> Scored:
        """Return the figures of a metric, case by release."""
        return self.figures.scored[self._metric(metric)]

    def count(self, release: str, status: str) -> int:
        """Return in how many cases `release` is "same", "differs" or "missing".

        Of the outputs, where "missing" is without an answer, on `release` or on the baseline; by
        the metric "better", "worse", "noise", "unscored" or "error".
        """
        self._check_release(release)
        by_outputs = ("same", "differs", "missing")
        if status not in (known := dict.fromkeys((*by_outputs, *VERDICTS))):
            msg = f"no cases are counted as {status!r}; there are: {', '.join(known)}"
            raise InputError(msg)
        if status in by_outputs:
            found = self.statuses.get(release) or [case.status(release) for case in self.cases]
            return sum(each == status for each in found)
        return self.against(release).counts[status]  # type: ignore[index]  # checked above

    def against(self, release: str, metric: str | None = None) -> Against:
        """Return how `release` compares with the baseline by a metric."""
        return self.figures.compared(*self._key(release, metric))

    def p(self, release: str, metric: str | None = None, *, signs: bool = False) -> float | None:
        """Return the p value of the difference, corrected for several releases.

        Of the mean difference; with `signs` of better against worse cases, which is the same where
        clusters are named. Holm's correction is over the releases compared with the baseline.
        """
        found = self.figures.sign_p if signs else self.figures.p
        return found.get((release, self._metric(metric)))

    def verdict(self, case: Case, release: str, metric: str | None = None) -> Verdict:
        """Return how a case fares on `release` against the baseline by a metric.

        ``"better"``, ``"worse"``, ``"same"``; ``"noise"`` where repeats differ as much;
        ``"missing"`` without an answer on both; ``"unscored"`` where the metric does not apply;
        ``"error"`` where it raised.
        """
        return self.figures.verdict(case, *self._key(release, metric))

    def value(self, case: Case, release: str, metric: str | None = None) -> float | None:
        """Return a metric's mean over the repeats of a case on `release`, if there is one."""
        return self.figures.value(case, *self._key(release, metric))

    def delta(self, case: Case, release: str, metric: str | None = None) -> float | None:
        """Return the difference to the baseline's, as the metric counts, if there is one."""
        value = float(self.against(release, metric).delta[case.number - 1])
        return None if value != value else value  # noqa: PLR0124  (NaN)

    def line(self, release: str, metric: str | None = None) -> str:
        """Return one line about a release: cases better and worse, p, and the noise floor."""
        return self.figures.line(*self._key(release, metric))

    def finding(self, release: str, metric: str | None = None) -> Finding:
        """Return the verdict on a whole release, against the baseline.

        ``"better"``, ``"worse"``, ``"same"``; ``"noise"`` where repeats alone differ as much,
        ``"undecided"`` where it could be chance, ``"missing"`` where there is nothing to compare.
        """
        return self.figures.finding(*self._key(release, metric))

    def remark(self, release: str, metric: str | None = None) -> str:
        """Return the finding as a sentence, and how many cases would show more."""
        return self.figures.remark(*self._key(release, metric))

    def frame(self) -> pd.DataFrame:
        """Return one row per case, in plain columns.

        ``case_id``, ``changed``, ``input.<name>``..., ``expected.<name>`` and ``label.<name>``
        where known, then for each output one column a release, ``output.<name>@<release>``,
        ``state@<release>``, ``answers@<release>`` (how many repeats answered),
        ``changed@<release>``, and of each metric ``metric.<name>@<release>``,
        ``delta.<name>@<release>`` to the baseline, and ``verdict@<release>``. Structured values
        are canonical JSON text, as in the history's frame. ``changed`` is True where an answer
        differs from the baseline's, False where all are the same, and missing where that is not
        known. ``state`` is "missing" where a case has no run.
        """
        return case_frame(self.figures)

    def long(self) -> pd.DataFrame:
        """Return one row per run: its case, release, state, figures, outputs and metrics."""
        return run_frame(self.figures)

    def summary(self) -> pd.DataFrame:
        """Return one row per release: counts, metrics with intervals, wins and losses, p, latency.

        Of `cases`, `n` have an answer, `failed` were run and have none, `missing` were not run.
        ``metric.<name>`` is the mean over cases, ``.low`` to ``.high`` its 95 % interval;
        ``.delta`` the mean difference to the baseline with its own interval, ``.p`` its p value and
        ``.noise`` the difference that repeats alone would make. `wins`, `ties` and `losses` count
        cases by the first metric, `p` is their sign test (`Comparison.p`); each p has Holm's
        correction over the releases. `noise_floor_pct` is how often repeats differ, `finding` the
        conclusion. With `cluster`, `clusters` is how many there are. Of a sweep that could stop
        early, p values hold whenever one looks, and intervals are those of a fixed number of cases.

        Of a judge, ``.check`` says whether it agrees with people, and ``.judge_noise_pct`` how
        often its verdicts on one answer differ. ``.corrected`` is the mean that people would give,
        from all its figures and the ``.corrected_n`` cases that are rated (PPI++), and
        ``.corrected_delta`` that difference, each with ``_low`` and ``_high``. It holds where the
        rated cases are a random sample, and is missing below 20.

        `cost_usd` is of a case, `cost_per_pass` of one that passes; where traces are known on both
        releases, ``first_changed.<node>`` counts in how many `traced` cases a node differs first.

        Warns where no cluster was named, and a label that cases share would change a finding.
        """
        for release in self.others if self.metrics else ():
            if note := self.figures.cluster_note(release, self.metrics[0].name):
                warnings.warn(printable(f"{release}: {note}"), stacklevel=2)
        return summary_frame(summary_rows(self.figures))

    def judge_check(self, metric: str | None = None) -> Agreement:
        """Return how a judge's verdicts agree with people's ratings of the same runs.

        Nothing is run. A rating from 0.5 on passes, a judge's figure from its ``threshold`` on. A
        judge counts as checked from 30 rated runs on, where the lower bound of kappa is at least
        0.4; until then ``problem`` says why not, and so do `summary`, the grid, reports and the
        gate. ``frame`` has the runs on which they disagree.

        Parameters
        ----------
        metric : str, optional
            The judge's name. Default: the first judge's.
        """
        checks = self.figures.checks
        name = next(iter(checks), "") if metric is None else metric
        if name not in checks:
            what = "no judge" if metric is None else f"no judge {metric!r}"
            msg = f"this comparison has {what}; its judges: {', '.join(checks) or 'none'}"
            raise InputError(msg)
        return checks[name]

    def rater_check(self) -> Agreement:
        """Return how the people agree who rated the same runs: kappa of two, alpha of more.

        It is of ratings that carry their author, see `Run.ratings`; from 0.5 on one passes.
        `frame` has the runs on which they disagree, with the rating of each.
        """
        return rater_check(self.figures.runs)

    def regressions(self, metric: str | None = None, *, release: str | None = None) -> pd.DataFrame:
        """Return the rows of `frame` that are worse on `release`, or on any, the worst first."""
        return self._by_verdict("worse", metric, release)

    def improvements(
        self, metric: str | None = None, *, release: str | None = None
    ) -> pd.DataFrame:
        """Return the rows of `frame` that are better; as `regressions`."""
        return self._by_verdict("better", metric, release)

    def changed(self, *, release: str | None = None) -> pd.DataFrame:
        """Return the rows of `frame` in which an answer differs from the baseline's."""
        statuses = [self.statuses[each] for each in self._others(release)]
        found = zip(self.cases, *statuses, strict=True)
        return self._rows([case for case, *each in found if "differs" in each])

    def unstable(self) -> pd.DataFrame:
        """Return the rows of `frame` in which repeats on one release have different answers."""
        return self._rows([case for case in self.cases if self.unstable_cases[case.number - 1]])

    def errors(self) -> pd.DataFrame:
        """Return one row for each run that a metric raised on: what, where, and its message."""
        return error_frame(self.figures)

    def failures(self) -> pd.DataFrame:
        """Return one row per failure name and release: how many cases have it, of how many.

        Columns: `name`, `release`, `count`, `n` (cases with an answer), `share` with its 95 %
        interval from `low` to `high`, and `proposed`: in how many more a judge proposes it by its
        output ``failures``, and nobody has confirmed it. Names are given in the grid with the key
        f, and are tags of the run: ``failure:<name>``, or ``failure@<author>:<name>``.
        """
        return failure_frame(self.figures)

    def _by_verdict(
        self, verdict: Verdict, metric: str | None, release: str | None
    ) -> pd.DataFrame:
        name = self._metric(metric)
        return self._rows(self.figures.cases_by(verdict, self._others(release), name))

    def _rows(self, cases: Sequence[Case]) -> pd.DataFrame:
        places = [case.number - 1 for case in cases]
        return self.frame().iloc[places].reset_index(drop=True)

    def view(
        self,
        *,
        blind: bool = False,
        pair: Sequence[str] | None = None,
        question: str = QUESTION,
        seed: int | None = None,
        restart: bool = False,
    ) -> Any:
        """Return the grid: cases down, releases across, to filter, open and rate.

        Only the rows in sight travel to the page, however many cases there are.
        A comparison that was made by hand, not by `compare`, shows itself as HTML.

        With `blind`, rate two releases case by case without knowing which is which: the keys 1 (A
        is better), 2 (B), 3 (tie), u (undo), s (skip). Every rating is in the history at once, so
        the same call goes on where it was left, also in a later kernel. Cases with the same
        outputs on both are ties and are not asked.

        Parameters
        ----------
        blind : bool, default False
            Rate blind.
        pair : (str, str), optional
            Which two releases, where there are more.
        question : str
            What is asked. Another question is another rating.
        seed : int, optional
            Seed of the order of the two in each case. Default: drawn, then stored.
        restart : bool, default False
            Begin another rating, whatever there is.
        """
        if blind:
            session = self.blind(pair, question=question, seed=seed, restart=restart)
            return session if self._services.blind is None else self._services.blind(session)
        return self if self._services.grid is None else self._services.grid(self)

    def blind(
        self,
        pair: Sequence[str] | None = None,
        *,
        question: str = QUESTION,
        seed: int | None = None,
        restart: bool = False,
    ) -> BlindSession:
        """Return the blind rating itself, to go on with from code; `view` shows it.

        The parameters are those of `view`.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> for tag in ("v1", "v2"):
        ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
        >>> session = ws.compare("ticket-triage").blind()
        >>> session.rate("tie", note="neither says when the money is back")
        True
        >>> session.finish().line
        'v2 against v1: nothing but ties, 0 better · 0 worse · 1 tie'
        """
        chosen = checked_pair(self.releases, self.baseline, pair)
        plan = self.deployment, self.cases, chosen, self._ratings
        return begin_blind_session(*plan, question=question, seed=seed, restart=restart)

    def _session(self, pair: Sequence[str] | None, question: str) -> BlindSession | None:
        chosen = checked_pair(self.releases, self.baseline, pair)
        return blind_session(self.deployment, self.cases, chosen, self._ratings, question=question)

    def blind_results(
        self, pair: Sequence[str] | None = None, *, question: str = QUESTION
    ) -> pd.DataFrame:
        """Return the newest blind rating of these cases, one row per case.

        `choice` is A, B, tie, skip, "same outputs" (not asked) or missing (not rated).
        `preferred`, `release_a` and `release_b` are missing until the rating has ended.

        Raises
        ------
        InputError
            Nothing was rated, there are not two releases, or `pair` does not fit.
        """
        return self._rated(pair, question).frame()

    def blind_summary(
        self, pair: Sequence[str] | None = None, *, question: str = QUESTION
    ) -> pd.DataFrame:
        """Return the newest blind rating of these cases in one row.

        `win_rate` is how often `second` was preferred to `first`, ties left out, with its exact
        95 % interval in ``.low`` and ``.high``; `p` is the sign test's, and that of `p_at_any_time`
        where cases were left unrated.

        Raises
        ------
        InputError
            Nothing was rated, or it has not ended: results so far would influence the rest.
        """
        import pandas as pd

        session = self._rated(pair, question)
        row = session.result().row()
        return pd.DataFrame([row | {"seed": session.record.seed, "session_id": session.record.id}])

    def _rated(self, pair: Sequence[str] | None, question: str) -> BlindSession:
        found = self._session(pair, question)
        if found is None:
            first, second = checked_pair(self.releases, self.baseline, pair)
            msg = (
                f"{first} and {second} were not rated blind on these cases with the question "
                f"{question!r}: view(blind=True) begins it"
            )
            raise InputError(msg)
        return found

    @cached_property
    def _ratings(self) -> BlindRatings:
        return (self._services.history or History(":memory:")).blind_ratings

    def chart(
        self,
        what: Chart,
        *,
        metric: str | None = None,
        release: str | None = None,
        x: str = "cost_usd",
        y: str | None = None,
        label: str | None = None,
    ) -> Picture:
        """Return a chart; needs the extra ``charts``.

        Parameters
        ----------
        what : {"metric", "latency", "wins", "scatter", "frontier", "failures"}
            The metric by release with its interval; how latencies are spread; how many cases are
            better, tied and worse; each case by its figure on the baseline and on `release`;
            releases by two figures, those marked that no other one beats in both; in how many
            cases each failure was named.
        metric : str, optional
            By which metric. Default: the first.
        release : str, optional
            Only this release; of a scatter, which one. Default: all, and the first.
        x, y : str, optional
            Of a frontier: ``"cost_usd"``, ``"latency_s"`` or the name of a metric across, and
            upwards. Default: the cost, and the first metric.
        label : str, optional
            Of a frontier: a label of the cases; each of its values has a frontier of its own.

        Returns
        -------
        Picture
            Shown as a picture; `save` writes a PNG or SVG, `chart` is Altair's.

        Raises
        ------
        InputError
            There is no such chart, metric or release, nothing to draw, or Altair is missing.
        """
        try:
            from vellum_nb.comparison.charts import picture
        except ImportError as exc:
            msg = (
                "charts need Altair and vl-convert: pip install 'vellum-nb[charts]', then try again"
            )
            raise InputError(msg) from exc
        if what == "frontier":
            x, name = (self._metric(each, "cost_usd", "latency_s") for each in (x, y))
        else:
            name = "" if what in {"latency", "failures"} else self._metric(metric)
        releases = self._others(release) if what in {"wins", "scatter"} else self.releases
        if release is not None:
            self._check_release(release)
            releases = (release,)
        if label is not None and not any(label in case.labels for case in self.cases):
            known = ", ".join(dict.fromkeys(each for case in self.cases for each in case.labels))
            msg = f"no case has a label {label!r}; there are: {known or 'none'}"
            raise InputError(msg)
        return picture(self.figures, what, releases, metric=name, x=x, label=label)

    def replay(
        self,
        cases: Chosen | None = None,
        *,
        release_tag: str,
        repeats: int = 1,
        progress: bool = True,
    ) -> SweepRuns:
        """Run cases of this comparison once more, on any release tag.

        They are run as a sweep, so that they can be stopped and resumed. Each carries the label
        ``replay_of``: the `id` of the run that is replayed, the one shown of its case on the
        baseline, or on the first release that has one.

        Parameters
        ----------
        cases : DataFrame, str, Case, Run or several, optional
            Rows of `frame`, such as `regressions` returns, a `case_id`, cases of `cases`, or runs
            of the history. Default: all. Of no rows, nothing is run.
        release_tag : str
            The release tag to run them on.
        repeats : int, default 1
            How often each is run.
        progress : bool, default True
            Whether to show progress.

        Returns
        -------
        Sweep
            Its runs, with ``label.replay_of`` in its `frame`; empty if there were no cases.

        Raises
        ------
        InputError
            No such case, or this comparison was made from a DataFrame and can run nothing.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> for tag in ("v1", "v2"):
        ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
        >>> cmp = ws.compare("ticket-triage")
        >>> cmp.replay(cmp.changed(), release_tag="v3")
        <Sweep of ticket-triage on v3: done, 1 of 1 runs>
        """
        if self._services.sweep is None:
            msg = (
                "this comparison has no workspace to run anything: make it with "
                "ws.compare(...) or sweep.compare(), or pass its cases to ws.sweep(...)"
            )
            raise InputError(msg)
        order = (self.baseline, *self.others)
        rows = replay_rows(self.deployment, self.cases, order, cases)
        options = {"release_tags": [release_tag], "repeats": repeats, "progress": progress}
        return self._services.sweep(self.deployment, rows, options)

    def assert_no_regressions(
        self,
        metric: Names = None,
        *,
        release: str | None = None,
        max_regressions: int | None = 0,
        max_missing: int | None = 0,
        alpha: float | None = 0.05,
        require_checked_judge: bool = False,
    ) -> None:
        """Raise where a release is worse than the baseline; for tests and for CI.

        A release passes when no more than `max_regressions` cases are worse, when no more than
        `max_missing` have no answer or figure, and when it is not worse as a whole beyond
        chance, at `alpha`, and the noise of repeats. None leaves a condition out.

        Parameters
        ----------
        metric : str or sequence of str, optional
            By which metrics of this comparison. Default: the first.
        release : str, optional
            Which release. Default: all that are compared with the baseline.
        max_regressions : int, default 0
            How many cases may be worse.
        max_missing : int, default 0
            How many cases may be without an answer or a figure on one of the two releases.
        alpha : float, default 0.05
            The p value, corrected for several releases, up to which a mean difference counts.
        require_checked_judge : bool, default False
            Whether a judge must agree with people, see `judge_check`. Else it warns.

        Raises
        ------
        RegressionError
            A release does not pass; the message lists why, and the cases.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> cases = [{"ticket": "I was charged twice", "expected.category": "billing"}]
        >>> sweep = ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"], progress=False)
        >>> sweep.compare().assert_no_regressions("score", alpha=0.01)
        """
        names, releases = self._metric_names(metric), self._others(release)
        limits = {"max_regressions": max_regressions, "max_missing": max_missing, "alpha": alpha}
        limits["require_checked_judge"] = require_checked_judge
        check(self.figures, failures(self.figures, names, releases, **limits))

    def to_csv(self, path: str | Path, *, rows: Rows = "cases") -> Path:
        """Write `frame` as CSV; `vellum_nb.read_csv` reads it back to the same frame.

        Text that a spreadsheet would run as a formula is guarded by an apostrophe.

        Parameters
        ----------
        path : str or Path
            Where to.
        rows : {"cases", "runs"}, default "cases"
            ``"runs"`` writes `long`, one row per run.

        Raises
        ------
        HistoryError
            The file cannot be written; the old one stays.
        VellumNBError
            It would contain the API key. Nothing was written.
        """
        return write_csv_frame(self._frames(str(path), rows)[rows], path)

    def to_parquet(self, path: str | Path, *, rows: Rows = "cases") -> Path:
        """Write the same as Parquet; columns of mixed types as JSON text. Needs pyarrow."""
        return write_parquet_frame(self._frames(str(path), rows)[rows], path)

    @overload
    def to_markdown(self, path: None = None, *, only: Names = None) -> str: ...
    @overload
    def to_markdown(self, path: str | Path, *, only: Names = None) -> Path: ...
    def to_markdown(self, path: str | Path | None = None, *, only: Names = None) -> str | Path:
        """Return the comparison as Markdown for GitHub, or write it to `path`.

        Deleted words are in ``[-…-]``, inserted ones in ``{+…+}``. Outputs are shown
        literally. Raises as `to_csv`.

        Parameters
        ----------
        path : str or Path, optional
            Where to.
        only : str or sequence of str, optional
            Which cases are listed: ``"worse"``, ``"missing"``, ``"better"``, ``"changed"``,
            ``"same"``. Default: all, however many.
        """
        model = report.report_model(self.figures, self.code_diffs)
        return self._saved(report.markdown(model, only), path, "the Markdown")

    @overload
    def to_html(self, path: None = None, *, overwrite: bool = False) -> str: ...
    @overload
    def to_html(self, path: str | Path, *, overwrite: bool = False) -> Path: ...
    def to_html(self, path: str | Path | None = None, *, overwrite: bool = False) -> str | Path:
        """Return the comparison as one HTML page without any script, or write it to `path`.

        All cases are in it. Beside ``report.html`` come ``report.runs.csv``, one row per run, and
        ``report.cases.csv``, from which every figure can be computed again. Raises as `to_csv`.

        Parameters
        ----------
        path : str or Path, optional
            Where to. A report that was written there before is replaced with its tables.
        overwrite : bool, default False
            Whether other files may be replaced that have the names of its tables.
        """
        target = None if path is None else Path(path)
        if target is not None and not target.name:
            msg = f"{str(path)!r} is not a file name; give one, such as 'report.html'"
            raise InputError(msg)
        files = {} if target is None else report.tables_beside(target)
        names = {rows: file.name for rows, file in files.items()}
        html = report.page(report.report_model(self.figures, self.code_diffs), names)
        frames = self._frames("the HTML" if target is None else str(path), text=html)
        if target is None:
            return html
        if not overwrite:
            report.refuse_others(target, files.values())
        write_file(html.encode(errors="replace"), target)
        for rows, file in files.items():
            write_csv_frame(frames[rows], file)
        return target

    def to_junit(
        self,
        path: str | Path | None = None,
        *,
        metric: Names = None,
        max_regressions: int | None = 0,
        max_missing: int | None = 0,
        alpha: float | None = 0.05,
    ) -> str | Path:
        """Return the comparison as JUnit XML, or write it to `path`.

        A suite for each release and metric, a test case for each case: one that is worse is a
        failure, one without an answer or figure an error. Its last test case is the release as a
        whole. The options are those of `assert_no_regressions`; raises as `to_csv`.
        """
        names = self._metric_names(metric)
        limits = {"max_regressions": max_regressions, "max_missing": max_missing, "alpha": alpha}
        found = failures(self.figures, names, self.others, **limits)
        return self._saved(junit(self.figures, found), path, "the JUnit XML")

    def to_text(self) -> str:
        """Return the comparison in a few lines for a terminal, as ``vellum-nb compare`` prints."""
        return report.text(report.report_model(self.figures))

    @cached_property
    def code_diffs(self) -> dict[str, report.CodeDiff]:
        """Release to how its code differs from the baseline's, where Vellum lets it be read.

        It is read once, when it is asked for; not where a tag points at another release by now.
        """
        read = self._services.code
        if read is None or self.by != "release_tag":
            return {}
        runs = zip(self.answers["release"].tolist(), self.answers["run"].tolist(), strict=True)
        ids = {self.releases[at]: (r.release_tag, r.release_id) for at, r in runs if r.release_id}
        code = {each: read(*of) for each, of in ids.items()}
        old, between = code.get(self.baseline), (self.deployment, self.baseline)
        return {
            each: report.CodeDiff(*between, each, old, new)
            for each in self.others
            if old and (new := code.get(each)) and new != old
        }

    def _saved(self, text: str, path: str | Path | None, what: str) -> str | Path:
        """Return `text`, or the path that it was written to."""
        self._frames(what if path is None else str(path), text=text)
        return text if path is None else write_file(text.encode(errors="replace"), path)

    def _frames(self, what: str, rows: str = "", *, text: str = "") -> dict[str, pd.DataFrame]:
        """Return the frames to write, or only that of `rows`; refuse the API key in them."""
        frames = {"cases": self.frame, "runs": self.long}
        if rows and rows not in frames:
            msg = f"rows={format_value(rows)}: there are 'cases' and 'runs'; nothing was written"
            raise InputError(msg)
        found = {name: frame() for name, frame in frames.items() if rows in {"", name}}
        report.refuse_key(what, self._services.leaks, found.values(), text)
        return found

    def _metric_names(self, metric: Names) -> list[str]:
        names = [metric] if isinstance(metric, str) or metric is None else list(metric)
        return [self._metric(name) for name in names]

    def _key(self, release: str, metric: str | None) -> tuple[str, str]:
        self._check_release(release)
        return release, self._metric(metric)

    def _metric(self, name: str | None, *more: str) -> str:
        """Return the name of a metric or one of `more`, of the first metric where none is named."""
        names = [metric.name for metric in self.metrics]
        if name in {*names, *more} or (name is None and names):
            return name or names[0]
        if not self.cases:
            releases = ", ".join(self.releases)
            msg = f"{self.deployment} has no stored runs on {releases}: there is nothing to compare"
        elif not names:
            msg = (
                "there is no metric: give metrics=..., cases with "
                "expected.<output>, or rate runs; changed() works without"
            )
        else:
            msg = f"this comparison has no metric {name!r}; there are: {', '.join([*names, *more])}"
        raise InputError(msg)

    def _check_release(self, release: str) -> None:
        if release not in self.releases:
            msg = f"{release!r} is not among those compared: {', '.join(self.releases)}"
            raise InputError(msg)

    def _others(self, release: str | None) -> tuple[str, ...]:
        if release is None:
            return self.others
        self._check_release(release)
        if release == self.baseline:
            msg = f"{release} is the baseline; others are: {', '.join(self.others) or 'none'}"
            raise InputError(msg)
        return (release,)

    def __repr__(self) -> str:
        if not self.cases:
            names = ", ".join(self.releases)
            return f"<Comparison of {self.deployment}: no stored runs on {names}>"
        lines = "; ".join(self._short(each) for each in self.others) or "nothing to compare it with"
        cases = plural(len(self.cases), "case")
        return f"<Comparison of {self.deployment} against {self.baseline}, {cases}: {lines}>"

    def _short(self, release: str) -> str:
        if self.metrics:
            return self.line(release)
        found = ((self.count(release, kind), word) for kind, word in report.OUTPUT_WORDS)
        return f"{release} {', '.join(f'{n} {word}' for n, word in found if n)}"

    def _repr_html_(self) -> str:
        return report.overview(report.report_model(self.figures))


def _places(cases: Sequence[Case], order: Sequence[str]) -> tuple[int, ...]:
    """Return the places of cases in the order of their ids; those that are not in it come last."""
    turn = {case_id: at for at, case_id in reversed(list(enumerate(order)))}
    return tuple(sorted(range(len(cases)), key=lambda at: turn.get(cases[at].case_id, len(order))))


def _default_metrics(cases: Sequence[Case]) -> tuple[Metric, ...]:
    found = [score()] if any(case.expected for case in cases) else []
    runs = (run for case in cases for tries in case.tries.values() for run in tries)
    return (*found, quality()) if any(run.quality is not None for run in runs) else tuple(found)

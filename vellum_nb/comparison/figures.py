"""Figures of a comparison, computed from its table of runs: scores, verdicts, frames.

Reports, gates, charts and views read them from `ComparisonFigures`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, compress, islice
from numbers import Real
from statistics import fmean
from typing import Any, Literal, TypeVar

from vellum_nb.comparison import statistics as stats
from vellum_nb.comparison.agreement import Agreement, judge_check
from vellum_nb.comparison.cases import (
    Case,
    Failures,
    Status,
    cluster_numbers,
    error_text,
    expected_problem,
    failure_rows,
    is_answer,
    label_note,
    named,
    turn_cases,
)
from vellum_nb.comparison.conversations import ConversationRuns
from vellum_nb.comparison.decisions import (
    Decision,
    Decisions,
    Evidence,
    MarginOption,
    checked_margin,
    decide,
    interval_text,
    needs_margin,
    resolved_margin,
    zero_margin,
)
from vellum_nb.comparison.metrics import Evaluation, Judge, Metric
from vellum_nb.comparison.pairs import (
    CONFIDENCE_SEQUENCE,
    VERDICTS,
    Against,
    MissingOption,
    Scored,
    Verdict,
    acceptable_losses,
    compared_with,
    scored_by,
)
from vellum_nb.comparison.statistics import NO_ESTIMATE, Estimate
from vellum_nb.comparison.traces import first_difference, is_comparable
from vellum_nb.errors import InputError
from vellum_nb.escaping import printable, warn
from vellum_nb.history import clean, collection_paused
from vellum_nb.lazy import Bools, Floats, Ints, np, pd
from vellum_nb.models import Run
from vellum_nb.models.checks import available, check_text, check_texts, cut, refuse
from vellum_nb.rendering.format import figure, p_sentence, percent, plural, value_key

Finding = Literal["better", "worse", "same", "noise", "undecided", "missing"]
"""The verdict on a whole release, against the baseline; see `ReleaseResult`."""

_ALWAYS: tuple[Verdict, ...] = ("better", "worse", "same")
_STATUS_WORDS = (("differs", "differs"), ("same", "identical"), ("missing", "without an answer"))
_NODES = 300  # characters of a list of nodes
NO_ANSWER = "without an answer"  # on the release or the baseline
_RATE = (
    "No metric says which is better. Rate the answers blind, or give a metric or expected outputs."
)
_NO_MARGIN = "No metric has a margin to decide by: compare with margin=…."

Group = Literal["worse", "better", "changed", "unstable"]
Names = str | Sequence[str] | None
Data = TypeVar("Data", bound="ComparisonData")
Key = tuple[str, str]
"""A release, and the name of a metric."""


def runs_table(
    cases: Sequence[Case],
    releases: Sequence[str],
    metrics: Sequence[Metric],
    evaluations: Mapping[str, Mapping[str, Evaluation]],
) -> pd.DataFrame:
    """Return one row per run, with a column for each metric.

    `case` and `release` are indices. `counts` marks the run that represents its case on its
    release. Equal answers share a number in `kind`, which is -1 without an answer. `rating` is the
    mean rating by people. `evaluations` maps metric and run id to earlier results.
    """
    table = _rows_of(cases, releases)
    runs: list[Run] = table["run"].tolist()
    for name in ("state", "latency_s", "cost_usd", "quality"):
        kind = "object" if name == "state" else "float64"
        table[name] = pd.Series([getattr(run, name) for run in runs], dtype=kind)
    rated = [fmean(r.values()) if (r := run.ratings) else run.quality for run in runs]
    table["rating"] = pd.Series(rated, dtype="float64")
    of_run = [cases[at] for at in table["case"].tolist()]
    expected = [case.expected for case in of_run]
    conversations = [
        case.conversation(run) if case.turns else None
        for case, run in zip(of_run, runs, strict=True)
    ]
    for metric in metrics:
        results = _evaluated(
            metric, runs, expected, conversations, evaluations.get(metric.name, {})
        )
        values = [math.nan if value is None else value for value, _ in results]
        table[f"metric.{metric.name}"] = pd.Series(values, dtype="float64")
        errors = pd.Series([problem for _, problem in results], dtype="object")
        table[f"metric_error.{metric.name}"] = errors
        failed, answers = errors.dropna().tolist(), sum(map(is_answer, runs))
        if not isinstance(metric, Judge) and 2 * len(failed) > answers:  # its plan lists them
            text = f"The metric {metric.name} failed on {len(failed):,} of {plural(answers, 'run')}"
            warn(clean(f"{text}, see cmp.errors(). First: {failed[0]}"), stacklevel=5)
    return table


def with_table(
    data: Data, evaluations: Mapping[str, Mapping[str, Evaluation]], **changes: Any
) -> Data:
    """Return `data` with changed fields and their table, reusing `evaluations`."""
    changed = replace(data, **changes)
    table = runs_table(changed.cases, changed.releases, changed.metrics, evaluations)
    return replace(changed, answers=table)


def stored_evaluations(
    data: ComparisonData, changed: Collection[str] = (), cases: Collection[int] = ()
) -> dict[str, dict[str, Evaluation]]:
    """Return the evaluations by metric and run id, except of `changed` runs and of `cases`."""
    table = data.answers
    rows = table[~table["case"].isin(cases) & table["is_answer"]]
    evaluations: dict[str, dict[str, Evaluation]] = {}
    for metric in data.metrics:
        names = ("run", f"metric.{metric.name}", f"metric_error.{metric.name}")
        columns = (rows[name].tolist() for name in names)
        evaluations[metric.name] = {
            run.id: (None if value != value else value, problem)  # noqa: PLR0124  (NaN)
            for run, value, problem in zip(*columns, strict=True)
            if run.id not in changed
        }
    return evaluations


@collection_paused()
def _rows_of(cases: Sequence[Case], releases: Sequence[str]) -> pd.DataFrame:
    """Return one row per run, without figures."""
    rows = [
        (at, column, repeat, run, run is counting, is_answer(run))
        for at, case in enumerate(cases)
        for column, release in enumerate(releases)
        for counting in (case.counting(release),)
        for repeat, run in enumerate(case.tries.get(release, ()))
    ]
    kinds = {"case": "int64", "release": "int64", "repeat": "int64", "run": "object"}
    kinds |= {"counts": "bool", "is_answer": "bool"}
    table = pd.DataFrame(rows, columns=list(kinds)).astype(kinds)
    keys = [
        _answer_key(cases[at], run) if is_answer(run) else None
        for at, run in zip(table["case"].tolist(), table["run"].tolist(), strict=True)
    ]
    table["kind"] = pd.factorize(pd.Series(keys, dtype="object"))[0]
    return table


def _answer_key(case: Case, run: Run) -> str:
    """Return a text that is the same for identical answers, of a conversation in every turn."""
    runs = case.turn_runs(run)
    return "\n".join(f"{one.state} {error_text(one)} {value_key(one.outputs)}" for one in runs)


def _evaluated(
    metric: Metric,
    runs: Sequence[Run],
    expected: Sequence[Mapping[str, Any]],
    conversations: Sequence[ConversationRuns | None],
    evaluations: Mapping[str, Evaluation],
) -> list[Evaluation]:
    """Return the result of a metric for each run, reusing `evaluations` by run id."""
    name = metric.looks_at
    talks = [talk.runs if talk else (run,) for run, talk in zip(runs, conversations, strict=True)]
    answers = [run for talk in talks for run in talk if run.state == "FULFILLED"]
    if name is not None and not any(name in run.outputs for run in answers):
        names = dict.fromkeys(output for run in answers for output in run.outputs)
        if names:
            problem = f"no run has an output called {name!r}{available(names)}"
            return [(None, problem if is_answer(run) else None) for run in runs]
    return [
        evaluations.get(run.id) or metric.evaluate(*each) if is_answer(run) else (None, None)
        for each in zip(runs, expected, conversations, strict=True)
        for run in each[:1]
    ]


@dataclass(frozen=True, slots=True)
class ReleaseResult:
    """Result of one release against the baseline, by one metric.

    Attributes
    ----------
    release, metric : str, str or None
        The column and the metric's name, if any.
    verdict : str or None
        ``"better"``, ``"worse"``, ``"same"``; ``"noise"`` if repeats differ as much,
        ``"undecided"`` if the difference could be chance, ``"missing"`` if no case has both
        figures. None without a metric.
    mean : Estimate or None
        The mean of the metric on the release, over `mean.n` cases.
    delta : Estimate or None
        The mean difference to the baseline over `delta.n` cases, with its 95 % interval from
        `delta.low` to `delta.high`.
    p, sign_p : float or None
        The p value of the mean difference, and that of better against worse cases (the same with
        clusters), after Holm's correction for the number of releases. None without any pair.
    better, same, worse, noise : int
        Number of cases with this verdict.
    missing, unscored, error : int
        Number of cases without an answer on the release or the baseline, outside the scope of the
        metric, and with an exception in the metric.
    changed, unchanged : int
        Number of cases with different answers, and with identical answers.
    noise_floor, noise_pairs : float or None, int
        Share of pairs of repeats with different figures, and the number of these pairs.
    noise_band : float or None
        95 % bound of the mean difference caused by repeats alone.
    test, interval : str
        Name of the test that `p` comes from; kind of the interval of `delta`: ``"interval"``, or
        ``"confidence sequence"`` if the sweep stopped early.
    line, remark : str
        The counts with p and the noise floor in one line; the verdict as a sentence.
    decision : Decision or None
        Whether the release may replace the baseline, see `Comparison.decide`. None if the metric
        needs a margin.
    """

    release: str
    changed: int
    unchanged: int
    missing: int
    line: str
    metric: str | None = None
    remark: str = ""
    verdict: Finding | None = None
    mean: Estimate | None = None
    delta: Estimate | None = None
    p: float | None = None
    sign_p: float | None = None
    better: int = 0
    same: int = 0
    worse: int = 0
    noise: int = 0
    unscored: int = 0
    error: int = 0
    noise_floor: float | None = None
    noise_pairs: int = 0
    noise_band: float | None = None
    test: str = ""
    interval: str = ""
    decision: Decision | None = None

    @property
    def compared(self) -> int:
        """Number of cases with a figure on both."""
        return self.better + self.worse + self.same + self.noise

    @property
    def columns(self) -> dict[str, float]:
        """`mean` and `delta` with their intervals, as columns of a table."""
        mean, delta = self.mean or NO_ESTIMATE, self.delta or NO_ESTIMATE
        return mean.columns("mean") | delta.columns("delta")


@dataclass(frozen=True, eq=False, kw_only=True)
class ComparisonData:
    """What a comparison and its figures share: the fields documented in `Comparison`."""

    deployment: str
    releases: tuple[str, ...]
    baseline: str
    cases: tuple[Case, ...]
    metrics: tuple[Metric, ...]
    moved_tags: tuple[str, ...]
    answers: pd.DataFrame  # made by `runs_table`
    alpha: float
    cluster: str | None = None
    margin: MarginOption = None
    missing: MissingOption = None


@dataclass(frozen=True, eq=False, kw_only=True)
class ComparisonFigures(ComparisonData):
    """The figures of a comparison, computed when first read.

    `order` has the indices of the cases in execution order if the sweep could stop early, and
    `stopped_by` the name of the metric that decides then.
    """

    order: tuple[int, ...] | None = None
    stopped_by: str | None = None
    plan_notes: tuple[str, ...] = ()

    @property
    def others(self) -> tuple[str, ...]:
        """The releases without the baseline."""
        return tuple(name for name in self.releases if name != self.baseline)

    def others_of(self, release: str | None) -> tuple[str, ...]:
        """Return `release` unless it is the baseline; default: all others."""
        if release is None:
            return self.others
        self.check_release(release)
        if release == self.baseline:
            msg = f"{release} is the baseline{available(self.others)}"
            raise InputError(msg)
        return (release,)

    def check_release(self, release: str) -> None:
        """Raise if `release` is not a column."""
        if release not in self.releases:
            msg = f"{release!r} is not a compared release{available(self.releases)}"
            raise InputError(msg)

    def check_others(self) -> None:
        """Raise if only the baseline is compared."""
        if not self.others:
            msg = f"only {self.baseline} is compared: name another release tag, too"
            raise InputError(msg)

    def metric_names(self, metric: Names) -> list[str]:
        """Return the names of one or several metrics; default: the first."""
        if metric is None or isinstance(metric, str):
            return [self.metric_name(metric)]
        return [self.metric_name(name) for name in check_texts("metric", metric)]

    def metric_name(self, name: str | None, *more: str) -> str:
        """Return the name of a metric or one of `more`; default: the first metric."""
        check_text("metric", name, optional=True)
        names = [metric.name for metric in self.metrics]
        if name in {*names, *more} or (name is None and names):
            return name or names[0]
        if not self.cases:
            releases = ", ".join(self.releases)
            msg = f"{self.deployment} has no stored runs on {releases}: there is nothing to compare"
            raise InputError(msg)
        if names:
            raise _no_metric(name, [*names, *more])
        msg = (
            "this comparison has no metric: pass metrics=..., use cases with "
            "expected.<output>, or rate runs; frame('changed') works without a metric"
        )
        raise InputError(". ".join([msg, *islice(self._column_notes(), 1)]))

    def deciding(
        self, metric: Names, margin: MarginOption, missing: MissingOption = None
    ) -> tuple[ComparisonFigures, list[str] | None]:
        """Return the figures with these options, and the names of the metrics, if given.

        A single margin is that of a single metric.
        """
        given: Any = metric
        if isinstance(given, Real):
            refuse("metric", given, f"the name of a metric; give margin={given} by name")
        names = None if metric is None else self.metric_names(metric)
        self.metric_name(None)  # raises without a metric
        if margin is not None and not isinstance(margin, Mapping) and len(names or ()) == 1:
            margin = dict.fromkeys(names or (), margin)
        changes: dict[str, Any] = {"margin": margin, "missing": missing}
        changes = {name: value for name, value in changes.items() if value is not None}
        if not changes:
            return self, names
        check_options(margin, missing, [metric.name for metric in self.metrics])
        return replace(self, **changes), names

    @cached_property
    def scored(self) -> dict[str, Scored]:
        """Figures by the name of the metric."""
        shape = len(self.cases), len(self.releases)
        return {
            metric.name: scored_by(self.answers, metric, shape, self.missing)
            for metric in self.metrics
        }

    @cached_property
    def clusters(self) -> Ints | None:
        """Cluster index of each case, or None without clusters."""
        return None if self.cluster is None else cluster_numbers(self.cases, self.cluster)

    @cached_property
    def against(self) -> dict[Key, Against]:
        """Comparison with the baseline by release and name of the metric."""
        by = self.stopped_by if self.is_stopped else None
        against = {}
        for name, scored in self.scored.items():
            made = {
                release: compared_with(
                    scored,
                    self.releases.index(self.baseline),
                    self.releases.index(release),
                    alpha=self.alpha / len(self.others),
                    clusters=self.clusters,
                    order=self.order,
                    was_run=self.was_run,
                    stopped_by=None if by == name else by,
                )
                for release in self.others
            }
            p = stats.holm([one.change.p for one in made.values()])
            sign_p = stats.holm([one.sign_p for one in made.values()])
            for at, (release, one) in enumerate(made.items()):
                against[release, name] = replace(one, p=p[at], sign_p=sign_p[at])
        return against

    def against_on(self, cases: Sequence[int], release: str, metric: str) -> Against:
        """Compare some cases of a release with the baseline; p is not corrected."""
        rows = np.array(cases)
        return compared_with(
            self.scored[metric].of_cases(rows),
            self.releases.index(self.baseline),
            self.releases.index(release),
            alpha=self.alpha,
            clusters=None if self.clusters is None else self.clusters[rows],
            was_run=self.was_run[rows],
        )

    @cached_property
    def was_run(self) -> Bools:
        """Whether there are runs, case by release."""
        rows = [[bool(case.tries.get(name)) for name in self.releases] for case in self.cases]
        return np.array(rows, dtype=np.bool_).reshape(len(rows), len(self.releases))

    @property
    def remaining(self) -> int:
        """Number of cases that were not run on every release."""
        return int((~self.was_run.all(axis=1)).sum())

    @property
    def is_stopped(self) -> bool:
        """Whether the sweep could stop early and has cases that were not run."""
        return self.order is not None and self.remaining > 0

    @property
    def level(self) -> str:
        """Level of the interval of a difference, marked if the sweep stopped early."""
        return f"95 % {CONFIDENCE_SEQUENCE}" if self.is_stopped else "95 %"

    @cached_property
    def checks(self) -> dict[str, Agreement]:
        """Agreement with people's ratings by the name of the judge."""
        checks = {}
        for judge in self.metrics:
            if isinstance(judge, Judge):
                figures = self.answers[["rating", f"metric.{judge.name}"]].to_numpy().tolist()
                checks[judge.name] = judge_check(self.runs, figures, judge)
        return checks

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on all figures: unused columns, an early stop, unchecked judges."""
        notes = [*self.plan_notes, *self._column_notes()]
        notes += [note for check in self.checks.values() for note in (check.problem, check.noise)]
        remaining = sum(not any(case.tries.values()) for case in self.cases)
        if remaining and self.order is not None:
            cases = plural(len(self.cases), "case")
            notes.append(
                f"The sweep ended before {remaining:,} of {cases} were run; runs that had started "
                f"count. p holds at any time, as does the {CONFIDENCE_SEQUENCE} of the difference; "
                "other intervals are for a fixed number of cases"
            )
        names = [name for metric in self.metrics for name in metric.nodes]
        nodes = {node.name: 0 for run in self.answers["run"] if names for node in run.nodes}
        node_names = cut(available(nodes), _NODES)
        unknown = [name for name in names if nodes and name not in nodes]
        notes += [f"No run has a node {name!r}{node_names}" for name in unknown]
        return tuple(filter(None, dict.fromkeys(notes)))

    def _column_notes(self) -> Iterator[str]:
        """Yield notes on labels and expected values that do not fit the outputs."""
        outputs = dict.fromkeys(self.output_names)
        labels = dict.fromkeys(name for case in self.cases for name in case.labels)
        expected = dict.fromkeys(name for case in self.cases for name in case.expected_names)
        unmet = [name for name in outputs if name not in expected]
        yield from filter(None, (label_note(name, unmet) for name in labels))
        for column in (f"expected.{name}" for name in expected):
            is_noted = any(note.startswith(f"{column} ") for note in self.plan_notes)
            role = "an output of the compared runs"
            if not is_noted and (problem := expected_problem(column, outputs, role)):
                yield f"{column} {problem.message}"

    @property
    def runs(self) -> list[tuple[Run, Case, str]]:
        """All runs, each with its case and release."""
        names = ("run", "case", "release")
        rows = zip(*(self.answers[name].tolist() for name in names), strict=True)
        return [(run, self.cases[at], self.releases[column]) for run, at, column in rows]

    @cached_property
    def turns(self) -> ComparisonFigures | None:
        """Figures with each turn of the conversations as a case, without judges, if any."""
        if not (cases := tuple(turn_cases(self.cases))):
            return None
        metrics = tuple(metric for metric in self.metrics if not isinstance(metric, Judge))
        return ComparisonFigures(
            deployment=self.deployment,
            releases=self.releases,
            baseline=self.baseline,
            cases=cases,
            metrics=metrics,
            moved_tags=self.moved_tags,
            answers=runs_table(cases, self.releases, metrics, {}),
            alpha=self.alpha,
        )

    @cached_property
    def statuses(self) -> dict[str, list[Status]]:
        """Status of each case against the baseline, by release."""
        rows = self.answers[self.answers["counts"]]
        kinds = np.full((len(self.cases), len(self.releases)), -1)
        kinds[rows["case"], rows["release"]] = rows["kind"]
        base = kinds[:, self.releases.index(self.baseline)]
        statuses: dict[str, list[Status]] = {}
        for release in self.others:
            column = kinds[:, self.releases.index(release)]
            status = np.where(column == base, "same", "differs")
            statuses[release] = np.where((column < 0) | (base < 0), "missing", status).tolist()
        return statuses

    @cached_property
    def first_changed(self) -> dict[str, list[str | None]]:
        """Name of the first node that differs from the baseline, per case, by release.

        "" if all nodes are equal, None if the two traces cannot be compared.
        """

        def of_turn(turn: Case, release: str) -> str | None:
            old, new = turn.answer(self.baseline), turn.answer(release)
            nodes = (old.nodes, new.nodes) if old and new else ((), ())
            if not (all(nodes) and is_comparable(*nodes)):
                return None
            first = first_difference(*nodes)
            return "" if first is None else first.name

        def name(case: Case, release: str) -> str | None:
            names = [of_turn(turn, release) for turn in case.by_turn]
            known = [name for name in names if name is not None]
            return next(filter(None, known), "" if known else None)

        return {release: [name(case, release) for case in self.cases] for release in self.others}

    @cached_property
    def failures(self) -> list[dict[str, Failures]]:
        """Failures of each case, by release."""
        judges = [metric for metric in self.metrics if isinstance(metric, Judge)]
        return [
            {name: _failures(case, name, judges) for name in self.releases} for case in self.cases
        ]

    @cached_property
    def failure_rows(self) -> list[dict[str, Any]]:
        """One row per failure name and release, with the number of cases."""
        if not any(run.tags for run in self.answers["run"]) and not self.checks:
            return []
        return failure_rows(self.releases, self.cases, self.failures)

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """Names of all outputs, by first appearance."""
        rows = self.answers[self.answers["counts"]]
        of_cases = zip(rows["case"].tolist(), rows["run"].tolist(), strict=True)
        turns = (each for at, run in of_cases for each in self.cases[at].turn_runs(run))
        return tuple(dict.fromkeys(name for run in turns for name in run.outputs))

    def values(self, name: str, release: str) -> Floats:
        """Return the mean over repeats of a metric or column of `table`, per case.

        Lost answers that count as failures are included.
        """
        column = self.releases.index(release)
        if name in self.scored:
            return self.scored[name].counted[:, column]
        answers = self.answers[self.answers["is_answer"] & (self.answers["release"] == column)]
        return answers.groupby("case")[name].mean().reindex(range(len(self.cases))).to_numpy()

    def estimate(self, name: str, release: str, cases: Any = slice(None)) -> Estimate:
        """Return the mean of `values` over all or some cases, with its interval."""
        values = self.values(name, release)[cases]
        has = ~np.isnan(values)
        values, is_share = values[has], name in self.scored and self.scored[name].passes
        if is_share and self.clusters is None and len(values):
            return stats.share_interval(float(values.mean()), len(values))
        clusters = None if self.clusters is None else self.clusters[cases][has]
        estimate = stats.mean_interval(values, clusters=clusters, is_share=is_share)
        if name in self.scored:
            return estimate
        return replace(estimate, low=max(estimate.low, 0.0))  # costs and seconds are not negative

    @property
    def unstable(self) -> Bools:
        """Boolean per case: repeats on one release have different answers."""
        answers = self.answers[self.answers["is_answer"]]
        kinds = answers.groupby(["case", "release"])["kind"].nunique().groupby("case").max()
        return (kinds.reindex(range(len(self.cases))) > 1).to_numpy()

    def is_left_out(self, case: Case, release: str, metric: str) -> bool:
        """Return whether a case was skipped because a sweep had decided without it."""
        was_run = all(case.tries.get(name) for name in (self.baseline, release))
        return not was_run and self.against[release, metric].is_decided

    def verdict(self, case: Case, release: str, metric: str) -> Verdict:
        """Return the verdict on a case on `release`."""
        return VERDICTS[int(self.against[release, metric].codes[case.number - 1])]

    def value(self, case: Case, release: str, metric: str) -> float | None:
        """Return the mean over the repeats of a case on `release`, or None."""
        value = self.scored[metric].mean[case.number - 1, self.releases.index(release)]
        return None if math.isnan(value) else float(value)

    def cases_by(self, verdict: Verdict, releases: Iterable[str], metric: str) -> list[Case]:
        """Return the cases with a verdict on any of the releases, largest difference first."""
        size: dict[int, float] = {}
        for release in releases:
            against = self.against[release, metric]
            for row in (against.codes == VERDICTS.index(verdict)).nonzero()[0].tolist():
                by = abs(float(against.delta[row]))
                size[row] = max(size.get(row, 0.0), math.inf if math.isnan(by) else by)
        return [self.cases[row] for row in sorted(size, key=lambda row: (-size[row], row))]

    def group(
        self, group: Group, metric: str | None = None, release: str | None = None
    ) -> Iterable[Case]:
        """Return the cases of a group, on `release` or any other than the baseline."""
        releases = self.others_of(release)
        if group == "worse" or group == "better":  # noqa: PLR1714  (for mypy)
            return self.cases_by(group, releases, self.metric_name(metric))
        if group == "unstable":
            return compress(self.cases, self.unstable)
        if group != "changed":
            refuse("only", group, "'worse', 'better', 'changed' or 'unstable'")
        statuses = zip(*(self.statuses[name] for name in releases), strict=True)
        return compress(self.cases, ["differs" in of_case for of_case in statuses])

    def finding(self, release: str, metric: str, *, alpha: float | None = None) -> Finding:
        """Return the verdict on `release` as a whole."""
        against = self.against[release, metric]
        sign = self.scored[metric].metric.sign
        return release_finding(against, against.p, sign, self.alpha if alpha is None else alpha)

    @cached_property
    def _clustered(self) -> dict[str, ComparisonFigures]:
        """Figures with each label that cases share as clusters, if no cluster was named."""
        clustered: dict[str, ComparisonFigures] = {}
        values = [(name, value) for case in self.cases for name, value in case.labels.items()]
        for label in dict.fromkeys(name for name, value in values if value is not None):
            figures = replace(self, cluster=f"label.{label}")
            numbers = 0 if self.cluster is not None else int(figures.clusters.max()) + 1  # type: ignore[union-attr]
            if stats.LEAST_UNITS <= numbers < len(self.cases):  # fewer clusters cannot decide
                clustered[label] = figures
                vars(figures)["scored"] = self.scored
        return clustered

    def cluster_note(self, release: str, metric: str) -> str:
        """Return a warning if a label that cases share would change the verdict as `cluster`."""
        findings = {label: f.finding(release, metric) for label, f in self._clustered.items()}
        return "; ".join(_cluster_texts(self.finding(release, metric), findings))

    def _caveats(
        self, decisions: Mapping[str, Decision], metrics: Sequence[str]
    ) -> dict[str, list[str]]:
        """Return warnings if a label that cases share would change a decision as `cluster`."""
        made = {
            label: decide(figures.evidence(metrics, list(decisions)), self.alpha)
            for label, figures in self._clustered.items()
        }
        verdicts = {r: {label: m[r].verdict for label, m in made.items()} for r in decisions}
        return {r: _cluster_texts(one.verdict, verdicts[r]) for r, one in decisions.items()}

    def decisions(
        self,
        metrics: Sequence[str] | None = None,
        releases: Sequence[str] | None = None,
        *,
        must_have_margin: bool = True,
    ) -> Decisions:
        """Return the decision of each release, by all metrics that have a margin, or by `metrics`.

        Raises an `InputError` if no metric has a margin, or one of `metrics` has none; also for a
        relative margin of a mean of 0, if it `must_have_margin`.
        """
        self.check_others()
        margins = self.margins(metrics or list(self.scored))
        names = metrics or [name for name, margin in margins.items() if margin]
        for name in names or list(self.scored)[:1]:
            if margins[name] is None:
                raise needs_margin(name)
        evidence = self.evidence(names, releases or self.others)
        for one in chain.from_iterable(evidence.values()) if must_have_margin else ():
            if one.has_no_margin:
                raise InputError(zero_margin(one))
        left = [name for name in self.scored if not metrics and name not in names]
        notes = [f"{name} is not part of the decision: it has no margin" for name in left]
        decisions = decide(evidence, self.alpha)
        return Decisions(decisions, notes, self._caveats(decisions, names))

    def evidence(
        self, metrics: Sequence[str], releases: Sequence[str]
    ) -> dict[str, list[Evidence]]:
        """Return what decides about each release, by metric."""
        margins = self.margins(metrics)
        return {
            release: [self._evidence(release, name, margins[name]) for name in metrics]
            for release in releases
        }

    def margins(self, metrics: Sequence[str]) -> dict[str, tuple[float, bool] | None]:
        """Return the margin of each metric, and whether it is relative; raise if it is invalid."""
        scored = {name: self.scored[name] for name in metrics}
        is_only = len(self.scored) == 1
        return {n: resolved_margin(self.margin, s, is_only=is_only) for n, s in scored.items()}

    @cached_property
    def all_decisions(self) -> Decisions:
        """Decisions by all metrics that have a margin; empty if none has one."""
        has_margin = any(self.margins(list(self.scored)).values())
        if not (self.cases and self.others and has_margin):
            return Decisions({})
        return self.decisions(must_have_margin=False)

    def _evidence(self, release: str, metric: str, given: tuple[float, bool] | None) -> Evidence:
        margin, is_relative = given or (math.nan, False)
        scored, against = self.scored[metric], self.against[release, metric]
        relative = margin if is_relative else None
        has, base = ~np.isnan(against.differences), self.releases.index(self.baseline)
        values = np.where(has, np.nan_to_num(scored.counted[:, base]), np.nan)
        allowed, least = acceptable_losses(
            margin, values, scored.bounds, scored.metric.sign, is_relative=is_relative
        )
        if is_relative:
            margin = float(allowed[has].mean()) if has.any() else math.nan
        missing = self.missing.get(metric) if isinstance(self.missing, Mapping) else self.missing
        return Evidence(
            release=release,
            baseline=self.baseline,
            scored=scored,
            against=against,
            margin=margin,
            relative=relative,
            allowed=allowed,
            clusters=self.clusters,
            gap_texts=self.gap_texts(release, metric),
            least=least,
            blocked=missing != "drop" and against.leaves_many_out,
            remaining=self.remaining if self.is_stopped else None,
            alpha=self.alpha,
        )

    def _decision(self, release: str, metric: str) -> Decision | None:
        """Return the decision by one metric alone; None if it has no margin."""
        if len(self.scored) == 1:
            return self.all_decisions.get(release)
        option = self.margin if isinstance(self.margin, Mapping) else None
        is_known = resolved_margin(option, self.scored[metric], is_only=False)
        return self.decisions([metric], must_have_margin=False)[release] if is_known else None

    def result(self, release: str, metric: str | None) -> ReleaseResult:
        """Return how a release compares; the baseline has only a mean and a noise floor."""
        key = release, metric
        if key not in self._results:
            self._results[key] = self._new_result(release, metric)
        return self._results[key]

    @cached_property
    def _results(self) -> dict[tuple[str, str | None], ReleaseResult]:
        return {}

    def _new_result(self, release: str, metric: str | None) -> ReleaseResult:
        statuses, is_baseline = Counter(self.statuses.get(release, ())), release == self.baseline
        made: dict[str, Any] = {"missing": statuses["missing"], "line": ""}
        if metric is not None:
            floor, pairs = self._noise_floor(release, metric)
            mean = self.estimate(metric, release)
            made |= {"metric": metric, "mean": mean, "noise_floor": floor, "noise_pairs": pairs}
        if not is_baseline:
            made["line"] = f"{release} {self.output_counts(release)}"
            made["remark"] = "".join(self._answers_sentence(release))
            made |= self._result_fields(release, metric) if metric else {}
        return ReleaseResult(
            release, changed=statuses["differs"], unchanged=statuses["same"], **made
        )

    def _result_fields(self, release: str, metric: str) -> dict[str, Any]:
        key, against = (release, metric), self.against[release, metric]
        counts: Any = against.counts
        return {
            "line": self.line(*key),
            "remark": "; ".join(filter(None, (self._remark(*key), self.cluster_note(*key)))),
            "verdict": self.finding(*key),
            "delta": replace(against.change, p=against.p),
            "p": against.p,
            "sign_p": against.sign_p,
            "noise_band": against.band,
            "test": against.test,
            "interval": against.interval,
            "decision": self._decision(*key),
            **counts,
        }

    def verdict_sentence(self, release: str) -> tuple[str, str]:
        """Return the decision or, without a margin, whether answers differ, in head and body."""
        if (decision := self.all_decisions.get(release)) is None:
            return self._answers_sentence(release)
        return decision.head, decision.sentence.removeprefix(decision.head)

    def _noise_floor(self, release: str, metric: str) -> tuple[float | None, int]:
        columns = {self.releases.index(name) for name in (self.baseline, release)}
        return self.scored[metric].noise_floor(columns)

    def _answers_sentence(self, release: str) -> tuple[str, str]:
        counts = Counter[str](self.statuses[release])
        number = counts["differs"] + counts["same"]
        cases, name, base = plural(number, "case"), printable(release), printable(self.baseline)
        gaps = plural(counts["missing"], "case has", "cases have")
        gap = f" {gaps} no answer." if counts["missing"] else ""
        if not number:
            return f"{name}: nothing to compare", f". No case has an answer on {name} and {base}."
        if not counts["differs"]:
            return f"{name} does not differ from {base}", f": {cases} compared.{gap}"
        why = _NO_MARGIN
        if not self.metrics:
            why = " Note: ".join([_RATE, *islice(self._column_notes(), 1)])
        return f"{name} differs from {base}", f" on {counts['differs']:,} of {cases}.{gap} {why}"

    def output_counts(self, release: str) -> str:
        """Return the numbers of different, identical and missing answers as text."""
        counts = Counter[str](self.statuses[release])
        return ", ".join(f"{counts[kind]} {word}" for kind, word in _STATUS_WORDS if counts[kind])

    def line(self, release: str, metric: str) -> str:
        """Return the numbers of better and worse cases with p and noise floor, in one line."""
        against = self.against[release, metric]
        shown = (f"{n:,} {word}" for word, n in against.counts.items() if n or word in _ALWAYS)
        counts = " · ".join(shown).replace("missing", NO_ANSWER)
        share, _ = self._noise_floor(release, metric)
        floor = "no repeats" if share is None else f"noise floor {percent(share)}"
        return f"{printable(release)}: {counts} · {p_sentence(against.p)} · {floor}"

    def _remark(self, release: str, metric: str) -> str:
        against, finding = self.against[release, metric], self.finding(release, metric)
        if finding == "missing":
            return f"nothing to compare: {against.gap_text(against.gap_counts)}"
        band = figure(against.band or 0.0)
        if finding == "noise":
            return f"within the noise: repeats alone cause differences up to {band}"
        if finding == "same":
            return f"no difference; {self._cases(against)}, all alike"
        if finding == "undecided":
            text = self._doubt(against)
        else:
            floor = "" if against.band is None else f", larger than the noise of repeats ({band})"
            mean = "" if self._signs_decide(against) else " on average"
            text = f"{finding}{mean}: unlikely to be chance{floor}"
        basis = [self._cases(against), *self.gap_texts(release, metric), against.test]
        return f"{text}; {', '.join(basis)}"

    def _signs_decide(self, against: Against) -> bool:
        return against.sign_p is not None and against.sign_p <= self.alpha

    def _doubt(self, against: Against) -> str:
        """Return why the difference could be chance."""
        p, change = against.p, against.change
        if self.is_stopped and p is None:
            return "no p value: this metric did not stop the sweep"
        units = "cases" if self.clusters is None else "clusters"
        if shortage := against.shortage(self.alpha / max(1, len(self.others)), units):
            return f"not enough data: {shortage}"
        several = f" after correction for {len(self.others)} releases"
        why = f"{p_sentence(p)}{several if len(self.others) > 1 else ''}"
        interval = f"the 95 % {against.interval}, {interval_text(change)},"
        if change.low <= 0 <= change.high:
            why = f"{interval} includes 0"
        elif not math.isnan(change.low):
            why = f"{interval} excludes 0, but {why} does not decide"
        mean = " on average" if self._signs_decide(against) else ""
        return f"could be chance{mean}: {why}"

    def gap_texts(self, release: str, metric: str) -> list[str]:
        """Return sentences on lost answers, and on cases that are left out."""
        against = self.against[release, metric]
        texts = []
        for number, name in zip(against.lost, (release, self.baseline), strict=True):
            role = "counted at worst and at best"
            if self.scored[metric].missing == "fail":
                role = "counts as a failure" if number == 1 else "count as failures"
            cases = f"{plural(number, 'case')} without an answer on {printable(name)}"
            texts += [f"{cases} {role}"] if number else []
        return texts + against.gap_texts(against.left_out)

    def _cases(self, against: Against) -> str:
        if self.clusters is None:
            return plural(against.change.n, "case")
        has = ~np.isnan(against.differences)
        number = plural(len(np.unique(self.clusters[has])), "cluster")
        return f"{plural(against.change.n, 'case')} in {number}"


def _failures(case: Case, release: str, judges: Sequence[Judge]) -> Failures:
    """Return the failures of a case's answers on `release`, and those proposed by judges."""
    runs = case.answers(release)
    names = named(tag for run in runs for tag in run.tags)
    proposed = (
        (failure, judge.name)
        for judge in judges
        for run in runs
        for failure in judge.failures(run, case.expected, case.conversation(run))
    )
    return names, {name: judge for name, judge in proposed if name not in names}


def release_finding(against: Against, p: float | None, sign: int, alpha: float) -> Finding:
    """Return the verdict of a comparison whose corrected p value is `p`."""
    mean = against.change.mean
    if not against.change.n:
        return "missing"
    is_same = not against.decided and mean == 0
    if is_same and not any(against.lost) and not against.has_gaps:
        return "same"
    if against.band is not None and abs(mean) <= against.band:
        return "undecided" if against.has_gaps else "noise"
    if p is None or p > alpha:
        return "undecided"
    return "better" if sign * mean > 0 else "worse"


def _cluster_texts(verdict: str, clustered: Mapping[str, str]) -> list[str]:
    return [
        f"cases share label.{label}, and this verdict treats them as independent; if those with "
        f"the same label are alike, use cluster='label.{label}', and the verdict is {other!r}"
        for label, other in clustered.items()
        if other != verdict
    ]


def check_options(margin: MarginOption, missing: MissingOption, metrics: Sequence[str]) -> None:
    """Raise if `margin` or `missing` name an unknown metric, or are invalid."""
    for option in (margin, missing):
        for name in option if isinstance(option, Mapping) else ():
            if name not in metrics:
                raise _no_metric(name, metrics)
    policies = missing.values() if isinstance(missing, Mapping) else [missing]
    for policy in policies:
        if policy not in (None, "fail", "bounds", "drop"):
            refuse("missing", policy, "'fail', 'bounds' or 'drop', or a mapping of metrics to them")
    for value in margin.values() if isinstance(margin, Mapping) else [margin]:
        if value is not None:
            checked_margin(value)


def _no_metric(name: object, metrics: Iterable[str]) -> InputError:
    return InputError(f"this comparison has no metric {name!r}{available(metrics)}")

"""`Comparison`: stored runs of a deployment side by side, one row per case."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

from vellum_nb.comparison import report
from vellum_nb.comparison.agreement import Agreement, rater_check
from vellum_nb.comparison.blind import (
    QUESTION,
    BlindSession,
    begin_blind_session,
    checked_pair,
)
from vellum_nb.comparison.cases import (
    Case,
    Chosen,
    align,
    cluster_numbers,
    replay_rows,
    split,
    with_run,
    without_run,
)
from vellum_nb.comparison.figures import (
    ComparisonFigures,
    ReleaseResult,
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
from vellum_nb.escaping import printed, warn
from vellum_nb.files import write_file
from vellum_nb.history import BlindRatings, History, write_csv_frame, write_parquet_frame
from vellum_nb.models import Run
from vellum_nb.models.checks import refuse
from vellum_nb.models.inputs import format_value
from vellum_nb.models.sweeps import SweepCase
from vellum_nb.rendering.format import plural

if TYPE_CHECKING:
    import pandas as pd

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


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Stored runs of one deployment, case by case on several releases.

    Of several runs of a case on a release, the newest with an answer (FULFILLED or
    REJECTED) is shown; metrics go over all of them, and their mean counts. A case is *missing* on a
    release where it was not run, and *failed* where no run has an answer: never the same,
    never a pass. A tag that moved between runs has one column per release.

    `ws.compare`, `sweep.compare` and `vellum_nb.compare` make one. It does not change:
    `with_baseline` and `with_runs` return another one. In all methods `metric` is a name, by
    default the first metric's, and `release` a column; an `InputError` lists the valid ones.

    Attributes
    ----------
    deployment : str
        The deployment's name.
    release_tags : tuple of str
        The release tags that were compared.
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
    by : str
        What the columns are.
    alpha : float
        Significance level.
    cluster : str or None
        What cases share that are not independent.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> for tag in ("v1", "v2"):
    ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
    >>> ws.compare("ticket-triage")
    <Comparison of ticket-triage against v1, 1 case: v2 1 differs>
    """

    deployment: str
    release_tags: tuple[str, ...]
    releases: tuple[str, ...]
    baseline: str
    cases: tuple[Case, ...]
    metrics: tuple[Metric, ...]
    moved_tags: tuple[str, ...]
    answers: pd.DataFrame
    by: str
    alpha: float
    cluster: str | None
    _order: tuple[int, ...] | None
    _plan_notes: tuple[str, ...]
    _services: Services

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
        return replace(self, baseline=baseline, cases=cases)

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
        known_figures = _evaluations(self, changed.keys(), again)
        return _evaluated(self, known_figures, cases=tuple(cases))

    @cached_property
    def figures(self) -> ComparisonFigures:
        """All figures: scores, verdicts, p values."""
        return ComparisonFigures(
            deployment=self.deployment,
            baseline=self.baseline,
            releases=self.releases,
            moved_tags=self.moved_tags,
            cases=self.cases,
            metrics=self.metrics,
            table=self.answers,
            alpha=self.alpha,
            cluster=self.cluster,
            order=self._order,
            plan_notes=self._plan_notes,
        )

    def result(self, release: str, metric: str | None = None) -> ReleaseResult:
        """Return how a release compares with the baseline by one metric.

        Parameters
        ----------
        release : str
            A column other than the baseline.
        metric : str, optional
            A metric's name. Default: the first; of a comparison without metrics only the counts of
            changed and missing answers are known.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> cases = [{"ticket": "I was charged twice", "expected.category": "billing"}]
        >>> sweep = ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"], progress=False)
        >>> result = sweep.compare().result("v2")
        >>> result.verdict, result.better, result.worse, result.same
        ('undecided', 1, 0, 0)
        """
        self._others(release)
        name = None if metric is None and not self.metrics else self._metric(metric)
        return self.figures.result(release, name)

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
        cases by the first metric, `p` is their sign test (`ReleaseResult.sign_p`); all have Holm's
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
        for release in self.figures.others if self.metrics else ():
            if note := self.figures.cluster_note(release, self.metrics[0].name):
                warn(f"{release}: {note}", stacklevel=2)
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
        statuses = [self.figures.statuses[each] for each in self._others(release)]
        found = zip(self.cases, *statuses, strict=True)
        return self._rows([case for case, *each in found if "differs" in each])

    def unstable(self) -> pd.DataFrame:
        """Return the rows of `frame` in which repeats on one release have different answers."""
        pairs = zip(self.cases, self.figures.unstable, strict=True)
        return self._rows([case for case, is_unstable in pairs if is_unstable])

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
        order = (self.baseline, *self.figures.others)
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
        found = failures(self.figures, names, self.figures.others, **limits)
        return self._saved(junit(self.figures, found), path, "the JUnit XML")

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
            for each in self.figures.others
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
            return self.figures.others
        self._check_release(release)
        if release == self.baseline:
            others = ", ".join(self.figures.others) or "none"
            msg = f"{release} is the baseline; others are: {others}"
            raise InputError(msg)
        return (release,)

    @printed
    def __str__(self) -> str:
        """Return the comparison in a few lines for a terminal, as ``vellum-nb compare`` prints."""
        return report.text(report.report_model(self.figures))

    @printed
    def __repr__(self) -> str:
        if not self.cases:
            names = ", ".join(self.releases)
            return f"<Comparison of {self.deployment}: no stored runs on {names}>"
        lines = "; ".join(self.result(each).line for each in self.figures.others)
        lines = lines or "nothing to compare it with"
        cases = plural(len(self.cases), "case")
        return f"<Comparison of {self.deployment} against {self.baseline}, {cases}: {lines}>"

    @printed
    def _repr_html_(self) -> str:
        return report.overview(report.report_model(self.figures))


def compare_runs(
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
    cluster: str | None = None,
    services: Services | None = None,
) -> Comparison:
    """Return a comparison of stored runs.

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
        Notes on its cases, such as those of the plan of a sweep; the notes of the figures begin
        with them.
    by : str, default "release_tag"
        What the columns are.
    groups : sequence of str, optional
        The column of each run, where that is not its release tag; none is split then.
    alpha : float, default 0.05
        Significance level: the p value up to which a release is better or worse.
    cluster : str, optional
        What cases share that are not independent: a label, as in ``"label.document"``, or an
        input. Intervals and p values then hold for other documents, not for these alone.
    services : Services, optional
        What it runs cases with and is shown by; `vellum_nb.Workspace` gives it.

    Raises
    ------
    InputError
        There is no release tag, the baseline is not among them, or a metric does not fit.
    """
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
    return Comparison(
        deployment=deployment,
        release_tags=tuple(dict.fromkeys(tags)),
        releases=columns.labels,
        baseline=base,
        cases=aligned,
        metrics=found,
        moved_tags=columns.moved,
        answers=runs_table(aligned, columns.labels, found, {}),
        by=by,
        alpha=float(alpha),
        cluster=cluster,
        _order=None if order is None else _places(aligned, order),
        _plan_notes=tuple(notes),
        _services=services or Services(),
    )


def with_judgements(
    comparison: Comparison, judgements: Mapping[str, Mapping[str, Judgement]]
) -> Comparison:
    """Return a comparison whose judges know these judgements.

    `judgements` maps the name of a metric to the `case_id` of the judge's inputs to its runs, or to
    the reason why it has none.
    """
    metrics = tuple(
        metric.replaced(judgements=judgements[metric.name])
        if isinstance(metric, Judge) and metric.name in judgements
        else metric
        for metric in comparison.metrics
    )
    earlier = _evaluations(comparison)
    known = {name: each for name, each in earlier.items() if name not in judgements}
    return _evaluated(comparison, known, metrics=metrics)


def _evaluated(
    comparison: Comparison, known: Mapping[str, Mapping[str, Evaluation]], **changes: Any
) -> Comparison:
    cases, metrics = (
        changes.get("cases", comparison.cases),
        changes.get("metrics", comparison.metrics),
    )
    table = runs_table(cases, comparison.releases, metrics, known)
    return replace(comparison, answers=table, **changes)


def _evaluations(
    comparison: Comparison, changed: Collection[str] = (), cases: Collection[int] = ()
) -> dict[str, dict[str, Evaluation]]:
    """Return what metrics returned for the runs that stay as they are."""
    same = comparison.answers[
        ~comparison.answers["case"].isin(cases) & comparison.answers["is_answer"]
    ]
    found: dict[str, dict[str, Evaluation]] = {}
    for metric in comparison.metrics:
        names = ("run", f"metric.{metric.name}", f"metric_error.{metric.name}")
        columns = (same[name].tolist() for name in names)
        found[metric.name] = {
            run.id: (None if value != value else value, problem)  # noqa: PLR0124  (NaN)
            for run, value, problem in zip(*columns, strict=True)
            if run.id not in changed
        }
    return found


def _places(cases: Sequence[Case], order: Sequence[str]) -> tuple[int, ...]:
    """Return the places of cases in the order of their ids; those that are not in it come last."""
    turn = {case_id: at for at, case_id in reversed(list(enumerate(order)))}
    return tuple(sorted(range(len(cases)), key=lambda at: turn.get(cases[at].case_id, len(order))))


def _default_metrics(cases: Sequence[Case]) -> tuple[Metric, ...]:
    found = [score()] if any(case.expected for case in cases) else []
    runs = (run for case in cases for tries in case.tries.values() for run in tries)
    return (*found, quality()) if any(run.quality is not None for run in runs) else tuple(found)

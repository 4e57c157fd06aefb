"""`Comparison`: stored runs of a deployment side by side, one row per case."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args, overload

from vellum_nb.comparison import report
from vellum_nb.comparison.actions import Actions, CallLimits, SweepRuns, require
from vellum_nb.comparison.agreement import Agreement, name_checks, rater_check
from vellum_nb.comparison.blind import (
    QUESTION,
    BlindSession,
    begin_blind_session,
    checked_pair,
    open_session,
)
from vellum_nb.comparison.cases import (
    Case,
    Chosen,
    case_of,
    replay_rows,
    with_runs_of,
)
from vellum_nb.comparison.decisions import Decisions, MarginOption
from vellum_nb.comparison.duels import DuelJudge, Duels, charts_required, made_duels, plan_duels
from vellum_nb.comparison.figures import (
    ComparisonData,
    ComparisonFigures,
    Group,
    Names,
    ReleaseResult,
    stored_evaluations,
    with_table,
)
from vellum_nb.comparison.frames import (
    case_frame,
    error_frame,
    failure_frame,
    run_frame,
    short_summary,
    slice_frame,
    summary_frame,
    summary_rows,
    turn_frame,
)
from vellum_nb.comparison.gate import (
    REGRESSION_LIMITS,
    GateResult,
    RegressionLimits,
    check,
    decided,
    failures,
    junit,
)
from vellum_nb.comparison.judge_calls import JudgePlan
from vellum_nb.comparison.metrics import (
    Judge,
    Metric,
)
from vellum_nb.comparison.metrics import judge as make_judge
from vellum_nb.comparison.naming import FailureProposals, odd_answers, propose
from vellum_nb.comparison.pairs import MissingOption
from vellum_nb.comparison.planning import plan
from vellum_nb.errors import HistoryError, InputError
from vellum_nb.escaping import printed, warn
from vellum_nb.files import checked_path, write_file
from vellum_nb.history import (
    BlindRatings,
    FrameView,
    History,
    check_view,
    write_csv_frame,
    write_parquet_frame,
)
from vellum_nb.lazy import pd
from vellum_nb.models import Run
from vellum_nb.models.checks import (
    available,
    check_integer,
    check_keywords,
    check_list,
    check_number,
    check_text,
    check_texts,
    refuse,
    with_options,
)
from vellum_nb.models.inputs import format_value
from vellum_nb.rendering.diff import CodeDiff
from vellum_nb.rendering.format import plural

if TYPE_CHECKING:
    from vellum_nb.comparison.charts import Chart, Picture


Rows = Literal["cases", "runs"]
View = Callable[["Comparison | BlindSession"], Any]
"""A function that returns the widget of a comparison or of a blind rating."""


_DUEL_LIMITS: dict[str, Any] = {"max_calls": 400, "max_cost_usd": None, "progress": True}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Comparison(ComparisonData):
    """Stored runs of one deployment, case by case on several releases.

    If a case has several runs on a release, the newest answer (FULFILLED or REJECTED) is shown, and
    its figure is the mean over all answers. A case without a run on a release is *missing* there; a
    case with runs but no answer has *failed*. Neither counts as equal or as a pass. If a tag moved
    between runs, each of its releases has a column.

    Comparisons are immutable and made by `ws.compare`, `sweep.compare` or `vellum_nb.compare`;
    `with_baseline` and `with_runs` return a new one. In all methods, `metric` is a metric's name
    (default: the first metric) and `release` is a column. An `InputError` lists the valid names.

    From the first choice of a blind rating until it ends, the results of its runs are hidden:
    methods that return, draw or write them raise an `InputError`, except gates and `to_junit`.

    Attributes
    ----------
    deployment : str
        The deployment's name.
    release_tags : tuple of str
        The compared release tags.
    releases : tuple of str
        The columns: one per release tag, or several if a tag moved.
    baseline : str
        The column that the others are compared with.
    cases : tuple of Case
        The cases in the order given, or in the order of their first runs.
    metrics : tuple of Metric
        The first metric determines verdicts.
    moved_tags : tuple of str
        The release tags that moved to another release between these runs.
    answers : DataFrame
        One row per run: indices `case` and `release`, `repeat`, `run`, `is_answer`, `state`,
        `latency_s`, `cost_usd`, `quality`, `rating` (mean over raters), `kind` (identical answers
        share a number), ``metric.<name>``.
    by : str
        What the columns are.
    alpha, cluster : float, str or None
        Significance level; the label or input that dependent cases share.
    margin, missing : optional
        Defaults of `decide`, which reports use as well.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> for tag in ("v1", "v2"):
    ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
    >>> ws.compare("ticket-triage")
    <Comparison of ticket-triage against v1, 1 case: v2 1 differs>
    """

    release_tags: tuple[str, ...]
    by: str
    figures: ComparisonFigures = field(init=False)
    _sweep: Mapping[str, Any]  # `order`, `stopped_by` and `plan_notes` of the figures
    _actions: Actions | None
    _view: View | None

    def __post_init__(self) -> None:
        shared = {each.name: getattr(self, each.name) for each in fields(ComparisonData)}
        object.__setattr__(self, "figures", ComparisonFigures(**shared, **self._sweep))

    def with_baseline(self, baseline: str) -> Comparison:
        """Return a comparison with another baseline; metrics are not recomputed."""
        self.figures.check_release(baseline)
        cases = tuple(replace(case, baseline=baseline) for case in self.cases)
        return replace(self, baseline=baseline, cases=cases)

    def with_runs(
        self, runs: Iterable[Run] = (), *, release: str | None = None, without: Collection[str] = ()
    ) -> Comparison:
        """Return a comparison with added, updated or removed runs.

        Metrics are computed only for these runs, and for cases with new expected outputs.

        Parameters
        ----------
        runs : iterable of Run
            A run with an existing `id` replaces the old one; other runs are added. Those of a new
            conversation add a case.
        release : str, optional
            The column of added runs. Default: their release tag.
        without : collection of str
            The `id` of each run to remove.

        Raises
        ------
        InputError
            A run belongs to none of the cases or releases.
        """
        changed = {run.id: run for run in _checked_runs(runs)}
        places = {run.id: (tag, case.case_id) for run, case, tag in self.figures.runs}
        cases = {case.case_id: case for case in self.cases}
        added: dict[str, list[tuple[Run, str]]] = {}
        for run in changed.values():
            column, case_id = places.get(run.id, (release or run.release_tag, run.case_id))
            self.figures.check_release(column)
            if case_id not in cases:
                self._refuse_other_case(run)
                cases[case_id] = replace(case_of(run, self.baseline), number=len(cases) + 1)
            added.setdefault(case_id, []).append((run, column))
        removed = set(check_texts("without", without))
        for case_id in dict.fromkeys(
            [*added, *(places[id_][1] for id_ in places if id_ in removed)]
        ):
            cases[case_id] = with_runs_of(cases[case_id], added.get(case_id, ()), removed)
        if tuple(cases.values()) == self.cases:
            return self
        outdated = {
            at
            for at, (new, old) in enumerate(zip(cases.values(), self.cases, strict=False))
            if new is not old and (new.turns > 1 or new.expected != old.expected)
        }
        evaluations = stored_evaluations(self, changed.keys(), outdated)
        order = self._sweep["order"]
        if order is not None:
            order = (*order, *range(len(self.cases), len(cases)))
        sweep = {**self._sweep, "order": order}
        return with_table(self, evaluations, cases=tuple(cases.values()), _sweep=sweep)

    def _refuse_other_case(self, run: Run) -> None:
        """Raise unless the run is a turn of a conversation of this deployment."""
        if run.turn is None or run.deployment != self.deployment:
            msg = f"the run {run.id} is of none of the cases compared ({run.case_id})"
            raise InputError(msg)

    def result(self, release: str, metric: str | None = None) -> ReleaseResult:
        """Return the result of one release against the baseline, by one metric.

        Parameters
        ----------
        release : str
            A column other than the baseline.
        metric : str, optional
            A metric's name. Default: the first. Without metrics, only the numbers of changed and
            missing answers are available.

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
        self._refuse_while_rating()
        self.figures.others_of(release)
        name = None if metric is None and not self.metrics else self.figures.metric_name(metric)
        return self.figures.result(release, name)

    def decide(
        self, metric: Names = None, *, margin: MarginOption = None, missing: MissingOption = None
    ) -> Decisions:
        """Return whether each release may replace the baseline.

        A release *may replace* the baseline if the 95 % interval excludes a loss of `margin`. It
        *should not replace* it if it is significantly worse. Otherwise the verdict is
        *cannot tell yet*, and `more` estimates the number of additional cases that would decide.
        With several metrics, all must pass. p values have Holm's correction over releases; those of
        *should not replace* over releases and metrics.

        Parameters
        ----------
        metric : str or sequence of str, optional
            The metrics that decide. Default: all that have a margin.
        margin : float, str or mapping, optional
            The acceptable loss: a number, or text such as ``"10%"`` of the baseline's mean. It
            applies to `metric` if that is one metric, to the only metric of a comparison, or else
            to all scores and pass rates; by metric, give ``{"latency_s": "10%"}``. Default: that of
            the comparison, or 0.05 for scores and pass rates. Other metrics have no default.
        missing : {"fail", "bounds", "drop"} or mapping, optional
            How a case counts that failed or was rejected on only one of two releases: as a failure
            of that release; at its worst and at its best, for metrics with `Metric.bounds`; or not
            at all. Default: that of the comparison, or the first that applies: ``"fail"`` for
            scores and pass rates, ``"bounds"``, ``"drop"``. Without this option, the verdict is
            *cannot tell yet* if more than 5 % of the cases are left out.

        Returns
        -------
        Decisions
            A mapping of releases to `Decision`, which prints as one sentence per release.

        Raises
        ------
        InputError
            A metric has no margin, or an option is invalid.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> cases = [{"ticket": "I was charged twice", "expected.category": "billing"}]
        >>> sweep = ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"], progress=False)
        >>> decision = sweep.compare().decide(margin=0.1)["v2"]
        >>> decision.verdict, decision.n
        ('cannot tell yet', 1)
        """
        self._refuse_while_rating()
        figures, names = self.figures.deciding(metric, margin, missing)
        return figures.decisions(names)

    def frame(self, only: Group | None = None, *, rows: Rows = "cases") -> pd.DataFrame:
        """Return one row per case, or per run.

        Columns: ``case_id``, ``changed``, ``input.<name>``, ``expected.<name>``, ``label.<name>``.
        Each output has a column per release, ``output.<name>@<release>``; each release has
        ``state`` (``"missing"`` without a run), ``answers`` (number of repeats with an answer) and
        ``changed``, followed by ``@<release>``. Metrics add ``metric.<name>@<release>``, the
        difference ``delta.<name>@<release>`` and ``verdict@<release>``. Structured values are
        canonical JSON, as in ``ws.history.frame()``. ``changed`` is True if an answer differs from
        the baseline's, False if all are identical, and missing if an answer is missing.

        A conversation is one case, with the outputs of its last turn and the values expected at its
        end; `turns` has those of all turns. ``turns@<release>`` is the number of answered turns,
        ``first_changed_turn@<release>`` the first turn whose answer differs from the baseline's,
        and ``first_failed_turn@<release>`` the first turn without an answer or with an output that
        is not the expected one.

        Parameters
        ----------
        only : {"worse", "better", "changed", "unstable"}, optional
            Only the cases that are worse or better on any release by the first metric, largest
            difference first; with an answer that differs from the baseline's; or with different
            answers in repeats on one release. Default: all.
        rows : {"cases", "runs"}, default "cases"
            ``"runs"`` for one row per run: case, release, state, figures, outputs and metrics.
        """
        self._refuse_while_rating()
        if rows not in get_args(Rows) or (rows == "runs" and only is not None):
            refuse("rows", rows, "'cases', or 'runs' without only")
        return self._frame(rows) if only is None else self._rows(self.figures.group(only))

    def _frame(self, rows: Rows) -> pd.DataFrame:
        """Return `frame`, also while a blind rating is open."""
        return run_frame(self.figures) if rows == "runs" else case_frame(self.figures)

    def turns(self) -> pd.DataFrame:
        """Return one row per turn of each conversation, with the columns of `frame`.

        ``case_id`` is that of the conversation, ``turn`` the number of the turn. A comparison
        without conversations has no rows.
        """
        self._refuse_while_rating()
        if self.figures.turns is None:
            return pd.DataFrame({"case_id": [], "turn": []})
        return turn_frame(self.figures.turns)

    def summary(self, *, columns: FrameView = "short") -> pd.DataFrame:
        """Return one row per release: counts, metrics with intervals, wins and losses, p, latency.

        ``columns="all"`` also returns the columns that are too many for a screen: numbers of
        values, noise, tests, judges, costs per pass, nodes, release ids.

        Of all `cases`, `n` have an answer, `failed` have runs but no answer, and `missing` have no
        run. ``metric.<name>`` is the mean over cases with its 95 % interval from ``.low`` to
        ``.high``; ``.delta`` is the mean difference to the baseline with its interval, and ``.p``
        its p value. `wins`, `ties` and `losses` count cases by the first metric. All p values have
        Holm's correction over the releases. If the sweep stopped early, they are valid at any time,
        and `interval` is ``"confidence sequence"``: so are the intervals of differences. Other
        intervals assume a fixed number of cases.

        For a judge, ``.check`` says whether it agrees with people. ``.corrected`` estimates the
        mean rating by people, from all verdicts and at least 20 rated cases, which must be a random
        sample. The reference page *Columns of a comparison* describes all columns.

        Warns if cases share a label that would change a verdict as `cluster`.
        """
        check_view(columns)
        self._refuse_while_rating()
        caveats = self.figures.all_decisions.caveats
        for release in self.figures.others if self.metrics else ():
            note = self.figures.cluster_note(release, self.metrics[0].name)
            if text := "; ".join(caveats.get(release, ())) or note:
                warn(f"{release}: {text}", stacklevel=2)
        frame = summary_frame(summary_rows(self.figures).values())
        return short_summary(frame, self.figures.scored) if columns == "short" else frame

    def judge_check(self, metric: str | None = None) -> Agreement:
        """Return the agreement of a judge with people who rated the same runs.

        A rating of 0.5 or more passes, as does a figure that reaches the judge's ``threshold``. A
        judge is checked once 30 cases are rated and the lower bound of kappa is at least 0.4; all
        runs of a case count as one. Otherwise ``problem`` gives the reason, which `summary`, the
        grid, reports and the gate repeat. ``frame`` lists the runs with disagreement, ``bias``
        tests whether the error depends on length, the release or a label.

        Parameters
        ----------
        metric : str, optional
            The judge's name. Default: the first judge.
        """
        check_text("metric", metric, optional=True)
        checks = self.figures.checks
        name = next(iter(checks), "") if metric is None else metric
        if name not in checks:
            judge = "no judge" if metric is None else f"no judge {metric!r}"
            msg = f"this comparison has {judge}{available(checks)}"
            raise InputError(msg)
        return checks[name]

    def rater_check(self) -> Agreement:
        """Return inter-rater agreement: Cohen's kappa, or Krippendorff's alpha for more than two.

        Only ratings with an author count, see `Run.ratings`; 0.5 or more passes. `frame` lists the
        runs with disagreement and each rating.
        """
        return rater_check(self.figures.runs)

    def plan(
        self,
        metric: str | None = None,
        *,
        release: str | None = None,
        margin: MarginOption = None,
        power: float = 0.8,
        repeats: Sequence[int] = (1, 2, 3, 5),
        concurrency: int = 1,
        assume: Mapping[str, float] | None = None,
    ) -> pd.DataFrame:
        """Return how many cases and repeats would show that a release loses less than `margin`.

        The differences between cases and the noise of repeats are those of this comparison; the
        release is assumed to be as good as the baseline. Without repeats, the noise is unknown, and
        only plans with one repeat are returned.

        Parameters
        ----------
        metric, release : str, optional
            Default: the first metric; the first release other than the baseline.
        margin : float, str or mapping, optional
            The acceptable loss, as in `decide`. ``"10%"`` is planned as this share of the
            baseline's mean.
        power : float, default 0.8
            The required probability of success.
        repeats : list of int, default (1, 2, 3, 5)
            The numbers of repeats to choose from.
        concurrency : int, default 1
            Number of calls at once, for the time.
        assume : dict, optional
            Replaces what the runs show, or stands in for runs: ``difference`` of the means,
            ``discordance`` (share of cases that pass on one release only) or ``spread`` (standard
            deviation of a case's difference, for numbers), both with one repeat; ``noise`` (share
            of pairs of repeats that differ, or standard deviation of repeats, for numbers);
            ``latency_s`` and ``cost_usd`` of a call.

        Returns
        -------
        DataFrame
            One row per number of `cases` and `repeats`: the `power`, the `calls` still to be made,
            their `time_s` and `cost_usd`, and whether it is the `cheapest` plan with enough power.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> from vellum_nb.local.samples import cases
        >>> ws = vnb.connect("local", history=":memory:")
        >>> tags, pilot = ["v1", "v2"], cases("ticket-triage")
        >>> sweep = ws.sweep("ticket-triage", pilot, release_tags=tags, progress=False)
        >>> plan = sweep.compare().plan(margin=0.1, assume={"discordance": 0.2, "noise": 0.1})
        >>> plan.loc[plan["cheapest"], ["cases", "repeats", "calls"]].values.tolist()
        [[152, 1, 204]]
        >>> ws.close()
        """
        options: Any = {"repeats": repeats, "concurrency": concurrency, "assume": assume}
        return plan(self.figures, metric, release, margin, target=power, **options)

    def regressions(self, metric: str | None = None, *, release: str | None = None) -> pd.DataFrame:
        """Return the rows of `frame` that are worse on `release` (default: any), worst first."""
        return self._rows(self.figures.group("worse", metric, release))

    def slices(
        self, by: str, *, metric: str | None = None, release: str | None = None
    ) -> pd.DataFrame:
        """Return the difference to the baseline for each value of a label, worst slice first.

        The statistics are those of `result` on the cases of the slice: clusters, repeats, lost
        answers. `p` has Holm's correction over the slices of one release that have pairs; it is not
        corrected over releases, metrics or several calls. Cases without a value are left out, and a
        conversation is one case.

        Parameters
        ----------
        by : str
            ``"label.<name>"``, or an input: ``"input.<name>"``.
        metric : str, optional
            A metric's name. Default: the first.
        release : str, optional
            A column other than the baseline. Default: all.

        Returns
        -------
        DataFrame
            One row per release and value: `release`, `value` (as text), `cases`, `n` (cases with a
            figure on both), the `mean` on the release and the difference `delta`, each with its
            95 % interval from ``_low`` to ``_high``, `p`, and `finding`: a verdict
            as in `result`, or ``"not enough data"`` if so few cases cannot show a difference. Those
            slices follow the others.

        Raises
        ------
        InputError
            No case has this label or input, an option is unknown, or the sweep stopped early.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> cases = [
        ...     {"ticket": "I was charged twice", "expected.category": "billing", "segment": "smb"},
        ...     {"ticket": "The app crashes", "expected.category": "bug", "segment": "enterprise"},
        ... ]
        >>> sweep = ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"], progress=False)
        >>> sweep.compare().slices("label.segment")[["value", "n", "finding"]].values.tolist()
        [['enterprise', 1, 'same'], ['smb', 1, 'not enough data']]
        """
        self._refuse_while_rating()
        return slice_frame(self.figures, by, metric, release)

    def errors(self) -> pd.DataFrame:
        """Return one row per run and metric that raised, with the message."""
        return error_frame(self.figures)

    def failures(self) -> pd.DataFrame:
        """Return one row per failure name and release, with the number and share of cases.

        Columns: `name`, `release`, `count`, `n` (cases with an answer), `share` with its 95 %
        interval from `low` to `high`, and `proposed`: further cases in which only a judge reports
        this failure, in its output ``failures``. Press f in the grid to name failures. They are
        tags of the run: ``failure:<name>``, or ``failure@<author>:<name>``. Names given after the
        comparison was made count, too: the tags are read from the history.
        """
        return failure_frame(self._with_current_tags().figures)

    def note(self, run: Run | str, text: str | None) -> Run:
        """Store a free-form observation on a run; it replaces an earlier note.

        Notes are shown in an open case of the grid, where m adds one, and in the column ``note`` of
        the history.

        Parameters
        ----------
        run : Run or str
            A run of this comparison, or its `id`.
        text : str or None
            The note; None removes it.

        Returns
        -------
        Run
            The updated run.

        Raises
        ------
        InputError
            The run is not part of this comparison, or the comparison has no workspace.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag="v1")
        >>> cmp = ws.compare("ticket-triage", release_tags=["v1"])
        >>> cmp.note(run, "ignores the second charge").note
        'ignores the second charge'
        """
        check_text("text", text, optional=True)
        run_id = run.id if isinstance(run, Run) else run
        match = next((one for one, _, _ in self.figures.runs if one.id == run_id), None)
        if match is None:
            refuse("run", run_id, "a run of this comparison, or its id")
        return require(self._actions, "store notes").note(match, text)

    def propose_failures(
        self,
        judge: Metric | str,
        *,
        max_calls: int | None = None,
        max_cost_usd: float | None = None,
        progress: bool = True,
    ) -> FailureProposals:
        """Group notes and worse answers under at most twelve failure names, by a workflow.

        The workflow gets one input, ``answers``: a list of up to 200 objects with ``id``,
        ``release``, ``inputs``, ``outputs``, ``expected`` and ``note``; the ``outputs`` of a
        conversation also have its ``transcript``. It returns an output
        ``failures``: an object of names, each with a list of ids. Its only run is recorded, and
        reused for the same answers. A name counts only after `FailureProposals.confirm`.

        Parameters
        ----------
        judge : str or Metric
            The deployment, or a judge made by ``ws.judge``. ``vellum_nb.local.samples`` has a
            workflow `failure_namer` to deploy or to copy.
        max_calls, max_cost_usd, progress : optional
            Limits of the call, and whether to show its progress.

        Raises
        ------
        InputError
            There is no note and no worse answer, or the workflow returns something else.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> from vellum_nb.local.samples import failure_namer
        >>> ws = vnb.connect("local", history=":memory:")
        >>> _ = ws.server.deploy(failure_namer, name="failure-namer", release_tags=["v1"])
        >>> run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag="v1")
        >>> cmp = ws.compare("ticket-triage", release_tags=["v1"])
        >>> _ = cmp.note(run, "ignores the second charge")
        >>> proposals = cmp.propose_failures("failure-namer", progress=False)
        >>> proposals
        <FailureProposals from 1 answer: ignores the second charge (1)>
        >>> proposals.confirm("ignores the second charge")
        1
        >>> cmp.failures()["name"].tolist()
        ['ignores the second charge']
        """
        judge = make_judge(judge) if isinstance(judge, str) else judge
        if not isinstance(judge, Judge):
            refuse("judge", judge, "the name of a deployment, or a judge made by ws.judge(...)")
        limits = CallLimits(max_calls=max_calls, max_cost_usd=max_cost_usd, progress=progress)
        actions = require(self._actions, "propose failures")
        odd = odd_answers(self._with_current_tags().figures)
        return propose(judge, odd, actions, limits)

    def failure_checks(self, metric: str | None = None) -> pd.DataFrame:
        """Return the agreement of a judge with people for each failure name that people gave.

        The judge names failures in its output ``failures``. Answers count if people rated them,
        wrote a note on them, or named a failure; all runs of a case count as one case in intervals.

        Parameters
        ----------
        metric : str, optional
            The judge's name. Default: the first judge.

        Returns
        -------
        DataFrame
            ``name``, ``n`` cases, the numbers of runs named by ``people`` and by the ``judge``, and
            Cohen's ``kappa`` with its 95 % interval from ``low`` to ``high``.
        """
        self.judge_check(metric)  # raises for an unknown judge
        current = self._with_current_tags()
        judges = [one for one in current.metrics if isinstance(one, Judge)]
        judge = next(one for one in judges if metric in {None, one.name})
        figures = current.answers[f"metric.{judge.name}"].tolist()
        return name_checks(current.figures.runs, figures, judge)

    def _with_current_tags(self) -> Comparison:
        """Return the comparison with the tags and notes that the history has now."""
        if self._actions is None:
            return self
        known = {run.id: (run.tags, run.note) for run, _, _ in self.figures.runs}
        with suppress(HistoryError):  # the history was closed
            stored = self._actions.history.runs(ids=list(known))
            return self.with_runs(run for run in stored if (run.tags, run.note) != known[run.id])
        return self

    def _rows(self, cases: Iterable[Case]) -> pd.DataFrame:
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
        """Return the grid: one row per case, one column per release; filter, open and rate cases.

        With `blind`, rate two releases case by case without knowing which is which: 1 (A is
        better), 2 (B), 3 (tie), u (undo), s (skip). Ratings are stored at once, so the same call
        resumes them, also after a restart of the kernel. Cases with identical outputs are ties and
        are not presented.

        Parameters
        ----------
        blind : bool, default False
            Whether to rate two releases blind instead of showing the grid.
        pair : (str, str), optional
            The two releases. Required if more than two are compared.
        question : str
            The question for the rater. Each question has its own ratings.
        seed : int, optional
            Seed for the order of the two answers in each case. Default: drawn once and stored.
        restart : bool, default False
            Start over instead of resuming.
        """
        if blind:
            session = self.blind(pair, question=question, seed=seed, restart=restart)
            return session if self._view is None else self._view(session)
        return self if self._view is None else self._view(self)

    def blind(
        self,
        pair: Sequence[str] | None = None,
        *,
        question: str = QUESTION,
        seed: int | None = None,
        restart: bool = False,
    ) -> BlindSession:
        """Return the blind rating for use from code. Parameters as in `view`.

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

    @property
    def open_rating(self) -> BlindSession | None:
        """The blind rating of these runs that has begun and not ended: it hides their results."""
        is_new = self._actions is None and "_ratings" not in vars(self)
        with suppress(HistoryError):  # the history may be closed
            if self.cases and not is_new:
                return open_session(self.deployment, self.cases, self._ratings)
        return None

    @cached_property
    def _ratings(self) -> BlindRatings:
        history = History(":memory:") if self._actions is None else self._actions.history
        return history.blind_ratings

    @overload
    def duels(self, duel: DuelJudge, *, dry_run: Literal[True]) -> JudgePlan: ...
    @overload
    def duels(
        self,
        duel: DuelJudge | None = None,
        *,
        question: str = QUESTION,
        dry_run: Literal[False] = False,
        **limits: Unpack[CallLimits],
    ) -> Duels: ...
    @with_options(CallLimits, _DUEL_LIMITS)
    def duels(
        self,
        duel: DuelJudge | None = None,
        *,
        question: str = QUESTION,
        dry_run: bool = False,
        **limits: Unpack[CallLimits],
    ) -> Duels | JudgePlan:
        """Compare the answers of each pair of releases, case by case, by a judge or by people.

        A judge sees both answers twice, in both orders. If its verdict depends on the order, the
        duel is a tie. Equal answers are ties without a call, and a release that alone has an answer
        wins, unless ``missing="drop"``. Judgements are stored and reused like those of `ws.judge`:
        the same call resumes, and pays for none twice.

        Parameters
        ----------
        duel : DuelJudge, optional
            The judge, made by ``ws.duel_judge(...)``. Default: the blind ratings by people that
            have ended, see `blind`.
        question : str
            The question of the blind ratings, which also check the judge.
        max_calls, max_cost_usd : optional
            Limits of the calls of the judge in this call, 400 by default. If `max_calls` does not
            cover all duels, those of undecided pairs of releases are judged first.
        progress : bool, default True
            Whether to show progress.
        dry_run : bool, default False
            Whether to return only the number of calls that all duels would need.

        Returns
        -------
        Duels or JudgePlan
            Prints wins, ties, p and interval of each pair, and how often the order mattered;
            `summary`, `frame` and `ranking` have the figures.

        Raises
        ------
        InputError
            There is only one release, an argument is invalid, the judge reads an unknown output, no
            duel has inputs for the judge, or nobody rated these releases blind.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> cases = [{"ticket": f"{n}: I was charged twice"} for n in range(8)]
        >>> tags = ["v1", "v2", "v3"]
        >>> sweep = ws.sweep("ticket-triage", cases, release_tags=tags, progress=False)
        >>> columns = {"question": "input.ticket", "a": "first.reply", "b": "second.reply"}
        >>> judge = ws.duel_judge("pair-grader", inputs=columns, output="winner")
        >>> duels = sweep.compare().duels(judge, progress=False)
        >>> duels.summary()[["first", "second", "wins", "losses", "ties"]].values.tolist()
        [['v1', 'v2', 8, 0, 0], ['v1', 'v3', 8, 0, 0], ['v2', 'v3', 0, 0, 8]]
        >>> ws.close()
        """
        if not isinstance(duel, DuelJudge | None):
            refuse("duel", duel, "a judge of duels, made by ws.duel_judge(...), or None")
        check_text("question", question)
        check_keywords("duels", limits, _DUEL_LIMITS)
        given: Any = {**_DUEL_LIMITS, **limits}
        check_integer("max_calls", given["max_calls"], optional=True)
        check_number("max_cost_usd", given["max_cost_usd"], optional=True)
        if duel is not None and dry_run:
            return JudgePlan((plan_duels(self.figures, duel)[1],))
        ratings = self._ratings.frame(self.deployment)
        return made_duels(self.figures, duel, ratings, question, given)

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
        """Return a chart. Requires the extra ``charts``.

        Parameters
        ----------
        what : {"metric", "forest", "latency", "wins", "scatter", "frontier", "failures", "turns"}
            Mean of a metric per release with its interval; differences to the baseline, of all
            cases and by label, with the margin; distribution of latencies; numbers of better, tied
            and worse cases; figures of each case on the baseline and on `release`; releases by two
            figures, with the Pareto frontier marked; numbers of cases per failure name; mean of a
            metric per turn of conversations with its interval.
        metric : str, optional
            The metric. Default: the first.
        release : str, optional
            Only this release. Default: all, or the first for a scatter.
        x, y : str, optional
            Axes of a frontier: ``"cost_usd"``, ``"latency_s"`` or a metric's name. Default: the
            cost and the first metric.
        label : str, optional
            A label of the cases: draw one frontier for each of its values, or the rows of a
            forest plot. Default: none, but the first label with few values for a forest plot.

        Returns
        -------
        Picture
            Displayed as an image that follows the light or dark theme; `save` writes a PNG or SVG,
            and `chart` is Altair's chart.

        Raises
        ------
        InputError
            The chart, metric or release does not exist, there is no data, or Altair is not
            installed.
        """
        self._refuse_while_rating()
        with charts_required():
            from vellum_nb.comparison.charts import picture
        axes = (x, y)
        return picture(self.figures, what, metric=metric, release=release, axes=axes, label=label)

    def replay(
        self,
        cases: Chosen | None = None,
        *,
        release_tag: str,
        repeats: int = 1,
        progress: bool = True,
    ) -> SweepRuns:
        """Run cases of this comparison again, on any release tag.

        They run as a sweep, which can be stopped and resumed. Their label ``replay_of`` is the `id`
        of the replayed run: the one shown on the baseline, or on the first release that has one.
        A conversation runs with its whole script and its simulated user, if any.

        Parameters
        ----------
        cases : DataFrame, str, Case, Run or several, optional
            Rows of `frame` (for example of `regressions`), a `case_id`, cases of `cases`, or stored
            runs. Default: all.
        release_tag : str
            The release tag to run them on.
        repeats : int, default 1
            Number of runs per case.
        progress : bool, default True
            Whether to show progress.

        Returns
        -------
        Sweep
            The sweep, with ``label.replay_of`` in its `frame`; empty without cases.

        Raises
        ------
        InputError
            A case does not exist, the sweep with the script of a conversation is not in the
            history, conversations are mixed with other cases, or this comparison has no workspace.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> for tag in ("v1", "v2"):
        ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
        >>> cmp = ws.compare("ticket-triage")
        >>> cmp.replay(cmp.frame("changed"), release_tag="v3")
        <Sweep of ticket-triage on v3: done, 1 of 1 runs>
        """
        actions = require(self._actions, "run cases")
        order = (self.baseline, *self.figures.others)
        rows = replay_rows(self.deployment, self.cases, order, cases)
        return actions.sweep(
            self.deployment, rows, release_tag=release_tag, repeats=repeats, progress=progress
        )

    @with_options(RegressionLimits, REGRESSION_LIMITS)
    def assert_no_regressions(
        self,
        metric: Names = None,
        *,
        release: str | None = None,
        require_checked_judge: bool = False,
        **limits: Unpack[RegressionLimits],
    ) -> GateResult:
        """Raise if cases are worse than on the baseline; for tests and CI.

        A release passes if at most `max_regressions` cases are worse, at most `max_missing` cases
        lack an answer or a figure, and the mean difference is not significantly worse at `alpha`
        and beyond the noise of repeats. None disables a condition. To accept a small loss on
        average instead, use `assert_not_worse`.

        Parameters
        ----------
        metric : str or sequence of str, optional
            Metrics of this comparison. Default: the first.
        release : str, optional
            The release to check. Default: all except the baseline.
        require_checked_judge : bool, default False
            Whether a judge must agree with people, see `judge_check`. If False, warn instead.
        max_regressions : int, default 0
            Largest number of worse cases.
        max_missing : int, default 0
            Largest number of cases without an answer or figure on either release.
        alpha : float, default 0.05
            Significance level for the mean difference, after correction for several releases.

        Returns
        -------
        GateResult
            Prints the counts of each release that passed.

        Raises
        ------
        RegressionError
            A release does not pass; the message lists the reasons and the cases.
        InconclusiveError
            No outcome of so few cases could fail, or the sweep left out cases without a decision.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> cases = [{"ticket": "I was charged twice", "expected.category": "billing"}]
        >>> sweep = ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"], progress=False)
        >>> sweep.compare().assert_no_regressions("score", alpha=0.01)
        v2 passes against v1: 1 better · 0 worse · 0 same · p = 0.50 · no repeats (score).
        """
        names, releases = self.figures.metric_names(metric), self.figures.others_of(release)
        checked = {"require_checked_judge": require_checked_judge}
        return check(self.figures, failures(self.figures, names, releases, limits, **checked))

    def assert_not_worse(
        self,
        metric: Names = None,
        *,
        release: str | None = None,
        margin: MarginOption = None,
        missing: MissingOption = None,
        allow_inconclusive: bool = False,
        require_checked_judge: bool = False,
    ) -> GateResult:
        """Raise unless each release may replace the baseline; for tests and CI.

        Parameters
        ----------
        metric, margin, missing : optional
            As in `decide`.
        release : str, optional
            The release to check. Default: all except the baseline.
        allow_inconclusive : bool, default False
            Whether to warn instead of raising if the result is inconclusive.
        require_checked_judge : bool, default False
            Whether a judge must agree with people, see `judge_check`. If False, warn instead.

        Returns
        -------
        GateResult
            Prints the verdict on each release.

        Raises
        ------
        RegressionError
            A release should not replace the baseline; the message lists the worse cases.
        InconclusiveError
            The result is inconclusive: no verdict yet.
        """
        figures, names = self.figures.deciding(metric, margin, missing)
        decisions, releases = figures.decisions(names), self.figures.others_of(release)
        checked = {"require_checked_judge": require_checked_judge}
        results = decided(figures, decisions, releases, **checked)
        return check(figures, results, allow_inconclusive=allow_inconclusive)

    def to_csv(self, path: str | Path, *, rows: Rows = "cases") -> Path:
        """Write `frame` as CSV. `vellum_nb.read_csv` restores an identical DataFrame.

        Text that a spreadsheet would execute as a formula is escaped with an apostrophe.

        Parameters
        ----------
        path : str or Path
            The file to write.
        rows : {"cases", "runs"}, default "cases"
            ``"runs"`` writes one row per run.

        Raises
        ------
        HistoryError
            The file cannot be written. An existing file is not changed.
        VellumNBError
            The file would contain the API key. It is not written.
        """
        self._refuse_while_rating()
        return write_csv_frame(self._frames(str(path), rows)[rows], path)

    def to_parquet(self, path: str | Path, *, rows: Rows = "cases") -> Path:
        """Write the same as Parquet, columns of mixed types as JSON text. Requires pyarrow."""
        self._refuse_while_rating()
        return write_parquet_frame(self._frames(str(path), rows)[rows], path)

    @overload
    def to_markdown(self, path: None = None, *, only: Names = None) -> str: ...
    @overload
    def to_markdown(self, path: str | Path, *, only: Names = None) -> Path: ...
    def to_markdown(self, path: str | Path | None = None, *, only: Names = None) -> str | Path:
        """Return the comparison as GitHub Markdown, or write it to `path`.

        Deleted words are marked ``[-…-]``, inserted words ``{+…+}``. Markup in outputs is escaped.
        Raises as `to_csv`.

        Parameters
        ----------
        path : str or Path, optional
            The file to write.
        only : str or sequence of str, optional
            Groups of cases to list: ``"worse"``, ``"missing"``, ``"better"``, ``"changed"``,
            ``"same"``. Default: all.
        """
        self._refuse_while_rating()
        model = report.ReportModel(self.figures, self.code_diffs)
        return self._saved(report.markdown(model, only), path, "the Markdown")

    @overload
    def to_html(
        self, path: None = None, *, interactive: bool = False, overwrite: bool = False
    ) -> str: ...
    @overload
    def to_html(
        self, path: str | Path, *, interactive: bool = False, overwrite: bool = False
    ) -> Path: ...
    def to_html(
        self, path: str | Path | None = None, *, interactive: bool = False, overwrite: bool = False
    ) -> str | Path:
        """Return the comparison as one self-contained HTML page, or write it to `path`.

        The page starts with the verdicts and lists all cases, regressions first. Next to
        ``report.html``, two tables hold the data behind every figure: ``report.runs.csv``, one row
        per run, and ``report.cases.csv``. Raises as `to_csv`.

        Parameters
        ----------
        path : str or Path, optional
            The file to write. An earlier report at this path is replaced with its tables.
        interactive : bool, default False
            Whether the page includes a script that searches and filters the cases and moves between
            them with ``j`` and ``k``. Without JavaScript, the page shows no cases; use the default
            report for that, which has no script.
        overwrite : bool, default False
            Whether to replace unrelated files with the names of the tables.
        """
        self._refuse_while_rating()
        target = None if path is None else checked_path(path)
        if target is not None and not target.name:
            msg = f"{str(path)!r} is not a file name; give one, such as 'report.html'"
            raise InputError(msg)
        files = {} if target is None else report.tables_beside(target)
        names = {rows: file.name for rows, file in files.items()}
        model = report.ReportModel(self.figures, self.code_diffs)
        html, hidden = report.page(model, names, interactive=interactive)
        frames = self._frames("the HTML" if target is None else str(path), text=html + hidden)
        if target is None:
            return html
        if not overwrite:
            report.refuse_others(target, files.values())
        write_file(html.encode(errors="replace"), target)
        for rows, file in files.items():
            write_csv_frame(frames[rows], file)
        return target

    @with_options(RegressionLimits, REGRESSION_LIMITS)
    def to_junit(
        self,
        path: str | Path | None = None,
        *,
        metric: Names = None,
        margin: MarginOption = None,
        allow_inconclusive: bool = False,
        require_checked_judge: bool = False,
        **limits: Unpack[RegressionLimits],
    ) -> str | Path:
        """Return the comparison as JUnit XML, or write it to `path`.

        Each release and metric is a suite with one test case per case, and a last one for the
        release as a whole. A worse case is a failure; a case without an answer or figure is an
        error. With a `margin`, given here or to the comparison, the last test case alone decides,
        as `assert_not_worse` does: a failure, or an error if the result is inconclusive. With a
        margin and a limit of `assert_no_regressions`, such as ``max_regressions=0``, the file has
        the suites of both gates. Options as in these two methods; raises as `to_csv`.
        """
        figures, names = self.figures.deciding(metric, margin)
        checked = {"require_checked_judge": require_checked_judge}
        others, by_margin = figures.others, figures.margin is not None
        results = decided(figures, figures.decisions(names), others, **checked) if by_margin else []
        if limits or not by_margin:
            names = names or self.figures.metric_names(None)
            results += failures(figures, names, others, limits, **checked)
        text = junit(figures, results, allow_inconclusive=allow_inconclusive)
        return self._saved(text, path, "the JUnit XML")

    @cached_property
    def code_diffs(self) -> dict[str, CodeDiff]:
        """Code of each release against the baseline's; empty for unreadable code.

        Fetched once, when first read. A tag that has moved since the runs is skipped.
        """
        actions = self._actions
        if actions is None or self.by != "release_tag":
            return {}
        runs = zip(self.answers["release"].tolist(), self.answers["run"].tolist(), strict=True)
        ids = {self.releases[at]: (r.release_tag, r.release_id) for at, r in runs if r.release_id}
        code = {name: actions.code(self.deployment, *key) for name, key in ids.items()}
        old, baseline = code.get(self.baseline), self.baseline
        return {
            name: CodeDiff(self.deployment, baseline, name, old, new)
            for name in self.figures.others
            if old and (new := code.get(name)) and new != old
        }

    def _saved(self, text: str, path: str | Path | None, title: str) -> str | Path:
        """Return `text`, or the path that it was written to."""
        self._frames(title if path is None else str(path), text=text)
        return text if path is None else write_file(text.encode(errors="replace"), path)

    def _frames(self, title: str, rows: str = "", *, text: str = "") -> dict[str, pd.DataFrame]:
        """Return the frames to write, or only that of `rows`; raise if one has the API key."""
        check_text("rows", rows)
        if rows and rows not in get_args(Rows):
            msg = f"rows must be 'cases' or 'runs', not {format_value(rows)}; nothing was written"
            raise InputError(msg)
        frames = {name: self._frame(name) for name in get_args(Rows) if rows in {"", name}}
        leaks = None if self._actions is None else self._actions.leaks
        report.refuse_key(title, leaks, frames.values(), text)
        return frames

    @printed
    def __str__(self) -> str:
        """Return the comparison in a few lines, as ``vellum-nb compare`` prints it."""
        if (rating := self.open_rating) is not None:
            return f"{self.deployment}: {_hidden(rating)}"
        return report.text(report.ReportModel(self.figures))

    @printed
    def __repr__(self) -> str:
        if not self.cases:
            names = ", ".join(self.releases)
            return f"<Comparison of {self.deployment}: no stored runs on {names}>"
        if (rating := self.open_rating) is not None:
            lines = _hidden(rating)
        else:
            lines = "; ".join(self.result(name).line for name in self.figures.others)
        lines = lines or "nothing to compare it with"
        cases = plural(len(self.cases), "case")
        return f"<Comparison of {self.deployment} against {self.baseline}, {cases}: {lines}>"

    @printed
    def _repr_html_(self) -> str:
        if (rating := self.open_rating) is not None:
            return f"<p>{escape(f'{self.deployment}: {_hidden(rating)}')}</p>"
        return report.overview(report.ReportModel(self.figures))

    def _refuse_while_rating(self) -> None:
        """Raise if results would influence the rater of an open blind rating."""
        if (rating := self.open_rating) is not None:
            raise InputError(_hidden(rating))


def _hidden(rating: BlindSession) -> str:
    return f"{rating.hidden_note} cmp.view() continues or ends it."


def _checked_runs(runs: Iterable[Run]) -> list[Run]:
    checked = check_list("runs", runs, "a list of runs")
    for run in checked:
        if not isinstance(run, Run):
            refuse("runs", run, "a list of runs")
    return checked

"""`Workspace`: a client with a history, and the methods that users call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload
from uuid import UUID

from vellum_nb.client import Client
from vellum_nb.client.client import contains_key
from vellum_nb.comparison import Comparison, metrics
from vellum_nb.comparison.bisection import Bisection, Check
from vellum_nb.comparison.compare import CompareOptions, compare_options, judged
from vellum_nb.comparison.duels import DuelInputs, DuelJudge, WinnerJudge
from vellum_nb.comparison.judge_calls import JudgePlan, plan_judges
from vellum_nb.comparison.metrics import Inputs, Metric, One, Value
from vellum_nb.comparison.trend import Trend
from vellum_nb.comparison.trend_figures import Period
from vellum_nb.comparison.watch import Watch
from vellum_nb.escaping import printed
from vellum_nb.history import (
    History,
    Sweeps,
    SyncReport,
    case_sets_of,
    connected,
    parse_location,
    trace_frame,
)
from vellum_nb.lazy import pd
from vellum_nb.models import Cancellation, Run, RunRequest, VellumVariable, WorkflowReleaseTagRead
from vellum_nb.models.checks import check_tags, check_text, refuse, with_options
from vellum_nb.rendering.diff import CodeDiff
from vellum_nb.sweep.case_sets import CaseSet, case_sets_frame
from vellum_nb.sweep.cases import Cases
from vellum_nb.sweep.conversations import Conversation
from vellum_nb.sweep.options import (
    SWEEP_DEFAULTS,
    Existing,
    SweepArguments,
    SweepChanges,
    SweepOptions,
)
from vellum_nb.sweep.plan import SweepPlan
from vellum_nb.sweep.sweep import Sweep, stop_sweeps, sweeps_frame
from vellum_nb.sweep.users import SimulatedUser
from vellum_nb.workspace.bisecting import OneCase, bisect
from vellum_nb.workspace.comparing import (
    Chosen,
    StoredOptions,
    WorkspaceActions,
    stored_comparison,
    stored_trend,
    stored_watch,
)
from vellum_nb.workspace.executions import find_run, rate_run, synchronise
from vellum_nb.workspace.forms import form_spec
from vellum_nb.workspace.live_runs import PendingRun, RunStream, resume_pending, submit
from vellum_nb.workspace.lookup import (
    Lookup,
    cases_frame,
    deployments_frame,
    move_tag,
    releases_frame,
)
from vellum_nb.workspace.runner import Runner, StreamAccumulator, run_request
from vellum_nb.workspace.sweeps import open_case_set, open_sweep, start_sweep

if TYPE_CHECKING:
    from vellum_nb.local import LocalServer
    from vellum_nb.widgets.form import RunForm
    from vellum_nb.widgets.lab import LabPanel
    from vellum_nb.widgets.spec import Progressing
    from vellum_nb.widgets.table import HistoryView


class Workspace:
    """Runs deployments and records every run. Made by `vellum_nb.connect`.

    Use it as a context manager, or call `close`. All methods raise `NotFoundError` for an unknown
    deployment or release tag, with a list of the existing ones, `InputError` for invalid arguments,
    before anything is sent, and `APIError` without a usable answer.

    Attributes
    ----------
    client, history : Client, History
        The client that sends runs, and the history that stores them. With `keep_open`, `close`
        leaves the history open.
    source, server : str, LocalServer or None
        Short label of the server, and the local server, if any.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> ws.run("ticket-triage", {"ticket": "I was charged twice"}).outputs["category"]
    'billing'
    """

    def __init__(
        self,
        client: Client,
        history: History,
        *,
        source: str = "Vellum",
        server: LocalServer | None = None,
        keep_open: bool = False,
    ) -> None:
        self.client = client
        self.source = source
        self.server = server
        self._keep_open = keep_open
        self._lookup = Lookup(client)
        leaks = partial(contains_key, client)
        self.history = connected(history, view=self._view_history, leaks=leaks)
        self._runner = Runner(client, self.history, self._lookup)
        self._actions = WorkspaceActions(self._runner)

    def _view_history(self, history: History, **options: Any) -> HistoryView:
        from vellum_nb.widgets.table import HistoryView

        make_form = partial(self._form, cases=None)
        return HistoryView(history, actions=self._actions, make_form=make_form, **options)

    def close(self) -> None:
        """Close the client, and the history unless you passed it in; stop its sweeps first.

        Calls of a sweep under way are completed. After ten seconds, or an interrupt, they are
        cancelled, and the next session looks up their runs.
        """
        try:
            stop_sweeps(self.history)
        finally:
            self.client.close()
            if not self._keep_open:
                self.history.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @printed
    def __repr__(self) -> str:
        return f"<Workspace on {self.source}, {self.history!r}>"

    @printed
    def _repr_html_(self) -> str:
        return f"<p><b>Workspace</b> on {escape(self.source)}, {escape(repr(self.history))}</p>"

    def deployments(self) -> pd.DataFrame:
        """Return one row per deployment, by name.

        Columns: `name`, `label`, `description`, `inputs`, `outputs`, `status`, `created`, `id`.
        """
        return deployments_frame(self._lookup.deployments())

    def releases(self, deployment: str) -> pd.DataFrame:
        """Return one row per release, newest first.

        Columns: `release_tags`, `description`, `inputs`, `outputs`, `created` (UTC), `release_id`,
        and `image` if a release runs in a container.
        """
        return releases_frame(self._lookup.releases(deployment))

    def move_tag(
        self, deployment: str, tag: str, to: str, *, confirm: bool = True
    ) -> WorkflowReleaseTagRead:
        """Point the release tag `tag` at another release, and return it.

        This affects everyone who runs `deployment` on this tag. `to` is a release tag or a release
        id. With `confirm`, any answer except yes leaves the tag unchanged; without a console to ask
        on, `VellumNBError` is raised.
        """
        return move_tag(self.client, self._lookup, deployment, tag, to, confirm=confirm)

    def code(self, deployment: str, release_tag: str = "LATEST") -> dict[str, str]:
        """Return the code of a release: path to text.

        Raises `BadRequestError`, with the reason, if the code is not available.
        """
        return self._lookup.code(deployment, release_tag)

    def cases(self, deployment: str, release_tag: str = "LATEST") -> pd.DataFrame:
        """Return the cases of a pushed project, for use with `sweep`.

        One row per `DatasetRow` of its ``sandbox.py``. Columns: `label`, ``input.<variable>``, and
        `mocks` if there are any: outputs that `sweep` uses in place of nodes.
        """
        texts = self._lookup.code(deployment, release_tag, include_sandbox=True)
        return cases_frame(texts, f"{deployment} {release_tag}")

    def code_diff(self, deployment: str, old: str, new: str) -> CodeDiff:
        """Compare the code of two releases, identified by their tags.

        Displayed as a diff in a notebook; `text` is a unified diff.
        """
        before, after = self.code(deployment, old), self.code(deployment, new)
        return CodeDiff(deployment, old, new, before, after)

    @property
    def case_sets(self) -> pd.DataFrame:
        """One row per case set of the history, by name; see `case_set`.

        Columns: `name`, `deployment`, `cases`, `version` (number of the newest), `changed` (UTC),
        and `author` of that version.
        """
        return case_sets_frame(case_sets_of(self.history))

    def case_set(self, name: str, *, deployment: str | None = None) -> CaseSet:
        """Open a named list of cases, or create it with its first cases.

        The history stores every version of it, for all who share the history.

        Parameters
        ----------
        name : str
            Name of the set.
        deployment : str, optional
            Deployment whose inputs the cases have. A set that exists knows it, and so do runs.

        Raises
        ------
        InputError
            The set has cases of another deployment.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> suite = ws.case_set("billing", deployment="ticket-triage")
        >>> print(suite.add([{"ticket": "I was charged twice"}, {"ticket": "A refund, please"}]))
        billing, version 1: 2 added
        >>> ws.case_sets[["name", "cases", "version"]].values.tolist()
        [['billing', 2, 1]]
        """
        return open_case_set(self._runner, name, deployment)

    def form(
        self,
        deployment: str,
        *,
        variables: Sequence[VellumVariable | Mapping[str, Any]] | None = None,
        conversation: Conversation | None = None,
    ) -> RunForm:
        """Return a form for `deployment`, made from its input variables.

        If the API key cannot read the deployment, pass its `variables` as dicts such as ``{"key":
        "ticket", "type": "STRING", "required": True}``. Default: the inputs of the last recorded
        run.

        `conversation` names message and reply of the form's chat and selects what a turn gets from
        the turns before it. Without it, the chat is offered for a deployment with a chat history,
        or with a text as its only input.
        """
        return self._form(
            deployment,
            variables=variables,
            cases=partial(self.sweep, deployment),
            conversation=conversation,
        )

    def _form(
        self,
        deployment: str,
        *,
        variables: Sequence[VellumVariable | Mapping[str, Any]] | None = None,
        cases: Callable[..., Any] | None,
        conversation: Conversation | None = None,
    ) -> RunForm:
        from vellum_nb.widgets.form import RunForm
        from vellum_nb.widgets.spec import Progressing

        execute = self._runner.execute

        def stream(
            request: RunRequest, cancel: Cancellation, show: Callable[[Progressing], None]
        ) -> Run:
            def report(so_far: StreamAccumulator) -> None:
                texts = dict(so_far.texts)
                show(Progressing(texts, so_far.node, so_far.nodes_done, so_far.first_s))

            return execute(request, cancel, on_event=report)[0]

        return RunForm(
            form_spec(
                deployment, self._lookup, self.history, source=self.source, variables=variables
            ),
            run=lambda request, cancel: execute(request, cancel)[0],
            release=partial(self._lookup.release, deployment),
            stream=stream,
            actions=self._actions,
            cases=cases,
            conversation=conversation,
        )

    def lab(self, deployment: str) -> LabPanel:
        """Return form, history and comparison of `deployment` in one panel."""
        from vellum_nb.widgets.lab import LabPanel

        form = self.form(deployment)
        view = self.history.view(deployment=deployment)

        def compare() -> Any:
            return self.compare(deployment, release_tags=list(form.release_tags)).view()

        return LabPanel(form, view, compare, source=self.source)

    def run(
        self,
        deployment: str,
        inputs: Mapping[str, object],
        *,
        release_tag: str = "LATEST",
        external_id: str | UUID | None = None,
        metadata: Mapping[str, Any] | None = None,
        previous_execution_id: str | UUID | None = None,
        expand_meta: bool = False,
    ) -> Run:
        """Execute `deployment` once and record the run; a rejected run is returned, too.

        The release tag is resolved to a release, the inputs are checked against its variables, and
        the run is stored before it is sent. An `APIError` leaves it FAILED, an interrupt CANCELLED.
        If it may have been executed, it is in doubt (`Run.doubt`): ``ws.sync(deployment)``
        and `resume_pending` complete it with state, outputs and cost. `HistoryError`: the run could
        not be stored.

        Parameters
        ----------
        inputs : mapping
            Values by input variable: text, numbers, bools, dicts and lists; chat histories as lists
            of messages or ``(role, text)`` pairs; images, audio, video and documents as a
            `pathlib.Path`, bytes, data URL or http URL.
        release_tag : str, default "LATEST"
            The release to run.
        external_id, metadata : optional
            Your id for the run, unique in the workspace (default: the run's own), and a dict.
            Vellum and the history store both.
        previous_execution_id : str or UUID, optional
            The execution to continue.
        expand_meta : bool, default False
            Whether to request the usage of prompt nodes: `cost_usd`, `tokens_in`, `tokens_out`,
            `model` and `nodes`. The run is then sent as a stream.
        """
        request = run_request(
            deployment, inputs, release_tag, external_id, metadata, previous_execution_id
        )
        run, error = self._runner.execute(request, expand_meta=expand_meta)
        if error is not None:
            raise error
        return run

    def stream(
        self,
        deployment: str,
        inputs: Mapping[str, object],
        *,
        release_tag: str = "LATEST",
        external_id: str | UUID | None = None,
        metadata: Mapping[str, Any] | None = None,
        previous_execution_id: str | UUID | None = None,
        event_types: Sequence[str] = ("WORKFLOW",),
        expand_meta: bool = False,
    ) -> RunStream:
        """Execute `deployment` and return its events as they arrive; otherwise as `run`.

        Closing a stream early leaves its run CANCELLED and in doubt. `event_types` are WORKFLOW,
        NODE or both; with NODE, or with `expand_meta`, the run gets its `nodes`.
        """
        request = run_request(
            deployment, inputs, release_tag, external_id, metadata, previous_execution_id
        )
        return RunStream(self._runner, request, event_types=event_types, expand_meta=expand_meta)

    def submit(
        self,
        deployment: str,
        inputs: Mapping[str, object],
        *,
        release_tag: str = "LATEST",
        external_id: str | UUID | None = None,
        metadata: Mapping[str, Any] | None = None,
        previous_execution_id: str | UUID | None = None,
    ) -> PendingRun:
        """Start an execution of `deployment` and return at once; otherwise as `run`.

        The run is stored as STARTED with its execution id. If this kernel ends, `resume_pending`
        returns the run in the next one. The same applies if the reply was lost or interrupted, once
        the server lists the execution.
        """
        request = run_request(
            deployment, inputs, release_tag, external_id, metadata, previous_execution_id
        )
        return submit(self._runner, request)

    def resume_pending(self) -> list[PendingRun]:
        """Look up all runs in doubt; return those with a known execution, newest first.

        A run in doubt was sent, or may have been, and has no recorded answer: it is STARTED, or
        CANCELLED or FAILED with a `doubt`. It is identified by its execution id or external id. If
        its execution has ended, its `run` is complete at once; wait for the others. A run is
        skipped if the server does not list its execution yet, if it belongs to another environment
        or server, or if this workspace or the driver of a sweep is executing it.
        """
        return resume_pending(self._runner)

    def rate(
        self,
        run: Run | str,
        *,
        quality: float | None = None,
        desired: Mapping[str, object] | None = None,
        metadata: Mapping[str, Any] | None = None,
        author: str | None = None,
    ) -> Run:
        """Rate a run, and optionally give the outputs it should have had; return the rated run.

        The rating is sent to Vellum as actuals, then stored. An `APIError` leaves the history
        unchanged.

        Parameters
        ----------
        run : Run or str
            The run, its `id`, its execution id or its external id.
        quality : float, optional
            From 0 (bad) to 1 (good), for the outputs in `desired`, or for all outputs.
        desired, metadata : mapping, optional
            Desired values by output (others are unchanged), and metadata that Vellum stores with
            the actuals.
        author : str, optional
            The rater, for `Run.ratings`. Default: ``VELLUM_NB_AUTHOR``, or your user name if the
            history is on a server.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag="v1")
        >>> ws.rate(run, quality=0, desired={"category": "billing"}).quality
        0.0
        """
        return rate_run(
            self._runner, run, quality=quality, desired=desired, metadata=metadata, author=author
        )

    def trace(self, run: Run | str) -> pd.DataFrame:
        """Return the nodes of a run, one row per node, in order of their start.

        Nodes are fetched from Vellum once and then stored. Columns: `name`, `state`, `start` (UTC),
        `duration_s`, `error`, `kind`, `model`, `tokens_in`, `tokens_out`, `cost_usd`, `depth` (0 in
        the workflow itself). `run` is as in `rate`.
        """
        return trace_frame(self._actions.trace(find_run(self.history, run)))

    def sync(
        self,
        deployment: str,
        *,
        since: datetime | date | str | None = None,
        until: datetime | date | str | None = None,
        limit: int | None = None,
        sample: int | None = None,
    ) -> SyncReport:
        """Import executions of `deployment` that were made elsewhere into the history.

        The imported runs have release, cost, tokens, duration and rating. STARTED runs are
        completed; existing values do not change, and a second import adds nothing.

        Parameters
        ----------
        since, until : datetime, date or str, optional
            When the executions began; `since` is inclusive, `until` exclusive, UTC by default.
        limit : int, optional
            Import only this many of the newest executions.
        sample : int, optional
            Import only a random sample of this many of these executions. The same period has the
            same sample.
        """
        return synchronise(
            self._runner, deployment, since=since, until=until, limit=limit, sample=sample
        )

    @overload
    def sweep(
        self,
        deployment: str,
        cases: Cases | CaseSet,
        *,
        dry_run: Literal[True],
        **options: Unpack[SweepArguments],
    ) -> SweepPlan: ...

    @overload
    def sweep(
        self,
        deployment: str,
        cases: Cases | CaseSet,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[SweepArguments],
    ) -> Sweep: ...

    @with_options(SweepArguments, SWEEP_DEFAULTS)
    def sweep(
        self,
        deployment: str,
        cases: Cases | CaseSet,
        *,
        dry_run: bool = False,
        **options: Unpack[SweepArguments],
    ) -> Sweep | SweepPlan:
        """Execute `deployment` for every case on every release tag, `repeats` times.

        All cases are checked before the first call. Every run is in the history before it is sent,
        once. The same call again, in this kernel or a later one, resumes a sweep that was stopped
        or lost, and returns one that has ended. A run without an answer is looked up before it is
        sent again: no run is executed twice if the server refuses a used external id, as Vellum
        documents it, or lists executions in time.

        Interrupt the kernel to stop: calls under way are completed, then KeyboardInterrupt is
        raised. While the sweep runs in this process, the same call with other `limits` applies
        them.

        Parameters
        ----------
        deployment : str
            Name of the deployment.
        cases : DataFrame, list of dicts, runs, path, or CaseSet
            One row per case; a path ends in ``.csv``, ``.jsonl``, ``.json`` or ``.parquet``.
            A case with a list of `turns`, or several rows with the columns `conversation` and
            `turn`, is a conversation.
            Columns named like an input variable, or ``input.<variable>``, are inputs;
            ``expected.<output>`` is the expected output; ``previous_execution_id`` is the execution
            that the case continues; ``mocks`` are outputs that a local server uses in place of
            nodes, such as ``[{"node_id": "...", "then_outputs": {"text": "hello"}}]`` (see
            `cases`); all others are labels. Cells of a CSV are converted to the type of their
            variable. Stored runs (``ws.history.frame(...)``, ``.runs(...)``) are cases as well,
            with ``desired.<output>`` as the expected outputs.
        release_tags : sequence of str
            Release tags; the first is the baseline.
        repeats : int, default 1
            Runs per case and release tag.
        concurrency : int, optional
            Number of calls under way at once. By default it adapts to the server, from 16 to 128.
        limits : Limits or dict, optional
            Limits of the whole sweep, such as ``{"max_calls": 500, "max_cost_usd": 5}``.
        existing : {"resume", "reuse", "restart"}
            Use of the history. ``"resume"`` resumes or returns the sweep of the same plan.
            ``"reuse"`` also uses fulfilled runs of the same case on the same release; their runs in
            doubt are looked up first. ``"restart"`` runs all cases again. Default: ``"reuse"`` for
            a `CaseSet` without conversations, else ``"resume"``.
        conversation : Conversation, optional
            How the turns of conversations are sent; by default inferred from the deployment.
        stop_when : {"decided"} or StopWhen, optional
            Rule that stops the sweep once each release is better or worse than the baseline (with
            a margin: once it may or should not replace it), or the remaining cases cannot decide.
        expand_meta : bool, default False
            Whether to request tokens, cost and nodes, as in `run`; `max_cost_usd` implies it.
        resend_in_doubt : bool, default True
            Whether a run without an answer is sent again, under the same external id, if look-ups
            find no execution of it for long enough: the longest latency of the deployment plus
            twice the listing delay of this server, at least 8 s. False leaves it in doubt.
        files : str or Path, optional
            Folder of the images, audio files, videos and documents that cases name. Names are
            relative to it, and links that leave it are not followed. By default such a name is an
            `InputError`: text is never read as a path.
        dry_run : bool, default False
            Whether to check and plan only, and return the `SweepPlan`, whose `power` says whether
            the sweep can show that a release is not worse.
        progress : bool, default True
            Whether to show a view in a notebook, or one line in a terminal.
        background : bool, default False
            Whether to return at once; see `Sweep.wait`, `Sweep.pause` and `Sweep.stop`.
        executor : concurrent.futures.Executor, optional
            Executor of the calls: a pool of processes, or a Dask cluster with
            ``distributed.Client(...).get_executor()``. Its workers need this package and access to
            the server; the history stays here. Default: threads.

        Returns
        -------
        Sweep or SweepPlan
            The sweep, or its plan if `dry_run`.

        Raises
        ------
        InputError
            Cases do not fit the deployment; its `frame` lists all problems. Or this process runs
            this sweep, with another concurrency, executor or `stop_when`, or with
            ``existing="restart"``.
        HistoryError
            Another process runs this sweep.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> cases = [{"ticket": "I was charged twice", "expected.category": "billing"}]
        >>> ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"], dry_run=True)
        <SweepPlan of ticket-triage: 1 case x 2 release tags = 2 calls>
        >>> ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"])
        <Sweep of ticket-triage on v1, v2: done, 2 of 2 runs>
        """
        cases = parse_location(cases)  # before anything can fail: a traceback may show it
        options["files"] = parse_location(options.get("files"))
        if isinstance(cases, CaseSet) and not cases.has_conversations:
            options.setdefault("existing", "reuse")
        plan = SweepOptions.of_arguments(options, dry_run=dry_run)
        actions, runner = self._actions, self._runner
        return start_sweep(runner, actions.compare, deployment, cases, plan, pilot=actions.pilot)

    def converse(
        self,
        deployment: str,
        turns: Sequence[str | Mapping[str, object]],
        *,
        release_tag: str = "LATEST",
        conversation: Conversation | None = None,
        existing: Existing = "resume",
    ) -> list[Run]:
        """Run one conversation with a release, and return its runs, by turn.

        It is a sweep of one case: the same call again returns the stored runs, or continues a
        conversation that was interrupted. A turn is sent after the answer to the one before it. A
        turn that fails ends the conversation; the later turns are FAILED and are not sent.

        Parameters
        ----------
        deployment : str
            Name of the deployment.
        turns : list of str or dict
            What the user says: the messages, or the inputs of each turn.
        release_tag : str, default "LATEST"
            The release to talk to.
        conversation : Conversation, optional
            The names of message and reply, and what a turn gets from the turns before it.
        existing : {"resume", "restart"}, default "resume"
            ``"restart"`` runs the conversation again.

        Raises
        ------
        InputError
            The turns do not fit the deployment; nothing was sent.
        HistoryError
            Another process runs this conversation.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> turns = ["My order A-1234 is late", "A refund, please"]
        >>> runs = ws.converse("support-bot", turns, release_tag="v1")
        >>> runs[-1].outputs["reply"]
        'Your refund for order A-1234 (late) is on its way.'
        >>> ws.close()
        """
        options: SweepArguments = {"release_tags": [release_tag], "existing": existing}
        options |= {"conversation": conversation, "progress": False}
        sweep = self.sweep(deployment, [{"turns": turns}], **options)
        return sorted(sweep.runs(), key=lambda run: run.turn or 0)

    def user(
        self,
        deployment: str,
        *,
        release_tag: str = "LATEST",
        inputs: Mapping[str, str] | None = None,
        message: str | None = None,
        stop: str | None = None,
    ) -> SimulatedUser:
        """Return a simulated user: a workflow that writes what the user says next.

        It speaks when the script of a conversation has ended, until it stops or the conversation
        has `max_turns`. Its calls are planned, limited and executed once like all runs; its release
        is part of the identity of a case.

        Parameters
        ----------
        deployment : str
            Name of the workflow, not the one that is tested.
        release_tag : str, default "LATEST"
            Its release.
        inputs : dict, optional
            Its input variables, mapped to what they get: ``transcript`` (text), ``messages`` (a
            chat history), ``turn`` (the number of the next turn), ``label.<name>`` or
            ``expected.<output>`` of the case. Default: by the names of the variables and labels.
        message : str, optional
            Its output with the message. Default: the only text.
        stop : str, optional
            Its output that is true if the user has nothing more to say. A run without a message
            ends the conversation, too.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> user = ws.user("angry-customer", stop="done")
        >>> cases = [{"turns": ["My order A-1234 is broken"], "goal": "refund"}]
        >>> talk = vnb.Conversation(user=user, max_turns=4)
        >>> sweep = ws.sweep("support-bot", cases, release_tags=["v1"], conversation=talk)
        >>> sweep.frame().sort_values("turn")["output.status"].tolist()
        ['asks for wish', 'refund']
        >>> ws.close()
        """
        return SimulatedUser(deployment, release_tag, inputs, message, stop)

    def sweeps(self, deployment: str | None = None) -> pd.DataFrame:
        """Return one row per sweep of this history, or of `deployment`, newest first.

        Columns: `sweep_id`, `deployment`, `release_tags`, `state` (``ready``, ``running``,
        ``stopped``, ``done``), numbers of runs (`planned`, `done`, `failed`, `started`, `to_go`),
        `cases`, `repeats`, `created`, `ended`, `why` it stopped, `environment`, and `case_set` and
        `case_set_version` (its number) if it runs a case set.
        """
        check_text("deployment", deployment, optional=True)
        numbers = case_sets_of(self.history).numbers()
        return sweeps_frame(Sweeps(self.history), numbers, deployment)

    def open_sweep(self, sweep_id: str, **options: Unpack[SweepChanges]) -> Sweep:
        """Return a sweep of this history, to read or to resume.

        `Sweep.resume` and `Sweep.retry_failed` execute its runs on the current releases of its
        tags, in threads, with the options of its last call.

        Parameters
        ----------
        sweep_id : str
            Its id, or the start of it; `sweeps` lists them.
        **options
            Other options, as in `sweep`. ``limits={"max_calls": None}`` changes one limit, also of
            a running sweep. `concurrency`, `expand_meta`, `resend_in_doubt` and `executor` cannot
            change while it runs. ``stop_when=None`` runs all remaining cases; to resume a sweep
            with `stop_when`, make the same call of `sweep`.
        """
        return open_sweep(self._runner, self._actions.compare, sweep_id, options)

    @overload
    def compare(
        self, deployment: str, *, dry_run: Literal[True], **options: Unpack[StoredOptions]
    ) -> JudgePlan: ...

    @overload
    def compare(
        self,
        deployment: str,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[StoredOptions],
    ) -> Comparison: ...

    @compare_options
    def compare(
        self,
        deployment: str,
        *,
        release_tags: Sequence[str] | None = None,
        sweep: Sweep | str | None = None,
        since: datetime | str | None = None,
        cases: Chosen | None = None,
        dry_run: bool = False,
        **options: Unpack[CompareOptions],
    ) -> Comparison | JudgePlan:
        """Compare the stored runs of `deployment`, one row per case.

        Executes only judges, for answers they have not judged yet. All repeats of a case count; its
        newest answer is shown. Metrics receive the expected outputs from sweeps and ratings.

        Parameters
        ----------
        release_tags, baseline : optional
            The tags in the order of the columns, and the one that the others are compared with.
            Default: all tags with runs, and the first.
        sweep, since : optional
            Only the runs of this sweep (or sweep id); only runs from this time on (UTC unless a
            zone is given).
        cases : optional
            Only these cases: each `case_id`, which must have runs, or a table as for `sweep` with
            expected outputs, whose cases without runs are missing.
        metrics, alpha, cluster : optional
            Metrics, significance level (default 0.05) and the label or input that dependent cases
            share; as in `vellum_nb.Comparison`.
        margin, missing : optional
            Acceptable loss, and how lost answers count; as in `Comparison.decide`.
        dry_run : bool, default False
            Whether to return only the number of calls that the judges would make.
        max_calls, max_cost_usd, progress : optional
            Limits of the judges, and whether to show their progress (default). An answer that is
            not judged because of a limit is an error of the metric, and judged by the next call.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> for tag in ("v1", "v2"):
        ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
        >>> ws.compare("ticket-triage", metrics=[vnb.metrics.contains("billing", "category")])
        <Comparison of ticket-triage against v1, 1 case: v2: 1 better · 0 worse · 0 same · \
p = 0.50 · noise floor unknown>
        """
        cases = parse_location(cases)  # before anything can fail: a traceback may show it
        tags = None if release_tags is None else check_tags(release_tags)
        chosen_sweep = self.open_sweep(sweep) if isinstance(sweep, str) else sweep
        if not isinstance(chosen_sweep, Sweep | None):
            refuse("sweep", sweep, "a Sweep, its id or None")
        filters: Any = {"sweep": chosen_sweep, "since": since, "cases": cases}
        comparison = stored_comparison(self._actions, deployment, tags, options, **filters)
        if dry_run:
            return plan_judges(comparison.figures, self._actions)
        return judged(comparison, self._actions, options)

    def trend(
        self,
        deployment: str,
        cases: Chosen | None = None,
        *,
        release_tags: Sequence[str] = ("production",),
        metric: One = "score",
        by: Period = "week",
        since: datetime | str | None = None,
        cluster: str | None = None,
    ) -> Trend:
        """Return the figures of release tags over time, from the stored runs of sweeps.

        Neighbouring points are compared on the cases that they have in common, and the line adds up
        these differences. New cases therefore do not move it. The newest point is the mean of its
        cases. A point that shares fewer than six cases with the next is "not enough data". Nothing
        is executed; judges only count where they have judged an answer already.

        Parameters
        ----------
        cases : optional
            Only these cases: a case set, a table as for `sweep`, or each `case_id`. Default: all.
        release_tags : sequence of str, default ("production",)
            The tags; each has a line. If a tag moved within a period, each release has a point.
        metric : str, Metric or callable, default "score"
            The metric.
        by : {"sweep", "day", "week", "month"}, default "week"
            The period of a point, in UTC. Of each case, the runs of its newest sweep in the period
            count; repeats are averaged.
        since, cluster : optional
            Only runs from this time on; the label or input that dependent cases share.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> texts = ["I was charged twice", "Refund me", "It crashes", "Hello", "Help", "Cancel it"]
        >>> cases = [{"ticket": text, "expected.category": "billing"} for text in texts]
        >>> for week in range(2):
        ...     sweep = ws.sweep(
        ...         "ticket-triage", cases, release_tags=["v2"], existing="restart", progress=False
        ...     )
        >>> trend = ws.trend("ticket-triage", release_tags=["v2"], by="sweep")
        >>> trend.frame()[["cases", "n", "level", "change"]].round(2).values.tolist()
        [[6.0, 6.0, 0.5, nan], [6.0, 6.0, 0.5, 0.0]]
        """
        cases = parse_location(cases)  # before anything can fail: a traceback may show it
        options: Any = {"metric": metric, "by": by, "since": since, "cluster": cluster}
        return stored_trend(self._actions, deployment, check_tags(release_tags), cases, **options)

    def watch(
        self,
        deployment: str,
        cases: Chosen | None = None,
        *,
        tag: str = "production",
        reference: str | None = None,
        metric: One = "score",
        every: str = "1d",
        margin: float = 0.0,
        since: datetime | str | None = None,
        paired: bool = True,
    ) -> Watch:
        """Test whether a release tag has become worse, from its stored runs.

        Each run is compared with the mean of all earlier runs of its case. Call it after every
        sweep: the test is valid at any time, and gives at most 5 false alarms in 100 series of 365
        checks. It has no state of its own. Nothing is executed.

        Parameters
        ----------
        cases : optional
            Only these cases: a case set, a table as for `sweep`, or each `case_id`. Default: all.
        tag, reference : str
            The release tag to watch, and another one whose runs also count as earlier runs, such as
            the tag of the release that you approved.
        metric : str, Metric or callable, default "score"
            A metric with finite bounds.
        every : str, default "1d"
            Time between two checks. If the newest run is older than two, the status is "cannot
            tell yet".
        margin : float, default 0
            Acceptable loss: smaller ones are no alarm.
        since : optional
            Ignore runs before this time, for example after you accepted a loss.
        paired : bool, default True
            Whether to compare the runs of sweeps case by case. False: compare all other runs, such
            as imported executions with ratings, with the mean of the earlier ones.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> cases = [{"ticket": f"Refund {n}", "expected.category": "billing"} for n in range(8)]
        >>> sweep = ws.sweep("ticket-triage", cases, release_tags=["v2"], progress=False)
        >>> ws.watch("ticket-triage", tag="v2").status
        'cannot tell yet'
        """
        cases = parse_location(cases)  # before anything can fail: a traceback may show it
        check_text("tag", tag)
        check_text("reference", reference, optional=True)
        options: Any = {"metric": metric, "every": every, "margin": margin, "since": since}
        tags: Any = {"release_tag": tag, "reference": reference, "paired": paired}
        return stored_watch(self._actions, deployment, cases, **tags, **options)

    def judge(
        self,
        deployment: str,
        *,
        inputs: Inputs | None = None,
        output: str | None = None,
        release_tag: str = "LATEST",
        name: str | None = None,
        lower_is_better: bool = False,
        rejected: Value = 0.0,
        repeats: int = 1,
        threshold: float = 0.5,
    ) -> Metric:
        """Return a metric computed by another workflow of this workspace; see `metrics.judge`.

        It also works without a workspace, as in `vellum_nb.compare`. `Comparison.judge_check` shows
        its agreement with people.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> def grader(answer: str) -> float:
        ...     return min(1.0, len(answer) / 100)
        >>> release = ws.server.deploy(grader, name="grader")
        >>> run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag="v2")
        >>> judged = ws.judge("grader", inputs={"answer": "output.category"})
        >>> ws.compare("ticket-triage", metrics=judged).summary()["metric.grader"].tolist()
        [0.07]
        """
        made = metrics.judge(
            deployment,
            inputs=inputs,
            output=output,
            release_tag=release_tag,
            name=name,
            lower_is_better=lower_is_better,
            rejected=rejected,
            repeats=repeats,
            threshold=threshold,
        )
        return made.replaced(actions=self._actions)

    def duel_judge(
        self,
        deployment: str,
        *,
        inputs: DuelInputs | None = None,
        output: str | None = None,
        release_tag: str = "LATEST",
        name: str | None = None,
    ) -> DuelJudge:
        """Return a judge for `Comparison.duels`: a workflow that sees two answers to one case.

        Parameters
        ----------
        deployment : str
            The name of the judging workflow.
        inputs : mapping or callable, optional
            Its input variables, mapped to columns: ``{"question": "input.ticket", "a":
            "first.reply", "b": "second.reply", "right": "expected.category"}``, with columns of
            both answers. ``first`` and ``second`` have the outputs of the last turn of a
            conversation, ``"first_conversation.transcript"`` the text of all turns, and
            ``"first_conversation.messages"`` their chat history. Or a function of (first run,
            second run, expected) that returns its inputs; parameters named `first_conversation`
            and `second_conversation` get the turns. Default: ``inputs``, ``first``, ``second`` and
            ``expected`` as objects; the answers of a conversation also have its ``transcript``.
        output : str, optional
            The output with the verdict: ``"first"`` or ``"A"``, ``"second"`` or ``"B"``, or
            ``"tie"``. Anything else is an error of the duel. Default: ``winner``, or the only
            output.
        release_tag, name : str
            The release of the judge, and its name in reports (default: the deployment's).

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> for tag in ("v1", "v2"):
        ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
        >>> columns = {"question": "input.ticket", "a": "first.reply", "b": "second.reply"}
        >>> judge = ws.duel_judge("pair-grader", inputs=columns)
        >>> ws.compare("ticket-triage").duels(judge, dry_run=True).calls
        2
        >>> ws.close()
        """
        check_text("deployment", deployment)
        check_text("release_tag", release_tag)
        check_text("output", output, optional=True)
        check_text("name", name, optional=True)
        options: Any = {"name": name or deployment, "repeats": 1, "threshold": 0.0}
        made = WinnerJudge(deployment, release_tag, None, output, **options)
        return DuelJudge(made, inputs, self._actions)

    def bisect(
        self,
        deployment: str,
        case: OneCase,
        check: Check | None = None,
        *,
        first: str | None = None,
        last: str | None = None,
        repeats: int | None = None,
    ) -> Bisection:
        """Find the first release that answers a case differently from the oldest one.

        A binary search over the releases: of 100, about 9 are run, and the two next to the change
        are repeated. Stored runs of this case are used first. If the answer changed several times,
        one of the changes is returned. `VellumNBError`: the answer never changed, `check` raised,
        or runs of a release disagree too much.

        Parameters
        ----------
        case : mapping, Run, Case or str
            The inputs, or a run, a case of a comparison, or a `case_id` with these inputs. One of a
            conversation means its whole script, which runs as a sweep on each release.
        check : callable, optional
            A function of a run. The search is for the release that changes its result. Default:
            the outputs, or the error. In a conversation, every turn is checked; a function with a
            parameter `conversation` gets all of them, as in a `Metric`.
        first, last : str, optional
            Release tags or release ids to search between. Default: oldest and newest.
        repeats : int, optional
            Number of runs per release; the majority counts. Default: one, and up to five if runs of
            one release disagree.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> case, category = {"ticket": "I was charged twice"}, lambda run: run.outputs["category"]
        >>> ws.bisect("ticket-triage", case, category).first_changed
        'v2'
        """
        compare = self._actions.compare
        return bisect(
            self._runner, compare, deployment, case, check, first=first, last=last, repeats=repeats
        )

"""Sweeps: many cases on many release tags."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Literal, Unpack, overload

from vellum_nb.experiments.sweep.plan import SweepPlan
from vellum_nb.experiments.sweep.reading import Cases
from vellum_nb.experiments.sweep.sweep import Sweep
from vellum_nb.workspace.asking import WorkspaceJudges
from vellum_nb.workspace.sweep_making import SweepMaking, live_sweep
from vellum_nb.workspace.sweep_opening import found_sweep
from vellum_nb.workspace.sweep_options import (
    SweepArguments,
    SweepLimits,
    checked_options,
    kept_options,
)
from vellum_nb.workspace.sweep_plan import planned
from vellum_nb.workspace.sweep_table import sweeps_frame
from vellum_nb.workspace.watching import announce, watch

if TYPE_CHECKING:
    import pandas as pd

    from vellum_nb.widgets.cases import CaseCalls

__all__ = ["SweepMethods"]


class SweepMethods(SweepMaking):
    """Runs many cases on many release tags."""

    @overload
    def sweep(
        self,
        deployment: str,
        cases: Cases,
        *,
        dry_run: Literal[True],
        **options: Unpack[SweepArguments],
    ) -> SweepPlan: ...

    @overload
    def sweep(
        self,
        deployment: str,
        cases: Cases,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[SweepArguments],
    ) -> Sweep: ...

    def sweep(
        self,
        deployment: str,
        cases: Cases,
        *,
        release_tags: Sequence[str] = ("LATEST",),
        repeats: int = 1,
        concurrency: int | None = None,
        max_concurrency: int = 128,
        max_calls: int | None = None,
        max_seconds: float | None = None,
        max_cost_usd: float | None = None,
        stop_after_failures: int | None = None,
        expand_meta: bool = False,
        progress: bool = True,
        background: bool = False,
        dry_run: bool = False,
        fresh: bool = False,
        reuse: bool = False,
        executor: Executor | None = None,
    ) -> Sweep | SweepPlan:
        """Execute `deployment` for every case on every release tag, `repeats` times.

        All cases are checked before the first call. Every run is in the history before it is
        sent, and exactly once whatever happens: the same call again, in this kernel or a later
        one, goes on with a sweep that was stopped or lost. Stop it by interrupting the kernel;
        what is under way ends first.

        Parameters
        ----------
        deployment : str
            The deployment's name.
        cases : DataFrame, list of dicts, runs, or path
            One row a case; a path ends in ``.csv``, ``.jsonl``, ``.json`` or ``.parquet``. Columns
            called as an input variable, or ``input.<variable>``, are inputs; ``expected.<output>``
            is what the answer should be; all others are labels, kept beside the runs. Cells of a
            CSV are read as the type of their variable, JSON text too. Stored runs, as
            ``ws.history.frame(...)`` or ``.runs(...)`` return them, are cases as well: each set
            of inputs once, ``desired.<output>`` as what is expected.
        release_tags : sequence of str, default ("LATEST",)
            The release tags; the first is the baseline.
        repeats : int, default 1
            How often each case is run on each tag.
        concurrency : int, optional
            How many calls are under way at once. Default: as many as the server takes well, from
            16 on, and never more than `max_concurrency`.
        max_concurrency : int, default 128
            The most calls at once.
        max_calls, max_seconds, max_cost_usd, stop_after_failures : optional
            Where the whole sweep stops by itself, to be resumed with a higher limit; what is
            under way then still ends. `max_cost_usd` holds where the runs tell their cost.
        expand_meta : bool, default False
            Whether to ask for tokens, cost and nodes, as in `run`; `max_cost_usd` does it too.
        progress : bool, default True
            Whether to show how far it is: in a notebook its view, in a terminal one line.
        background : bool, default False
            Return at once; see `Sweep.wait`, `Sweep.pause`, `Sweep.stop`.
        dry_run : bool, default False
            Check and plan, send and keep nothing: return the `SweepPlan`.
        fresh : bool, default False
            Start anew, though an unfinished sweep has the same plan.
        reuse : bool, default False
            Take fulfilled runs that the history has of the same case on the same release, as many
            as `repeats` ask, and send only the others.
        executor : concurrent.futures.Executor, optional
            Where the calls are made: a pool of processes, or a Dask cluster with
            ``distributed.Client(...).get_executor()``. Every place needs this package, and reaches
            the server; the history stays here. What a lost worker was at is looked up before it
            is sent again. Default: threads.

        Returns
        -------
        Sweep
            Done, or stopped, and then its `repr` says why; with `background` under way.

        Raises
        ------
        InputError
            Cases do not fit; its `frame` is a table of row, variable and problem. Nothing was
            sent.
        NotFoundError
            There is no such deployment or release tag; the message lists those there are.
        HistoryError
            Another process runs this very sweep; the message says which.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> cases = [{"ticket": "I was charged twice", "expected.category": "billing"}]
        >>> ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"], dry_run=True)
        <SweepPlan of ticket-triage: 1 case x 2 release tags = 2 calls>
        >>> sweep = ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"])
        >>> sweep
        <Sweep of ticket-triage on v1, v2: done, 2 of 2 runs>
        >>> sweep.frame()[["release_tag", "output.category", "expected.category"]].head(1)
          release_tag output.category expected.category
        0          v2         billing           billing
        """
        options = checked_options(
            executor,
            concurrency=concurrency,
            max_concurrency=max_concurrency,
            max_calls=max_calls,
            max_seconds=max_seconds,
            max_cost_usd=max_cost_usd,
            stop_after_failures=stop_after_failures,
            expand_meta=expand_meta,
        )
        wanted = self._wanted(deployment, cases, release_tags, repeats)
        plan = partial(planned, wanted, self.history.sweeps, options, fresh=fresh, reuse=reuse)
        if dry_run:
            return plan().plan
        found = plan()
        sweep = live_sweep(found.record.id)
        if sweep is None:
            while not self._kept(found, wanted.checked.cases, twin=fresh):
                found = plan()
            sweep = self._sweep(found, wanted, options)
        sweep.judging = WorkspaceJudges(self)
        sweep.watch = watch if progress else None
        if progress:
            announce(found.plan)
        return sweep.resume(background=background)

    def sweeps(self, deployment: str | None = None) -> pd.DataFrame:
        """Return the sweeps of this history as a DataFrame, one row a sweep, newest first.

        Columns: `sweep_id`, `deployment`, `release_tags`, `state` (``ready``, ``running``,
        ``stopped``, ``done``), how many runs are `planned`, `done`, `failed`, `started` and
        `to_go`, `cases`, `repeats`, `created`, `ended`, `why` it stands still, `environment`.

        Parameters
        ----------
        deployment : str, optional
            Only sweeps of this one.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> sweep = ws.sweep("ticket-triage", [{"ticket": "charged twice"}], release_tags=["v2"])
        >>> ws.sweeps()[["deployment", "state", "planned", "done"]]
              deployment state  planned  done
        0  ticket-triage  done        1     1
        """
        return sweeps_frame(self.history.sweeps, deployment)

    def open_sweep(self, sweep_id: str, **options: Unpack[SweepLimits]) -> Sweep:
        """Return a sweep of this history, to look at or to go on with.

        It goes on, by `Sweep.resume` or `Sweep.retry_failed`, with the releases that its tags
        point at then, with the limits and the calls at once that it was last given, and asking
        for cost where it did; in threads.

        Parameters
        ----------
        sweep_id : str
            Its id, or how the id begins; `sweeps` lists them.
        concurrency, max_concurrency, expand_meta : optional
            Other ones than it was given, as in `sweep`; one that is under way keeps its own.
        max_calls, max_seconds, max_cost_usd, stop_after_failures : optional
            Other limits; None lifts one.

        Raises
        ------
        HistoryError
            There is no such sweep.
        InputError
            A limit is none.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> sweep = ws.sweep("ticket-triage", [{"ticket": "charged twice"}], release_tags=["v2"])
        >>> ws.open_sweep(sweep.id)
        <Sweep of ticket-triage on v2: done, 1 of 1 runs>
        """
        record = found_sweep(self.history.sweeps, sweep_id)
        kept = kept_options(record.options, options)
        found = live_sweep(record.id) or self._opened(record, kept)
        found.judging = WorkspaceJudges(self)
        return found

    def _case_calls(self, deployment: str) -> CaseCalls:
        """Return what the form of `deployment` plans and sweeps a file of cases with."""
        from vellum_nb.widgets.cases import CaseCalls

        def plan(file: Cases, tags: Sequence[str], repeats: int) -> SweepPlan:
            return self.sweep(deployment, file, release_tags=tags, repeats=repeats, dry_run=True)

        def begin(file: Cases, tags: Sequence[str], repeats: int) -> Sweep:
            return self.sweep(
                deployment,
                file,
                release_tags=tags,
                repeats=repeats,
                progress=False,
                background=True,
            )

        return CaseCalls(plan, begin)

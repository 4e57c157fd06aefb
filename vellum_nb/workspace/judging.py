"""Looking back at runs: rating and tracing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vellum_nb.errors import HistoryError, InputError
from vellum_nb.history import trace_frame
from vellum_nb.models import NodeRun, Run
from vellum_nb.models.inputs import plain
from vellum_nb.workspace.actuals import actuals_of, as_mapping, checked_desired, checked_quality
from vellum_nb.workspace.base import BaseWorkspace
from vellum_nb.workspace.executions import nodes_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["JudgeMethods"]


class JudgeMethods(BaseWorkspace):
    """Judges runs."""

    def rate(
        self,
        run: Run | str,
        *,
        quality: float | None = None,
        desired: Mapping[str, object] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Run:
        """Say how good a run was, and what its outputs should have been.

        Both go to Vellum as actuals, then into the history.

        Parameters
        ----------
        run : Run or str
            The run, its `id`, its execution id or its external id.
        quality : float, optional
            From 0 (bad) to 1 (good); of the outputs in `desired`, or of all of them.
        desired : mapping, optional
            Output name to what it should have been. Outputs that are not named keep what was
            said about them before.
        metadata : mapping, optional
            Kept by Vellum with the actuals.

        Returns
        -------
        Run
            With its `quality` and `desired`.

        Raises
        ------
        InputError
            Nothing to say, or something that does not fit. Nothing was sent.
        HistoryError
            The history has no such run.
        APIError
            Vellum did not take it. The history stays as it is.

        Notes
        -----
        https://docs.vellum.ai/developers/client-sdk/workflows/submit-workflow-execution-actuals

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag="v1")
        >>> ws.rate(run, quality=0, desired={"category": "billing"}).desired
        {'category': 'billing'}
        """
        rated = self._found(run)
        quality = checked_quality(quality)
        if quality is None and not desired:
            msg = "Nothing to say about this run: give quality=, desired=, or both"
            raise InputError(msg)
        names = [name for name in rated.outputs or self._output_names(rated) if name]
        wanted = checked_desired(as_mapping("desired", desired), names, rated)
        actuals = actuals_of(
            rated,
            list(wanted) or names,
            quality=quality,
            desired=wanted,
            metadata=plain(as_mapping("metadata", metadata)),
        )
        if not actuals:
            msg = f"This run of {rated.deployment} has no output to rate; nothing was sent"
            raise InputError(msg)
        self._submit(rated, actuals)
        return self._noted(rated, quality, wanted)

    def trace(self, run: Run | str) -> pd.DataFrame:
        """Return the nodes of a run, one row a node, in the order in which they began.

        Columns: `name`, `state`, `start` (UTC), `duration_s`, `error`, `kind`, `model`,
        `tokens_in`, `tokens_out`, `cost_usd`, `depth` (0: in the workflow itself). They are read
        from Vellum once, and kept in the history.

        Parameters
        ----------
        run : Run or str
            The run, its `id`, its execution id or its external id.

        Raises
        ------
        HistoryError
            The history has no such run, or no answer to it ever came.
        NotFoundError
            Vellum does not know the execution.
        """
        return trace_frame(self._nodes(run))

    def _nodes(self, run: Run | str) -> Sequence[NodeRun]:
        found = run if isinstance(run, Run) and run.nodes else self._found(run)
        return found.nodes or nodes_of(self.client, self.history, found)

    def _found(self, run: Run | str) -> Run:
        """Return the run as the history has it; a `Run` that it has not, as it is."""
        if isinstance(run, Run):
            return next(iter(self.history.runs(ids=[run.id], limit=1)), run)
        for runs in (
            self.history.runs(ids=[run], limit=1),
            self.history.runs(execution_id=run, limit=1),
            self.history.runs(external_id=run, limit=1),
        ):
            if runs:
                return runs[0]
        msg = (
            f"The history has no run with the id, execution id or external id {run!r}; "
            "ws.history.sync(deployment) brings runs that were made elsewhere, and "
            "ws.history.unarchive(path) those of an archive"
        )
        raise HistoryError(msg)

    def _output_names(self, run: Run) -> list[str]:
        release = self._runner.resolve(run.deployment, run.release_id or run.release_tag)
        return [v.key for v in release.workflow_version.output_variables] if release else []

    def _submit(self, run: Run, actuals: Sequence[Any]) -> None:
        by_execution = run.execution_id is not None
        self.client.submit_workflow_execution_actuals(
            actuals,
            execution_id=run.execution_id,
            external_id=None if by_execution else run.external_id,
        )

    def _noted(self, run: Run, quality: float | None, wanted: Mapping[str, Any]) -> Run:
        said: dict[str, Any] = {}
        if quality is not None:
            said["quality"] = quality
        if wanted:
            said["desired"] = {**(run.desired or {}), **wanted}
        if self.history.runs(ids=[run.id], limit=1):
            self.history.annotate(run.id, **said)
            return self.history.get(run.id)
        return run.model_copy(update=said)

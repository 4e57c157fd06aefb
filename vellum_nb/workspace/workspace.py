"""`Workspace`: a client joined to a history, and what users do with the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from vellum_nb.errors import InputError
from vellum_nb.fitting import fitting
from vellum_nb.models import Cancellation, Run, RunRequest, VellumVariable
from vellum_nb.workspace.bisecting import BisectMethods
from vellum_nb.workspace.comparing import CompareMethods
from vellum_nb.workspace.judging import JudgeMethods
from vellum_nb.workspace.releasing import ReleaseMethods
from vellum_nb.workspace.running import RunMethods
from vellum_nb.workspace.views import view_history

if TYPE_CHECKING:
    from vellum_nb.widgets import ComparisonView, LabPanel, RunForm
    from vellum_nb.widgets.spec import Progressing
    from vellum_nb.workspace.gathering import Gathering

__all__ = ["Workspace"]


@fitting(InputError)
class Workspace(RunMethods, CompareMethods, BisectMethods, JudgeMethods, ReleaseMethods):
    """Runs deployments and keeps every run.

    Made by `vellum_nb.connect`; use it as a context manager, or call `close`.

    Parameters
    ----------
    client : Client
        Where runs go.
    history : History
        Where they are kept.
    source : str
        What the client talks to, in a word or two, for headings.
    server : LocalServer, optional
        The local server behind the client, if there is one.
    keep_open : bool, default False
        Whether `close` leaves the history open, for its owner.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag="v2")
    >>> run.outputs["category"]
    'billing'
    """

    def form(
        self,
        deployment: str,
        *,
        variables: Sequence[VellumVariable | Mapping[str, Any]] | None = None,
    ) -> RunForm:
        """Return a form for `deployment`, made from its input variables.

        Parameters
        ----------
        deployment : str
            The deployment's name.
        variables : sequence, optional
            The input variables, where the API key may not read the deployment: dicts such as
            ``{"key": "ticket", "type": "STRING", "required": True}``. Without them the inputs of
            the last recorded run are taken.

        Raises
        ------
        NotFoundError
            There is no such deployment; the message lists those there are.
        InputError
            One of `variables` is none.
        """
        from vellum_nb.widgets import RunForm
        from vellum_nb.workspace.forms import form_spec, run_count

        spec = form_spec(
            deployment,
            lookup=self._lookup,
            history=self.history,
            source=self.source,
            variables=variables,
        )
        return RunForm(
            spec,
            run=self._run_kept,
            release=lambda tag: self._lookup.release(deployment, tag),
            count=lambda: run_count(self.history, deployment),
            stream=self._stream_kept,
            rate=self._rate_kept,
            trace=self._nodes,
            cases=self._case_calls(deployment),
        )

    def lab(self, deployment: str) -> LabPanel:
        """Return form, history and comparison of `deployment` in one panel.

        Raises
        ------
        NotFoundError
            There is no such deployment; the message lists those there are.
        """
        from vellum_nb.widgets import LabPanel

        form = self.form(deployment)
        view = view_history(self.history, deployment=deployment)

        def compare() -> ComparisonView:
            comparison = self.compare(deployment, release_tags=list(form.release_tags))
            return cast("ComparisonView", comparison.view())

        return LabPanel(form, view, compare, source=self.source)

    def _run_kept(self, request: RunRequest, cancel: Cancellation) -> Run:
        """Run for the form: trouble with the API is a run that failed, not an exception."""
        return self._runner.execute(request, cancel)[0]

    def _stream_kept(
        self, request: RunRequest, cancel: Cancellation, show: Callable[[Progressing], None]
    ) -> Run:
        """Run likewise, and show what has come with each event."""
        from vellum_nb.widgets.spec import Progressing

        def report(so_far: Gathering) -> None:
            texts = dict(so_far.texts)
            show(Progressing(texts, so_far.node, so_far.nodes_done, so_far.first_s))

        return self._runner.streamed(request, cancel, report)[0]

    def _rate_kept(self, run: Run, quality: float | None, desired: Mapping[str, Any] | None) -> Run:
        """Rate for the form; with neither the rating is taken back here, Vellum keeps its own."""
        if quality is None and not desired:
            self.history.annotate(run.id, quality=None)
            return self.history.get(run.id)
        return self.rate(run, quality=quality, desired=desired)

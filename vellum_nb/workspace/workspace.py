"""`Workspace`: a client joined to a history, and what users do with the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any, Self

from vellum_nb.client import Client
from vellum_nb.experiments import Comparison
from vellum_nb.history import History
from vellum_nb.models import Cancellation, Run, RunRequest, VellumVariable
from vellum_nb.models.inputs import to_wire
from vellum_nb.workspace.arguments import parse_arguments
from vellum_nb.workspace.frames import deployments_frame, releases_frame
from vellum_nb.workspace.lookup import Lookup
from vellum_nb.workspace.runner import Runner
from vellum_nb.workspace.views import render_comparison, view_history

if TYPE_CHECKING:
    import pandas as pd

    from vellum_nb.local import LocalServer
    from vellum_nb.widgets import LabPanel, RunForm

__all__ = ["Workspace"]


class Workspace:
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
        self.history = history
        self.source = source
        self.server = server
        self._keep_open = keep_open
        self._lookup = Lookup(client)
        self._runner = Runner(client, history, self._lookup)

    def deployments(self) -> pd.DataFrame:
        """Return one row a deployment, by name.

        Columns: `name`, `label`, `description`, `inputs`, `outputs` (as text, optional inputs
        with ``?``), `status`, `created` (UTC), `id`.
        """
        return deployments_frame(self._lookup.deployments())

    def releases(self, deployment: str) -> pd.DataFrame:
        """Return one row a release of `deployment`, newest first.

        Columns: `release_tags`, `description`, `inputs`, `outputs`, `created` (UTC), `release_id`.

        Raises
        ------
        NotFoundError
            There is no such deployment; the message lists those there are.
        """
        return releases_frame(self._lookup.releases(deployment))

    def run(
        self,
        deployment: str,
        inputs: Mapping[str, object],
        *,
        release_tag: str = "LATEST",
        external_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        previous_execution_id: str | None = None,
    ) -> Run:
        """Execute `deployment` once and keep the run.

        The release tag is resolved to its release first, the inputs are checked against that
        release's variables, and the run is in the history before it is sent.

        Parameters
        ----------
        deployment : str
            The deployment's name.
        inputs : mapping
            Input variable to natural Python value: text, numbers, bools, dicts and lists; chat
            histories as lists of messages or ``(role, text)`` pairs; images, audio, video and
            documents as a path, bytes, data URL or http URL.
        release_tag : str, default "LATEST"
            Which release to run.
        external_id : str, optional
            Your id for the run, unique in the workspace. Default: the run's own id.
        metadata : mapping, optional
            Kept by Vellum and by the history with the run.
        previous_execution_id : str, optional
            The execution whose state this one continues.

        Returns
        -------
        Run
            `state` is FULFILLED, or REJECTED with `error`: a rejected run is a value.

        Raises
        ------
        InputError
            The inputs do not fit; every problem is named. Nothing was sent.
        NotFoundError
            There is no such deployment or release tag; the message lists those there are.
        APIError
            No usable answer came. The run is in the history as FAILED.
        HistoryError
            The run could not be recorded.

        Notes
        -----
        https://docs.vellum.ai/developers/client-sdk/workflows/execute-workflow
        """
        request = RunRequest(
            deployment=deployment,
            inputs=dict(inputs),
            release_tag=release_tag,
            external_id=external_id,
            metadata=metadata,
            previous_execution_id=previous_execution_id,
        )
        run, error = self._runner.execute(request)
        if error is not None:
            raise error
        return run

    def read_inputs(
        self, deployment: str, pairs: Sequence[str], *, release_tag: str = "LATEST"
    ) -> dict[str, object]:
        """Return inputs from ``name=value`` texts, typed and checked by the release's variables.

        Text stays text, other variables are read as JSON, ``@path`` reads a file.

        Raises
        ------
        InputError
            A text cannot be read, or the inputs do not fit; every problem is named.
        NotFoundError
            There is no such deployment or release tag.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> ws.read_inputs("ticket-triage", ["ticket=charged twice", "sla_hours=8"])
        {'ticket': 'charged twice', 'sla_hours': 8}
        """
        release = self._runner.resolve(deployment, release_tag)
        variables = release.workflow_version.input_variables if release else None
        values = parse_arguments(pairs, variables)
        to_wire(values, variables, where=f"{deployment} {release_tag}")
        return values

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

        def compare() -> str:
            tags = list(form.release_tags)
            return render_comparison(self.compare(deployment, release_tags=tags))

        return LabPanel(form, view, compare, source=self.source)

    def compare(
        self,
        deployment: str,
        *,
        release_tags: Sequence[str],
        baseline: str | None = None,
        since: datetime | str | None = None,
    ) -> Comparison:
        """Put the stored runs of `deployment` side by side, one row a case.

        Nothing is run. Where a case was run several times on a tag, its newest answer counts.

        Parameters
        ----------
        deployment : str
            The deployment's name.
        release_tags : sequence of str
            The release tags, in the order of the columns.
        baseline : str, optional
            The tag the others are held against. Default: the first.
        since : datetime or str, optional
            Only runs from then on (UTC when no zone is given).
        """
        tags = [release_tags] if isinstance(release_tags, str) else list(release_tags)
        runs = self.history.runs(deployment=deployment, release_tag=tags, since=since)
        return Comparison(
            runs,
            deployment=deployment,
            release_tags=tags,
            baseline=baseline,
            render=render_comparison,
        )

    def close(self) -> None:
        """Close the client, and the history unless it was handed in open.

        The embedded server stays for other workspaces.
        """
        self.client.close()
        if not self._keep_open:
            self.history.close()

    def _run_kept(self, request: RunRequest, cancel: Cancellation) -> Run:
        """Run for the form: trouble with the API is a run that failed, not an exception."""
        return self._runner.execute(request, cancel)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Workspace on {self.source}, {self.history!r}>"

    def _repr_html_(self) -> str:
        return f"<p><b>Workspace</b> on {escape(self.source)}, {escape(repr(self.history))}</p>"

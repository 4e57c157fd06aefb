"""Running deployments, one case on one release tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vellum_nb.models import Run, RunRequest
from vellum_nb.models.inputs import to_wire
from vellum_nb.workspace.arguments import parse_arguments
from vellum_nb.workspace.base import BaseWorkspace

__all__ = ["RunMethods"]


class RunMethods(BaseWorkspace):
    """Runs deployments and keeps every run."""

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

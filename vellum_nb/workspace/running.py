"""Running deployments, one case on one release tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import ValidationError

from vellum_nb.errors import APIStatusError, InputError, InputProblem
from vellum_nb.models import Run, RunRequest
from vellum_nb.models.inputs import to_wire
from vellum_nb.models.plain import shown
from vellum_nb.workspace.arguments import parse_arguments
from vellum_nb.workspace.base import BaseWorkspace
from vellum_nb.workspace.pending import PendingRun
from vellum_nb.workspace.stream import RunStream

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["RunMethods"]

_EVENT_TYPES = ("WORKFLOW", "NODE")
_ANOTHERS = frozenset({400, 404, 421})  # an id of another kind, unknown, of another workspace


class RunMethods(BaseWorkspace):
    """Runs deployments and keeps every run."""

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
        external_id : str or UUID, optional
            Your id for the run, unique in the workspace. Default: the run's own id.
        metadata : mapping, optional
            Kept by Vellum and by the history with the run.
        previous_execution_id : str or UUID, optional
            The execution whose state this one continues.
        expand_meta : bool, default False
            Whether to ask for what prompt nodes used: `cost_usd`, `tokens_in`, `tokens_out`,
            `model` and `nodes`. Only streams tell it, so the run is sent as one.

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
        request = _request(
            deployment,
            inputs,
            release_tag=release_tag,
            external_id=external_id,
            metadata=metadata,
            previous_execution_id=previous_execution_id,
        )
        runner = self._runner
        run, error = runner.streamed(request) if expand_meta else runner.execute(request)
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
        """Execute `deployment` and return its events as they arrive.

        The run is in the history before it is sent, and its row ends as the stream does: see
        `RunStream`. Everything else is as in `run`.

        Parameters
        ----------
        event_types : sequence of str, default ("WORKFLOW",)
            Which events to get: WORKFLOW, NODE or both. With NODE the run gets its `nodes`.
        expand_meta : bool, default False
            Whether to ask for what prompt nodes used; NODE events tell it, so they come too.

        Notes
        -----
        https://docs.vellum.ai/developers/client-sdk/workflows/execute-workflow-stream

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> with ws.stream("ticket-triage", {"ticket": "I was charged twice"}) as stream:
        ...     deltas = [event.delta for event in stream if event.delta]
        >>> stream.run.state
        'FULFILLED'
        """
        request = _request(
            deployment,
            inputs,
            release_tag=release_tag,
            external_id=external_id,
            metadata=metadata,
            previous_execution_id=previous_execution_id,
        )
        types = _event_types(event_types, expand_meta=expand_meta)
        return self._runner.stream(request, event_types=types, expand_meta=expand_meta)

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
        """Have `deployment` executed, and return at once.

        The run is in the history as STARTED, with its execution id: should this kernel end,
        `resume_pending` takes it up in the next. Everything else is as in `run`.

        Notes
        -----
        https://docs.vellum.ai/developers/client-sdk/workflows/execute-workflow-async
        """
        request = _request(
            deployment,
            inputs,
            release_tag=release_tag,
            external_id=external_id,
            metadata=metadata,
            previous_execution_id=previous_execution_id,
        )
        return self._runner.submit(request)

    def resume_pending(self) -> list[PendingRun]:
        """Take up the runs that are STARTED in the history, newest first.

        Those that have ended meanwhile are completed at once: look at their `run`. Runs that this
        server does not know are left as they are; they may be another one's. So are those whose
        execution id never came: ``history.sync`` finds them by their external id.

        Raises
        ------
        APIError
            The server could not be asked.
        """
        here = self._environment()
        taken = []
        for run in self.history.runs(state="STARTED"):
            elsewhere = None not in {here, run.environment} and run.environment != here
            if run.execution_id is None or elsewhere or self._runner.keeper.holds(run):
                continue
            pending = self._runner.pending(run, run.execution_id)
            try:
                pending.status()
            except InputError:  # its id is no part of an address
                continue
            except APIStatusError as exc:
                if exc.status_code not in _ANOTHERS:
                    raise
                continue
            taken.append(pending)
        return taken

    def _environment(self) -> str | None:
        try:
            return self.client.environment_identity().name
        except APIStatusError:  # this key may not know
            return None

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


def _request(deployment: str, inputs: Mapping[str, object], **options: Any) -> RunRequest:
    given = {name: str(v) if isinstance(v, UUID) else v for name, v in options.items()}
    with suppress(TypeError, ValueError):  # a pandas row, too
        inputs = dict(inputs)
    try:
        return RunRequest(deployment=deployment, inputs=inputs, **given)
    except ValidationError as exc:
        problems = [_misfit(found) for found in exc.errors(include_url=False)]
    msg = f"This run of {deployment!r:.60} cannot be; nothing was sent:"
    raise InputError(msg, problems)


def _misfit(found: ErrorDetails) -> InputProblem:
    """Return what pydantic says about an option, in our words."""
    where, what = str(found["loc"][0]), found["type"]
    expected = "keys that are text are" if "[key]" in found["loc"] else "text is"
    if what in {"mapping_type", "dict_type"}:
        expected = "a dict is"
    return InputProblem(where, f"{shown(found['input'])} is given; {expected} expected")


def _event_types(asked: Sequence[str], *, expand_meta: bool) -> tuple[str, ...]:
    types = {asked} if isinstance(asked, str) else set(asked or ())
    unknown = sorted(types - set(_EVENT_TYPES))
    if unknown or not types:
        msg = f"event_types={asked!r}: there are {' and '.join(_EVENT_TYPES)}; nothing was sent"
        raise InputError(msg)
    return tuple(sorted(types | ({"NODE"} if expand_meta else set())))

"""Protocol of code that a release runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from vellum_nb.local.engine.events import Event, Usage
from vellum_nb.models import VellumVariable, WorkflowInput

__all__ = ["Code", "Execution", "RunContext"]


def _no_usage(_: str) -> tuple[Usage, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class RunContext:
    """What an execution is told beside its inputs.

    Attributes
    ----------
    execution_id, trace_id : str
        UUIDs; the workflow's own events have the execution id as their span id.
    parent : mapping, optional
        The WORKFLOW_RELEASE_TAG parent context of the workflow's own events.
    state : mapping, optional
        The final state of the execution that this one continues.
    timeout : float, optional
        Seconds; for code that can stop itself hard. The engine watches it in any case.
    url, api_key : str
        The local server, for nodes that call Vellum. Never shown.
    usage : callable
        Node span id to what the models it called used, known when the node has ended.
    trigger : str, optional
        As ``execute-stream`` has it.
    """

    execution_id: str
    trace_id: str
    parent: Mapping[str, Any] | None = None
    state: Mapping[str, Any] | None = None
    timeout: float | None = None
    url: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)
    usage: Callable[[str], tuple[Usage, ...]] = field(default=_no_usage, repr=False)
    trigger: str | None = None


class Execution(Protocol):
    """One run, not begun yet."""

    def events(self) -> Iterator[Event]:
        """Run, in the thread that iterates, and tell what happens.

        The first event is the workflow's *initiated*, the last its *fulfilled* or *rejected*,
        whatever the code does. The iterator is always drained.
        """

    def cancel(self) -> None:
        """End it as soon as it can be ended; from any thread, at any time, any number of times."""


class Code(Protocol):
    """What a release runs."""

    @property
    def input_variables(self) -> tuple[VellumVariable, ...]:
        """The input variables, in order."""

    @property
    def output_variables(self) -> tuple[VellumVariable, ...]:
        """The output variables that are declared, in order."""

    @property
    def description(self) -> str:
        """The first sentence that its author wrote about it."""

    def begin(self, inputs: Sequence[WorkflowInput], context: RunContext) -> Execution:
        """Check the inputs and return the run; nothing has run yet.

        Raises
        ------
        VellumNBError
            Names every input that is missing, unknown, given twice or does not fit.
        """

"""Code that runs in a fresh process each time."""

from __future__ import annotations

from collections.abc import Sequence

from vellum_nb.local.code import Execution, RunContext
from vellum_nb.local.isolation.options import Process
from vellum_nb.local.refusals import bad_request
from vellum_nb.local.sources import Snapshot
from vellum_nb.models import VellumVariable, WorkflowInput

__all__ = ["ProcessCode"]


class ProcessCode:
    """A workflow of a snapshot; each run is a process."""

    def __init__(
        self,
        snapshot: Snapshot,
        entry: str,
        process: Process,
        *,
        input_variables: tuple[VellumVariable, ...],
        output_variables: tuple[VellumVariable, ...],
        description: str,
    ) -> None:
        self._snapshot = snapshot
        self._entry = entry
        self._process = process
        self.input_variables = input_variables
        self.output_variables = output_variables
        self.description = description

    @classmethod
    def described(cls, snapshot: Snapshot, entry: str, process: Process) -> tuple[str, ProcessCode]:
        """Ask a process what the source declares."""
        msg = 'isolation="process" is not there yet'
        raise bad_request(msg)

    def begin(self, inputs: Sequence[WorkflowInput], context: RunContext) -> Execution:
        """Check the inputs and return the run; nothing has run yet."""
        msg = 'isolation="process" is not there yet'
        raise bad_request(msg)

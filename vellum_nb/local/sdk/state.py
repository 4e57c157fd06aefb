"""Gives a workflow the final state of the execution that it continues."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from vellum.workflows.events.workflow import WorkflowEvent
from vellum.workflows.exceptions import NodeException
from vellum.workflows.nodes.utils import cast_to_output_type
from vellum.workflows.resolvers.base import BaseWorkflowResolver
from vellum.workflows.resolvers.types import LoadStateResult
from vellum.workflows.state import BaseState

__all__ = ["KeptState"]


class KeptState(BaseWorkflowResolver):
    """Loads the state that it was made with, whatever execution is asked for.

    What the state class does not know any more is left out; what does not fit its annotation comes
    as it was kept.
    """

    def __init__(self, state: Mapping[str, Any], state_class: type[BaseState]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._state = state
        self._class = state_class

    def get_latest_execution_events(self) -> Iterator[WorkflowEvent]:
        """Return no events: only the state is kept here."""
        return iter(())

    def get_state_snapshot_history(self) -> Iterator[BaseState]:
        """Return no snapshots: only the final state is kept."""
        return iter(())

    def load_state(self, previous_execution_id: UUID | str | None = None) -> LoadStateResult:
        """Return the state."""
        known = typing.get_type_hints(self._class)
        values = {
            name: _fitted(self._state[name], hint)
            for name, hint in known.items()
            if name in self._state and name != "meta"
        }
        previous = str(previous_execution_id)
        state = self._class(**values)
        return LoadStateResult(state, previous, previous, previous, previous)


def _fitted(value: Any, hint: Any) -> Any:
    if value is None:
        return None
    try:
        return cast_to_output_type(value, hint)
    except NodeException:
        return value

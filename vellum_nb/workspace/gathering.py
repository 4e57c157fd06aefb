"""What the events of a stream have told so far. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from vellum_nb.models import (
    WorkflowResultEvent,
    WorkflowResultEventOutputData,
    WorkflowStreamEvent,
    nodes_of_stream,
    totals,
)
from vellum_nb.models.stream import WorkflowNodeResultEvent
from vellum_nb.workspace.outcome import ended

__all__ = ["Gathering"]

_ENDS = frozenset({"FULFILLED", "REJECTED"})


class Gathering:
    """Takes the events of one stream, in their order.

    Attributes
    ----------
    end : dict or None
        How the run ended, as fields of `Run`; None while it goes on.
    first_s : float or None
        Seconds from the beginning to the first text.
    node : str
        The name of the node that began last and has not ended; "" when it is not known.
    nodes_done : int
        How many nodes have ended.
    """

    def __init__(self) -> None:
        self.end: dict[str, Any] | None = None
        self.first_s: float | None = None
        self.nodes_done = 0
        self._began = time.perf_counter()
        self._texts: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._types: dict[str, str] = {}
        self._open: dict[str, str] = {}
        self._of_nodes: list[WorkflowStreamEvent] = []

    @property
    def texts(self) -> Mapping[str, str]:
        """Output name to the text that has come so far."""
        return MappingProxyType(self._texts)

    @property
    def node(self) -> str:
        """The name of the node that is under way."""
        return next(reversed(self._open.values()), "")

    def take(self, event: WorkflowStreamEvent) -> None:
        """Take the next event."""
        if isinstance(event.data, WorkflowResultEvent):
            if event.data.output is not None:
                self._grow(event.data.output)
            if event.ends:
                self.end = ended(event.state, event.outputs, event.error)
                if not event.outputs:  # then the outputs that came one by one are all there are
                    self.end = {k: v for k, v in self.end.items() if not k.startswith("output")}
        else:
            self._of_nodes.append(event)
            self._follow(event.data)

    def fields(self) -> dict[str, Any]:
        """Return what came so far as fields of `Run`: outputs, nodes, cost."""
        nodes = nodes_of_stream(self._of_nodes)
        found: dict[str, Any] = {"nodes": nodes, **totals(nodes)} if nodes else {}
        known = self._texts | self._values
        outputs = {name: known[name] for name in self._types if name in known}
        return {**found, "outputs": outputs, "output_types": dict(self._types), **(self.end or {})}

    def _grow(self, output: WorkflowResultEventOutputData) -> None:
        self._types[output.name] = output.type
        if output.state == "FULFILLED":
            self._values[output.name] = output.value
            if isinstance(output.value, str):
                self._texts[output.name] = output.value
        elif output.delta:
            if self.first_s is None:
                self.first_s = time.perf_counter() - self._began
            self._texts[output.name] = self._texts.get(output.name, "") + output.delta

    def _follow(self, node: WorkflowNodeResultEvent) -> None:
        key = node.node_result_id or node.node_id
        if node.state in _ENDS:
            self.nodes_done += 1
            self._open.pop(key, None)
        else:
            self._open[key] = node.node_name or self._open.get(key, "")

"""The nodes of a run as a DataFrame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vellum_nb.history.rows.frames import column
from vellum_nb.history.rows.rows import clean, micros
from vellum_nb.models import NodeRun

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["trace_frame"]

_KINDS = {
    "name": "text",
    "state": "text",
    "start": "time",
    "duration_s": "float",
    "error": "text",
    "kind": "text",
    "model": "text",
    "tokens_in": "count",
    "tokens_out": "count",
    "cost_usd": "float",
    "depth": "int",
}


def trace_frame(nodes: Sequence[NodeRun]) -> pd.DataFrame:
    """Return one row a node, in the order in which they began.

    Columns: `name`, `state`, `start` (UTC), `duration_s`, `error`, `kind`, `model`, `tokens_in`,
    `tokens_out`, `cost_usd`, `depth` (0: in the workflow itself).

    Examples
    --------
    >>> trace_frame([NodeRun(name="classify", state="FULFILLED")])["name"].tolist()
    ['classify']
    """
    import pandas as pd

    ordered = sorted(nodes, key=_began)
    parents = {node.span_id: node.parent_span_id for node in nodes if node.span_id}
    rows = [_row(node, parents) for node in ordered]
    columns = {name: column([row[name] for row in rows], kind) for name, kind in _KINDS.items()}
    return pd.DataFrame(columns, index=pd.RangeIndex(len(rows)))


def _began(node: NodeRun) -> tuple[bool, int]:
    return (True, 0) if node.start is None else (False, micros(node.start))


def _row(node: NodeRun, parents: Mapping[str, str | None]) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(node, name, None) for name in _KINDS}
    row["start"] = None if node.start is None else micros(node.start)
    row["depth"] = _depth(node, parents)
    return {name: clean(value) if isinstance(value, str) else value for name, value in row.items()}


def _depth(node: NodeRun, parents: Mapping[str, str | None]) -> int:
    """Return how many of the nodes are around this one; a circle of parents ends."""
    around: set[str] = set()
    parent = node.parent_span_id
    while parent is not None and parent in parents and parent not in around:
        around.add(parent)
        parent = parents[parent]
    return len(around)

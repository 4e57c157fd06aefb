"""The events of an execution as spans: one a workflow or node that ran, from start to end."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from vellum_nb.local.engine.events import Event, Usage

__all__ = ["spans_of", "usage_body"]

_INSIDE = frozenset({"WORKFLOW", "WORKFLOW_NODE"})


def spans_of(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return the spans in the order in which they began, as plain JSON.

    A span that never ended, as its execution was ended first, ends with its last event.
    """
    groups: dict[str, list[Event]] = {}
    for event in events:
        groups.setdefault(event.span_id, []).append(event)
    return [_span(group) for group in groups.values()]


def usage_body(usage: Sequence[Usage]) -> dict[str, Any] | None:
    """Return what models used as a usage calculation has it; None when none was called.

    There is no cost when the price of one of them is not known: a part is no whole.

    Examples
    --------
    >>> usage_body([Usage("m", 3, 4, 0.5), Usage("m", 1, 1, 0.25)])["cost"]
    [{'value': 0.75, 'unit': 'USD'}]
    """
    if not usage:
        return None
    costs = [each.cost_usd for each in usage]
    known = [cost for cost in costs if cost is not None]
    total = [{"value": sum(known), "unit": "USD"}] if len(known) == len(costs) else []
    models = dict.fromkeys(each.model for each in usage)
    return {"usage": [_used(model, usage) for model in models], "cost": total}


def _used(model: str, usage: Sequence[Usage]) -> dict[str, Any]:
    own = [each for each in usage if each.model == model]
    figures = {
        "input_token_count": _sum([each.tokens_in for each in own]),
        "output_token_count": _sum([each.tokens_out for each in own]),
    }
    return {"ml_model_name": model, "ml_model_usage": figures}


def _sum(figures: Sequence[int | None]) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if len(known) == len(figures) else None


def _span(events: Sequence[Event]) -> dict[str, Any]:
    first = events[0]
    kind = "node" if first.name.startswith("node.") else "workflow"
    usage = tuple(used for event in events for used in event.usage)
    return {
        "name": f"{kind}.execution",
        "events": [event.envelope() for event in events],
        "attributes": _attributes(kind, events),
        "usage_result": usage_body(usage),
        "span_id": first.span_id,
        "start_ts": first.timestamp.isoformat(),
        "end_ts": events[-1].timestamp.isoformat(),
        "parent_span_id": _parent(first),
    }


def _attributes(kind: str, events: Sequence[Event]) -> dict[str, Any]:
    """Return what a span is of; `kind`, of a node, is an addition of ours."""
    found = events[0].body.get(f"{kind}_definition")
    definition = found if isinstance(found, Mapping) else {}
    label = str(definition.get("name") or kind)
    id_ = str(definition.get("id") or uuid.uuid5(uuid.NAMESPACE_OID, events[0].span_id))
    if kind == "workflow":
        return {"label": label, "workflow_id": id_}
    kinds = (event.kind for event in events if event.kind)
    return {"label": label, "filepath": None, "node_id": id_, "kind": next(kinds, None)}


def _parent(event: Event) -> str | None:
    """Return the span it ran in; what started the whole execution is no span of it."""
    parent = event.parent or {}
    return parent.get("span_id") if parent.get("type") in _INSIDE else None

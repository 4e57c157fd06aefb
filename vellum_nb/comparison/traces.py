"""Traces: the nodes of a run in order, and the first node that differs between two runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from vellum_nb.models import NodeRun
from vellum_nb.models.base import utc

Inside: TypeAlias = Mapping[str | None, Sequence[NodeRun]]
"""Child nodes by parent span, ordered by start; None is the workflow itself."""

Pair: TypeAlias = tuple[int, NodeRun | None, NodeRun | None]
"""Depth from 0, a node of the baseline, and the matching node of another run."""

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
_COMPARED = {"state": "state", "error": "error", "model": "model", "outputs_hash": "outputs"}
_SAME: tuple[Callable[[NodeRun], Any], ...] = (
    lambda node: (node.name, node.state, node.outputs_hash),
    lambda node: node.name,
)


@dataclass(frozen=True, slots=True)
class NodeDifference:
    """A node of the baseline and of another run, either possibly None, and what changed."""

    name: str
    base: NodeRun | None
    other: NodeRun | None
    change: str


def in_order(nodes: Sequence[NodeRun]) -> list[tuple[int, NodeRun]]:
    """Return nodes by start, each after its parent, with its depth from 0."""
    ordered = [(depth, node) for depth, node, _ in pairs(nodes, ()) if node is not None]
    reached = {id(node) for _, node in ordered}
    return ordered + [(0, node) for node in nodes if id(node) not in reached]  # cyclic parents


def _inside(nodes: Sequence[NodeRun]) -> Inside:
    by_start = sorted(nodes, key=lambda node: utc(node.start) if node.start else _BEFORE_ALL)
    span_ids = {node.span_id for node in by_start if node.span_id}
    children: dict[str | None, list[NodeRun]] = {}
    for node in by_start:
        parent = node.parent_span_id if node.parent_span_id in span_ids else None
        children.setdefault(parent, []).append(node)
    return children


def is_comparable(base: Sequence[NodeRun], other: Sequence[NodeRun]) -> bool:
    """Return whether both traces exist and have named nodes; streams can lack names."""
    named = [{node.is_named for node in nodes} for nodes in (base, other)]
    return bool(base and other) and named[0] == named[1]


def first_difference(base: Sequence[NodeRun], other: Sequence[NodeRun]) -> NodeDifference | None:
    """Return the first node that differs between two runs, or None.

    If a child node differs as well, return that.
    """
    first: NodeDifference | None = None
    first_depth = 0
    for depth, one, two in pairs(base, other) if is_comparable(base, other) else ():
        if first and (depth <= first_depth or not (first.base and first.other)):
            break
        node = two or one
        if node is not None and (change := _change(one, two)):
            first, first_depth = NodeDifference(node.name, one, two, change), depth
    return first


def pairs(base: Sequence[NodeRun], other: Sequence[NodeRun]) -> Iterator[Pair]:
    """Yield the nodes of two runs in order, each after its parent; unmatched ones with None.

    Nodes are matched by name, so concurrent nodes can swap, and nodes with the same name by equal
    outputs.
    """
    old, new = _inside(base), _inside(other)

    def inside(depth: int, spans: tuple[str | None, str | None]) -> list[Pair]:
        children = _side_by_side(old.get(spans[0], ()), new.get(spans[1], ()))
        return [(depth, *pair) for pair in children][::-1]

    todo, seen = inside(0, (None, None)), set[tuple[str, str]]()
    while todo:
        depth, one, two = todo.pop()
        yield depth, one, two
        spans = (one and one.span_id) or "", (two and two.span_id) or ""
        if spans not in seen:  # cycles are read once
            seen.add(spans)
            todo += inside(depth + 1, spans)


def _side_by_side(
    old: Sequence[NodeRun], new: Sequence[NodeRun]
) -> Iterator[tuple[NodeRun | None, NodeRun | None]]:
    """Yield pairs of matching nodes in order; unmatched nodes are paired with None."""
    partners = _partners(old, new)
    behind: dict[int, list[NodeRun]] = {}  # unmatched new nodes by the index of their predecessor
    last = -1
    for at, node in enumerate(new):
        last = partners.get(at, last)
        if at not in partners:
            behind.setdefault(last, []).append(node)
    matches = {place: new[at] for at, place in partners.items()}
    yield from ((None, node) for node in behind.get(-1, ()))
    for at, old_node in enumerate(old):
        yield old_node, matches.get(at)
        yield from ((None, node) for node in behind.get(at, ()))


def _partners(old: Sequence[NodeRun], new: Sequence[NodeRun]) -> dict[int, int]:
    """Return the index of the old node that matches each new node, by the index of the latter."""
    partners: dict[int, int] = {}
    for key in _SAME:
        waiting: dict[Any, deque[int]] = {}
        for at in sorted(set(range(len(old))) - set(partners.values())):
            waiting.setdefault(key(old[at]), deque()).append(at)
        for at, node in enumerate(new):
            if at not in partners and waiting.get(key(node)):
                partners[at] = waiting[key(node)].popleft()
    return partners


def _change(base: NodeRun | None, other: NodeRun | None) -> str:
    if base is None or other is None:
        return "new" if base is None else "not run"
    values = {word: (getattr(base, n), getattr(other, n)) for n, word in _COMPARED.items()}
    return ", ".join(
        word
        for word, (old, new) in values.items()
        if old != new and (word == "error" or None not in {old, new})
    )

"""Traces: the nodes of a run in order, and which node of two runs differs first. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from vellum_nb.models import NodeRun
from vellum_nb.models.base import utc

Inside: TypeAlias = Mapping[str | None, Sequence[NodeRun]]
"""A span to the nodes inside of it, by their start; None: of the workflow itself."""

Spans: TypeAlias = tuple[str | None, str | None]

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
_COMPARED = {"state": "state", "error": "error", "model": "model", "outputs_hash": "outputs"}
_DEEPEST = 100
_SAME: tuple[Callable[[NodeRun], Any], ...] = (
    lambda node: (node.name, node.state, node.outputs_hash),
    lambda node: node.name,
)


@dataclass(frozen=True, slots=True)
class NodeDifference:
    """A node of the baseline, that of another run, one of which may be None, and what differs."""

    name: str
    base: NodeRun | None
    other: NodeRun | None
    change: str


def in_order(nodes: Sequence[NodeRun]) -> list[tuple[int, NodeRun]]:
    """Return nodes by their start, each behind the one it ran in, with its depth from 0."""
    inside = dict(_inside(nodes))
    found: list[tuple[int, NodeRun]] = []
    todo = [(0, node) for node in reversed(inside.pop(None, []))]
    while todo:
        depth, node = todo.pop()
        found.append((depth, node))
        todo += [(depth + 1, each) for each in reversed(inside.pop(node.span_id, []))]
    # Nodes that ran in each other, as a server may report them, have no place of their own.
    return found + [(0, node) for rest in inside.values() for node in rest]


def _inside(nodes: Sequence[NodeRun]) -> Inside:
    by_start = sorted(nodes, key=lambda node: utc(node.start) if node.start else _BEFORE_ALL)
    known = {node.span_id for node in by_start if node.span_id}
    found: dict[str | None, list[NodeRun]] = {}
    for node in by_start:
        parent = node.parent_span_id if node.parent_span_id in known else None
        found.setdefault(parent, []).append(node)
    return found


def is_comparable(base: Sequence[NodeRun], other: Sequence[NodeRun]) -> bool:
    """Return whether two traces are known, and name their nodes alike: a stream may not."""
    named = [{node.is_named for node in nodes} for nodes in (base, other)]
    return bool(base and other) and named[0] == named[1]


def first_difference(base: Sequence[NodeRun], other: Sequence[NodeRun]) -> NodeDifference | None:
    """Return the first node that differs in two runs; None where none does or can be compared.

    Nodes are the same by their names, so that those that run at once may change places; of several
    of one name those with equal outputs. Where one inside a node differs, too, that is returned.
    """
    if not is_comparable(base, other):
        return None
    return _first(_inside(base), _inside(other), (None, None), set(), _DEEPEST)


def _first(
    old: Inside, new: Inside, spans: Spans, seen: set[Spans], depth: int
) -> NodeDifference | None:
    """Return the first difference inside of two spans; a span inside of itself is read once."""
    seen.add(spans)
    for one, two in _side_by_side(old.get(spans[0], ()), new.get(spans[1], ())):
        inner = None
        if one is not None and two is not None:
            within = one.span_id, two.span_id
            if None not in within and within not in seen and depth:
                inner = _first(old, new, within, seen, depth - 1)
        found = two or one
        if found is not None and (inner is not None or (change := _change(one, two))):
            return inner or NodeDifference(found.name, one, two, change)
    return None


def _side_by_side(
    old: Sequence[NodeRun], new: Sequence[NodeRun]
) -> Iterator[tuple[NodeRun | None, NodeRun | None]]:
    """Yield the nodes of both in order; what only one has comes with None."""
    partners = _partners(old, new)
    behind: dict[int, list[NodeRun]] = {}  # what only the new ones have, by what is before it
    last = -1
    for at, node in enumerate(new):
        last = partners.get(at, last)
        if at not in partners:
            behind.setdefault(last, []).append(node)
    found = {place: new[at] for at, place in partners.items()}
    yield from ((None, node) for node in behind.get(-1, ()))
    for at, each in enumerate(old):
        yield each, found.get(at)
        yield from ((None, node) for node in behind.get(at, ()))


def _partners(old: Sequence[NodeRun], new: Sequence[NodeRun]) -> dict[int, int]:
    """Return place among the new nodes to that among the old ones, of those that are the same."""
    found: dict[int, int] = {}
    for key in _SAME:
        waiting: dict[Any, deque[int]] = {}
        for at in sorted(set(range(len(old))) - set(found.values())):
            waiting.setdefault(key(old[at]), deque()).append(at)
        for at, node in enumerate(new):
            if at not in found and waiting.get(key(node)):
                found[at] = waiting[key(node)].popleft()
    return found


def _change(base: NodeRun | None, other: NodeRun | None) -> str:
    if base is None or other is None:
        return "new" if base is None else "not run"
    values = {word: (getattr(base, n), getattr(other, n)) for n, word in _COMPARED.items()}
    return ", ".join(
        word
        for word, (old, new) in values.items()
        if old != new and (word == "error" or None not in {old, new})
    )

"""Traces: the nodes of a run in order, and which node of two runs differs first. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from vellum_nb.models import NodeRun
from vellum_nb.models.base import utc

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
_COMPARED = {"state": "state", "error": "error", "model": "model", "outputs_hash": "outputs"}

Path = tuple[tuple[str, int], ...]
"""A node and those it ran in: of each its name, and how many of this name came before it there."""


@dataclass(frozen=True, slots=True)
class NodePair:
    """A node of two runs: that of the baseline, that of the other, and in what they differ."""

    path: Path
    base: NodeRun | None
    other: NodeRun | None
    change: str

    @property
    def name(self) -> str:
        """The node's name."""
        return self.path[-1][0]


def in_order(nodes: Sequence[NodeRun]) -> list[tuple[int, NodeRun]]:
    """Return nodes by their start, each behind the one it ran in, with its depth from 0."""
    by_start = sorted(nodes, key=lambda node: utc(node.start) if node.start else _BEFORE_ALL)
    known = {node.span_id for node in by_start if node.span_id}
    inside: dict[str | None, list[NodeRun]] = {}
    for node in by_start:
        parent = node.parent_span_id if node.parent_span_id in known else None
        inside.setdefault(parent, []).append(node)
    found: list[tuple[int, NodeRun]] = []
    todo = [(0, node) for node in reversed(inside.pop(None, []))]
    while todo:
        depth, node = todo.pop()
        found.append((depth, node))
        todo += [(depth + 1, each) for each in reversed(inside.pop(node.span_id, []))]
    # Nodes that ran in each other, as a server may report them, have no place of their own.
    return found + [(0, node) for rest in inside.values() for node in rest]


def pairs(base: Sequence[NodeRun], other: Sequence[NodeRun]) -> list[NodePair]:
    """Return the nodes of two runs side by side, in order.

    Nodes are the same by their names, so that those that run at once may change places.
    """
    old, new = _paths(base), _paths(other)
    behind: dict[Path, list[Path]] = {}  # each node of the baseline, () before all: what follows it
    last: Path = ()
    for path in new:
        if path in old:
            last = path
        else:
            behind.setdefault(last, []).append(path)
    order = [each for path in ((), *old) for each in (path, *behind.get(path, [])) if each]
    return [_pair(path, old.get(path), new.get(path)) for path in order]


def _paths(nodes: Sequence[NodeRun]) -> dict[Path, NodeRun]:
    found: dict[Path, NodeRun] = {}
    counts: Counter[tuple[Path, str]] = Counter()
    path: Path = ()
    for depth, node in in_order(nodes):
        path = path[:depth]
        number = counts[path, node.name]
        counts[path, node.name] += 1
        path = (*path, (node.name, number))
        found[path] = node
    return found


def _pair(path: Path, base: NodeRun | None, other: NodeRun | None) -> NodePair:
    if base is None or other is None:
        return NodePair(path, base, other, "new" if base is None else "not run")
    differ = []
    for name, word in _COMPARED.items():
        old, new = getattr(base, name), getattr(other, name)
        if old != new and (name == "error" or None not in (old, new)):
            differ.append(word)
    return NodePair(path, base, other, ", ".join(differ))


def first_difference(found: Sequence[NodePair]) -> NodePair | None:
    """Return the first pair that differs; None where none does.

    Of a node that differs because one inside of it does, that is the inner one.
    """
    first: NodePair | None = None
    for pair in found:
        is_inside = (
            first and first.base and first.other and pair.path[: len(first.path)] == first.path
        )
        if pair.change and (first is None or is_inside):
            first = pair
    return first


def first_changed_node(base: Sequence[NodeRun], other: Sequence[NodeRun]) -> str | None:
    """Return the name of the first node that differs, "" for none; None: a trace is not known."""
    if not base or not other:
        return None
    first = first_difference(pairs(base, other))
    return "" if first is None else first.name

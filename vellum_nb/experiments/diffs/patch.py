"""Changes put into effect: the old value becomes the new one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vellum_nb.errors import InputError
from vellum_nb.experiments.diffs.model import MISSING, Change, Path
from vellum_nb.experiments.diffs.words import Op

__all__ = ["patched"]


@dataclass
class _Rebuilt:
    """What becomes of one list: which places are left, and what is put where."""

    left: set[int] = field(default_factory=set)
    moved: dict[int, int] = field(default_factory=dict)
    put: dict[int, Any] = field(default_factory=dict)


def patched(old: Any, changes: Sequence[Change]) -> Any:
    """Return `old` with `changes` made; `old` itself stays as it is.

    Raises
    ------
    InputError
        The changes are those of another value.
    """
    try:
        return _patched(old, changes)
    except (KeyError, IndexError, TypeError, AttributeError, StopIteration):
        raise _misfit() from None


def _patched(old: Any, changes: Sequence[Change]) -> Any:
    if len(changes) == 1 and changes[0].was == ():
        return _changed(old, changes[0])
    copies = _Copies(old)
    lists: defaultdict[Path, _Rebuilt] = defaultdict(_Rebuilt)
    for change in changes:
        *_, last = change.was
        parent = copies.at(change.was[:-1])
        if change.kind == "change":
            parent[last] = _changed(parent[last], change)
        elif isinstance(parent, dict):
            _set(parent, change)
        else:
            _note(lists[change.was[:-1]], change)
    for path in sorted(lists, key=len, reverse=True):  # the innermost first: places still hold
        _rebuild(copies.at(path), lists[path])
    return copies.at(())


class _Copies:
    """Copies of those parts of a value that change."""

    def __init__(self, old: Any) -> None:
        self._copies: dict[Path, Any] = {(): _copy(old)}

    def at(self, path: Path) -> Any:
        """Return the copy at `path`, made now if need be."""
        length = len(path)
        while path[:length] not in self._copies:
            length -= 1
        part = self._copies[path[:length]]
        for end in range(length, len(path)):
            part[path[end]] = _copy(part[path[end]])
            part = self._copies[path[: end + 1]] = part[path[end]]
        return part


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, list | tuple) else value


def _changed(old: Any, change: Change) -> Any:
    if not change.ops:
        return change.new
    if old != _joined(change.ops, "insert"):
        raise _misfit()
    return _joined(change.ops, "delete")


def _joined(ops: Sequence[Op], without: str) -> str:
    return "".join(op.text for op in ops if op.kind != without)


def _set(parent: dict[Any, Any], change: Change) -> None:
    if change.new is not MISSING:
        parent[change.was[-1]] = change.new
    else:
        del parent[change.was[-1]]


def _note(rebuilt: _Rebuilt, change: Change) -> None:
    before, after = int(change.was[-1]), int(change.path[-1])
    if change.kind == "move":
        rebuilt.moved[after] = before
    if change.kind == "insert":
        rebuilt.put[after] = change.new
    else:
        rebuilt.left.add(before)


def _rebuild(items: list[Any], rebuilt: _Rebuilt) -> None:
    rest = (item for place, item in enumerate(items) if place not in rebuilt.left)
    put = rebuilt.put | {after: items[before] for after, before in rebuilt.moved.items()}
    length = len(items) - len(rebuilt.left) + len(put)
    items[:] = [put[place] if place in put else next(rest) for place in range(length)]


def _misfit() -> InputError:
    msg = "this difference does not fit the value given; apply it to the old value it was made from"
    return InputError(msg)

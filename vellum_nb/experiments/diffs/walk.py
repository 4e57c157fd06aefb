"""From two values to the changes between them, by what Vellum's types say about their parts."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

from vellum_nb.experiments.diffs.identity import Identities, is_list, is_number
from vellum_nb.experiments.diffs.lists import Item, aligned
from vellum_nb.experiments.diffs.model import MISSING, Change, Path
from vellum_nb.experiments.diffs.words import word_diff
from vellum_nb.models.media import MEDIA_TYPES

__all__ = ["Walk"]

_KEYS = ("id", "key", "name", "label")  # what an item of a list is often known by
_IDS = ("id", "key")  # what has another one of these is another thing
_SHAPES = {"turn": "role", "typed": "type"}  # by what items of a kind are told apart
_ITEM = {"CHAT_HISTORY": "turn", "ARRAY": "typed", "SEARCH_RESULTS": "hit"}  # kinds of items


class _Pair(NamedTuple):
    """Two values that belong together, and where they stand."""

    old: Any
    new: Any
    kind: str
    path: Path
    was: Path


class Walk:
    """Finds the changes between two values, without recursion: values may be nested deeply.

    Parameters
    ----------
    tolerance : float
        Numbers that differ by no more than this are the same.
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self.known = Identities()

    def changes(self, old: Any, new: Any, kind: str) -> list[Change]:
        """Return the changes in the order of the new value, deletions last in each part."""
        found: list[Change] = []
        stack: list[_Pair | Change] = [_Pair(old, new, kind, (), ())]
        while stack:
            step = stack.pop()
            if isinstance(step, Change):
                found.append(step)
            elif self.known.of(step.old) != self.known.of(step.new):
                stack += reversed(self._steps(step))
        return found

    def _steps(self, pair: _Pair) -> list[_Pair | Change]:
        """Return what to look at instead of `pair`."""
        old, new = pair.old, pair.new
        if isinstance(old, Mapping) and isinstance(new, Mapping) and _has_parts(pair):
            return self._of_objects(pair)
        if is_list(old) and is_list(new):
            return self._of_lists(pair)
        change = self._of_scalars(pair)
        return [change] if change else []

    def _of_scalars(self, pair: _Pair) -> Change | None:
        old, new, _, path, was = pair
        if isinstance(old, str) and isinstance(new, str):
            return Change("change", path, was, old, new, ops=tuple(word_diff(old, new)))
        delta = _delta(old, new) if is_number(old) and is_number(new) else None
        if delta is not None and abs(delta) <= self._tolerance:
            return None
        return Change("change", path, was, old, new, delta)

    def _of_objects(self, pair: _Pair) -> list[_Pair | Change]:
        old, new, _, path, was = pair
        steps: list[_Pair | Change] = []
        for key, value in new.items():
            here, there = (*path, key), (*was, key)
            if key in old:
                steps.append(_Pair(old[key], value, _kind_of_part(pair, key), here, there))
            else:
                steps.append(Change("insert", here, there, MISSING, value))
        steps += [
            Change("delete", (*path, key), (*was, key), value, MISSING)
            for key, value in old.items()
            if key not in new
        ]
        return steps

    def _of_lists(self, pair: _Pair) -> list[_Pair | Change]:
        old, new, kind, path, was = pair
        item = _ITEM.get(kind, "JSON")
        found = aligned(*([self._item(value, item) for value in side] for side in (old, new)))
        steps: list[_Pair | Change] = []
        for place, value in enumerate(new):
            here = (*path, place)
            if place not in found.pairs:
                steps.append(Change("insert", here, (*was, place), MISSING, value))
                continue
            before = found.pairs[place]
            there = (*was, before)
            if place in found.moved:
                steps.append(Change("move", here, there, old[before], value))
            if self.known.of(old[before]) != self.known.of(value):
                steps.append(_Pair(old[before], value, item, here, there))
        steps += [
            Change("delete", (*path, place), (*was, place), old[place], MISSING)
            for place in found.deleted
        ]
        return steps

    def _item(self, value: Any, kind: str) -> Item:
        number = self.known.of(value)
        if not isinstance(value, Mapping):
            return Item(number, None, _shape(value))
        if kind == "hit":
            document = self._document(value.get("document"))
            return Item(number, (document, self.known.of(value.get("text"))), document)
        if kind != "JSON":
            return Item(number, None, self.known.of(value.get(_SHAPES[kind])))
        key = next(((key, value[key]) for key in _KEYS if _names(value.get(key))), None)
        return Item(number, key, ("object", key if key and key[0] in _IDS else ""))

    def _document(self, document: Any) -> Hashable:
        named = isinstance(document, Mapping) and (document.get("id") or document.get("label"))
        return named if isinstance(named, str) else self.known.of(document)


def _has_parts(pair: _Pair) -> bool:
    """Return whether it helps to look inside two objects."""
    if pair.kind in MEDIA_TYPES:
        return False
    if pair.kind == "FUNCTION_CALL":
        return bool(pair.old.get("name") == pair.new.get("name"))
    return bool(pair.old.keys() & pair.new.keys()) or pair.path == ()


def _kind_of_part(pair: _Pair, key: str) -> str:
    """Return the kind of what stands under `key` in both."""
    if pair.kind == "turn" and key == "content":
        return "typed"
    if pair.kind == "typed" and key == "value":
        kinds = {str(side.get("type")) for side in (pair.old, pair.new)}
        return kinds.pop() if len(kinds) == 1 else "JSON"
    return "JSON"


def _shape(value: Any) -> Hashable:
    if is_list(value):
        return "list"
    return "number" if is_number(value) else type(value).__name__


def _names(value: Any) -> bool:
    """Return whether `value` can be the name or the number of a thing."""
    return isinstance(value, str | int)


def _delta(old: float, new: float) -> float | None:
    try:
        return new - old
    except OverflowError:
        return None

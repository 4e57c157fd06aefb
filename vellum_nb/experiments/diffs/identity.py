"""Which JSON values are the same: each distinct one gets a number, and its count of fields."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

__all__ = ["Identities", "is_list", "is_number"]


class Identities:
    """Numbers JSON values: the same values get the same number.

    As for `same_value`, 1 and 1.0 are the same, 1 and true are not, and the order of keys does not
    matter. Nested to any depth; the values must not be changed while this is used.

    Examples
    --------
    >>> known = Identities()
    >>> known.of({"a": 1, "b": [True]}) == known.of({"b": [True], "a": 1.0})
    True
    >>> known.fields({"a": 1, "b": [True, None]})
    3
    """

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._fields: list[int] = []
        self._by_object: dict[int, int] = {}
        self._kept: list[Any] = []  # an object that is gone could give its address to another

    def of(self, value: Any) -> int:
        """Return the number of `value`."""
        if not isinstance(value, Mapping) and not is_list(value):
            return self._number(_scalar(value), 1)
        known = self._by_object.get(id(value))
        return self._walked(value) if known is None else known

    def fields(self, value: Any) -> int:
        """Return how many scalars `value` holds; what is empty counts as one."""
        return self._fields[self.of(value)]

    def _walked(self, root: Any) -> int:
        """Return the number of `root` after those of all it holds, the innermost first."""
        self._kept.append(root)
        stack = [root]
        while stack:
            value = stack[-1]
            if id(value) in self._by_object:
                stack.pop()
                continue
            inner = list(value.values()) if isinstance(value, Mapping) else value
            waiting = [
                item
                for item in inner
                if (isinstance(item, Mapping) or is_list(item)) and id(item) not in self._by_object
            ]
            if waiting:
                stack += waiting
                continue
            self._by_object[id(value)] = self._container(value, [self.of(item) for item in inner])
            stack.pop()
        return self._by_object[id(root)]

    def _container(self, value: Any, inner: list[int]) -> int:
        fields = self._count(inner)
        if isinstance(value, Mapping):
            return self._number(("object", frozenset(zip(value, inner, strict=True))), fields)
        return self._number(("list", tuple(inner)), fields)

    def _count(self, inner: Iterable[int]) -> int:
        return sum(self._fields[number] for number in inner) or 1

    def _number(self, key: Hashable, fields: int) -> int:
        number = self._numbers.setdefault(key, len(self._fields))
        if number == len(self._fields):
            self._fields.append(fields)
        return number


def is_list(value: object) -> bool:
    """Return whether `value` is what JSON calls an array."""
    return isinstance(value, list | tuple)


def is_number(value: object) -> bool:
    """Return whether `value` is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scalar(value: Any) -> Hashable:
    if is_number(value):
        return "number", value if value == value else None  # noqa: PLR0124  (NaN differs from itself)
    try:
        hash(value)
    except TypeError:
        return type(value), repr(value)
    return type(value), value

"""Fields of one plain control: text, number, yes or no, a choice."""

from __future__ import annotations

import math
import re
from typing import Any

import ipywidgets as ipw

from vellum_nb.models import VellumVariable
from vellum_nb.models.inputs import default_of
from vellum_nb.widgets.field import Field, UnreadableError

__all__ = ["BoolField", "EnumField", "NumberField", "TextField"]

_ONE_LINE = 200
_INTEGER = re.compile(r"[+-]?\d+")


class TextField(Field):
    """A STRING: one line where the schema keeps it short, else a text area."""

    LONG = True

    def _build(self) -> list[Any]:
        kind = ipw.Textarea if is_multiline(self.variable) else ipw.Text
        rows = {"rows": 3} if kind is ipw.Textarea else {}
        self._control = kind(description=self.label, **rows)
        self._control.add_class("vnb-control")
        self.reset()
        self._control.observe(self.touched, "value")
        return [self._control]

    def _get_typed(self) -> str:
        return str(self._control.value)

    def _set_typed(self, typed: Any) -> None:
        self._control.value = str(typed)

    def _parse(self) -> str | None:
        return self.typed or None

    def _fill(self, value: Any) -> None:
        self.typed = "" if value is None else value


class NumberField(Field):
    """A NUMBER, with the bounds of its schema; a wrong number stays as it was typed."""

    def _build(self) -> list[Any]:
        self._control = ipw.Text(description=self.label)
        self._control.add_class("vnb-control")
        self.reset()
        self._control.observe(self.touched, "value")
        return [self._control]

    def _caption(self) -> str:
        return f"NUMBER {bounds(self.variable)}".strip()

    def _classes(self) -> tuple[str, ...]:
        return ("vnb-number",)

    def _get_typed(self) -> str:
        return str(self._control.value)

    def _set_typed(self, typed: Any) -> None:
        self._control.value = str(typed)

    def _parse(self) -> float | None:
        text = self.typed.strip()
        if not text:
            return None
        number = _number(text)
        if number is None:
            msg = f"“{text}” is not a number."
            raise UnreadableError(msg)
        return number

    def _fill(self, value: Any) -> None:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        self.typed = "" if value is None else value


def _number(text: str) -> float | None:
    """Return the number that `text` is, if it is one that a float can tell from infinity."""
    try:
        number = int(text) if _INTEGER.fullmatch(text) else float(text)
        return number if math.isfinite(number) else None
    except (ValueError, OverflowError):
        return None


class BoolField(Field):
    """Yes or no."""

    def _build(self) -> list[Any]:
        default = default_of(self.variable)
        self._control = ipw.Checkbox(description=self.label, value=default is True, indent=False)
        self._control.add_class("vnb-control")
        self._control.observe(self.touched, "value")
        return [self._control]

    def _caption(self) -> str:
        return "BOOLEAN"

    def _classes(self) -> tuple[str, ...]:
        return ("vnb-bool",)

    def _check(self, value: Any, variable: VellumVariable) -> str | None:
        return None if variable.type == "JSON" else super()._check(value, variable)

    def _get_typed(self) -> bool:
        return bool(self._control.value)

    def _set_typed(self, typed: Any) -> None:
        if isinstance(typed, bool):
            self._control.value = typed

    def _parse(self) -> bool:
        return self._get_typed()

    def _fill(self, value: Any) -> None:
        self._control.value = value is True


class EnumField(Field):
    """One of the values that the schema names."""

    def _build(self) -> list[Any]:
        none = "choose…" if self.is_required else "none"
        values = list((self.variable.json_schema or {}).get("enum", ()))
        self._values = [None, *values]
        labels = [none, *(str(value) for value in values)]
        options = [(label, place) for place, label in enumerate(labels)]
        self._control = ipw.Dropdown(description=self.label, options=options, value=0)
        self._control.add_class("vnb-control")
        self.reset()
        self._control.observe(self.touched, "value")
        return [self._control]

    def _caption(self) -> str:
        return "ENUM"

    def _check(self, value: Any, variable: VellumVariable) -> str | None:
        allowed = (variable.json_schema or {}).get("enum", ())
        return None if value in allowed else super()._check(value, variable)

    def _get_typed(self) -> Any:
        return self._values[self._control.value]

    def _set_typed(self, typed: Any) -> None:
        self._fill(typed)

    def _parse(self) -> Any:
        return self.typed

    def _fill(self, value: Any) -> None:
        if value not in self._values:  # kept and marked, as a mistyped text would be
            self._values.append(value)
            label = (str(value), len(self._values) - 1)
            self._control.options = (*self._control.options, label)
        self._control.value = self._values.index(value)


def is_multiline(variable: VellumVariable) -> bool:
    """Return whether a text deserves several rows.

    Examples
    --------
    >>> is_multiline(VellumVariable(key="name", type="STRING", schema={"maxLength": 80}))
    False
    """
    schema = variable.json_schema or {}
    if isinstance(schema.get("x-multiline"), bool):
        return bool(schema["x-multiline"])
    longest = schema.get("maxLength")
    return not (isinstance(longest, int) and longest <= _ONE_LINE)


def bounds(variable: VellumVariable) -> str:
    """Return the bounds of a number in a few signs.

    Examples
    --------
    >>> bounds(VellumVariable(key="n", type="NUMBER", schema={"minimum": 1, "maximum": 72}))
    '1–72'
    """  # noqa: RUF002  # the dash of a range
    schema = variable.json_schema or {}
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{low}–{high}"  # noqa: RUF001  # the dash of a range
    if low is not None:
        return f"≥ {low}"
    return f"≤ {high}" if high is not None else ""

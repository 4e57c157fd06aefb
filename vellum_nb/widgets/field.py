"""One input variable as a labelled control: text, number, yes or no, choice, JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, ClassVar, NoReturn

import ipywidgets as ipw

from vellum_nb.errors import InputError
from vellum_nb.models import VellumVariable
from vellum_nb.models.inputs import default_of, plain, value_problem
from vellum_nb.rendering.format import visible_name
from vellum_nb.widgets.base import close_tree, note
from vellum_nb.widgets.markup import ALERT, page_safe

__all__ = [
    "BoolField",
    "EnumField",
    "Expectation",
    "Field",
    "JsonField",
    "NumberField",
    "TextField",
    "UnreadableError",
    "json_problem",
    "read_json",
    "write_json",
]

Expectation = tuple[str, VellumVariable]


class UnreadableError(ValueError):
    """What was typed is no value; the message says why, for people."""


class Field:
    """One input variable: its control, label, type, description, and what is wrong with it.

    A subclass builds its control and says how what is typed becomes a value and back. Typed text
    stays as it was typed, right or wrong.

    Parameters
    ----------
    variable : VellumVariable
        What is asked for.
    changed : callable
        Called after every change, by hand or by code.

    Attributes
    ----------
    widget : ipywidgets.Widget
        To be shown.
    expects : sequence of (release tag, VellumVariable)
        What each release wants; the tag is empty when there is only one.
    """

    LONG: ClassVar[bool] = False
    CLASSES: ClassVar[tuple[str, ...]] = ()

    def __init__(self, variable: VellumVariable, changed: Callable[[], None]) -> None:
        self.variable = variable
        self.expects: Sequence[Expectation] = (("", variable),)
        self.shows_required = False
        self._control: Any = None
        self._judged: tuple[Any, str | None] | None = None
        self._changed: Callable[[], None] = _nothing
        self._message = ipw.HTML()
        self._message.add_class("vnb-problem")
        self._help = note(escape(variable.description), "vnb-help")
        caption = note(escape(self._caption()), "vnb-type")
        parts = [*self._build(), self._help, caption, self._message]
        self.widget = ipw.VBox(parts)
        for name in ("vnb-field", "vnb-long" if self.LONG else "vnb-short", *self.CLASSES):
            self.widget.add_class(name)
        self._changed = changed

    def _build(self) -> list[Any]:
        """Return the controls; the first one carries the label."""
        raise NotImplementedError

    def _get_typed(self) -> Any:
        return self._control.value

    def _set_typed(self, typed: Any) -> None:
        self._control.value = typed

    def _labelled(self, kind: Any, **options: Any) -> list[Any]:
        """Build one control that carries the label, and show the default in it."""
        self._control = kind(description=self.label, **options)
        self._control.add_class("vnb-control")
        self.reset()
        self._control.observe(self.touched, "value")
        return [self._control]

    def _parse(self) -> Any:
        """Return what is typed as a natural value, None for nothing; raise `UnreadableError`."""
        raise NotImplementedError

    def _fill(self, value: Any) -> None:
        """Show `value`; None empties the control."""
        raise NotImplementedError

    def reset(self) -> None:
        """Show the default; nothing where it is no value of this kind, as nobody here mends it."""
        try:
            self._fill(default_of(self.variable))
        except InputError:
            self._fill(None)

    def focus(self) -> None:
        """Move the keyboard's focus to the control."""
        self._control.focus()

    def _caption(self) -> str:
        return self.variable.type

    def _check(self, value: Any, variable: VellumVariable) -> str | None:
        """Return what is wrong with a value that could be read."""
        if value is None and variable.is_required:
            return "A value is required."
        if variable.json_schema and value == default_of(variable):
            return None  # the server made it, and checking a schema costs an import of 0.4 s
        return value_problem(value, variable)

    def _wording(self, problem: str) -> str:
        """Return `problem` as HTML."""
        return escape(problem)

    @property
    def typed(self) -> Any:
        """What stands in the control, as it was typed."""
        return self._get_typed()

    @typed.setter
    def typed(self, typed: Any) -> None:
        self._set_typed(typed)

    @property
    def name(self) -> str:
        """The variable's name."""
        return self.variable.key

    @property
    def label(self) -> str:
        """The name, with a mark where a value must be given."""
        name = visible_name(self.name)
        return f"{name} *" if self.variable.is_required else name

    @property
    def value(self) -> Any:
        """The natural value; None when nothing, or nothing readable, is typed."""
        try:
            return self._parse()
        except UnreadableError:
            return None

    @value.setter
    def value(self, value: Any) -> None:
        self._fill(value)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is typed."""
        try:
            return self._parse() is None
        except UnreadableError:
            return False

    @property
    def is_unfinished(self) -> bool:
        """Whether what is wrong, if anything, is only that something is still to be typed."""
        return self.is_empty

    def problem(self) -> str | None:
        """Return why no run can start with what is typed, or None."""
        state = (self.typed, self.expects)
        if self._judged is None or self._judged[0] != state:
            self._judged = (state, self._problem())
        return self._judged[1]

    def _problem(self) -> str | None:
        try:
            value = self._parse()
        except UnreadableError as exc:
            return str(exc)
        for tag, variable in self.expects:
            found = self._check(value, variable)
            if found:
                return f"{tag}: {found}" if tag else found
        return None

    def show(self, problem: str | None) -> None:
        """Show `problem` beside the control, or take it away."""
        text = f'<div role="alert">{ALERT}<span>{self._wording(problem or "")}</span></div>'
        html = text if problem else ""
        if self._message.value != html:
            self._message.value = html
            (self.widget.add_class if problem else self.widget.remove_class)("vnb-bad")

    def look(self) -> None:
        """Read what the value points at, before it is used; most point at nothing."""

    def touched(self, *_: object) -> None:
        """Tell the form that something was typed."""
        self._changed()

    def close(self) -> None:
        """Close every widget of the field."""
        close_tree(self.widget)


def _nothing() -> None:
    """Do nothing while a field is being built."""


_ONE_LINE = 200
_INTEGER = re.compile(r"[+-]?\d+")


class TextField(Field):
    """A STRING: one line where the schema keeps it short, else a text area."""

    LONG = True

    def _build(self) -> list[Any]:
        return (
            self._labelled(ipw.Textarea, rows=3)
            if is_multiline(self.variable)
            else self._labelled(ipw.Text)
        )

    def _parse(self) -> str | None:
        return self.typed or None

    def _fill(self, value: Any) -> None:
        self._control.value = "" if value is None else page_safe(str(value))


class NumberField(Field):
    """A NUMBER, with the bounds of its schema; a wrong number stays as it was typed."""

    CLASSES = ("vnb-number",)

    def _build(self) -> list[Any]:
        return self._labelled(ipw.Text)

    def _caption(self) -> str:
        return f"NUMBER {bounds(self.variable)}".strip()

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
        self._control.value = "" if value is None else str(value)


def _number(text: str) -> float | None:
    """Return the number that `text` is, if it is one that a float can tell from infinity."""
    try:
        number = int(text) if _INTEGER.fullmatch(text) else float(text)
        return number if math.isfinite(number) else None
    except (ValueError, OverflowError):
        return None


class BoolField(Field):
    """Yes or no."""

    CLASSES = ("vnb-bool",)

    def _build(self) -> list[Any]:
        return self._labelled(ipw.Checkbox, indent=False)

    def _caption(self) -> str:
        return "BOOLEAN"

    def _check(self, value: Any, variable: VellumVariable) -> str | None:
        return None if variable.type == "JSON" else super()._check(value, variable)

    def _set_typed(self, typed: Any) -> None:
        if isinstance(typed, bool):
            self._control.value = typed

    def _parse(self) -> bool:
        return bool(self._control.value)

    def _fill(self, value: Any) -> None:
        self._control.value = value is True


class EnumField(Field):
    """One of the values that the schema names."""

    def _build(self) -> list[Any]:
        none = "choose…" if self.variable.is_required else "none"
        values = list((self.variable.json_schema or {}).get("enum", ()))
        self._values = [None, *values]
        labels = [none, *(page_safe(str(value)) for value in values)]
        options = [(label, place) for place, label in enumerate(labels)]
        return self._labelled(ipw.Dropdown, options=options, value=0)

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
        if value not in self._values:  # it is shown with its problem, like a mistyped text
            self._values.append(value)
            label = (page_safe(str(value)), len(self._values) - 1)
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


_EXPLAINED = (
    ("Expecting property name", "a key in double quotes is expected"),
    ("Expecting ':'", "a colon is missing after the key"),
    ("Expecting ','", "a comma or a closing bracket is missing"),
    ("Expecting value", "a value is missing"),
    ("Unterminated string", "the closing quote is missing"),
    ("Invalid control character", "a line break or tab inside quotes; write \\n or \\t"),
    ("Invalid \\escape", "an unknown escape after the backslash"),
    ("Extra data", "the JSON ends before here; what follows is too much"),
)
_CLOSING = {"]": "bracket", "}": "brace"}
_ONE_LINE_JSON = 80
_BAD = "Not valid JSON"
_WORDS = ("True", "False", "None")


class JsonField(Field):
    """JSON as text; a mistake is named by line and column, and the text stays."""

    LONG = True
    CLASSES = ("vnb-json",)

    def _build(self) -> list[Any]:
        return self._labelled(ipw.Textarea, rows=2)

    def _set_typed(self, typed: Any) -> None:
        self._control.value = typed if isinstance(typed, str) else write_json(typed)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is typed."""
        return not self.typed.strip()

    def _parse(self) -> Any:
        return None if self.is_empty else read_json(self.typed)

    def _fill(self, value: Any) -> None:
        self._control.value = "" if value is None else page_safe(write_json(value))

    def _check(self, value: Any, variable: VellumVariable) -> str | None:
        if self.is_empty:
            return "A value is required." if variable.is_required else None
        return super()._check(value, variable)

    def _wording(self, problem: str) -> str:
        text = escape(problem)
        return text.replace(_BAD, f"<b>{_BAD}</b>", 1)


def read_json(text: str) -> Any:
    """Return what `text` stands for; raise `UnreadableError` in plain words."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as exc:
        msg = json_problem(text, exc)
        raise UnreadableError(msg) from None
    except RecursionError:
        msg = f"{_BAD} that can be sent: it is nested too deep."
        raise UnreadableError(msg) from None


def json_problem(text: str, exc: json.JSONDecodeError) -> str:
    """Return where and why `text` is no JSON.

    Examples
    --------
    >>> try:
    ...     json.loads('{"a": [1, ]}')
    ... except json.JSONDecodeError as exc:
    ...     json_problem('{"a": [1, ]}', exc)
    'Not valid JSON, line 1, column 9: a comma before the closing bracket. Nothing is sent until this is mended.'
    """  # noqa: E501
    place, why = _place(text, exc)
    line = text.count("\n", 0, place) + 1
    column = place - (text.rfind("\n", 0, place) + 1) + 1
    return f"{_BAD}, line {line}, column {column}: {why}. Nothing is sent until this is mended."


def _place(text: str, exc: json.JSONDecodeError) -> tuple[int, str]:
    """Return the place of the mistake and its name; a comma too many is named as itself."""
    before = text[: exc.pos].rstrip()
    rest = text[exc.pos :].lstrip()
    if "trailing comma" in exc.msg:
        closing = text[exc.pos + 1 :].lstrip()[:1]
        return exc.pos, f"a comma before the closing {_CLOSING.get(closing, 'bracket')}"
    if before.endswith(",") and rest[:1] in _CLOSING:
        return len(before) - 1, f"a comma before the closing {_CLOSING[rest[:1]]}"
    word = next((word for word in _WORDS if rest.startswith(word)), None)
    if word:
        json_word = {"None": "null"}.get(word, word.lower())
        return exc.pos, f"{word} is Python; JSON says {json_word}"
    if rest.startswith("'"):
        return exc.pos, "JSON wants double quotes"
    if not rest:
        return len(text), "the end is missing"
    plain = next((words for start, words in _EXPLAINED if exc.msg.startswith(start)), exc.msg)
    return exc.pos, plain


def _refuse(word: str) -> NoReturn:
    msg = f"{_BAD}: {word} is no JSON number."
    raise UnreadableError(msg)


def write_json(value: Any) -> str:
    """Return `value` as JSON: on one line when it is short."""
    value = plain(value)
    short = json.dumps(value, ensure_ascii=False)
    return (
        short if len(short) <= _ONE_LINE_JSON else json.dumps(value, ensure_ascii=False, indent=2)
    )

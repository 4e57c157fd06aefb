"""A field for JSON that says where a mistake is, while one types."""

from __future__ import annotations

import json
from html import escape
from typing import Any, NoReturn

import ipywidgets as ipw

from vellum_nb.models import VellumVariable
from vellum_nb.models.inputs import plain
from vellum_nb.widgets.field import Field, UnreadableError

__all__ = ["JsonField", "json_problem", "read_json", "write_json"]

_PLAIN = (
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
_SHORT = 80
_BAD = "Not valid JSON"
_WORDS = ("True", "False", "None")


class JsonField(Field):
    """JSON as text; a mistake is named by line and column and keeps the text."""

    LONG = True

    def _build(self) -> list[Any]:
        self._control = ipw.Textarea(description=self.label, rows=2)
        self._control.add_class("vnb-control")
        self.reset()
        self._control.observe(self.touched, "value")
        return [self._control]

    def _classes(self) -> tuple[str, ...]:
        return ("vnb-json",)

    def _get_typed(self) -> str:
        return str(self._control.value)

    def _set_typed(self, typed: Any) -> None:
        self._control.value = typed if isinstance(typed, str) else write_json(typed)

    def _is_empty(self) -> bool:
        return not self.typed.strip()

    def _parse(self) -> Any:
        return None if self.is_empty else read_json(self.typed)

    def _fill(self, value: Any) -> None:
        """Show `value`; None empties the field."""
        self._control.value = "" if value is None else write_json(value)

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
    plain = next((words for start, words in _PLAIN if exc.msg.startswith(start)), exc.msg)
    return exc.pos, plain


def _refuse(word: str) -> NoReturn:
    msg = f"{_BAD}: {word} is no JSON number."
    raise UnreadableError(msg)


def write_json(value: Any) -> str:
    """Return `value` as JSON: on one line when it is short."""
    value = plain(value)
    short = json.dumps(value, ensure_ascii=False)
    return short if len(short) <= _SHORT else json.dumps(value, ensure_ascii=False, indent=2)

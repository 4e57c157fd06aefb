"""Which field asks for which variable: one literal table, and all fields of a form together."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import ipywidgets as ipw

from vellum_nb.errors import InputError, InputProblem
from vellum_nb.models import Run, VellumVariable
from vellum_nb.models.inputs import chat_messages, default_of, field_kind
from vellum_nb.models.schema import schema_problem
from vellum_nb.widgets.base import close_tree
from vellum_nb.widgets.chat_field import ChatField
from vellum_nb.widgets.field import BoolField, EnumField, Field, JsonField, NumberField, TextField
from vellum_nb.widgets.media_field import MediaField
from vellum_nb.widgets.spec import expectations, union

__all__ = ["FIELDS", "FieldSet", "answer_text", "make_field", "next_turn", "warm_up"]


class FieldMaker(Protocol):
    """Makes a field for a variable."""

    def __call__(self, variable: VellumVariable, changed: Callable[[], None]) -> Field:
        """Return the field."""
        ...


FIELDS: Mapping[str, FieldMaker] = {
    "text": TextField,
    "number": NumberField,
    "bool": BoolField,
    "enum": EnumField,
    "json": JsonField,
    "chat": ChatField,
    "image": MediaField,
    "audio": MediaField,
    "video": MediaField,
    "document": MediaField,
}


def make_field(variable: VellumVariable, changed: Callable[[], None]) -> Field:
    """Return the field that asks for `variable`."""
    return FIELDS[field_kind(variable)](variable, changed)


def warm_up() -> None:
    """Load what checks values in a thread, so that the first key typed does not wait for it."""
    if "jsonschema" not in sys.modules:
        name, args = "vellum-nb-warm-up", (0, {"type": "integer"})
        threading.Thread(target=schema_problem, args=args, name=name, daemon=True).start()


class FieldSet:
    """The fields of a form: shows those that the chosen releases want, and keeps what was typed.

    Parameters
    ----------
    changed : callable
        Called after every change of a field.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.widget = ipw.Box()
        self.widget.add_class("vnb-fields")
        self._changed = changed
        self._silent = False
        self._visible: dict[str, Field] = {}
        self._pool: dict[tuple[str, str], Field] = {}

    def show(self, by_tag: Mapping[str, Sequence[VellumVariable]]) -> None:
        """Show the union of what the releases want; what was typed moves to the new fields."""
        before = self._visible
        self._visible = {}
        with self._silently():
            for variable in union(list(by_tag.values())):
                field = self._field(variable, before.get(variable.key))
                field.expects = expectations(variable.key, by_tag)
                self._visible[variable.key] = field
        children = tuple(field.widget for field in self._visible.values())
        if self.widget.children != children:
            self.widget.children = children
        self.show_problems()

    def _notify(self) -> None:
        if not self._silent:
            self._changed()

    @contextmanager
    def _silently(self) -> Iterator[None]:
        """Change several fields without a notification; the caller notifies once."""
        self._silent = True
        try:
            yield
        finally:
            self._silent = False

    def _field(self, variable: VellumVariable, old: Field | None) -> Field:
        key = (variable.key, repr(variable))
        known = key in self._pool
        if not known:
            self._pool[key] = make_field(variable, self._notify)
        field = self._pool[key]
        if old is None or old is field:
            return field
        if not _is_pristine(old):
            field.typed = old.typed if type(old) is type(field) else _carried(old, field)
        elif known:  # what was typed here once has been taken away meanwhile
            field.reset()
        field.shows_required = old.shows_required
        return field

    @property
    def names(self) -> list[str]:
        """The names of the inputs shown."""
        return list(self._visible)

    def __getitem__(self, name: str) -> Field:
        return self._visible[name]

    @property
    def values(self) -> dict[str, Any]:
        """Natural values of all inputs that have a readable one."""
        return {
            name: field.value
            for name, field in self._visible.items()
            if not field.is_empty and (field.value is not None or field.problem() is None)
        }

    @property
    def typed(self) -> dict[str, Any]:
        """What stands in each field, right or wrong."""
        return {name: field.typed for name, field in self._visible.items()}

    def set_values(self, values: Mapping[str, Any], *, where: str) -> None:
        """Show `values`; inputs that are not named go back to their defaults.

        Raises
        ------
        InputError
            A name is no input; the message lists the known ones and nothing is changed.
        """
        known = ", ".join(self._visible) or "none"
        problems = [
            InputProblem(str(name), f"is no input. The form's inputs: {known}")
            for name in values
            if name not in self._visible
        ]
        if problems:
            msg = f"These values do not fit the form of {where}:"
            raise InputError(msg, problems)
        with self._silently():
            for name, field in self._visible.items():
                if name in values:
                    field.value = values[name]
                else:
                    field.reset()

    def problems(self) -> dict[str, str]:
        """Return what is wrong, by the input's name, in the order of the fields."""
        found = {name: field.problem() for name, field in self._visible.items()}
        return {name: problem for name, problem in found.items() if problem}

    def hide_required(self) -> None:
        """Show nothing beside empty fields until the next try to run."""
        for field in self._visible.values():
            field.shows_required = False

    def show_problems(self, *, required: bool = False) -> dict[str, str]:
        """Show what is wrong beside each field; empty ones only after a try to run.

        Returns
        -------
        dict
            What `problems` returns.
        """
        if required:
            for field in self._visible.values():
                field.look()
        found = self.problems()
        for name, field in self._visible.items():
            field.shows_required = field.shows_required or required
            unfinished = field.is_unfinished and not field.shows_required
            field.show(None if unfinished else found.get(name))
        return found

    def close(self) -> None:
        """Close every field, also those that are not shown."""
        for field in self._pool.values():
            field.close()
        self.widget.children = ()
        close_tree(self.widget)


def _is_pristine(field: Field) -> bool:
    unreadable = field.value is None and not field.is_empty
    return not unreadable and bool(field.value == default_of(field.variable))


def _carried(old: Field, new: Field) -> Any:
    """Return what was typed in a field of one kind for a field of another kind."""
    if isinstance(old.typed, str) and isinstance(new.typed, str):
        return old.typed
    return new.typed


Message = dict[str, Any]


def answer_text(run: Run) -> str:
    """Return what `run` answered in a chat: the last turn it gave, else its longest text.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> run = Run(
    ...     id="1",
    ...     deployment="d",
    ...     release_tag="v1",
    ...     timestamp=datetime.now(UTC),
    ...     inputs={},
    ...     case_id="c",
    ...     outputs={"category": "billing", "reply": "I am sorry about that."},
    ... )
    >>> answer_text(run)
    'I am sorry about that.'
    """
    for name, kind in run.output_types.items():
        if kind == "CHAT_HISTORY":
            turns = run.outputs.get(name)
            last = turns[-1] if isinstance(turns, list) and turns else None
            if isinstance(last, Mapping) and isinstance(last.get("text"), str):
                return str(last["text"])
    texts = [value for value in run.outputs.values() if isinstance(value, str)]
    return max(texts, key=len, default="")


def next_turn(run: Run, fields: FieldSet) -> None:
    """Put the answer of `run` into the chat that it was asked in, and ask for the next turn.

    The chat goes on from the turns that were sent with `run`; a turn that the user has written
    since is kept as the next one. Where the question stands in a text field of its own, it joins
    the chat, and that field is emptied for the next question. Without a chat field the first
    field gets the focus.
    """
    visible = [fields[name] for name in fields.names]
    chat = next((field for field in visible if isinstance(field, ChatField)), None)
    if chat is None:
        for field in visible[:1]:
            field.focus()
        return
    sent = _turns_sent(run, chat.name)
    question = None if sent and sent[-1]["role"] == "USER" else _question(run, fields)
    if question is not None:
        sent = [*sent, {"role": "USER", "text": run.inputs[question]}]
    text = answer_text(run)
    answered = [*sent, {"role": "ASSISTANT", "text": text}] if text else sent
    if question is None:
        chat.typed = [*answered, _draft(chat.typed, sent)]
        chat.focus_last()
    else:
        chat.typed = answered
        if fields[question].value == run.inputs[question]:
            fields[question].value = None
        fields[question].focus()


def _turns_sent(run: Run, name: str) -> list[Message]:
    try:
        return chat_messages(run.inputs.get(name) or [])
    except InputError:
        return []


def _question(run: Run, fields: FieldSet) -> str | None:
    for name in fields.names:
        field = fields[name]
        is_text = isinstance(field, TextField) and field.variable.is_required
        if is_text and isinstance(run.inputs.get(name), str):
            return name
    return None


def _draft(typed: list[Message], sent: list[Message]) -> Message:
    """Return the turn that the user has begun to write since, or an empty one."""
    last = typed[-1] if len(typed) > len(sent) else {}
    return last if last.get("role") == "USER" else {"role": "USER", "text": ""}

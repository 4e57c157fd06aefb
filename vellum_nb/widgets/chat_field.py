"""A field for a CHAT_HISTORY: turns one can write, move and remove, or paste as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as ipw

from vellum_nb.errors import InputError
from vellum_nb.models.inputs import ROLES, chat_messages
from vellum_nb.widgets.base import button, close_tree, note
from vellum_nb.widgets.field import Field, UnreadableError, read_json
from vellum_nb.widgets.markup import ALERT, page_safe

__all__ = ["ChatField"]

Message = dict[str, Any]
_SIGNS_PER_TOKEN = 4


class ChatField(Field):
    """An ordered list of turns."""

    LONG = True
    CLASSES = ("vnb-chat",)

    def _build(self) -> list[Any]:
        self._turns: list[_Turn] = []
        self._list = ipw.VBox()
        self._list.add_class("vnb-turns")
        self._add = button("Add turn", "vnb-add", self.add, tooltip=f"Add a turn to {self.name}")
        self._paste = _Paste(self)
        buttons = ipw.Box([self._add, self._paste.toggle])
        buttons.add_class("vnb-buttons")
        self._note = note("", "vnb-help", "vnb-count")
        self._filling = False
        self.reset()
        head = note(f'<span class="vnb-label" aria-hidden="true">{escape(self.label)}</span>')
        head.add_class("vnb-caption")
        return [head, self._note, self._list, buttons, self._paste.widget]

    def _get_typed(self) -> list[Message]:
        return [turn.message for turn in self._turns]

    def _set_typed(self, typed: Any) -> None:
        self._filling = True
        try:
            self._resize(len(typed))
            for turn, message in zip(self._turns, typed, strict=True):
                turn.message = message
        finally:
            self._filling = False
        self.touched()

    def touched(self, *_: object) -> None:
        """Count the turns again, and tell the form."""
        if self._filling:
            return
        signs = sum(len(turn.text) for turn in self._turns)
        turns = "1 turn" if len(self._turns) == 1 else f"{len(self._turns)} turns"
        tokens = f" · about {max(1, signs // _SIGNS_PER_TOKEN)} tokens" if signs else ""
        self._note.value = turns + tokens
        super().touched()

    def _parse(self) -> list[Message] | None:
        if all(turn.is_empty for turn in self._turns):
            return None
        for number, turn in enumerate(self._turns, start=1):
            if turn.is_empty:
                msg = f"Turn {number} has no text: write it, or remove the turn."
                raise UnreadableError(msg)
        return self._get_typed()

    def _fill(self, value: Any) -> None:
        """Show messages; nothing is one empty turn to write in."""
        self.typed = chat_messages(value or []) or [{"role": "USER", "text": ""}]

    @property
    def is_unfinished(self) -> bool:
        """Whether only the last turn is still to be written."""
        return self.is_empty or all(
            turn.is_empty == (turn is self._turns[-1]) for turn in self._turns
        )

    def focus(self) -> None:
        """Move the focus to the first empty turn, else to the first."""
        empty = next((turn for turn in self._turns if turn.is_empty), None)
        (empty or self._turns[0]).focus() if self._turns else self._add.focus()

    def focus_last(self) -> None:
        """Move the focus to the last turn."""
        self._turns[-1].focus()

    def show(self, problem: str | None) -> None:
        """Show `problem`, and mark the turns that it is about: the empty ones if there are any."""
        super().show(problem)
        some_empty = any(turn.is_empty for turn in self._turns)
        for turn in self._turns:
            turn.mark(bad=bool(problem) and (turn.is_empty or not some_empty))

    def add(self) -> None:
        """Add an empty turn of whoever is next to speak, ready to be written."""
        last = self._turns[-1].message["role"] if self._turns else ""
        role = "ASSISTANT" if last == "USER" else "USER"
        self.typed = [*self.typed, {"role": role, "text": ""}]
        self._turns[-1].focus()

    def move(self, place: int, step: int) -> None:
        """Move a turn up (-1) or down (+1); the focus goes with it."""
        turns = self.typed
        other = place + step
        if 0 <= other < len(turns):
            turns[place], turns[other] = turns[other], turns[place]
            self.typed = turns
            self._turns[other].focus_on(step)

    def remove(self, place: int) -> None:
        """Remove a turn; the focus goes to its neighbour."""
        self.typed = [turn for at, turn in enumerate(self.typed) if at != place]
        if self._turns:
            self._turns[min(place, len(self._turns) - 1)].focus()
        else:
            self._add.focus()

    def _resize(self, count: int) -> None:
        while len(self._turns) < count:
            self._turns.append(_Turn(self, len(self._turns)))
        removed, self._turns = self._turns[count:], self._turns[:count]
        self._list.children = [turn.widget for turn in self._turns]
        for turn in removed:
            turn.close()
        for place, turn in enumerate(self._turns):
            turn.set_ends(first=place == 0, last=place == count - 1)

    def close(self) -> None:
        """Close every widget of the field."""
        super().close()
        self._paste.close()


class _Turn:
    """One turn: who, what, and the buttons to move and remove it."""

    def __init__(self, field: ChatField, place: int) -> None:
        number = place + 1
        self._rest: Message = {}
        self._role = ipw.Dropdown(options=list(ROLES), value="USER", description=f"role {number}")
        self._text = ipw.Textarea(description=f"{field.name}, turn {number}", rows=1)
        for control in (self._role, self._text):
            control.add_class("vnb-unlabelled")
            control.observe(field.touched, "value")
        self._up = _turn_button("up", f"Move turn {number} up", lambda: field.move(place, -1))
        self._down = _turn_button("down", f"Move turn {number} down", lambda: field.move(place, 1))
        remove = _turn_button("remove", f"Remove turn {number}", lambda: field.remove(place))
        self.widget = ipw.Box([self._role, self._text, self._up, self._down, remove])
        self.widget.add_class("vnb-turn-row")

    @property
    def text(self) -> str:
        return str(self._text.value)

    @property
    def is_empty(self) -> bool:
        return not self.text and "content" not in self._rest

    @property
    def message(self) -> Message:
        role: Message = {"role": self._role.value}
        return {**role, **self._rest} if "content" in self._rest else self._with_text(role)

    @message.setter
    def message(self, message: Message) -> None:
        self._rest = {key: v for key, v in message.items() if key not in {"role", "text"}}
        self._role.value = message["role"]
        content = self._rest.get("content")
        text = json.dumps(content, ensure_ascii=False) if content else message.get("text") or ""
        self._text.value = page_safe(text)
        self._text.disabled = content is not None  # parts are edited as JSON

    def _with_text(self, role: Message) -> Message:
        return {**role, "text": self.text, **self._rest}

    def mark(self, *, bad: bool) -> None:
        (self.widget.add_class if bad else self.widget.remove_class)("vnb-turn-bad")

    def set_ends(self, *, first: bool, last: bool) -> None:
        self._up.disabled = first
        self._down.disabled = last

    def focus(self) -> None:
        self._text.focus()

    def focus_on(self, step: int) -> None:
        """Move the focus to the button that moves on, or to the text where that ends."""
        button = self._up if step < 0 else self._down
        (self._text if button.disabled else button).focus()

    def close(self) -> None:
        close_tree(self.widget)


class _Paste:
    """The turns as JSON: to paste a whole conversation, or take it away."""

    def __init__(self, field: ChatField) -> None:
        self._field = field
        self.toggle = ipw.ToggleButton(description="Paste as JSON…")
        self.toggle.add_class("vnb-plain")
        self.toggle.observe(self._toggled, "value")
        self._text = ipw.Textarea(description=f"{field.name} as JSON", rows=5)
        self._text.add_class("vnb-unlabelled")
        self._text.add_class("vnb-json")
        self._use = button("Use these turns", "", self._used)
        self._why = note("", "vnb-problem")
        self.widget = ipw.VBox()
        self.widget.add_class("vnb-paste")

    def _toggled(self, change: Any) -> None:
        if change["new"]:
            turns = [turn for turn in self._field.typed if turn.get("text") or "content" in turn]
            self._text.value = json.dumps(turns, ensure_ascii=False, indent=1)
            self.widget.children = (self._text, self._why, self._use)
        else:
            self._why.value = ""
            self.widget.children = ()

    def _used(self) -> None:
        try:
            self._field.value = read_json(self._text.value or "[]")
        except (UnreadableError, InputError) as exc:
            text = f"<span>{escape(str(exc))}</span>"
            self._why.value = f'<div role="alert">{ALERT}{text}</div>'
            return
        self.toggle.value = False

    def close(self) -> None:
        for widget in (self._text, self._why, self._use):
            close_tree(widget)


def _turn_button(name: str, tooltip: str, clicked: Callable[[], None]) -> Any:
    return button("", f"vnb-icon-button vnb-{name}", clicked, tooltip=tooltip)

"""Field for a CHAT_HISTORY: turns to edit, move and remove, or JSON to paste."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from typing import Any

import ipywidgets as ipw

from vellum_nb.errors import InputError
from vellum_nb.models import Run
from vellum_nb.models.inputs import ROLES, chat_messages
from vellum_nb.rendering.format import plural
from vellum_nb.widgets.base import button, close_tree, note, set_class, styled
from vellum_nb.widgets.fields import Field, FieldSet, TextField, problem_html, read_json
from vellum_nb.widgets.markup import page_safe

Message = dict[str, Any]
_CHARS_PER_TOKEN = 4


class ChatField(Field):
    """Ordered list of turns."""

    CLASSES = "vnb-long vnb-chat"

    def _build(self) -> list[Any]:
        self._turns: list[_Turn] = []
        self._filling = False
        self._list = styled(ipw.VBox(), "vnb-turns")
        self._add = button("Add turn", "vnb-add", self.add, tooltip=f"Add a turn to {self.name}")
        self._paste = styled(ipw.ToggleButton(description="Paste as JSON…"), "vnb-plain")
        self._paste.observe(self._paste_toggled, "value")
        text = ipw.Textarea(description=f"{self.name} as JSON", rows=5)
        self._pasted = styled(text, "vnb-unlabelled vnb-json")
        self._why = note("", "vnb-problem")
        self._use = button("Use these turns", "", self._use_pasted)
        self._paste_box = styled(ipw.VBox(), "vnb-paste")
        self._count = note("", "vnb-help vnb-count")
        self.reset()
        label = f'<span class="vnb-label" aria-hidden="true">{escape(self.label)}</span>'
        buttons = styled(ipw.Box([self._add, self._paste]), "vnb-buttons")
        return [note(label, "vnb-caption"), self._count, self._list, buttons, self._paste_box]

    @property
    def typed(self) -> list[Message]:
        """The turns as messages, including those without text."""
        return [turn.message for turn in self._turns]

    @typed.setter
    def typed(self, typed: list[Message]) -> None:
        self._filling = True
        try:
            while len(self._turns) < len(typed):
                self._turns.append(_Turn(self, len(self._turns)))
            removed, self._turns = self._turns[len(typed) :], self._turns[: len(typed)]
            self._list.children = [turn.widget for turn in self._turns]
            for turn in removed:
                close_tree(turn.widget)
            for turn, message in zip(self._turns, typed, strict=True):
                turn.message = message
                turn.up.disabled = turn is self._turns[0]
                turn.down.disabled = turn is self._turns[-1]
        finally:
            self._filling = False
        self.touched()

    def touched(self, *_: object) -> None:
        """Update the count of turns and notify the form."""
        if self._filling:
            return
        signs = sum(len(turn.text.value) for turn in self._turns)
        tokens = f" · about {max(1, signs // _CHARS_PER_TOKEN)} tokens" if signs else ""
        self._count.value = plural(len(self._turns), "turn") + tokens
        super().touched()

    def _parse(self) -> list[Message] | None:
        empty = [number for number, turn in enumerate(self._turns, start=1) if turn.is_empty]
        if len(empty) == len(self._turns):
            return None
        if empty:
            msg = f"Turn {empty[0]} has no text: write it, or remove the turn."
            raise InputError(msg)
        return self.typed

    def _fill(self, value: Any) -> None:
        """Show messages, or one empty turn if there are none."""
        self.typed = chat_messages(value or []) or [{"role": "USER", "text": ""}]

    @property
    def is_unfinished(self) -> bool:
        """True if only the last turn has no text yet."""
        return self.is_empty or all(
            turn.is_empty == (turn is self._turns[-1]) for turn in self._turns
        )

    def focus(self, turn: int | None = None) -> None:
        """Move the focus to a turn, by default the first empty one, or the first."""
        if not self._turns:
            self._add.focus()
            return
        empty = next((at for at, entry in enumerate(self._turns) if entry.is_empty), 0)
        self._turns[empty if turn is None else turn].text.focus()

    def show(self, problem: str | None) -> None:
        """Show `problem` and mark the empty turns it refers to."""
        super().show(problem)
        some_empty = any(turn.is_empty for turn in self._turns)
        for turn in self._turns:
            is_bad = bool(problem) and (turn.is_empty or not some_empty)
            set_class(turn.widget, "vnb-turn-bad", on=is_bad)

    def add(self) -> None:
        """Add an empty turn of the role that speaks next."""
        last = self._turns[-1].message["role"] if self._turns else ""
        role = "ASSISTANT" if last == "USER" else "USER"
        self.typed = [*self.typed, {"role": role, "text": ""}]
        self.focus(-1)

    def move(self, place: int, step: int) -> None:
        """Move a turn up (-1) or down (+1) with its focus."""
        turns, target = self.typed, place + step
        if 0 <= target < len(turns):
            turns[place], turns[target] = turns[target], turns[place]
            self.typed = turns
            moved = self._turns[target]
            go_on = moved.up if step < 0 else moved.down
            (moved.text if go_on.disabled else go_on).focus()

    def remove(self, place: int) -> None:
        """Remove a turn and move the focus to its neighbour."""
        self.typed = [turn for at, turn in enumerate(self.typed) if at != place]
        self.focus(min(place, len(self._turns) - 1))

    def _paste_toggled(self, change: Any) -> None:
        self._why.value = ""
        if change["new"]:
            turns = [turn for turn in self.typed if turn.get("text") or "content" in turn]
            self._pasted.value = json.dumps(turns, ensure_ascii=False, indent=1)
            self._paste_box.children = (self._pasted, self._why, self._use)
        else:
            self._paste_box.children = ()

    def _use_pasted(self) -> None:
        try:
            self.value = read_json(self._pasted.value or "[]")
        except InputError as exc:
            self._why.value = problem_html(exc)
        else:
            self._paste.value = False

    def close(self) -> None:
        """Close every widget of the field."""
        super().close()
        for widget in (self._pasted, self._why, self._use):
            close_tree(widget)


class _Turn:
    """One turn: role, text, and the buttons to move and remove it."""

    def __init__(self, field: ChatField, place: int) -> None:
        number = place + 1
        self._parts: Message = {}  # fields of the message besides role and text
        self._role = ipw.Dropdown(options=list(ROLES), value="USER", description=f"role {number}")
        self.text = ipw.Textarea(description=f"{field.name}, turn {number}", rows=1)
        for control in (self._role, self.text):
            styled(control, "vnb-unlabelled").observe(field.touched, "value")
        self.up, self.down, remove = (
            button("", f"vnb-icon-button vnb-{name}", act, tooltip=words.format(number))
            for name, words, act in (
                ("up", "Move turn {} up", partial(field.move, place, -1)),
                ("down", "Move turn {} down", partial(field.move, place, 1)),
                ("remove", "Remove turn {}", partial(field.remove, place)),
            )
        )
        parts = [self._role, self.text, self.up, self.down, remove]
        self.widget = styled(ipw.Box(parts), "vnb-turn-row")

    @property
    def is_empty(self) -> bool:
        return not self.text.value and "content" not in self._parts

    @property
    def message(self) -> Message:
        text = {} if "content" in self._parts else {"text": self.text.value}
        return {"role": self._role.value, **text, **self._parts}

    @message.setter
    def message(self, message: Message) -> None:
        self._parts = {key: v for key, v in message.items() if key not in {"role", "text"}}
        self._role.value = message["role"]
        content = self._parts.get("content")
        text = json.dumps(content, ensure_ascii=False) if content else message.get("text") or ""
        self.text.value = page_safe(text)
        self.text.disabled = content is not None  # other content is edited as JSON


def _answer_text(run: Run) -> str:
    """Return the answer of `run` to a chat: its last turn, or its longest text."""
    for name, kind in run.output_types.items():
        turns = run.outputs.get(name)
        last = turns[-1] if kind == "CHAT_HISTORY" and isinstance(turns, list) and turns else None
        if isinstance(last, Mapping) and isinstance(last.get("text"), str):
            return str(last["text"])
    return max((v for v in run.outputs.values() if isinstance(v, str)), key=len, default="")


def _chat_of(fields: FieldSet) -> ChatField | None:
    return next((field for field in fields if isinstance(field, ChatField)), None)


def _question_of(run: Run, sent: list[Message], fields: FieldSet) -> TextField | None:
    """Return the text field with the question of `run`, unless its chat ends with one."""
    asks = (
        field
        for field in fields
        if isinstance(field, TextField)
        and field.variable.is_required
        and isinstance(run.inputs.get(field.name), str)
    )
    return None if sent and sent[-1]["role"] == "USER" else next(asks, None)


def _turns_of(run: Run, chat: ChatField, fields: FieldSet) -> list[Message]:
    """Return the chat of `run`: the turns sent, the question and the answer."""
    try:
        turns = chat_messages(run.inputs.get(chat.name) or [])
    except InputError:
        turns = []
    question = _question_of(run, turns, fields)
    if question is not None:
        turns = [*turns, {"role": "USER", "text": run.inputs[question.name]}]
    text = _answer_text(run)
    return [*turns, {"role": "ASSISTANT", "text": text}] if text else turns


class Continuation:
    """Conversations that a form continues, one per release.

    The form displays the chat of `run`; `runs` are those of the releases with separate chats.
    """

    def __init__(self, run: Run, runs: Sequence[Run], fields: FieldSet) -> None:
        self.run = run
        self.runs = {r.release_tag: r for r in runs if r.execution_id is not None}
        self._fields = fields
        chat = _chat_of(fields)
        self._shown = [] if chat is None else chat.typed[: len(_turns_of(run, chat, fields))]

    def without(self, tags: Sequence[str]) -> list[str]:
        """Return the tags without a conversation."""
        return [tag for tag in tags if tag not in self.runs]

    @property
    def is_edited(self) -> bool:
        """True if an earlier turn was edited, which ends the separate conversations."""
        chat = _chat_of(self._fields)
        return chat is not None and chat.typed[: len(self._shown)] != self._shown

    def inputs(self, tag: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return `inputs` with the chat of the release; an edited chat is unchanged."""
        chat, own_run = _chat_of(self._fields), self.runs.get(tag)
        turns = None if chat is None else inputs.get(chat.name)
        length = len(self._shown)
        if chat is None or own_run is None or not turns or turns[:length] != self._shown:
            return dict(inputs)
        return {**inputs, chat.name: [*_turns_of(own_run, chat, self._fields), *turns[length:]]}


def next_turn(run: Run, fields: FieldSet) -> None:
    """Append the answer of `run` to its chat and start the next turn.

    The chat starts with the turns sent with `run`. A turn written since then becomes the next one.
    A question in a separate text field is appended to the chat and removed from the field. Without
    a chat field, the first field gets the focus.
    """
    chat = _chat_of(fields)
    if chat is None:
        for field in list(fields)[:1]:
            field.focus()
        return
    try:
        sent = chat_messages(run.inputs.get(chat.name) or [])
    except InputError:
        sent = []
    answered, question = _turns_of(run, chat, fields), _question_of(run, sent, fields)
    if question is not None:
        chat.typed = answered
        if question.value == run.inputs[question.name]:
            question.value = None
        question.focus()
        return
    begun = chat.typed[-1] if len(chat.typed) > len(sent) else {}
    draft = begun if begun.get("role") == "USER" else {"role": "USER", "text": ""}
    chat.typed = [*answered, draft]
    chat.focus(-1)

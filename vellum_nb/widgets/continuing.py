"""Going on from an answer: the previous execution, and the next turn of a chat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vellum_nb.errors import InputError
from vellum_nb.models import Run
from vellum_nb.models.chat import chat_messages
from vellum_nb.widgets.chat_field import ChatField
from vellum_nb.widgets.fields import FieldSet
from vellum_nb.widgets.simple_fields import TextField

__all__ = ["answer_text", "next_turn"]

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
    shown = [fields[name] for name in fields.names]
    chat = next((field for field in shown if isinstance(field, ChatField)), None)
    if chat is None:
        for field in shown[:1]:
            field.focus()
        return
    sent = _sent(run, chat.name)
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


def _sent(run: Run, name: str) -> list[Message]:
    try:
        return chat_messages(run.inputs.get(name) or [])
    except InputError:
        return []


def _question(run: Run, fields: FieldSet) -> str | None:
    for name in fields.names:
        field = fields[name]
        is_text = isinstance(field, TextField) and field.is_required
        if is_text and isinstance(run.inputs.get(name), str):
            return name
    return None


def _draft(typed: list[Message], sent: list[Message]) -> Message:
    """Return the turn that the user has begun to write since, or an empty one."""
    last = typed[-1] if len(typed) > len(sent) else {}
    return last if last.get("role") == "USER" else {"role": "USER", "text": ""}

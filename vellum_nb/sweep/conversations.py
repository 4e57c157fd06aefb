"""Conversations: how each release continues its own answers, and the turns of a script as cases.

A turn is a case of the sweep, directly after the turn that it continues. All turns have the id of
their script, so releases are paired by what the user says, and not by what they answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, get_args

from vellum_nb.errors import InputError
from vellum_nb.models import Run, RunError, VellumVariable
from vellum_nb.models.checks import available, check_text, refuse
from vellum_nb.models.inputs import chat_messages, format_value
from vellum_nb.sweep.cases import NAME, TURN, TURNS, Releases, Table

Carry = Literal["history", "state", "both"]
_CHAT = "CHAT_HISTORY"
_NOT_SENT = "CONVERSATION_ENDED"
_WHOLE = ("expected.", "desired.")  # columns that belong to the last turn of a conversation


@dataclass(frozen=True, slots=True)
class Conversation:
    """How the turns of a conversation are sent; an option of `Workspace.sweep`.

    Each release continues its own conversation. What is left out is inferred from the deployment,
    if that is unambiguous.

    Parameters
    ----------
    input : str, optional
        Input variable with the user's message: a text, or the chat history itself. Default: the
        only required text, else the only chat history.
    reply : str, optional
        Output with the answer, which is added to the chat history. Default: the only text.
    carry : {"history", "state", "both"}, optional
        What a turn gets from the turns before it: a chat history that grows by the user's message
        and the release's own reply, the state of the workflow (``previous_execution_id``), or both.
        Default: ``"history"`` if there is an input for it, else ``"state"``.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> turns = ["My order A-1234 is broken", "I want a refund"]
    >>> sweep = ws.sweep("support-bot", [{"turns": turns}], release_tags=["v1", "v2"])
    >>> sweep.frame().sort_values(["release_tag", "turn"])["output.status"].tolist()
    ['asks for wish', 'refund', 'asks for wish', 'refund']
    >>> ws.close()
    """

    input: str | None = None
    reply: str | None = None
    carry: Carry | None = None

    def __post_init__(self) -> None:
        check_text("input", self.input, optional=True)
        check_text("reply", self.reply, optional=True)
        if self.carry is not None and self.carry not in get_args(Carry):
            refuse("carry", self.carry, f"one of {', '.join(map(repr, get_args(Carry)))}")

    def resolved(self, releases: Releases) -> Conversation:
        """Return the conversation with all names, as the inputs and outputs of `releases` have it.

        Raises
        ------
        InputError
            A name is unknown or ambiguous, or there is no input for a chat history.
        """
        known = [release.workflow_version for release in releases.values() if release is not None]
        inputs = {v.key: v for version in known for v in version.input_variables}
        outputs = {v.key: v for version in known for v in version.output_variables}
        chats = [name for name, variable in inputs.items() if variable.type == _CHAT]
        texts = [name for name, v in inputs.items() if v.type == "STRING" and v.is_required]
        message = self.input or _only(texts) or _only(chats)
        if message is None or (inputs and message not in inputs):
            _refuse("input", message, "the input with the user's message", inputs)
        carry = self.carry or ("history" if chats else "state")
        if carry != "state" and message not in chats and _only(chats) is None:
            msg = f"carry={carry!r}: the deployment has no single input of type {_CHAT}"
            raise InputError(msg)
        reply = self.reply or _only([n for n, v in outputs.items() if v.type == "STRING"])
        if (reply is None and carry != "state") or (reply and outputs and reply not in outputs):
            _refuse("reply", reply, "the output with the answer", outputs)
        return Conversation(message, reply, carry)

    def continued(
        self, inputs: Mapping[str, Any], before: Run, types: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return the inputs of a turn after the run `before`; `types` are those of the release."""
        if self.carry == "state":
            return dict(inputs)
        message = str(self.input)
        is_chat = types.get(message, _CHAT) == _CHAT
        chat = message if is_chat else next(n for n, type_ in types.items() if type_ == _CHAT)
        said = list(before.inputs.get(chat) or ())
        said += [] if is_chat else chat_messages([("USER", before.inputs[message])])
        said += chat_messages([("ASSISTANT", _text(before.outputs.get(str(self.reply))))])
        return {**inputs, chat: [*said, *inputs[chat]] if is_chat else said}


def after_lost_turn(before: Run, now: datetime) -> dict[str, Any]:
    """Return the fields of the run of a turn that is not sent, as `before` has no answer."""
    message = f"turn {before.turn} was {before.state}, so this turn was not sent"
    if before.error is not None and before.error.code == _NOT_SENT:
        message = before.error.message
    return {
        "state": "FAILED",
        "finished_at": now,
        "error": RunError(code=_NOT_SENT, message=message),
    }


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _refuse(option: str, name: str | None, what: str, names: Mapping[str, VellumVariable]) -> None:
    given = f"{name!r} is not" if name else "it is not clear which name is"
    msg = f"Conversation({option}=...): {given} {what}{available(names)}"
    raise InputError(msg)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def has_turns(table: Table) -> bool:
    """Return whether the rows of a table are conversations, or turns of conversations."""
    columns = set(table.columns)
    return not table.stored and (TURNS in columns or {NAME, TURN} <= columns)


def turn_table(table: Table, conversation: Conversation, releases: Releases) -> Table:
    """Return a table with one row per turn; the turns of a conversation are adjacent.

    Raises
    ------
    InputError
        The turns of a conversation are not a list, or not numbered from 1.
    """
    types = {
        variable.key: variable.type
        for release in releases.values()
        if release is not None
        for variable in release.workflow_version.input_variables
    }
    message = str(conversation.input)
    rows = list(_scripted(table, message) if TURNS in table.columns else _numbered(table))
    if types.get(message) == _CHAT:
        for row in rows:
            if isinstance(row.get(message), str) and not row[message].lstrip().startswith("["):
                row[message] = chat_messages([("USER", str(row[message]))])
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return replace(table, rows=rows, columns=columns, has_turns=True)


def _scripted(table: Table, message: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of cases with a list of turns."""
    for number, row in enumerate(table.rows, start=1):
        turns = row.get(TURNS)
        if isinstance(turns, str):
            with suppress(ValueError, RecursionError):
                turns = json.loads(turns)
        if not isinstance(turns, list | tuple) or not turns:
            msg = (
                f"Case {number} of {table.name} has {format_value(turns)} as its turns; give a "
                "list of messages, or of dicts of inputs"
            )
            raise InputError(msg)
        shared = {name: value for name, value in row.items() if name != TURNS}
        whole = {name: shared.pop(name) for name in row if name.startswith(_WHOLE)}
        shared.setdefault(NAME, str(number))
        for turn, said in enumerate(turns, start=1):
            own = dict(said) if isinstance(said, Mapping) else {message: said}
            last = whole if turn == len(turns) else {}
            yield {**shared, **last, **own, TURN: turn}


def _numbered(table: Table) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table with one row per turn, conversation by conversation."""
    conversations: dict[str, dict[int, dict[str, Any]]] = {}
    for number, row in enumerate(table.rows, start=1):
        name, text = row.get(NAME), str(row.get(TURN, "")).removesuffix(".0")
        turns = conversations.setdefault(str(name), {})
        if name is None or not text.isdecimal() or int(text) in turns:
            msg = (
                f"Row {number} of {table.name} has conversation={format_value(name)} and "
                f"turn={format_value(row.get(TURN))}; number the turns of each conversation from 1"
            )
            raise InputError(msg)
        turns[int(text)] = row
    for name, turns in conversations.items():
        if sorted(turns) != list(range(1, len(turns) + 1)):
            listed = ", ".join(map(str, sorted(turns)))
            msg = f"Conversation {name} of {table.name} has the turns {listed}; number them from 1"
            raise InputError(msg)
        for turn in sorted(turns):
            yield {**turns[turn], TURN: turn}

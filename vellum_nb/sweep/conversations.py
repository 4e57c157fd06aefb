"""Conversations: how each release continues its own answers, and the turns of a script as cases.

A turn is a case of the sweep, directly after the turn that it continues. All turns have the id of
their script, so releases are paired by what the user says, and not by what they answered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal, NoReturn, get_args

from vellum_nb.errors import InputError
from vellum_nb.models import Run, RunError, VellumVariable
from vellum_nb.models.checks import available, check_integer, check_text, cut_list, refuse
from vellum_nb.models.inputs import chat_messages, format_value, is_chat
from vellum_nb.models.sweeps import NOT_SENT, SweepCase
from vellum_nb.sweep.cases import (
    CONVERSATION,
    TURN,
    TURNS,
    Releases,
    Table,
    checked_cases,
    read_table,
)
from vellum_nb.sweep.users import SimulatedUser

Carry = Literal["history", "state", "both"]
_CHAT = "CHAT_HISTORY"
_OF_LAST_TURN = ("expected.", "desired.")  # prefixes of columns
_USER, _MOST = "user", "max_turns"  # columns of a simulated user
_MAX_TURNS = 100_000
_DEFAULT_MAX_TURNS = 6  # with a simulated user


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
    user : SimulatedUser, optional
        Workflow that writes the messages after the script; see `Workspace.user`.
    max_turns : int, optional
        With a `user`: the number of turns after which a conversation ends. Default: 6.

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
    user: SimulatedUser | None = None
    max_turns: int | None = None

    def __post_init__(self) -> None:
        check_text("input", self.input, optional=True)
        check_text("reply", self.reply, optional=True)
        if self.carry is not None and self.carry not in get_args(Carry):
            refuse("carry", self.carry, f"one of {', '.join(map(repr, get_args(Carry)))}")
        if not isinstance(self.user, SimulatedUser | None):
            refuse("user", self.user, "ws.user(...) or None")
        check_integer("max_turns", self.max_turns, least=1, optional=True)
        if self.user is not None:
            object.__setattr__(self, "max_turns", self.max_turns or _DEFAULT_MAX_TURNS)
        elif self.max_turns is not None:
            refuse("max_turns", self.max_turns, "None without a user: a script has its own turns")

    def resolved(self, releases: Releases) -> Conversation:
        """Return the conversation with the names that are inferred from `releases`."""
        inputs = _names(releases, "input_variables")
        outputs = _names(releases, "output_variables")
        chats = [name for name, variable in inputs.items() if variable.type == _CHAT]
        texts = [name for name, v in inputs.items() if v.type == "STRING" and v.is_required]
        message = self.input or _only(texts) or _only(chats)
        if message is None or (inputs and message not in inputs):
            _refuse("input", message, "the input with the user's message", inputs)
        carry = self.carry or ("history" if chats else "state")
        if carry == "state":
            return replace(self, input=message, reply=None, carry=carry)
        chat = message if message in chats else _only(chats)
        for tag, release in releases.items():
            if chat not in _names({tag: release}, "input_variables"):
                msg = f"carry={carry!r}: {tag} has no single input of type {_CHAT} for the history"
                raise InputError(msg)
        reply = self.reply or _only([name for name, v in outputs.items() if v.type == "STRING"])
        if reply is None or (outputs and reply not in outputs):
            _refuse("reply", reply, "the output with the answer", outputs)
        return replace(self, input=message, reply=reply, carry=carry)

    def spoken(
        self, case: SweepCase, said: str, before: Run | None, types: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return fields of the run of a turn in which a simulated user has `said` something."""
        message = str(self.input)
        is_chat_input = types.get(message) == _CHAT
        value = chat_messages([("USER", said)]) if is_chat_input else said
        inputs = {**case.inputs, message: value}
        fields: dict[str, Any] = {"inputs": inputs}
        if before is not None:
            fields |= self.continued(replace(case, inputs=inputs), before, types, before.timestamp)
        return fields

    def first_inputs(
        self, message: str, inputs: Mapping[str, Any], types: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return `inputs` with a message of the user, as a sweep sends the first turn."""
        name = str(self.input)
        return {**inputs, name: _as_chat(message) if types.get(name) == _CHAT else message}

    def continued(
        self, case: SweepCase, before: Run | None, types: Mapping[str, str], now: datetime
    ) -> dict[str, Any]:
        """Return fields of the run of a turn after the run `before`, which is None if deleted.

        It has failed if `before` has no answer. `types` are those of the inputs of the release.
        """
        if before is None or before.state != "FULFILLED":
            return not_sent(before, now)
        fields: dict[str, Any] = {}
        if self.carry != "history":
            fields["previous_execution_id"] = before.execution_id
        if self.carry != "state":
            fields["inputs"] = self._with_history(case.inputs, before, types)
        return fields

    def _with_history(
        self, inputs: Mapping[str, Any], before: Run, types: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return the inputs with the chat history: that of `before`, its message and its reply."""
        message, reply = str(self.input), before.outputs.get(str(self.reply))
        is_chat_input = types.get(message) == _CHAT
        chats = (name for name, type_ in types.items() if type_ == _CHAT)
        chat = message if is_chat_input else next(chats, message)
        history = list(before.inputs.get(chat) or ())
        if not is_chat_input and message in before.inputs:
            history += chat_messages([("USER", before.inputs[message])])
        text = reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False)
        history += chat_messages([("ASSISTANT", "" if reply is None else text)])
        return {**inputs, chat: [*history, *(inputs.get(chat) or ())] if is_chat_input else history}


def not_sent(before: Run | None, now: datetime) -> dict[str, Any]:
    """Return the fields of the run of a turn that is not sent, as the one before has no answer."""
    if before is None:
        message = "the turn before was deleted, so this turn was not sent"
    elif before.error is not None and before.error.code == NOT_SENT:
        message = before.error.message
    elif before.turn is None:
        message = f"the simulated user was {before.state}, so this turn was not sent"
    else:
        message = f"turn {before.turn} was {before.state}, so this turn was not sent"
    return {
        "state": "FAILED",
        "finished_at": now,
        "error": RunError(code=NOT_SENT, message=message),
    }


def _names(releases: Releases, side: str) -> dict[str, VellumVariable]:
    """Return the variables of one side of all readable releases by name."""
    versions = [release.workflow_version for release in releases.values() if release is not None]
    return {variable.key: variable for version in versions for variable in getattr(version, side)}


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _refuse(option: str, name: str | None, role: str, names: Iterable[str]) -> NoReturn:
    problem = f"{name!r} is not {role}" if name else f"give {role}"
    msg = f"Conversation({option}=...): {problem}{available(names)}"
    raise InputError(msg)


def chat_inputs(variables: Sequence[VellumVariable], conversation: Conversation) -> list[str]:
    """Return the inputs of message and chat history; an empty list if neither is recognized.

    A deployment whose only input is a text can be stateful, which the API does not show.
    """
    chats = [variable.key for variable in variables if variable.type == _CHAT]
    texts = [v.key for v in variables if v.type == "STRING" and v.is_required]
    message = conversation.input or _only(texts) or _only(chats)
    is_chat = bool(chats) or len(variables) == 1 or conversation != Conversation()
    return list(dict.fromkeys([message, *chats])) if message and is_chat else []


def empty_histories(releases: Releases, conversation: Conversation) -> dict[str, Any]:
    """Return the first value of a required input for the history, apart from the message."""
    if conversation.carry == "state":
        return {}
    variables = _names(releases, "input_variables").values()
    names = [variable.key for variable in variables if variable.type == _CHAT]
    needed = {variable.key for variable in variables if variable.is_required}
    return {name: [] for name in names if name in needed and name != conversation.input}


def turn_table(table: Table, conversation: Conversation, releases: Releases) -> Table:
    """Return a table with one row per turn; the turns of a conversation are adjacent."""
    message = str(conversation.input)
    inputs = _names(releases, "input_variables")
    variable = inputs.get(message)
    labels = [f"label.{name}" if name in inputs else name for name in (CONVERSATION, TURN)]
    is_list = TURNS in table.columns
    has_user = conversation.user is not None
    scripted = _scripted(table, message, *labels, has_user=has_user) if is_list else None
    rows = list(_numbered(table) if scripted is None else scripted)
    if variable is not None and variable.type == _CHAT:
        for row in rows:
            for column in (message, f"input.{message}"):
                if isinstance(row.get(column), str):
                    row[column] = _as_chat(row[column])
    for name, empty in empty_histories(releases, conversation).items():
        rows = [row if f"input.{name}" in row else {name: empty, **row} for row in rows]
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return replace(table, rows=rows, columns=columns, carry=str(conversation.carry))


def with_user_of(
    table: Table, conversation: Conversation | None, releases: Releases
) -> tuple[Table, Conversation | None]:
    """Return the table without the simulated user of its rows, and the conversation with it.

    A column `user` without objects is a label or an input.
    """
    users = [
        _parsed(cell) if isinstance(cell := row.get(_USER), str) else cell for row in table.rows
    ]
    is_input = _USER in _names(releases, "input_variables")
    if is_input or not any(isinstance(user, Mapping) for user in users):
        return table, conversation
    settings = [(user, row.get(_MOST)) for user, row in zip(users, table.rows, strict=True)]
    other = next((n for n, each in enumerate(settings, 1) if each != settings[0]), None)
    if other is not None or (conversation is not None and conversation.user is not None):
        where = f"rows 1 and {other} differ" if other else "conversation= has another"
        msg = f"A sweep has one `user` and one `max_turns`; in {table.name}, {where}"
        raise InputError(msg)
    given, most = settings[0]
    user = given if isinstance(given, Mapping) else {}
    options = [field.name for field in fields(SimulatedUser) if field.name != "release_id"]
    if unknown := [str(name) for name in user if name not in options]:
        msg = f"The simulated user of {table.name} has no option {unknown[0]!r}{available(options)}"
        raise InputError(msg)
    kept = [{k: v for k, v in row.items() if k not in {_USER, _MOST}} for row in table.rows]
    columns = tuple(name for name in table.columns if name not in {_USER, _MOST})
    made = replace(
        conversation or Conversation(),
        user=SimulatedUser(**{"deployment": "", **user}),
        max_turns=_turn_number(most) or most,
    )
    return replace(table, rows=kept, columns=columns), made


def user_cells(conversation: Conversation | None) -> dict[str, Any]:
    """Return the cells of the simulated user in a row of a table of cases, if there is one."""
    if conversation is None or conversation.user is None:
        return {}
    user = asdict(replace(conversation.user, release_id=None))
    given = {name: value for name, value in user.items() if value is not None}
    return {_USER: given, _MOST: conversation.max_turns}


def script_id(
    deployment: str, case: Mapping[str, Any], conversation: Conversation, releases: Releases
) -> str:
    """Return the `case_id` that a sweep gives to a case with `turns`."""
    table = turn_table(read_table([dict(case)]), conversation, releases)
    return checked_cases(table, releases, deployment).cases[0].case_id


def _as_chat(text: str) -> list[dict[str, Any]]:
    """Return a message as a chat; JSON text of a chat stays a chat."""
    parsed = _parsed(text)
    return chat_messages(parsed if is_chat(parsed) else [("USER", str(text))])


def _parsed(text: str) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return text


def _scripted(
    table: Table, message: str, name_label: str, turn_label: str, *, has_user: bool
) -> Iterator[dict[str, Any]]:
    """Yield the rows of cases with a list of turns, with two labels for conversation and turn."""
    for number, row in enumerate(table.rows, start=1):
        cell = row.get(TURNS)
        turns: Any = _parsed(cell) if isinstance(cell, str) else cell
        if hasattr(turns, "tolist"):  # an array of Parquet
            turns = turns.tolist()
        if has_user and isinstance(turns, list | tuple) and not turns:
            turns = [""]  # the user begins
        if not isinstance(turns, list | tuple) or not turns:
            msg = (
                f"Case {number} of {table.name} has {format_value(cell)} as its turns; give a "
                "list of messages, or of dicts of inputs"
            )
            raise InputError(msg)
        shared = {name: value for name, value in row.items() if name != TURNS}
        of_last = {n: shared.pop(n) for n in row if n.startswith(_OF_LAST_TURN)}
        shared.setdefault(name_label, str(number))
        for turn, said in enumerate(turns, start=1):
            inputs = (
                {str(key): value for key, value in said.items()}
                if isinstance(said, Mapping)
                else {message: said}
            )
            expected = of_last if turn == len(turns) else {}
            if twice := next((column for column in inputs if column in expected), None):
                msg = (
                    f"Case {number} of {table.name} has {twice} for the conversation and for its "
                    "last turn; leave one out"
                )
                raise InputError(msg)
            yield {**shared, **expected, **inputs, turn_label: turn}


def _turn_number(value: object) -> int | None:
    """Return the number of a turn from 1, or None for another value."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and re.fullmatch("[0-9]{1,6}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 < value <= _MAX_TURNS else None


def _numbered(table: Table) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table with one row per turn, conversation by conversation."""
    conversations: dict[str, dict[int, dict[str, Any]]] = {}
    for number, row in enumerate(table.rows, start=1):
        name, turn = row.get(CONVERSATION), _turn_number(row.get(TURN))
        key = name if isinstance(name, str) else format_value(name)
        turns = conversations.setdefault(key, {})
        if name is None or turn is None or turn in turns:
            msg = (
                f"Row {number} of {table.name} has conversation={format_value(name)} and "
                f"turn={format_value(row.get(TURN))}; number the turns of each conversation from 1"
            )
            raise InputError(msg)
        turns[turn] = {**row, TURN: turn}
    for name, turns in conversations.items():
        if sorted(turns) != list(range(1, len(turns) + 1)):
            listed = cut_list(sorted(turns), 8)
            listed = f"has the turns {listed}; number them from 1"
            msg = f"Conversation {name:.60} of {table.name} {listed}"
            raise InputError(msg)
        yield from (turns[turn] for turn in sorted(turns))

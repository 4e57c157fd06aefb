"""The turns of one conversation on one release, as metrics and judges read them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vellum_nb.models import Run
from vellum_nb.models.inputs import chat_messages, is_chat
from vellum_nb.rendering.format import plain_text, same_value, value_text

_ROLES = {"USER": "User", "ASSISTANT": "Assistant"}
_NOTHING: Any = object()


def checks(outputs: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, bool]:
    """Return whether each output has its expected value.

    >>> checks({"category": "billing"}, {"category": "billing", "priority": "high"})
    {'category': True, 'priority': False}
    """
    return {
        name: same_value(outputs.get(name, _NOTHING), value) for name, value in expected.items()
    }


@dataclass(frozen=True, slots=True)
class ConversationRuns:
    """The runs of a conversation in the order of their turns; the only run of another case.

    Attributes
    ----------
    runs : tuple of Run
        The run of each turn.
    expected : tuple of dict
        The expected values of each turn by output name.
    """

    runs: tuple[Run, ...]
    expected: tuple[Mapping[str, Any], ...]

    @property
    def turns(self) -> int:
        """Number of turns."""
        return len(self.runs)

    @property
    def checks(self) -> list[dict[str, bool]]:
        """Whether each expected output was met, for each turn."""
        pairs = zip(self.runs, self.expected, strict=True)
        return [checks(run.outputs, expected) for run, expected in pairs]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The transcript as a chat history."""
        return chat_messages(list(self._said()))

    @property
    def transcript(self) -> str:
        """The messages as text: ``User: …``, ``Assistant: …``.

        Further lines of a message are indented, so no message can pretend to be several.
        """
        lines = ((_ROLES.get(role, role), text.splitlines()) for role, text in self._said())
        return "\n".join(f"{role}: " + "\n  ".join(parts or [""]) for role, parts in lines)

    @property
    def text(self) -> str:
        """The answer as text: the transcript of a conversation, else the outputs."""
        return plain_text(self.runs[-1].outputs) if self._is_single else self.transcript

    @property
    def answer(self) -> dict[str, Any]:
        """The outputs of the last turn; those of a conversation have its ``transcript``."""
        outputs = self.runs[-1].outputs
        return outputs if self._is_single else {**outputs, self.transcript_name: self.transcript}

    @property
    def transcript_name(self) -> str:
        """Name of the transcript in `answer`, in which an output can have the shorter name."""
        return "conversation.transcript" if "transcript" in self.runs[-1].outputs else "transcript"

    @property
    def _is_single(self) -> bool:
        return self.runs[-1].turn is None

    def _said(self) -> Iterator[tuple[str, str]]:
        """Yield role and text of each message."""
        for at, run in enumerate(self.runs):
            yield from _sent(run.inputs, is_first=at == 0)
            answer = _joined(run.outputs)
            if run.state != "FULFILLED":
                answer = f"({run.state}{f': {run.error.message}' if run.error else ''})"
            yield "ASSISTANT", answer


def own_inputs(run: Run) -> dict[str, Any]:
    """Return the inputs of a turn, of chat histories only what follows the last answer."""
    if (run.turn or 0) < 2:  # noqa: PLR2004
        return dict(run.inputs)
    inputs: dict[str, Any] = {}
    for name, value in run.inputs.items():
        new = _unanswered(value) if is_chat(value) else value
        inputs |= {name: new} if new or new is value else {}
    return inputs


def _unanswered(messages: Any) -> list[Any]:
    roles = [message["role"] for message in chat_messages(messages)]
    answered = [at for at, role in enumerate(roles, 1) if role != "USER"]
    return list(messages)[max(answered, default=0) :]


def _sent(inputs: Mapping[str, Any], *, is_first: bool) -> Iterator[tuple[str, str]]:
    """Yield the messages of a turn, without the chat history that it continues."""
    chats = [value for value in inputs.values() if is_chat(value)]
    texts = _without_chats(inputs)
    messages = [(m["role"], _text(m)) for chat in chats for m in chat_messages(chat)]
    if not is_first:
        answered = [at for at, (role, _) in enumerate(messages, 1) if role != "USER"]
        messages = messages[max(answered, default=0) :]
    yield from messages
    if texts and (not messages or messages[-1][0] != "USER"):
        yield "USER", _joined(texts)


def _without_chats(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that are not chat histories; an empty list is one that begins."""
    return {n: value for n, value in inputs.items() if value != [] and not is_chat(value)}


def _text(message: Mapping[str, Any]) -> str:
    text = message.get("text")
    return text if isinstance(text, str) else json.dumps(message.get("content"), default=str)


def _joined(values: Mapping[str, Any]) -> str:
    """Return a single value as text; of several, one line per name."""
    if len(values) == 1:
        return value_text(next(iter(values.values())), "JSON")
    return "\n".join(f"{name}: {value_text(value, 'JSON')}" for name, value in values.items())


def said(run: Run, before: Run | None) -> str:
    """Return what the user said in the turn after `before`, with other inputs that changed."""
    messages = list(_sent(run.inputs, is_first=(run.turn or 1) == 1))
    is_user = {role for role, _ in messages} <= {"USER"}
    lines = [text if is_user else f"{_ROLES.get(role, role)}: {text}" for role, text in messages]
    values = _without_chats(run.inputs)
    if values and messages[-1][1] != _joined(values):  # the message is in a chat
        old = before.inputs if before is not None else {}
        changed = {name: value for name, value in values.items() if value != old.get(name)}
        lines += [f"{name}: {value_text(value, 'JSON')}" for name, value in changed.items()]
    return "\n".join(lines)


def turns_before(runs: Iterable[Run], last: Run) -> Iterator[Run]:
    """Yield the run of each turn before `last`: the newest answer, or the newest run."""
    return (run for turn, run in runs_by_turn(runs).items() if turn < (last.turn or 0))


def runs_by_turn(runs: Iterable[Run]) -> dict[int, Run]:
    """Return the run of each turn of a conversation: the newest answer, or the newest run."""
    by_turn: dict[int, Run] = {}
    for run in sorted(runs, key=lambda run: run.timestamp):
        old = by_turn.get(run.turn or 0)
        if old is None or run.state == "FULFILLED" or old.state != "FULFILLED":
            by_turn[run.turn or 0] = run
    return dict(sorted(by_turn.items()))

"""What a model says, put together from its chunks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, ValidationError

from vellum_nb.local.prompts.failures import PromptFailed
from vellum_nb.models.base import Reply

__all__ = ["Answer", "Counts", "error_text"]

_FINISHED = {"stop": "STOP", "length": "LENGTH", "tool_calls": "STOP", "function_call": "STOP"}


class _Function(Reply):
    name: str = ""
    arguments: str | Mapping[str, Any] = ""


class _Call(Reply):
    index: int = -1
    id: str = ""
    function: _Function = _Function()


class _Said(Reply):
    content: str | tuple[Mapping[str, Any], ...] = ""
    refusal: str = ""
    tool_calls: tuple[_Call, ...] = ()

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content + self.refusal
        return "".join(str(part.get("text") or "") for part in self.content) + self.refusal


class _Choice(Reply):
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None


class _Cached(Reply):
    cached_tokens: int | None = None


class Counts(Reply):
    """Tokens, as the model counted them."""

    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    prompt_tokens_details: _Cached = _Cached()


class _Chunk(Reply):
    choices: tuple[_Choice, ...] = ()
    usage: Counts | None = None
    error: Any = None
    done: bool = False


@dataclass(slots=True)
class _Pending:
    """A function call that is still being written."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class Answer:
    """Takes the chunks of a completion, streamed or whole, and knows the outputs at the end.

    Examples
    --------
    >>> answer = Answer()
    >>> answer.take({"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]})
    'Hi'
    >>> answer.outputs()
    [{'type': 'STRING', 'value': 'Hi'}]
    """

    def __init__(self) -> None:
        self.counts: Counts | None = None
        self.finish_reason: str | None = None
        self._texts: list[str] = []
        self._calls: dict[int, _Pending] = {}

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    @property
    def length(self) -> int:
        """Characters so far, those of function calls too."""
        calls = self._calls.values()
        return len(self.text) + sum(len(c.name) + sum(map(len, c.arguments)) for c in calls)

    def take(self, content: Any) -> str:
        """Take a chunk and return the text that it adds; ``{"done": True}`` is the last one.

        Raises
        ------
        PromptFailed
            When it is no chunk, or tells of an error.
        """
        try:
            chunk = _Chunk.model_validate(content)
        except ValidationError:
            msg = f"The model answered with something that is no completion: {content!r}"
            raise PromptFailed(msg, code="PROVIDER_ERROR") from None
        if chunk.error is not None:
            msg = f"The model failed: {error_text(chunk.error)}"
            raise PromptFailed(msg, code="PROVIDER_ERROR")
        self.counts = chunk.usage or self.counts
        if chunk.done:
            self.finish_reason = self.finish_reason or "UNKNOWN"
        return "".join(self._choice(choice) for choice in chunk.choices[:1])

    def outputs(self) -> list[dict[str, Any]]:
        """Return the outputs as Vellum types them: the text, then the function calls."""
        calls = [_function_call(call) for _, call in sorted(self._calls.items())]
        text = self.text
        said = [{"type": "STRING", "value": text}] if text or not calls else []
        return said + [{"type": "FUNCTION_CALL", "value": call} for call in calls]

    def _choice(self, choice: _Choice) -> str:
        if choice.finish_reason:
            self.finish_reason = _FINISHED.get(choice.finish_reason, "UNKNOWN")
        said = choice.delta or choice.message or _Said()
        for number, call in enumerate(said.tool_calls):
            self._call(call, call.index if call.index >= 0 else number)
        if said.text:
            self._texts.append(said.text)
        return said.text

    def _call(self, call: _Call, index: int) -> None:
        pending = self._calls.setdefault(index, _Pending())
        pending.id = pending.id or call.id
        pending.name += call.function.name
        given = call.function.arguments
        pending.arguments.append(given if isinstance(given, str) else json.dumps(dict(given)))


def error_text(error: Any) -> str:
    """Return the sentence in a model's error, whatever its shape."""
    if isinstance(error, Mapping):
        told = (error.get(key) for key in ("message", "detail", "error"))
        return next((error_text(each) for each in told if each), json.dumps(dict(error)))
    return str(error)


def _function_call(call: _Pending) -> dict[str, Any]:
    text = "".join(call.arguments) or "{}"
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        msg = f"The model called {call.name!r} with arguments that are no JSON object: {text}"
        raise PromptFailed(msg, code="PROVIDER_ERROR")
    return {"name": call.name, "arguments": arguments, "id": call.id or None}

"""From Vellum's compiled blocks to the messages of ``/chat/completions``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vellum_nb.local.prompts.failures import PromptFailed

__all__ = ["chat_messages"]

Json = Mapping[str, Any]
_ROLES = {"SYSTEM": "system", "USER": "user", "ASSISTANT": "assistant", "FUNCTION": "tool"}


def chat_messages(blocks: Sequence[Json]) -> list[dict[str, Any]]:
    """Return the messages; blocks outside of any message become one of the user.

    Raises
    ------
    PromptFailed
        When there is none, or one holds what the protocol cannot carry.

    Examples
    --------
    >>> text = {"block_type": "VALUE", "content": {"type": "STRING", "value": "Hi"}}
    >>> chat_messages([{"block_type": "CHAT_MESSAGE", "role": "SYSTEM", "blocks": [text]}, text])
    [{'role': 'system', 'content': 'Hi'}, {'role': 'user', 'content': 'Hi'}]
    """
    messages: list[dict[str, Any]] = []
    loose: list[Json] = []
    for block in blocks:
        if block.get("block_type") == "VALUE":
            loose.append(block)
            continue
        messages += _loose(loose)
        loose = []
        messages += _message(block, messages)
    messages += _loose(loose)
    if not messages:
        msg = "The prompt has no message: every block is empty or disabled"
        raise PromptFailed(msg, code="INVALID_INPUTS")
    return messages


def _loose(blocks: Sequence[Json]) -> list[dict[str, Any]]:
    content = _content(_values(blocks))
    return [{"role": "user", "content": content}] if content else []


def _message(block: Json, before: Sequence[Json]) -> list[dict[str, Any]]:
    values = list(_values(block.get("blocks") or ()))
    role = _ROLES.get(str(block.get("role")), "user")
    if role == "tool":
        called = block.get("source") or _last_call(before)
        return [{"role": role, "tool_call_id": called, "content": _text(values)}]
    calls = [v["value"] for v in values if v["type"] == "FUNCTION_CALL" and v.get("value")]
    content = _content(v for v in values if v["type"] != "FUNCTION_CALL")
    if not calls:
        return [{"role": role, "content": content}] if content else []
    tools = [_call(call, number) for number, call in enumerate(calls)]
    return [{"role": "assistant", "content": content or None, "tool_calls": tools}]


def _values(blocks: Iterable[Json]) -> Iterable[Json]:
    for block in blocks:
        value = block["content"]
        if value["type"] == "ARRAY":
            yield from (item for item in value.get("value") or () if isinstance(item, Mapping))
        elif value["type"] != "THINKING":
            yield value


def _call(call: Json, number: int) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": json.dumps(call.get("arguments") or {})}
    return {"id": call.get("id") or f"call_{number}", "type": "function", "function": function}


def _last_call(before: Sequence[Json]) -> str:
    calls = (call for message in reversed(before) for call in message.get("tool_calls") or ())
    return next((call["id"] for call in calls), "call_0")


def _text(values: Iterable[Json]) -> str:
    return "\n".join(part["text"] for part in map(_part, values) if part["type"] == "text")


def _content(values: Iterable[Json]) -> str | list[dict[str, Any]]:
    """Return text where that is all there is: not every server knows lists of parts."""
    parts = [_part(value) for value in values]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _part(value: Json) -> dict[str, Any]:
    kind, content = value["type"], value.get("value")
    if kind == "STRING":
        return {"type": "text", "text": content or ""}
    if kind in {"IMAGE", "VIDEO"}:
        name = f"{kind.lower()}_url"
        return {"type": name, name: {"url": _source(kind, content)}}
    if kind == "AUDIO":
        return {"type": "input_audio", "input_audio": _audio(_source(kind, content))}
    if kind == "DOCUMENT":
        return {"type": "file", "file": _document(content, _source(kind, content))}
    return {"type": "text", "text": json.dumps(content, ensure_ascii=False)}


def _source(kind: str, content: Any) -> str:
    source = content.get("src") if isinstance(content, Mapping) else None
    if not isinstance(source, str) or not source:
        msg = f"A block of the type {kind} has no src"
        raise PromptFailed(msg, code="INVALID_INPUTS")
    return source


def _audio(source: str) -> dict[str, str]:
    head, data = _data_url("AUDIO", source)
    return {"data": data, "format": head.partition(";")[0].rpartition("/")[2] or "wav"}


def _document(content: Any, source: str) -> dict[str, str]:
    _data_url("DOCUMENT", source)
    name = (content.get("metadata") or {}).get("filename") or "document.pdf"
    return {"filename": str(name), "file_data": source}


def _data_url(kind: str, source: str) -> tuple[str, str]:
    head, comma, data = source.removeprefix("data:").partition(",")
    if not source.startswith("data:") or not comma:
        msg = f"{kind} reaches the model as a data URL only; the prompt has {source!r:.60}"
        raise PromptFailed(msg, code="INVALID_INPUTS")
    return head, data

"""From a prompt's blocks and parameters to the request of ``/chat/completions``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vellum_nb.errors import VellumNBError

Json = Mapping[str, Any]
_ROLES = {"SYSTEM": "system", "USER": "user", "ASSISTANT": "assistant", "FUNCTION": "tool"}
_MEDIA = frozenset({"IMAGE", "AUDIO", "VIDEO", "DOCUMENT"})
_SDK = "vellum"
_RESERVED = frozenset({"messages", "model", "stream", "stream_options", "json_schema", "json_mode"})
_NEUTRAL = {"top_p": 1.0, "top_k": 0, "frequency_penalty": 0.0, "presence_penalty": 0.0}


class PromptFailed(Exception):  # noqa: N818 - it is what happened to the prompt
    """A prompt that is rejected; `code` is one of Vellum's error codes."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def compiled_messages(
    blocks: Sequence[Json], values: Sequence[Json], variables: Sequence[Json]
) -> list[dict[str, Any]]:
    """Return the messages of a prompt with variables and templates filled in."""
    inputs = [_input(value) for value in values]
    names = {v.get("id"): v.get("key") for v in variables}
    by_name = {each["key"]: each for each in inputs}
    filled = [b for block in blocks for b in _filled(block, by_name, names)]
    try:
        from vellum_nb.local.sdk.prompt_blocks import compile_blocks
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != _SDK:
            raise
        msg = 'Prompts need the Workflows SDK on the server: pip install "vellum-nb[sdk]"'
        raise PromptFailed(msg, code="INTERNAL_SERVER_ERROR") from exc
    try:
        return _messages(compile_blocks(filled, inputs))
    except VellumNBError as exc:
        raise PromptFailed(str(exc), code="INVALID_INPUTS") from exc


def chat_request(
    parameters: Json,
    functions: Sequence[Json],
    messages: Sequence[Json],
    *,
    model: str,
    stream: bool,
) -> dict[str, Any]:
    """Return the request for the model.

    Vellum's parameters have OpenAI's names; those that change nothing are left out, for not
    every server knows each. What `custom_parameters` adds goes along as it is.
    """
    request: dict[str, Any] = {"model": model, "messages": list(messages)}
    request |= _parameters(parameters)
    request |= _tools(functions)
    if stream:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    return request


def _parameters(parameters: Json) -> dict[str, Any]:
    custom = parameters.get("custom_parameters")
    custom = custom if isinstance(custom, Mapping) else {}
    names = ("temperature", "max_tokens", "stop", "logit_bias", *_NEUTRAL)
    values = {name: parameters.get(name) for name in names}
    found = {
        name: value
        for name, value in values.items()
        if value not in (None, [], {}) and value != _NEUTRAL.get(name, object())
    }
    if "max_completion_tokens" in custom:  # newer models take it instead
        found.pop("max_tokens", None)
    found |= {name: value for name, value in custom.items() if name not in _RESERVED}
    return found | _format(custom)


def _format(custom: Json) -> dict[str, Any]:
    schema = custom.get("json_schema")
    if isinstance(schema, Mapping):
        named = schema if "schema" in schema else {"name": "answer", "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": dict(named)}}
    return {"response_format": {"type": "json_object"}} if custom.get("json_mode") else {}


def _tools(functions: Sequence[Json]) -> dict[str, Any]:
    known = [f for f in functions if f.get("name") and f.get("state") != "DISABLED"]
    if not known:
        return {}
    tools = [{"type": "function", "function": _function(each)} for each in known]
    request: dict[str, Any] = {"tools": tools}
    forced = next((each["name"] for each in known if each.get("forced")), None)
    if forced is not None:
        request["tool_choice"] = {"type": "function", "function": {"name": forced}}
    return request


def _function(definition: Json) -> dict[str, Any]:
    names = ("name", "description", "parameters", "strict")
    return {name: definition[name] for name in names if definition.get(name) is not None}


# Blocks


def _input(sent: Mapping[str, Any]) -> dict[str, Any]:
    key = sent.get("key", sent.get("name"))
    return {"key": key, "type": sent.get("type", "JSON"), "value": sent.get("value")}


def _filled(
    block: Mapping[str, Any], inputs: Mapping[str, Mapping[str, Any]], names: Mapping[Any, Any]
) -> list[dict[str, Any]]:
    """Return the blocks that `block` stands for, where the SDK compiles no such variable.

    It knows no variables of media, and fails on messages of a chat history. A variable may be
    named by its id.
    """
    children = block.get("blocks")
    if isinstance(children, Sequence) and not isinstance(children, str):
        found = [_filled(c, inputs, names) for c in children if isinstance(c, Mapping)]
        return [{**block, "blocks": [each for some in found for each in some]}]
    if block.get("block_type") != "VARIABLE":
        return [dict(block)]
    name = block.get("input_variable")
    name = name if name in inputs else names.get(name, name)
    sent = inputs.get(str(name), {})
    value = sent.get("value")
    if sent.get("type") == "CHAT_HISTORY" and isinstance(value, list):
        return [_turn(message) for message in value if isinstance(message, Mapping)]
    if sent.get("type") in _MEDIA and isinstance(value, Mapping):
        return [_value({"type": sent["type"], "value": value})]
    return [{**block, "input_variable": name}]


def _turn(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message of a chat history as a block; its content may be its text alone."""
    content = message.get("content") or {"type": "STRING", "value": message.get("text")}
    items: Sequence[Any] = [content]
    if isinstance(content, Mapping) and content.get("type") == "ARRAY":
        items = content.get("value") or ()
    return {
        "block_type": "CHAT_MESSAGE",
        "chat_role": message.get("role"),
        "chat_source": message.get("source"),
        "blocks": [_value(item) for item in items if _has_value(item)],
    }


def _has_value(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("value") is not None


def _value(item: Mapping[str, Any]) -> dict[str, Any]:
    kind, value = item.get("type"), item.get("value")
    if kind == "STRING":
        return {"block_type": "RICH_TEXT", "blocks": [{"block_type": "PLAIN_TEXT", "text": value}]}
    return {**(value if isinstance(value, Mapping) else {}), "block_type": kind}


# Messages


def _messages(blocks: Sequence[Json]) -> list[dict[str, Any]]:
    """Return compiled blocks as messages; those outside of any message become one of the user."""
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

"""From a prompt's blocks and parameters to the request of ``/chat/completions``."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vellum_nb.local.engine.events import Rejection

Json = Mapping[str, Any]
_ROLES = {"SYSTEM": "system", "USER": "user", "ASSISTANT": "assistant", "FUNCTION": "tool"}
_MEDIA = frozenset({"IMAGE", "AUDIO", "VIDEO", "DOCUMENT"})
_RESERVED = frozenset({"messages", "model", "stream", "stream_options", "json_schema", "json_mode"})
_NEUTRAL = {"top_p": 1.0, "top_k": 0, "frequency_penalty": 0.0, "presence_penalty": 0.0}


def compiled_messages(
    blocks: Sequence[Json], values: Sequence[Json], variables: Sequence[Json]
) -> list[dict[str, Any]]:
    """Return the messages of a prompt with variables and templates filled in."""
    inputs = {
        str(key): {"key": key, "type": each.get("type", "JSON"), "value": each.get("value")}
        for each in values
        for key in [each.get("key", each.get("name"))]
    }
    names = {v.get("id"): v.get("key") for v in variables}
    filled = [b for block in blocks for b in _filled(block, inputs, names)]
    try:
        return _messages(_compiled(filled, list(inputs.values())))
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "vellum":
            raise
        msg = 'Prompts need the Workflows SDK on the server: pip install "vellum-nb[sdk]"'
        raise Rejection(msg, "INTERNAL_SERVER_ERROR") from exc


def _compiled(blocks: Sequence[Json], inputs: Sequence[Json]) -> list[dict[str, Any]]:
    """Return the blocks with variables and templates filled in by the Workflows SDK itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the SDK warns about on import is not ours
        from vellum.client.types.number_input import NumberInput
        from vellum.client.types.prompt_exec_config import PromptExecConfig
        from vellum.client.types.prompt_request_input import PromptRequestInput
        from vellum.prompts.blocks.compilation import compile_prompt_blocks
        from vellum.prompts.blocks.exceptions import PromptCompilationError
        from vellum.utils.templating.exceptions import JinjaTemplateError
    adapter: TypeAdapter[Any] = TypeAdapter(PromptRequestInput)
    config = {"ml_model": "", "input_variables": [], "parameters": {}, "blocks": list(blocks)}
    try:
        values = [
            NumberInput(name=str(each["key"]), value=each["value"])
            if each["type"] == "NUMBER"
            else adapter.validate_python(dict(each))
            for each in inputs
        ]
        parsed = PromptExecConfig.model_validate(config).blocks
        compiled = compile_prompt_blocks(parsed, values, [])
    except (PromptCompilationError, JinjaTemplateError, AssertionError) as exc:  # such as no role
        raise Rejection(str(exc), "INVALID_INPUTS") from exc
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        msg = f"The prompt's blocks or inputs are unknown to Vellum: {first['msg']}"
        raise Rejection(msg, "INVALID_INPUTS") from None
    return [block.model_dump(mode="json") for block in compiled]


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
    custom = parameters.get("custom_parameters")
    custom = custom if isinstance(custom, Mapping) else {}
    for name in ("temperature", "max_tokens", "stop", "logit_bias", *_NEUTRAL):
        value = parameters.get(name)
        is_newer = name == "max_tokens" and "max_completion_tokens" in custom
        if value not in (None, [], {}, _NEUTRAL.get(name)) and not is_newer:
            request[name] = value
    request |= {name: value for name, value in custom.items() if name not in _RESERVED}
    schema = custom.get("json_schema")
    if isinstance(schema, Mapping):
        named = schema if "schema" in schema else {"name": "answer", "schema": schema}
        request["response_format"] = {"type": "json_schema", "json_schema": dict(named)}
    elif custom.get("json_mode"):
        request["response_format"] = {"type": "json_object"}
    request |= _tools(functions)
    if stream:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    return request


def _tools(functions: Sequence[Json]) -> dict[str, Any]:
    known = [f for f in functions if f.get("name") and f.get("state") != "DISABLED"]
    names = ("name", "description", "parameters", "strict")
    tools = [
        {"type": "function", "function": {n: f[n] for n in names if f.get(n) is not None}}
        for f in known
    ]
    request: dict[str, Any] = {"tools": tools} if tools else {}
    forced = next((f["name"] for f in known if f.get("forced")), None)
    if forced is not None:
        request["tool_choice"] = {"type": "function", "function": {"name": forced}}
    return request


# Blocks


def _filled(block: Json, inputs: Mapping[str, Json], names: Mapping[Any, Any]) -> list[Json]:
    """Return the blocks of the variable `block`, where the SDK compiles no such variable.

    It knows no variables of media, and fails on messages of a chat history. A variable may be
    named by its id.
    """
    children = block.get("blocks")
    if isinstance(children, Sequence) and not isinstance(children, str):
        found = [_filled(c, inputs, names) for c in children if isinstance(c, Mapping)]
        return [{**block, "blocks": [each for some in found for each in some]}]
    if block.get("block_type") != "VARIABLE":
        return [block]
    name = block.get("input_variable")
    name = name if name in inputs else names.get(name, name)
    sent = inputs.get(str(name), {})
    value = sent.get("value")
    if sent.get("type") == "CHAT_HISTORY" and isinstance(value, list):
        return [_turn(message) for message in value if isinstance(message, Mapping)]
    if sent.get("type") in _MEDIA and isinstance(value, Mapping):
        return [{**value, "block_type": sent["type"]}]
    return [{**block, "input_variable": name}]


def _turn(message: Json) -> Json:
    """Return a message of a chat history as a block; its content may be its text alone."""
    content = message.get("content") or {"type": "STRING", "value": message.get("text")}
    items: Any = [content]
    if isinstance(content, Mapping) and content.get("type") == "ARRAY":
        items = content.get("value") or ()
    blocks: list[Json] = []
    for item in items:
        if not isinstance(item, Mapping) or item.get("value") is None:
            continue
        kind, value = item.get("type"), item["value"]
        if kind == "STRING":
            text = {"block_type": "PLAIN_TEXT", "text": value}
            blocks.append({"block_type": "RICH_TEXT", "blocks": [text]})
        else:
            more = value if isinstance(value, Mapping) else {}
            blocks.append({**more, "block_type": kind})
    role, source = message.get("role"), message.get("source")
    return {
        "block_type": "CHAT_MESSAGE",
        "chat_role": role,
        "chat_source": source,
        "blocks": blocks,
    }


# Messages


def _messages(blocks: Sequence[Json]) -> list[dict[str, Any]]:
    """Return compiled blocks as messages; those outside of any message become one of the user."""
    messages: list[dict[str, Any]] = []
    for is_loose, group in groupby(blocks, lambda block: block.get("block_type") == "VALUE"):
        if is_loose:
            content = _content(_values(group))
            messages += [{"role": "user", "content": content}] if content else []
        else:
            for block in group:
                messages += _message(block, messages)
    if not messages:
        msg = "The prompt has no message: every block is empty or disabled"
        raise Rejection(msg, "INVALID_INPUTS")
    return messages


def _message(block: Json, before: Sequence[Json]) -> list[dict[str, Any]]:
    values = list(_values(block.get("blocks") or ()))
    role = _ROLES.get(str(block.get("role")), "user")
    if role == "tool":
        calls = [m["tool_calls"] for m in before if m.get("tool_calls")]
        texts = [part["text"] for part in map(_part, values) if part["type"] == "text"]
        called = block.get("source") or (calls[-1][0]["id"] if calls else "call_0")
        return [{"role": role, "tool_call_id": called, "content": "\n".join(texts)}]
    calls = [v["value"] for v in values if v["type"] == "FUNCTION_CALL" and v.get("value")]
    content = _content(v for v in values if v["type"] != "FUNCTION_CALL")
    if not calls:
        return [{"role": role, "content": content}] if content else []
    tools = []
    for number, call in enumerate(calls):
        function = {"name": call["name"], "arguments": json.dumps(call.get("arguments") or {})}
        id_ = call.get("id") or f"call_{number}"
        tools.append({"id": id_, "type": "function", "function": function})
    return [{"role": "assistant", "content": content or None, "tool_calls": tools}]


def _values(blocks: Iterable[Json]) -> Iterable[Json]:
    for block in blocks:
        value = block["content"]
        if value["type"] == "ARRAY":
            yield from (item for item in value.get("value") or () if isinstance(item, Mapping))
        elif value["type"] != "THINKING":
            yield value


def _content(values: Iterable[Json]) -> str | list[dict[str, Any]]:
    """Return text where that is all there is: not every server knows lists of parts."""
    parts = [_part(value) for value in values]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _part(value: Json) -> dict[str, Any]:
    kind: str = value["type"]
    content: Any = value.get("value")
    if kind not in _MEDIA:
        text = (content or "") if kind == "STRING" else json.dumps(content, ensure_ascii=False)
        return {"type": "text", "text": text}
    source = content.get("src") if isinstance(content, Mapping) else None
    if not isinstance(source, str) or not source:
        msg = f"A block of the type {kind} has no src"
        raise Rejection(msg, "INVALID_INPUTS")
    if kind in {"IMAGE", "VIDEO"}:
        name = f"{kind.lower()}_url"
        return {"type": name, name: {"url": source}}
    head, comma, data = source.removeprefix("data:").partition(",")
    if not source.startswith("data:") or not comma:
        msg = f"{kind} reaches the model as a data URL only; the prompt has {source!r:.60}"
        raise Rejection(msg, "INVALID_INPUTS")
    if kind == "AUDIO":
        form = head.partition(";")[0].rpartition("/")[2] or "wav"
        return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
    name = (content.get("metadata") or {}).get("filename") or "document.pdf"
    return {"type": "file", "file": {"filename": str(name), "file_data": source}}

"""The body that is sent to ``/chat/completions``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vellum_nb.local.prompts.wire import ExecutePromptRequest

__all__ = ["chat_order"]

Json = Mapping[str, Any]
_OURS = frozenset({"messages", "model", "stream", "stream_options", "json_schema", "json_mode"})
_NEUTRAL = {"top_p": 1.0, "top_k": 0, "frequency_penalty": 0.0, "presence_penalty": 0.0}


def chat_order(
    body: ExecutePromptRequest, messages: Sequence[Json], *, model: str, stream: bool
) -> dict[str, Any]:
    """Return the request for the model.

    Vellum's parameters have OpenAI's names; those that change nothing are left out, for not
    every server knows each. What `custom_parameters` adds goes along as it is.
    """
    order: dict[str, Any] = {"model": model, "messages": list(messages)}
    order |= _parameters(body.parameters)
    order |= _tools(body.functions)
    if stream:
        order |= {"stream": True, "stream_options": {"include_usage": True}}
    return order


def _parameters(parameters: Json) -> dict[str, Any]:
    custom = parameters.get("custom_parameters")
    custom = custom if isinstance(custom, Mapping) else {}
    names = ("temperature", "max_tokens", "stop", "logit_bias", *_NEUTRAL)
    given = {name: parameters.get(name) for name in names}
    kept = {
        name: value
        for name, value in given.items()
        if value not in (None, [], {}) and value != _NEUTRAL.get(name, object())
    }
    if "max_completion_tokens" in custom:  # newer models want it instead
        kept.pop("max_tokens", None)
    kept |= {name: value for name, value in custom.items() if name not in _OURS}
    return kept | _format(custom)


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
    order: dict[str, Any] = {"tools": tools}
    forced = next((each["name"] for each in known if each.get("forced")), None)
    if forced is not None:
        order["tool_choice"] = {"type": "function", "function": {"name": forced}}
    return order


def _function(definition: Json) -> dict[str, Any]:
    names = ("name", "description", "parameters", "strict")
    return {name: definition[name] for name in names if definition.get(name) is not None}

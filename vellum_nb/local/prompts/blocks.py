"""What a prompt request brings, made ready for the compilation of its blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vellum_nb.errors import VellumNBError
from vellum_nb.local.prompts.failures import PromptFailed
from vellum_nb.local.prompts.wire import ExecutePromptRequest

__all__ = ["compiled"]

_MEDIA = frozenset({"IMAGE", "AUDIO", "VIDEO", "DOCUMENT"})
_SDK = "vellum"


def compiled(body: ExecutePromptRequest) -> list[dict[str, Any]]:
    """Return the blocks of a request with everything filled in.

    Raises
    ------
    PromptFailed
        When they do not fit together, or the Workflows SDK is not here.
    """
    inputs = [_input(given) for given in body.input_values]
    names = {v.get("id"): v.get("key") for v in body.input_variables}
    by_name = {given["key"]: given for given in inputs}
    blocks = [b for block in body.blocks for b in _filled(block, by_name, names)]
    try:
        from vellum_nb.local.sdk.prompt_blocks import compile_blocks
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != _SDK:
            raise
        msg = 'Prompts need the Workflows SDK on the server: pip install "vellum-nb[sdk]"'
        raise PromptFailed(msg, code="INTERNAL_SERVER_ERROR") from exc
    try:
        return compile_blocks(blocks, inputs)
    except VellumNBError as exc:
        raise PromptFailed(str(exc), code="INVALID_INPUTS") from exc


def _input(given: Mapping[str, Any]) -> dict[str, Any]:
    key = given.get("key", given.get("name"))
    return {"key": key, "type": given.get("type", "JSON"), "value": given.get("value")}


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
    given = inputs.get(str(name), {})
    value = given.get("value")
    if given.get("type") == "CHAT_HISTORY" and isinstance(value, list):
        return [_turn(message) for message in value if isinstance(message, Mapping)]
    if given.get("type") in _MEDIA and isinstance(value, Mapping):
        return [_value({"type": given["type"], "value": value})]
    return [{**block, "input_variable": name}]


def _turn(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message of a chat history as a block; what it says may be in its text alone."""
    content = message.get("content") or {"type": "STRING", "value": message.get("text")}
    items: Sequence[Any] = [content]
    if isinstance(content, Mapping) and content.get("type") == "ARRAY":
        items = content.get("value") or ()
    return {
        "block_type": "CHAT_MESSAGE",
        "chat_role": message.get("role"),
        "chat_source": message.get("source"),
        "blocks": [_value(item) for item in items if _says_something(item)],
    }


def _says_something(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("value") is not None


def _value(item: Mapping[str, Any]) -> dict[str, Any]:
    kind, value = item.get("type"), item.get("value")
    if kind == "STRING":
        return {"block_type": "RICH_TEXT", "blocks": [{"block_type": "PLAIN_TEXT", "text": value}]}
    return {**(value if isinstance(value, Mapping) else {}), "block_type": kind}

"""Chat messages: from pairs and dicts to what a CHAT_HISTORY input carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vellum_nb.errors import InputError
from vellum_nb.models.media import MEDIA_TYPES, media_dict
from vellum_nb.models.plain import ROLES, format_value, is_pair, plain

__all__ = ["chat_messages", "is_chat"]

_PARTS = ("STRING", "FUNCTION_CALL", *MEDIA_TYPES)


def chat_messages(value: object) -> list[dict[str, Any]]:
    """Return `value` as a list of messages.

    A message is a ``(role, text)`` pair or a dict with ``role`` and ``text`` or ``content``.
    ``content`` may be text, a typed value, or a list of both.

    Raises
    ------
    InputError
        Names the first message that is not one, by its place.
    """
    if not isinstance(value, list | tuple) or is_pair(value):
        msg = f"{format_value(value)} is no list of messages; give [('user', 'text'), ...]"
        raise InputError(msg)
    return [_message(item, number) for number, item in enumerate(value, start=1)]


def is_chat(value: object) -> bool:
    """Return whether `value` is surely a list of messages."""
    if not isinstance(value, list | tuple) or not value:
        return False
    return all((isinstance(item, tuple) and is_pair(item)) or _has_role(item) for item in value)


def _has_role(item: object) -> bool:
    if not isinstance(item, Mapping) or not ("text" in item or "content" in item):
        return False
    role = item.get("role")
    return isinstance(role, str) and role.upper() in ROLES


def _message(item: object, number: int) -> dict[str, Any]:
    if isinstance(item, tuple | list) and len(item) == 2:  # noqa: PLR2004  # (role, text)
        item = {"role": item[0], "text": item[1]}
    if not isinstance(item, Mapping):
        msg = f"message {number} is {format_value(item)}; give a dict or a (role, text) pair"
        raise InputError(msg)
    role = item.get("role")
    if not isinstance(role, str) or role.upper() not in ROLES:
        given = repr(role)
        msg = f"message {number} has the role {given:.60}; it must be one of {', '.join(ROLES)}"
        raise InputError(msg)
    text = item.get("text")
    if text is not None and not isinstance(text, str):
        msg = f"message {number} has {format_value(text)} as its text; text is expected"
        raise InputError(msg)
    rest = {key: each for key, each in item.items() if key not in {"role", "content"}}
    return {"role": role.upper(), **plain(rest), **_content(item.get("content"), number)}


def _content(content: object, number: int) -> dict[str, Any]:
    if content is None:
        return {}
    if isinstance(content, str):
        return {"text": plain(content)}
    if isinstance(content, list | tuple):
        content = {"type": "ARRAY", "value": content}
    try:
        return {"content": _part(content, (*_PARTS, "ARRAY"))}
    except InputError as exc:
        msg = f"message {number}: {exc}"
        raise InputError(msg) from None


def _part(part: object, allowed: tuple[str, ...]) -> dict[str, Any]:
    if isinstance(part, str):
        part = {"type": "STRING", "value": part}
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or kind not in allowed:
        msg = f"its content is {format_value(part)}; its type must be one of {', '.join(allowed)}"
        raise InputError(msg)
    value = part.get("value")
    if kind in MEDIA_TYPES:
        return {"type": kind, "value": plain(media_dict(value, kind))}
    if kind == "ARRAY":
        if not isinstance(value, list | tuple):
            msg = f"its content is an ARRAY of {format_value(value)}; a list is expected"
            raise InputError(msg)
        return {"type": kind, "value": [_part(item, _PARTS) for item in value]}
    if kind == "STRING" and not isinstance(value, str):
        msg = f"its content is a STRING of {format_value(value)}; text is expected"
        raise InputError(msg)
    return {"type": kind, "value": plain(value)}

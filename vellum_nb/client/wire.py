"""Bytes: headers that hide the key, bodies out, replies in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vellum_nb.errors import InputError

__all__ = ["HIDDEN", "Headers", "encoded", "read_reply"]

M = TypeVar("M", bound=BaseModel)
HIDDEN = "[API key]"


class Headers(dict[str, str]):
    """Headers whose `repr` hides the key.

    A plain dict: a CaseInsensitiveDict, which a prepared request usually has, is copied slowly.
    """

    def __repr__(self) -> str:
        shown = {name: HIDDEN if name == "X-API-KEY" else self[name] for name in self}
        return f"{type(self).__name__}({shown})"

    def copy(self) -> Headers:
        """Return a copy that hides the key too."""
        return Headers(self)


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return `body` as compact JSON in UTF-8."""
    try:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as exc:
        reason = str(exc)
    msg = f"The request cannot be written as JSON, nothing was sent: {reason}"
    raise InputError(msg)


def read_reply(body: bytes, reply: type[M]) -> M | str:
    """Return `body` as a model, or why it is none."""
    try:
        return reply.model_validate_json(body)
    except ValidationError:
        repaired = _repaired(body)
    try:
        return reply.model_validate_json(repaired)
    except ValidationError as exc:
        return _first(exc)


def _repaired(body: bytes) -> bytes:
    """Return JSON without the byte order mark and half surrogates that Python tolerates."""
    try:
        value = json.loads(body.decode("utf-8-sig", "replace"))
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return body


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    place = ".".join(str(step) for step in found[0]["loc"])
    return f"{place}: {found[0]['msg']}" if place else str(found[0]["msg"])

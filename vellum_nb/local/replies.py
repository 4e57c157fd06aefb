"""How answers look: ASCII JSON, and one shape for every failure."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Response
from pydantic import BaseModel

__all__ = ["FAILURES", "Failure", "failure", "plain_reply", "reply"]


class Failure(BaseModel):
    """The body of every answer that is not 2xx."""

    detail: str


FAILURES: dict[int | str, dict[str, Any]] = {
    "default": {"model": Failure, "description": "Any failure; `detail` says what to do."}
}


def reply(model: BaseModel) -> Response:
    """Return `model` with the keys that were set, under their names on the wire."""
    return _json(model.model_dump(mode="json", by_alias=True, exclude_unset=True), 200)


def plain_reply(content: Any, status_code: int = 200) -> Response:
    """Return plain JSON."""
    return _json(content, status_code)


def failure(status_code: int, detail: str) -> Response:
    """Return a failure."""
    return _json({"detail": detail}, status_code)


def _json(content: Any, status_code: int) -> Response:
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Response(text, status_code=status_code, media_type="application/json")

"""How answers look: ASCII JSON, and one shape for every failure."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Response
from pydantic import BaseModel

__all__ = ["Failure", "failure", "reply"]


class Failure(BaseModel):
    """The body of every answer that is not 2xx."""

    detail: str


def reply(model: BaseModel) -> Response:
    """Return `model` with the keys that were set, under their names on the wire."""
    return _json(model.model_dump(mode="json", by_alias=True, exclude_unset=True), 200)


def failure(status_code: int, detail: str) -> Response:
    """Return a failure."""
    return _json({"detail": detail}, status_code)


def _json(content: Any, status_code: int) -> Response:
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Response(text, status_code=status_code, media_type="application/json")

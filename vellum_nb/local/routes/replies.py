"""How answers look: ASCII JSON, and one shape for every failure."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from typing import Any

from fastapi import Response
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from vellum_nb.local.engine.events import to_json
from vellum_nb.local.routes.hang_up import watched

__all__ = ["FAILURES", "Failure", "LineResponse", "failure", "line", "plain_reply", "reply"]


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


def line(content: Any) -> bytes:
    """Return plain JSON as a line of a stream."""
    return to_json(content).encode("ascii") + b"\n"


class LineResponse(Response):
    """An answer that is sent line by line while it comes into being.

    Parameters
    ----------
    chunks : async iterable of bytes
        One or more whole lines each.
    hung_up : callable
        Called when the client hangs up before the end; the chunks are to end then.
    """

    media_type = "application/x-ndjson"

    def __init__(self, chunks: AsyncIterable[bytes], *, hung_up: Callable[[], None]) -> None:
        super().__init__()
        del self.headers["Content-Length"]
        self._chunks = chunks
        self._hung_up = hung_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send it."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        with watched(receive, self._hung_up):
            await send(start)
            async for chunk in self._chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _json(content: Any, status_code: int) -> Response:
    return Response(to_json(content), status_code=status_code, media_type="application/json")

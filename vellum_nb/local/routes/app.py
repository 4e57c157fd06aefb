"""The ASGI application: the routes, and failures in one shape."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException

from vellum_nb.local.refusals import Refused
from vellum_nb.local.routes import code, deployments, execute, executions, files
from vellum_nb.local.routes.common import JSON, State

_MOST_PROBLEMS = 5


def create_app(state: State) -> FastAPI:
    """Return the application that serves `state`."""
    app = FastAPI(
        title="vellum_nb local server",
        version="2025-07-30",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
        separate_input_output_schemas=False,  # answers leave out what is not set
        # The guard checks the key before anything is read; this is for the OpenAPI document.
        dependencies=[Security(APIKeyHeader(name="X-API-KEY", auto_error=False))],
    )
    app.state.served = state
    for room in (execute, deployments, code, executions, files):
        app.include_router(room.router)
    for kind in (Refused, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _failure)
    return app


async def _failure(request: Request, exc: Exception) -> Response:
    """Return any failure as its status, its headers and a detail."""
    status = 500
    headers: dict[str, str] = {}
    detail = f"The local server failed: {type(exc).__name__}. Please report this."
    if isinstance(exc, Refused):
        status, detail = exc.status_code, exc.detail
        headers = {"Retry-After": str(exc.retry_after)} if exc.retry_after else {}
    elif isinstance(exc, HTTPException):
        where = f"{request.method} {request.url.path}"
        details = {404: f"There is no {where}", 405: f"{where} is not allowed"}
        status, headers = exc.status_code, dict(exc.headers or {})
        detail = details.get(status, str(exc.detail))
    elif isinstance(exc, RequestValidationError):
        errors = exc.errors()[:_MOST_PROBLEMS]
        status = 400
        detail = "; ".join(f"{_place(error['loc'])}: {error['msg']}" for error in errors)
    return JSON({"detail": detail}, status, headers)


def _place(loc: tuple[int | str, ...]) -> str:
    """Return the place of a problem, such as ``inputs[0].name``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc[1:])
    return text.removeprefix(".") or str(loc[0])

"""The ASGI application: routes, failures in one shape, and its own documentation."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from vellum_nb.local.refusals import Refused
from vellum_nb.local.routes import deployments, execute, executions, files, prompts, pull
from vellum_nb.local.routes.docs_page import docs_page
from vellum_nb.local.routes.document import completed
from vellum_nb.local.routes.guard import Guard
from vellum_nb.local.routes.replies import failure
from vellum_nb.local.routes.state import State

__all__ = ["create_app"]

_PACKAGE = "vellum-nb"


def create_app(state: State, *, api_key: str, body_limit: int) -> ASGIApp:
    """Return the application that serves `state` to those who have `api_key`."""
    app = FastAPI(
        title="vellum_nb local server",
        version=_version(),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.served = state
    for room in (execute, deployments, executions, files, pull, prompts):
        app.include_router(room.router)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _failed)
    plain = app.openapi

    @cache  # made when it is asked for: it takes longer than all else of a start
    def document() -> dict[str, Any]:
        return completed(plain())

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's way to extend it
    app.add_api_route("/docs", _docs(document), include_in_schema=False)
    return Guard(app, api_key=api_key, limit=body_limit)


def _version() -> str:
    try:
        return version(_PACKAGE)
    except PackageNotFoundError:
        return "unknown"


def _docs(document: Callable[[], dict[str, Any]]) -> Any:
    async def docs() -> Response:
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        return HTMLResponse(docs_page(document()), headers={"Content-Security-Policy": policy})

    return docs


async def _refused(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, Refused)  # noqa: S101 - registered for it alone
    answer = failure(exc.status_code, exc.detail)
    if exc.retry_after is not None:
        answer.headers["Retry-After"] = str(exc.retry_after)
    return answer


async def _http(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)  # noqa: S101 - registered for it alone
    where = f"{request.method} {request.url.path}"
    details = {404: f"There is no {where}", 405: f"{where} is not allowed"}
    answer = failure(exc.status_code, details.get(exc.status_code, str(exc.detail)))
    answer.headers.update(exc.headers or {})
    return answer


async def _invalid(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)  # noqa: S101 - registered for it alone
    problems = [f"{error['loc'][-1]}: {error['msg']}" for error in exc.errors()]
    return failure(400, "; ".join(problems))


async def _failed(_: Request, exc: Exception) -> Response:
    return failure(500, f"The local server failed: {type(exc).__name__}. Please report this.")

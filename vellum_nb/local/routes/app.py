"""The ASGI application: the routes, and failures in one shape."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException

from vellum_nb.local.refusals import Refused
from vellum_nb.local.routes import code, deployments, execute, executions, files, prompts
from vellum_nb.local.routes.common import State, failure
from vellum_nb.local.routes.middleware import Guard

_PACKAGE = "vellum-nb"
_MOST_PROBLEMS = 5


def create_app(state: State, *, api_key: str, body_limit: int, timeout: float) -> Guard:
    """Return the application that serves `state` to those who have `api_key`."""
    app = FastAPI(
        title="vellum_nb local server",
        version=_version(),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
        separate_input_output_schemas=False,  # answers leave out what is not set
        # The guard checks the key before anything is read; this is for the OpenAPI document.
        dependencies=[Security(APIKeyHeader(name="X-API-KEY", auto_error=False))],
    )
    app.state.served = state
    for room in (execute, deployments, code, executions, files, prompts):
        app.include_router(room.router)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _failed)
    return Guard(app, api_key=api_key, limit=body_limit, timeout=timeout)


def _version() -> str:
    try:
        return version(_PACKAGE)
    except PackageNotFoundError:
        return "unknown"


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
    errors = exc.errors()[:_MOST_PROBLEMS]
    return failure(400, "; ".join(f"{_place(error['loc'])}: {error['msg']}" for error in errors))


def _place(loc: tuple[int | str, ...]) -> str:
    """Return the place of a problem, such as ``inputs[0].name``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc[1:])
    return text.removeprefix(".") or str(loc[0])


async def _failed(_: Request, exc: Exception) -> Response:
    return failure(500, f"The local server failed: {type(exc).__name__}. Please report this.")

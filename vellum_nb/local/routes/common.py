"""Common parts of all routes: state, strict JSON bodies, replies, pages of lists."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator
from starlette.exceptions import HTTPException
from starlette.types import Receive

from vellum_nb.local.deployments.registry import Deployment, Registry, Release
from vellum_nb.local.engine.events import from_json, to_json
from vellum_nb.local.engine.executions import Executions
from vellum_nb.local.ledger import ExecutionRecord, Ledger, ordering_keys
from vellum_nb.local.prompts import Models
from vellum_nb.local.refusals import Refused
from vellum_nb.models import Page

T = TypeVar("T")
R = TypeVar("R")
M = TypeVar("M", bound=BaseModel)
LARGEST_PAGE = 1000
_HANG_UP_DELAY_S = 0.02  # a shorter run is not cancelled

Limit = Annotated[int, Query(ge=1, description="Results per page, at most 1000.")]
Offset = Annotated[int, Query(ge=0, description="Number of results to skip.")]


@dataclass(frozen=True, slots=True)
class State:
    """The registry, the executions and the ledger of one running server."""

    registry: Registry
    executions: Executions
    ledger: Ledger
    started: datetime
    models: Models

    def execution(self, execution_id: str) -> ExecutionRecord:
        """Return the current state of an execution."""
        live = self.executions.live(execution_id)
        record = self.ledger.record(execution_id) if live is None else live.record
        if record is None:
            problem = f"No execution {execution_id!r:.60} is here"
            raise Refused(
                404, f"{problem}; without data= a local server forgets them when it stops"
            )
        return record

    def release_of(self, record: ExecutionRecord) -> Release | None:
        """Return the release of an execution, or None if its deployment is unknown."""
        deployments = (d for d in self.registry.all() if d.id == record.deployment_id)
        return next(
            (deployment.find_release(record.release_id) for deployment in deployments), None
        )


async def _state(request: Request) -> State:
    state: State = request.state.served
    return state


Served = Annotated[State, Depends(_state)]
Id = Annotated[str, Path(alias="id")]


async def _named(
    state: Served, id_: Annotated[str, Path(alias="id", description="Its id (a UUID) or its name.")]
) -> Deployment:
    return state.registry.get(id_)


Named = Annotated[Deployment, Depends(_named)]


# Requests


def _without_nulls(content: Any) -> Any:
    """Remove null fields, which count as absent."""
    if not isinstance(content, Mapping):
        return content
    return {key: value for key, value in content.items() if value is not None}


Body = Annotated[M, BeforeValidator(_without_nulls)]


class _StrictRequest(Request):
    """Request that refuses NaN, infinity and deep nesting in JSON."""

    async def json(self) -> Any:
        try:
            return from_json(await self.body())
        except ValueError as exc:
            raise HTTPException(400, f"The body is not JSON: {exc}") from None


class _Route(APIRoute):
    """Route with strict JSON bodies, and without unset fields in answers."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "response_model_exclude_unset": True})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(_StrictRequest(request.scope, request.receive))

        return strict


class Failure(BaseModel):
    """The body of every answer that is not 2xx."""

    detail: str


_FAILURE = "Any failure; `detail` is the reason."


def new_router() -> APIRouter:
    """Return a router with strict JSON bodies and a common body of failures."""
    return APIRouter(
        route_class=_Route,
        default_response_class=JSON,
        responses={"default": {"model": Failure, "description": _FAILURE}},
    )


@contextmanager
def on_hang_up(receive: Receive, callback: Callable[[], object]) -> Iterator[None]:
    """Call `callback` if the client disconnects during the block; the body must be read."""
    watches: list[asyncio.Task[object]] = []

    def watch() -> None:
        watches.append(asyncio.ensure_future(receive()))
        watches[0].add_done_callback(lambda task: None if task.cancelled() else callback())

    timer = asyncio.get_running_loop().call_later(_HANG_UP_DELAY_S, watch)
    try:
        yield
    finally:
        timer.cancel()
        for task in watches:
            task.cancel()


# Replies


class JSON(JSONResponse):
    """Plain values as JSON, in ASCII."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return to_json(content).encode("ascii")


class Lines(StreamingResponse, JSONResponse):
    """Stream of JSON lines; FastAPI documents it as JSON with a model."""

    media_type = "application/x-ndjson"


def lines_of(model: Any) -> dict[str, Any]:
    """Return the options of a route that streams lines of a model."""
    failure = {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}
    return {
        "response_class": Lines,
        "response_model": model,
        "responses": {
            200: {"description": "One JSON object per line, as it happens."},
            "default": {"description": _FAILURE, "content": failure},
        },
    }


def json_line(content: Any) -> bytes:
    """Return plain JSON as a line of a stream."""
    return to_json(content).encode("ascii") + b"\n"


# Pages


@dataclass
class _Paging:
    request: Request
    limit: Limit = 100
    offset: Offset = 0
    ordering: Annotated[str | None, Query(description="Comma-separated; - reverses.")] = None

    def page(
        self,
        items: Iterable[T],
        keys: Mapping[str, Callable[[T], Any]],
        show: Callable[[T], R],
        *,
        ordering: str | None = None,
    ) -> Page[R]:
        """Return the page of `items`, ordered by the query or by `ordering`."""
        ordered = list(items)
        for name, is_reversed in reversed(ordering_keys(self.ordering or ordering, keys)):
            ordered.sort(key=keys[name], reverse=is_reversed)
        limit = min(self.limit, LARGEST_PAGE)
        start, end = self.offset, self.offset + limit

        def address(offset: int) -> str:
            return str(self.request.url.include_query_params(limit=limit, offset=offset))

        return Page(
            count=len(ordered),
            next=address(end) if end < len(ordered) else None,
            previous=address(max(0, start - limit)) if start > 0 else None,
            results=tuple(map(show, ordered[start:end])),
        )


Paging = Annotated[_Paging, Depends()]

"""One page of a list: ordering, limit and offset, and the addresses of its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query, Request

from vellum_nb.local.refusals import bad_request
from vellum_nb.models import Page

__all__ = ["LARGEST", "Limit", "Offset", "ordered", "page"]

T = TypeVar("T")
R = TypeVar("R")
LARGEST = 1000

Limit = Annotated[int, Query(ge=1, description="How many results a page holds: at most 1000.")]
Offset = Annotated[int, Query(ge=0, description="How many results come before this page.")]


def ordered(
    items: Sequence[T], ordering: str | None, keys: Mapping[str, Callable[[T], Any]]
) -> list[T]:
    """Return `items` ordered by one or more of `keys`, each reversed by a leading minus."""
    result = list(items)
    for part in reversed([part.strip() for part in (ordering or "").split(",") if part.strip()]):
        name = part.removeprefix("-")
        if name not in keys:
            known = ", ".join(f"{key}, -{key}" for key in keys)
            msg = f"ordering: {part!r} is not known; use {known}"
            raise bad_request(msg)
        result.sort(key=keys[name], reverse=part.startswith("-"))
    return result


def page(
    request: Request, items: Sequence[T], limit: int, offset: int, show: Callable[[T], R]
) -> Page[R]:
    """Return the page of `items` that begins at `offset`, each item as `show` shows it."""
    limit = min(limit, LARGEST)
    before = max(0, offset - limit)
    after = offset + limit

    def address(start: int) -> str:
        return str(request.url.include_query_params(limit=limit, offset=start))

    return Page(
        count=len(items),
        next=address(after) if after < len(items) else None,
        previous=address(before) if offset > 0 else None,
        results=tuple(show(item) for item in items[offset:after]),
    )

"""The route that hands out the code of a release."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from vellum_nb.local.deployments.releases import (
    LATEST,
    as_text,
    as_zip,
    release_definition,
    source_of,
)
from vellum_nb.local.routes.replies import FAILURES
from vellum_nb.local.routes.state import Named, Served

__all__ = ["router"]

router = APIRouter(responses=FAILURES)
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
            "text/plain": {"schema": {"type": "string"}},
        },
        "description": "The files, as an archive or, where text/plain is asked for, as one text.",
    }
}


class PullOptions(BaseModel):
    """What goes into the answer."""

    release_tag: Annotated[str | None, Field(min_length=1, description="Default: LATEST.")] = None
    exclude_code: bool = False
    exclude_display: bool = False
    include_json: Annotated[bool, Field(description="Adds the variables as workflow.json.")] = False
    include_sandbox: Annotated[bool, Field(description="Changes nothing here.")] = False
    strict: Annotated[bool, Field(description="Changes nothing here.")] = False
    version: Annotated[str | None, Field(description="Changes nothing here.")] = None


@router.get("/v1/workflows/{id}/pull", response_class=Response, responses=_ANSWER)
def pull(
    request: Request, state: Served, deployment: Named, options: Annotated[PullOptions, Query()]
) -> Response:
    """Pull the code of a release."""
    release = state.registry.release(deployment, options.release_tag or LATEST)
    files = {} if options.exclude_code else dict(source_of(deployment, release))
    if options.exclude_display:
        files = {path: text for path, text in files.items() if "display" not in path.split("/")}
    if options.include_json:
        files["workflow.json"] = release_definition(deployment, release)
    if "text/plain" in request.headers.get("accept", ""):
        return Response(as_text(files).encode("utf-8", "replace"), media_type="text/plain")
    return Response(as_zip(files), media_type="application/zip")

"""The routes of uploaded files."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request, Response
from starlette.datastructures import UploadFile

from vellum_nb.local.engine.inputs import media_type
from vellum_nb.local.ledger.ledger import StoredFile
from vellum_nb.local.refusals import Refused, bad_request, not_found
from vellum_nb.local.routes.replies import FAILURES, plain_reply
from vellum_nb.local.routes.state import Served, State
from vellum_nb.local.routes.uploads import expiry, is_signed, signature
from vellum_nb.models import UploadedFileRead

__all__ = ["router"]

router = APIRouter(responses=FAILURES)

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            }
        },
    }
}


@router.post(
    "/v1/uploaded-files", response_model=UploadedFileRead, status_code=201, openapi_extra=_BODY
)
async def create_uploaded_file(request: Request, state: Served) -> Response:
    """Keep a file for inputs of workflows."""
    name, content, kind = await _sent(request)
    id_ = state.ledger.add_file(name, content, media_type=kind)
    return _read(request, state, id_, expiry(None), status_code=201)


@router.get("/v1/uploaded-files/{id}", response_model=UploadedFileRead)
def retrieve_uploaded_file(
    request: Request,
    state: Served,
    id: str,  # noqa: A002
    expiry_seconds: Annotated[
        str | None, Query(description="1 to 2592000; all else is the default, 604800.")
    ] = None,
) -> Response:
    """Retrieve a file's address, which opens it for a while."""
    _file(state, id)
    return _read(request, state, id, expiry(expiry_seconds))


@router.put("/v1/uploaded-files/{id}", response_model=UploadedFileRead, openapi_extra=_BODY)
async def update_uploaded_file(request: Request, state: Served, id: str) -> Response:  # noqa: A002
    """Put another file in the place of one."""
    _file(state, id)
    name, content, kind = await _sent(request)
    state.ledger.add_file(name, content, media_type=kind, id_=id)
    return _read(request, state, id, expiry(None))


@router.get("/files/{id}", include_in_schema=False)
def uploaded_file(state: Served, id: str, expires: int = 0, token: str = "") -> Response:  # noqa: A002
    """Serve the content of a file to those who have its signed address."""
    if not is_signed(state.ledger, id, expires, token):
        msg = "This address of a file is wrong or has expired; retrieve the file again"
        raise Refused(403, msg)
    file = _file(state, id)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(file.content, media_type=media_type(file), headers=headers)


async def _sent(request: Request) -> tuple[str, bytes, str]:
    """Return name, content and media type of the file in a form."""
    async with request.form() as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            msg = "The body must be multipart/form-data with a file in the part 'file'"
            raise bad_request(msg)
        return file.filename or "upload", await file.read(), file.content_type or ""


def _file(state: State, id_: str) -> StoredFile:
    file = state.ledger.file(id_)
    if file is None:
        msg = f"No uploaded file has the id {id_!r:.60}"
        raise not_found(msg)
    return file


def _read(
    request: Request, state: State, id_: str, seconds: int, status_code: int = 200
) -> Response:
    expires = int(datetime.now(UTC).timestamp()) + seconds
    query = urlencode({"expires": expires, "token": signature(state.ledger, id_, expires)})
    url = f"{request.url.scheme}://{request.url.netloc}/files/{id_}?{query}"
    return plain_reply({"id": id_, "file_url": url}, status_code)

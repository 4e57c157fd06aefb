"""Routes of uploaded files, which have signed addresses that expire."""

from __future__ import annotations

import hmac
import re
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import File, Query, Request, Response, UploadFile

from vellum_nb.local.engine.inputs import media_type
from vellum_nb.local.ledger import Ledger, StoredFile
from vellum_nb.local.refusals import Refused
from vellum_nb.local.routes.common import Id, Served, State, new_router
from vellum_nb.models import UploadedFileRead

router = new_router()
_DEFAULT_EXPIRY_S = 604_800
_MAX_EXPIRY_S = 2_592_000

Sent = Annotated[UploadFile, File(description="The file.")]


@router.post("/v1/uploaded-files", status_code=201)
def create_uploaded_file(request: Request, state: Served, file: Sent) -> UploadedFileRead:
    """Store a file for inputs of workflows."""
    return _read(request, state, _stored(state, file))


@router.get("/v1/uploaded-files/{id}")
def retrieve_uploaded_file(
    request: Request,
    state: Served,
    id_: Id,
    expiry_seconds: Annotated[
        str | None, Query(description="1 to 2592000; all else is the default, 604800.")
    ] = None,
) -> UploadedFileRead:
    """Retrieve the address of a file, which expires."""
    _file(state, id_)
    valid = re.fullmatch("[0-9]{1,7}", expiry_seconds or "")
    seconds = int(valid[0]) if valid else 0
    return _read(
        request, state, id_, seconds if 0 < seconds <= _MAX_EXPIRY_S else _DEFAULT_EXPIRY_S
    )


@router.put("/v1/uploaded-files/{id}")
def update_uploaded_file(request: Request, state: Served, id_: Id, file: Sent) -> UploadedFileRead:
    """Replace a file."""
    _file(state, id_)
    return _read(request, state, _stored(state, file, id_))


@router.get("/files/{id}", include_in_schema=False)
def uploaded_file(state: Served, id_: Id, expires: int = 0, token: str = "") -> Response:
    """Serve the content of a file at its signed address."""
    valid = hmac.compare_digest(
        _signature(state.ledger, id_, expires).encode(), token.encode("utf-8", "replace")
    )
    if not valid or expires <= datetime.now(UTC).timestamp():
        msg = "This address of a file is wrong or has expired; retrieve the file again"
        raise Refused(403, msg)
    file = _file(state, id_)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(file.content, media_type=media_type(file), headers=headers)


def _stored(state: State, file: UploadFile, id_: str | None = None) -> str:
    name, kind = file.filename or "upload", file.content_type or ""
    return state.ledger.add_file(name, file.file.read(), media_type=kind, id_=id_)


def _file(state: State, id_: str) -> StoredFile:
    file = state.ledger.file(id_)
    if file is None:
        raise Refused(404, f"No uploaded file has the id {id_!r:.60}")
    return file


def _read(
    request: Request, state: State, id_: str, seconds: int = _DEFAULT_EXPIRY_S
) -> UploadedFileRead:
    expires = int(datetime.now(UTC).timestamp()) + seconds
    query = urlencode({"expires": expires, "token": _signature(state.ledger, id_, expires)})
    url = f"{request.url.scheme}://{request.url.netloc}/files/{id_}?{query}"
    return UploadedFileRead(id=id_, file_url=url)


def _signature(ledger: Ledger, id_: str, expires: int) -> str:
    """Return the token for the file `id_` until `expires` (seconds since 1970)."""
    secret = ledger.secret("uploads")
    return hmac.new(secret, f"{id_}\n{expires}".encode(), "sha256").hexdigest()

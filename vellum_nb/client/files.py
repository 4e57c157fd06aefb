"""Bytes: uploaded files, and the code of a release."""

from __future__ import annotations

import mimetypes

from urllib3.filepost import encode_multipart_formdata

from vellum_nb.client.base import BaseClient
from vellum_nb.client.exchange import request_for
from vellum_nb.models import Cancellation, UploadedFileRead

__all__ = ["FileMethods"]

_ANY = "application/octet-stream"


class FileMethods(BaseClient):
    """The methods that send and bring bytes."""

    def pull(
        self,
        id: str,  # noqa: A002
        *,
        release_tag: str | None = None,
        exclude_code: bool | None = None,
        exclude_display: bool | None = None,
        include_json: bool | None = None,
        include_sandbox: bool | None = None,
        strict: bool | None = None,
        version: str | None = None,
    ) -> bytes:
        """Return the code of a workflow as a ZIP archive; `id` is a deployment's id or name."""
        query = {
            "release_tag": release_tag,
            "exclude_code": exclude_code,
            "exclude_display": exclude_display,
            "include_json": include_json,
            "include_sandbox": include_sandbox,
            "strict": strict,
            "version": version,
        }
        url = self._url("workflows", id, "pull", predict=True)
        return self._sender.fetch(request_for("GET", url, query=query)._replace(accept="*/*"))

    def upload_file(
        self, content: bytes, *, filename: str = "upload", cancel: Cancellation | None = None
    ) -> UploadedFileRead:
        """Upload a file; media inputs name it by the ``src`` of what is returned."""
        kind = mimetypes.guess_type(filename)[0] or _ANY
        data, content_type = encode_multipart_formdata({"file": (filename, content, kind)})
        request = request_for("POST", self._url("uploaded-files"))
        sent = request._replace(data=data, content_type=content_type)
        return self._sender.send(sent, UploadedFileRead, cancel)

    def retrieve_uploaded_file(
        self,
        id: str,  # noqa: A002
        *,
        expiry_seconds: int | None = None,
    ) -> UploadedFileRead:
        """Return an uploaded file's address, good for `expiry_seconds` (604800 by default)."""
        query = {"expiry_seconds": expiry_seconds}
        return self._get(UploadedFileRead, "uploaded-files", id, query=query)

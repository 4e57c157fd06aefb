"""Uploaded files: addresses that open them for a while, and their content in inputs."""

from __future__ import annotations

import base64
import hmac
import mimetypes
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from vellum_nb.local.ledger import Ledger, StoredFile
from vellum_nb.local.refusals import bad_request
from vellum_nb.models import WorkflowInput

__all__ = ["expiry", "is_signed", "media_type", "resolved", "signature"]

_PREFIX = "vellum:uploaded-file:"
_HOLDERS = frozenset({"IMAGE", "AUDIO", "VIDEO", "DOCUMENT", "CHAT_HISTORY"})
_DEFAULT_EXPIRY = 604_800
_LONGEST_EXPIRY = 2_592_000
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)
_UNKNOWN = "application/octet-stream"


def expiry(seconds: str | None) -> int:
    """Return for how long an address opens a file; what is no such time is the default.

    Examples
    --------
    >>> expiry("60"), expiry("soon"), expiry("0")
    (60, 604800, 604800)
    """
    try:
        number = int(seconds or "")
    except ValueError:
        return _DEFAULT_EXPIRY
    return number if 0 < number <= _LONGEST_EXPIRY else _DEFAULT_EXPIRY


def signature(ledger: Ledger, id_: str, expires: int) -> str:
    """Return the token that opens the file `id_` until `expires` (seconds since 1970)."""
    secret = ledger.secret("uploads")
    return hmac.new(secret, f"{id_}\n{expires}".encode(), "sha256").hexdigest()


def is_signed(ledger: Ledger, id_: str, expires: int, token: str) -> bool:
    """Return whether `token` opens the file `id_` now."""
    right = signature(ledger, id_, expires).encode()
    return hmac.compare_digest(right, token.encode("utf-8", "replace")) and (
        expires > datetime.now(UTC).timestamp()
    )


def media_type(file: StoredFile) -> str:
    """Return the media type of a file: as it was sent, or as its name tells."""
    if _MEDIA_TYPE.fullmatch(file.media_type) and file.media_type != _UNKNOWN:
        return file.media_type
    return mimetypes.guess_type(file.name)[0] or _UNKNOWN


def resolved(inputs: Sequence[WorkflowInput], ledger: Ledger) -> tuple[WorkflowInput, ...]:
    """Return `inputs` with the content of uploaded files in the place of their addresses.

    Raises
    ------
    VellumNBError
        When a file is not there; names the input.
    """
    return tuple(
        each.model_copy(update={"value": _with_content(each.value, each.name, ledger)})
        if each.type in _HOLDERS and _mentions(each.value)
        else each
        for each in inputs
    )


def _mentions(value: Any) -> bool:
    if isinstance(value, Mapping):
        src = value.get("src")
        if isinstance(src, str) and src.startswith(_PREFIX):
            return True
        return any(_mentions(item) for item in value.values())
    return isinstance(value, list) and any(_mentions(item) for item in value)


def _with_content(value: Any, name: str, ledger: Ledger) -> Any:
    if isinstance(value, list):
        return [_with_content(item, name, ledger) for item in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: _with_content(item, name, ledger) for key, item in value.items()}
    src = found.get("src")
    if isinstance(src, str) and src.startswith(_PREFIX):
        found["src"] = _data_url(src.removeprefix(_PREFIX), name, ledger)
    return found


def _data_url(id_: str, name: str, ledger: Ledger) -> str:
    file = ledger.file(id_)
    if file is None:
        msg = f"Input {name!r}: no uploaded file has the id {id_!r:.60}; upload it first"
        raise bad_request(msg)
    content = base64.b64encode(file.content).decode("ascii")
    return f"data:{media_type(file)};base64,{content}"

"""Images, audio, video and documents: from `Path`, bytes and addresses to ``{"src": ...}``."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vellum_nb.errors import InputError

MEDIA_TYPES = ("IMAGE", "AUDIO", "VIDEO", "DOCUMENT")
DATA_URL_LIMIT = 4 * 2**20
"""Characters of a data URL; a longer one is uploaded instead."""
ADDRESSES = ("data:", "http://", "https://", "vellum:uploaded-file:")
"""Prefixes of the address of an image, audio, a video or a document."""
_OF_ANY_TYPE = frozenset({"application/octet-stream", "application/ogg", "application/mp4"})
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (  # offset, bytes, MIME type
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
)


def media_dict(value: object, type_: str | None = None) -> dict[str, Any]:
    """Return `value` as the object sent for an input of type `type_` (None: any of them)."""
    if not isinstance(value, Mapping):
        return {"src": _src(value, type_)}
    src, metadata = value.get("src"), value.get("metadata")
    if not src:
        msg = 'has no "src"; give {"src": "https://..."}, a pathlib.Path or bytes'
        raise InputError(msg)
    if isinstance(src, str) and not src.startswith(ADDRESSES):
        msg = f"src {src!r:.60} is not a data:, http(s): or vellum:uploaded-file: address"
        raise InputError(msg)
    if metadata is not None and not isinstance(metadata, Mapping):
        msg = f'"metadata" is {metadata!r:.60}; a dict is expected'
        raise InputError(msg)
    return {**value, "src": _src(src, type_)}


def sniffed_mime(content: bytes) -> str | None:
    """Return the MIME type of `content` by its signature, or None if it is unknown."""
    matches = (mime for at, magic, mime in _SIGNATURES if content.startswith(magic, at))
    return next(matches, None)


def media_type_of(value: object) -> str | None:
    """Return the media type of `value`, or None if it is uncertain."""
    if isinstance(value, bytes | bytearray):
        return _type_of_mime(sniffed_mime(bytes(value)) or "application/octet-stream")
    if isinstance(value, Path):
        return _type_of_mime(mimetypes.guess_type(value.name)[0] or _head(value) or "")
    if not isinstance(value, Mapping) or not set(value) <= {"src", "metadata"}:
        return None
    src = value.get("src")
    if isinstance(src, bytes | Path):
        return media_type_of(src)
    if not isinstance(src, str) or not src.startswith(ADDRESSES):
        return None
    mime = _named_mime(src) or mimetypes.guess_type(src.partition("?")[0])[0]
    return _type_of_mime(mime) if mime or src.startswith("vellum:") else None


def _src(value: object, type_: str | None) -> str:
    """Return the ``src`` of bytes, a `Path` or an address; text is never read as a path."""
    if isinstance(value, bytes | bytearray):
        return _data_url(bytes(value), None, type_)
    if isinstance(value, Path):
        return _from_path(value, type_)
    if isinstance(value, str) and value.startswith(ADDRESSES):
        return _address(value, type_)
    if isinstance(value, str):
        msg = (
            f"{value!r:.60} is text, which is never read as a path; give pathlib.Path(...), bytes, "
            "a data URL or an http(s) URL, or in a sweep the folder of such names: files='folder'"
        )
        raise InputError(msg)
    msg = (
        f"{value!r:.60} is not a valid {_noun(type_)}; give a pathlib.Path, bytes, a data URL, or "
        "an http(s) URL"
    )
    raise InputError(msg)


def _from_path(path: Path, type_: str | None) -> str:
    try:
        content = path.expanduser().read_bytes()
    except OSError as exc:
        msg = f"the file {str(path)!r} cannot be read: {exc.strerror or exc}"
        raise InputError(msg) from None
    return _data_url(content, mimetypes.guess_type(path.name)[0], type_)


def _address(value: str, type_: str | None) -> str:
    mime = _named_mime(value)
    if value.startswith("data:") and "," not in value:
        msg = f"the data URL {value!r:.60} has no comma and no content"
        raise InputError(msg)
    if mime:
        _check_mime(mime, type_)
    return value


def _data_url(content: bytes, mime: str | None, type_: str | None) -> str:
    mime = mime or sniffed_mime(content)
    if mime is None and type_ not in {None, "DOCUMENT"}:
        msg = f"these {len(content)} bytes are not a known {_noun(type_)}; give a data URL instead"
        raise InputError(msg)
    mime = mime or "application/octet-stream"
    _check_mime(mime, type_)
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def _check_mime(mime: str, type_: str | None) -> None:
    if type_ in {None, "DOCUMENT"} or _type_of_mime(mime) == type_ or mime in _OF_ANY_TYPE:
        return
    msg = f"the content is {mime}; {_noun(type_)} is expected"
    raise InputError(msg)


def _named_mime(src: str) -> str | None:
    if not src.startswith("data:"):
        return None
    return src[5:].partition(",")[0].partition(";")[0].lower() or None


def _head(path: Path) -> str | None:
    try:
        with path.expanduser().open("rb") as file:
            return sniffed_mime(file.read(32))
    except OSError:
        return None


def _type_of_mime(mime: str | None) -> str:
    major = (mime or "").partition("/")[0].upper()
    return major if major in MEDIA_TYPES else "DOCUMENT"


def _noun(type_: str | None) -> str:
    return {"AUDIO": "audio", "VIDEO": "video", "IMAGE": "image"}.get(type_ or "", "document")

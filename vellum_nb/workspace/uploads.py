"""Files that are too large for a data URL: uploaded first, and sent by their id."""

from __future__ import annotations

import base64
import binascii
import hashlib
import mimetypes
import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from vellum_nb.client import Client
from vellum_nb.models import Cancellation, WorkflowInput
from vellum_nb.models.media import DATA_URL_LIMIT, MEDIA_TYPES

__all__ = ["Uploads", "has_files"]

_WITH_FILES = frozenset({*MEDIA_TYPES, "CHAT_HISTORY"})


Inputs = TypeVar("Inputs", Sequence[WorkflowInput], Sequence[Mapping[str, Any]])


class Uploads:
    """Puts files where the server finds them; the same content once a client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}
        self._busy: dict[str, threading.Lock] = {}

    def sent(self, inputs: Inputs, cancel: Cancellation | None = None) -> Inputs:
        """Return `inputs` as they are sent: large data URLs as ids of uploaded files.

        Raises
        ------
        APIError
            A file could not be uploaded.
        """
        found = [self._input(each, cancel) for each in inputs]
        return inputs if all(a is b for a, b in zip(found, inputs, strict=True)) else found

    def _input(self, item: Any, cancel: Cancellation | None) -> Any:
        is_model = isinstance(item, WorkflowInput)
        type_, value = (item.type, item.value) if is_model else (item["type"], item["value"])
        news = self._replaced(value, cancel) if type_ in _WITH_FILES else value
        if news is value:
            return item
        changed = {"value": news}
        return item.model_copy(update=changed) if is_model else {**item, **changed}

    def _replaced(self, value: Any, cancel: Cancellation | None) -> Any:
        """Return `value` itself where nothing in it is too large."""
        if isinstance(value, list):
            items = [self._replaced(item, cancel) for item in value]
            return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
        if not isinstance(value, dict):
            return value
        news = {key: self._replaced(item, cancel) for key, item in value.items()}
        src = value.get("src")
        if isinstance(src, str) and len(src) > DATA_URL_LIMIT and src.startswith("data:"):
            news["src"] = self._uploaded(src, cancel)
        return news if any(news[key] is not value[key] for key in value) else value

    def _uploaded(self, src: str, cancel: Cancellation | None) -> str:
        key = hashlib.sha256(src.encode("utf-8", "surrogatepass")).hexdigest()
        with self._lock:
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:  # a second thread with the same file waits for the first one's id
            if key not in self._known:
                content, filename = _file(src)
                upload = self._client.upload_file
                self._known[key] = upload(content, filename=filename, cancel=cancel).src
            return self._known[key]


def has_files(inputs: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether some of `inputs` may have to be uploaded."""
    return any(item["type"] in _WITH_FILES and _is_large(item["value"]) for item in inputs)


def _is_large(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) > DATA_URL_LIMIT
    if isinstance(value, Mapping):
        return any(_is_large(each) for each in value.values())
    return isinstance(value, list) and any(_is_large(each) for each in value)


def _file(src: str) -> tuple[bytes, str]:
    """Return content and a name for the data URL `src`."""
    head, _, data = src.partition(",")
    mime, *marks = head.removeprefix("data:").split(";")
    content = unquote_to_bytes(data)
    if "base64" in (mark.strip().lower() for mark in marks):
        try:
            content = base64.b64decode(content)
        except binascii.Error:  # not ours to judge: sent as it is written
            return src.encode(), "upload"
    return content, f"upload{mimetypes.guess_extension(mime.lower()) or ''}"

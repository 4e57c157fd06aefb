"""Uploaded files in the inputs of workflows: their content in the place of their addresses."""

from __future__ import annotations

import base64
import mimetypes
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vellum_nb.local.engine.code import Execution
from vellum_nb.local.engine.events import NODE_INITIATED, WORKFLOW_INITIATED, Event
from vellum_nb.local.ledger.ledger import Ledger, StoredFile
from vellum_nb.local.refusals import bad_request
from vellum_nb.models import WorkflowInput

__all__ = ["Addressing", "contents", "media_type", "resolved"]

_PREFIX = "vellum:uploaded-file:"
_HOLDERS = frozenset({"IMAGE", "AUDIO", "VIDEO", "DOCUMENT", "CHAT_HISTORY"})
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)
_UNKNOWN = "application/octet-stream"


def media_type(file: StoredFile) -> str:
    """Return the media type of a file: as it was sent, or as its name tells."""
    if _MEDIA_TYPE.fullmatch(file.media_type) and file.media_type != _UNKNOWN:
        return file.media_type
    return mimetypes.guess_type(file.name)[0] or _UNKNOWN


def contents(inputs: Sequence[WorkflowInput], ledger: Ledger) -> dict[str, str]:
    """Return the uploaded files that inputs name: address to content, as a data URL.

    Raises
    ------
    VellumNBError
        When a file is not there; names the input.
    """
    found: dict[str, str] = {}
    for each in inputs:
        for src in _addresses(each.value) if each.type in _HOLDERS else ():
            if src not in found:
                found[src] = _data_url(src.removeprefix(_PREFIX), each.name, ledger)
    return found


def resolved(
    inputs: Sequence[WorkflowInput], files: Mapping[str, str]
) -> tuple[WorkflowInput, ...]:
    """Return `inputs` with the content of `files` in the place of their addresses."""
    return tuple(
        each.model_copy(update={"value": _swapped(each.value, files)})
        if each.type in _HOLDERS
        else each
        for each in inputs
    )


class Addressing:
    """A run whose events tell the addresses of its uploaded files, not their content again."""

    def __init__(self, execution: Execution, files: Mapping[str, str]) -> None:
        self._execution = execution
        self._addresses = {content: address for address, content in files.items()}

    def events(self) -> Iterator[Event]:
        """Run, and tell what happens."""
        for event in self._execution.events():
            if event.name in {WORKFLOW_INITIATED, NODE_INITIATED}:
                yield replace(event, body=_swapped(event.body, self._addresses))
            else:
                yield event

    def cancel(self) -> None:
        """End it."""
        self._execution.cancel()


def _addresses(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        src = value.get("src")
        if isinstance(src, str) and src.startswith(_PREFIX):
            yield src
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _addresses(item)


def _swapped(value: Any, texts: Mapping[str, str]) -> Any:
    """Return `value` with each ``src`` that is one of `texts` exchanged."""
    if isinstance(value, list):
        return [_swapped(item, texts) for item in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: _swapped(item, texts) for key, item in value.items()}
    src = found.get("src")
    if isinstance(src, str) and src in texts:
        found["src"] = texts[src]
    return found


def _data_url(id_: str, name: str, ledger: Ledger) -> str:
    file = ledger.file(id_)
    if file is None:
        msg = f"Input {name!r}: no uploaded file has the id {id_!r:.60}; upload it first"
        raise bad_request(msg)
    content = base64.b64encode(file.content).decode("ascii")
    return f"data:{media_type(file)};base64,{content}"

"""Sending a file from the browser to the kernel, in pieces that the websocket can carry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from vellum_nb.widgets.assets import asset

__all__ = ["MAX_UPLOAD", "Uploader", "size_text"]

MAX_UPLOAD = 20_000_000  # one message of 15 MB already closes the kernel's websocket


class Uploader(anywidget.AnyWidget):
    """A button that picks a file; one that is too large is refused before anything is sent.

    Parameters
    ----------
    received : callable
        Called with name, media type and content of a file that came whole.
    accept : str
        What the file picker offers, as in HTML.
    name : str
        What the file is for, in the button's name.
    instead : str
        What else can be done with a file that is too large.
    """

    _esm = traitlets.Unicode(asset("hearing.js", "upload.js")).tag(sync=True)
    accept = traitlets.Unicode().tag(sync=True)
    label = traitlets.Unicode("Choose a file…").tag(sync=True)
    max_bytes = traitlets.Int(MAX_UPLOAD).tag(sync=True)
    instead = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        received: Callable[[str, str, bytes], None],
        *,
        accept: str,
        name: str,
        instead: str = "Give its path or its address instead.",
    ) -> None:
        super().__init__(accept=accept, label=f"Choose a file for {name}…", instead=instead)
        self._received = received
        self._file: dict[str, Any] = {}
        self._content = bytearray()
        self.on_msg(self._heard)

    def _heard(self, _: object, message: Any, buffers: list[Any]) -> None:
        """Take one piece and ask for the next; a piece out of turn ends the upload."""
        kind = message.get("kind")
        if kind == "start":
            self._file = dict(message)
            self._content = bytearray()
        elif kind != "piece" or message.get("id") != self._file.get("id"):
            return
        for buffer in buffers:
            self._content += bytes(buffer)
        size = int(self._file.get("size", 0))
        if len(self._content) > min(size, self.max_bytes):
            self.send({"kind": "stop", "id": self._file.get("id")})
            return
        self.send({"kind": "next", "id": self._file.get("id"), "at": len(self._content)})
        if len(self._content) == size:
            content, self._content = bytes(self._content), bytearray()
            self._received(
                str(self._file.get("name", "")), str(self._file.get("type", "")), content
            )


def size_text(size: int) -> str:
    """Return a size for people.

    Examples
    --------
    >>> size_text(212_000)
    '212 kB'
    """
    if size < 1000:  # noqa: PLR2004
        return f"{size} B"
    return f"{size / 1e3:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"  # noqa: PLR2004

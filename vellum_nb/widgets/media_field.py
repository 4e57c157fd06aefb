"""A field for an image, audio, a video or a document: uploaded, by path, or by address."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as ipw
import traitlets

from vellum_nb.models import VellumVariable
from vellum_nb.rendering.html import media_html
from vellum_nb.widgets.base import ThreadSafeWidget, button, close_tree, note
from vellum_nb.widgets.field import Field
from vellum_nb.widgets.markup import page_safe, script

__all__ = ["MAX_UPLOAD", "MediaField", "Uploader", "size_text"]

MAX_UPLOAD = 20_000_000  # one message of 15 MB already closes the kernel's websocket
_ACCEPT = {"IMAGE": "image/*", "AUDIO": "audio/*", "VIDEO": "video/*", "DOCUMENT": ""}
_ADDRESS = ("http://", "https://", "vellum:uploaded-file:")
_PREVIEW = 5_000_000
_LONGEST_NAME = 500


class Uploader(ThreadSafeWidget):
    """A button that picks a file and sends it in pieces that the websocket can carry.

    `received` is called with name, media type and content of a file that came whole. One that is
    too large is refused before anything is sent, and `instead` says what else can be done.
    """

    _esm = traitlets.Unicode(script("upload.js")).tag(sync=True)
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
        self.add_class("vnb-uploader")
        self._received = received
        self._file = _Incoming()
        self._content = bytearray()
        self.on_msg(self._on_message)

    def _on_message(self, _: object, message: Any, buffers: list[Any]) -> None:
        """Take one piece and ask for the next; a piece out of turn ends the upload."""
        message = message if isinstance(message, dict) else {}
        kind = message.get("kind")
        if kind == "start":
            self._file, self._content = _Incoming.of(message), bytearray()
        elif kind != "piece" or message.get("id") != self._file.id:
            return
        for buffer in buffers:
            self._content += bytes(buffer)
        file, size = self._file, len(self._content)
        if not 0 <= size <= file.size <= self.max_bytes:
            self.send({"kind": "stop", "id": file.id})
            return
        self.send({"kind": "next", "id": file.id, "at": size})
        if size == file.size:
            content, self._content = bytes(self._content), bytearray()
            self._received(file.name, file.mime, content)

    def __repr__(self) -> str:
        return f"Uploader({self.label!r})"


@dataclass(frozen=True)
class _Incoming:
    """A file that the page sends."""

    id: object = None
    name: str = ""
    mime: str = ""
    size: int = -1

    @classmethod
    def of(cls, message: dict[str, Any]) -> _Incoming:
        size = message.get("size")
        token, name, mime = (
            str(message.get(key, ""))[:_LONGEST_NAME] for key in ("id", "name", "type")
        )
        return cls(token, name, mime, size if type(size) is int else -1)


@dataclass(frozen=True)
class _Typed:
    """What is typed in all three ways, of which one is chosen."""

    how: str = "Upload"
    path: str = ""
    url: str = ""
    name: str = ""
    uploaded: dict[str, Any] = field(default_factory=dict)


class MediaField(Field):
    """Upload, path or URL, with a preview; a path is read when it is used, not as it is typed."""

    LONG = True
    CLASSES = ("vnb-media-field",)

    def _build(self) -> list[Any]:
        self._uploaded: dict[str, Any] = {}
        self._file_name = ""
        self._read: tuple[Path | None, str | None, dict[str, Any] | None] = (None, None, None)
        self._how = ipw.RadioButtons(options=["Upload", "Path", "URL"], description=self.label)
        self._how.add_class("vnb-how")
        accept = _ACCEPT[self.variable.type]
        self._uploader = Uploader(self._received, accept=accept, name=self.name)
        place = "a file on the kernel's machine, e.g. data/page.png"
        self._path = _text(f"{self.name}: path", place)
        self._url = _text(f"{self.name}: URL", "https://…")
        tooltip = f"Remove the file of {self.name}"
        self._remove = button("Remove", "vnb-plain", self._removed, tooltip=tooltip)
        self._preview = note("", "vnb-preview")
        self._facts = note("", "vnb-facts")
        self._body = ipw.Box()
        self._body.add_class("vnb-media-row")
        self.reset()
        for control in (self._how, self._path, self._url):
            control.observe(self.touched, "value")
        self._arrange()
        return [self._how, self._body]

    def _get_typed(self) -> _Typed:
        return _Typed(
            self._how.value, self._path.value, self._url.value, self._file_name, self._uploaded
        )

    def _set_typed(self, typed: Any) -> None:
        if not isinstance(typed, _Typed):
            return
        self._uploaded, self._file_name = typed.uploaded, typed.name
        self._path.value, self._url.value = page_safe(typed.path), page_safe(typed.url)
        self._how.value = typed.how
        self.touched()

    def touched(self, *_: object) -> None:
        """Show what is chosen, and notify the form."""
        self._arrange()
        super().touched()

    def _parse(self) -> Any:
        how = self._how.value
        if how == "Upload":
            return self._uploaded or None
        if how == "Path":
            return Path(self._path.value.strip()) if self._path.value.strip() else None
        return self._url.value.strip() or None

    def _fill(self, value: Any) -> None:
        """Show a path, bytes, an address, or ``{"src": ...}``; None empties the field."""
        src = value.get("src") if isinstance(value, dict) else value
        empty = _Typed()
        if src is None or src == "":
            self.typed = empty
        elif isinstance(src, bytes):
            self.typed = replace(empty, name="bytes", uploaded=_inline(src, "", self.variable))
        elif isinstance(src, str) and src.startswith("data:"):
            given = value if isinstance(value, dict) else {"src": src}
            self.typed = replace(empty, name="data URL", uploaded=dict(given))
        elif isinstance(src, str) and src.startswith(_ADDRESS):
            self.typed = replace(empty, how="URL", url=src)
        else:
            self.typed = replace(empty, how="Path", path=str(src))
            self.look()

    def look(self) -> None:
        """Check whether the file that the path names is there, and read its preview."""
        path = self.value
        if isinstance(path, Path):
            self._read = (path, _path_problem(path), _preview_of(path, self.variable))
            self._judged = None
            self._arrange()

    def _check(self, value: Any, variable: VellumVariable) -> str | None:
        if isinstance(value, Path):
            return self._read[1] if self._read[0] == value else None
        if isinstance(value, str) and not value.startswith((*_ADDRESS, "data:")):
            return "An address begins with http:// or https://."
        return super()._check(value, variable)

    def focus(self) -> None:
        """Move the focus to the chosen way to give the file."""
        {"Path": self._path, "URL": self._url}.get(self._how.value, self._uploader).focus()

    def close(self) -> None:
        """Close every widget of the field."""
        super().close()
        parts = (self._uploader, self._path, self._url, self._remove, self._preview, self._facts)
        for widget in parts:
            close_tree(widget)

    def _received(self, name: str, mime: str, content: bytes) -> None:
        mime = mime or mimetypes.guess_type(name)[0] or ""
        self._file_name = name
        self._uploaded = _inline(content, mime, self.variable)
        self.touched()

    def _removed(self) -> None:
        self._uploaded, self._file_name = {}, ""
        self.touched()

    def _arrange(self) -> None:
        how = self._how.value
        control = {"Path": self._path, "URL": self._url}.get(how, self._uploader)
        parts = [control]
        if how == "Upload" and self._uploaded:
            self._facts.value = _facts(self._file_name, str(self._uploaded.get("src", "")))
            parts = [control, self._facts, self._remove]
        preview = self._preview_html()
        self._preview.value = preview
        self._body.children = [self._preview, *parts] if preview else parts

    def _preview_html(self) -> str:
        value = self.value
        if isinstance(value, Path):
            value = self._read[2] if self._read[0] == value else None
        if not isinstance(value, dict) or self.variable.type == "DOCUMENT":
            return ""
        html = media_html(value, self.variable.type, name=self.name) or ""
        return html if "vnb-media" in html else ""


def _text(description: str, placeholder: str) -> ipw.Text:
    text = ipw.Text(description=description, placeholder=placeholder)
    text.add_class("vnb-unlabelled")
    return text


def _inline(content: bytes, mime: str, variable: VellumVariable) -> dict[str, Any]:
    default = f"{variable.type.lower()}/*" if variable.type != "DOCUMENT" else ""
    kind = mime or default or "application/octet-stream"
    return {"src": f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"}


def _preview_of(path: Path, variable: VellumVariable) -> dict[str, Any] | None:
    try:
        path = path.expanduser()
        if not path.is_file() or path.stat().st_size > _PREVIEW:
            return None
        return _inline(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "", variable)
    except (OSError, RuntimeError, ValueError):
        return None


def _path_problem(path: Path) -> str | None:
    try:
        found = path.expanduser().is_file()
    except (OSError, RuntimeError, ValueError):
        found = False
    return None if found else f"There is no file {str(path)!r} where the kernel runs."


def _facts(name: str, src: str) -> str:
    head, _, body = src.partition(",")
    mime = head.removeprefix("data:").partition(";")[0]
    size = len(body) * 3 // 4 - body[-2:].count("=")
    return f"<code>{escape(name)}</code> {size_text(size)} · {escape(mime)}"


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

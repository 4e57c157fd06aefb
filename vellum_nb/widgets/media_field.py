"""A field for an image, audio, a video or a document: uploaded, by path, or by address."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as ipw
import traitlets

from vellum_nb.models import VellumVariable
from vellum_nb.widgets.base import close_tree, note
from vellum_nb.widgets.field import Field
from vellum_nb.widgets.markup import asset
from vellum_nb.widgets.values import media_html

__all__ = ["MAX_UPLOAD", "MediaField", "Uploader", "size_text"]

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


_ACCEPT = {"IMAGE": "image/*", "AUDIO": "audio/*", "VIDEO": "video/*", "DOCUMENT": ""}
_ADDRESS = ("http://", "https://", "vellum:uploaded-file:")
_PREVIEW = 5_000_000


@dataclass(frozen=True)
class _Typed:
    """What stands in the field: all three ways are kept, one is chosen."""

    how: str = "Upload"
    path: str = ""
    url: str = ""
    name: str = ""
    uploaded: dict[str, Any] = field(default_factory=dict)


class MediaField(Field):
    """Upload, path or URL, with a preview."""

    LONG = True

    def _build(self) -> list[Any]:
        self._uploaded: dict[str, Any] = {}
        self._file_name = ""
        self._how = ipw.RadioButtons(options=["Upload", "Path", "URL"], description=self.label)
        self._how.add_class("vnb-how")
        accept = _ACCEPT[self.variable.type]
        self._uploader = Uploader(self._received, accept=accept, name=self.name)
        self._uploader.add_class("vnb-uploader")
        place = "a file on the kernel's machine, e.g. data/page.png"
        self._path = _text(f"{self.name}: path", place)
        self._url = _text(f"{self.name}: URL", "https://…")
        self._remove = ipw.Button(description="Remove", tooltip=f"Remove the file of {self.name}")
        self._remove.add_class("vnb-plain")
        self._remove.on_click(lambda _: self._removed())
        self._preview = note("", "vnb-preview")
        self._facts = note("", "vnb-facts")
        self._body = ipw.Box()
        self._body.add_class("vnb-media-row")
        self.reset()
        for control in (self._how, self._path, self._url):
            control.observe(self.touched, "value")
        self._arrange()
        return [self._how, self._body]

    def _classes(self) -> tuple[str, ...]:
        return ("vnb-media-field",)

    def _get_typed(self) -> _Typed:
        return _Typed(
            self._how.value, self._path.value, self._url.value, self._file_name, self._uploaded
        )

    def _set_typed(self, typed: Any) -> None:
        if not isinstance(typed, _Typed):
            return
        self._uploaded, self._file_name = typed.uploaded, typed.name
        self._path.value, self._url.value = typed.path, typed.url
        self._how.value = typed.how
        self.touched()

    def touched(self, *_: object) -> None:
        """Show what is chosen, and tell the form."""
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

    def _state(self) -> Any:
        return self.typed, _path_problem(Path(self._path.value.strip()))

    def _check(self, value: Any, variable: VellumVariable) -> str | None:
        if isinstance(value, Path):
            return _path_problem(value)
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
        shown = self._shown_html()
        self._preview.value = shown
        self._body.children = [self._preview, *parts] if shown else parts

    def _shown_html(self) -> str:
        value = self.value
        if isinstance(value, Path):
            value = _preview_of(value, self.variable)
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
    except (OSError, RuntimeError):
        return None


def _path_problem(path: Path) -> str | None:
    try:
        found = path.expanduser().is_file()
    except (OSError, RuntimeError):
        found = False
    return None if found else f"There is no file {str(path)!r} where the kernel runs."


def _facts(name: str, src: str) -> str:
    head, _, body = src.partition(",")
    mime = head.removeprefix("data:").partition(";")[0]
    size = len(body) * 3 // 4 - body[-2:].count("=")
    return f"<code>{escape(name)}</code> {size_text(size)} · {escape(mime)}"

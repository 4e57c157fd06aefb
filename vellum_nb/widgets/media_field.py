"""A file by upload, path or address, and the field for an image, audio, a video or a document."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import ipywidgets as ipw
import traitlets

from vellum_nb.models import VellumVariable
from vellum_nb.models.media import media_dict
from vellum_nb.rendering.html import media_html
from vellum_nb.widgets.base import ThreadSafeWidget, button, close_tree, note, styled
from vellum_nb.widgets.fields import Field
from vellum_nb.widgets.markup import name_html, page_safe, script

MAX_UPLOAD = 20_000_000  # one message of 15 MB already closes the kernel's websocket
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

    def __init__(self, received: Callable[[str, str, bytes], None], **traits: str) -> None:
        super().__init__(**traits)
        self.add_class("vnb-uploader")
        self._received = received
        self._file: tuple[object, str, str, int] = (None, "", "", -1)  # id, name, type, size
        self._content = bytearray()
        self.on_msg(self._on_message)

    def _on_message(self, _: object, message: Any, buffers: list[Any]) -> None:
        """Take one piece and ask for the next; a piece out of turn ends the upload."""
        message = message if isinstance(message, dict) else {}
        kind, size = message.get("kind"), message.get("size")
        if kind == "start":
            texts = (str(message.get(key, ""))[:_LONGEST_NAME] for key in ("id", "name", "type"))
            self._file = (*texts, size if type(size) is int else -1)  # type: ignore[assignment]
            self._content = bytearray()
        elif kind != "piece" or message.get("id") != self._file[0]:
            return
        for buffer in buffers:
            self._content += bytes(buffer)
        token, name, mime, whole = self._file
        at = len(self._content)
        if not at <= whole <= self.max_bytes:
            self.send({"kind": "stop", "id": token})
            return
        self.send({"kind": "next", "id": token, "at": at})
        if at == whole:
            content, self._content = bytes(self._content), bytearray()
            self._received(name, mime, content)


class _Typed(NamedTuple):
    """What is given in all ways, of which one is chosen; `facts` is HTML about the upload."""

    how: str = "Upload"
    path: str = ""
    url: str = ""
    facts: str = ""
    uploaded: Any = None


class FileChoice:
    """A file by upload, path or address; what was given another way is kept.

    `convert` makes of name, media type and content of an upload what is kept of it. `label` is
    that of the whole, `name` what a single control calls it.
    """

    def __init__(
        self,
        changed: Callable[[], None],
        convert: Callable[[str, str, bytes], Any],
        *,
        label: str,
        name: str,
        ways: Sequence[str] = ("Upload", "Path", "URL"),
        accept: str = "",
        example: str = "",
    ) -> None:
        self._changed = changed
        self._convert = convert
        self._facts = ""
        self._uploaded: Any = None
        self._how = styled(ipw.RadioButtons(options=ways, description=label), "vnb-how")
        others = "path or its address" if "URL" in ways else "path, where the kernel runs,"
        self._uploader = Uploader(
            self._received,
            accept=accept,
            label=f"Choose a file for {name}…",
            instead=f"Give its {others} instead.",
        )
        place = f"a file on the kernel's machine, e.g. data/{example}"
        self._texts = {
            way: styled(
                ipw.Text(description=f"{name}: {word}", placeholder=hint, continuous_update=False),
                "vnb-unlabelled",
            )
            for way, word, hint in (("Path", "path", place), ("URL", "URL", "https://…"))
        }
        self._about = note("", "vnb-facts")
        tooltip = f"Remove the file of {name}"
        self._remove = button("Remove", "vnb-plain", self._removed, tooltip=tooltip)
        self._row = styled(ipw.Box(), "vnb-media-row")
        self.preview = note("", "vnb-preview")
        self.widgets = [self._how, self._row]
        for control in (self._how, *self._texts.values()):
            control.observe(self._touched, "value")
        self.arrange()

    @property
    def typed(self) -> _Typed:
        """What is given in all ways."""
        path, url = (text.value for text in self._texts.values())
        return _Typed(self._how.value, path, url, self._facts, self._uploaded)

    @typed.setter
    def typed(self, typed: _Typed) -> None:
        self._facts, self._uploaded = typed.facts, typed.uploaded
        self._texts["Path"].value = page_safe(typed.path)
        self._texts["URL"].value = page_safe(typed.url)
        self._how.value = typed.how
        self._touched()

    @property
    def value(self) -> Any:
        """What was made of the upload, or the path or address as text; None without one."""
        how = self._how.value
        return self._uploaded if how == "Upload" else self._texts[how].value.strip() or None

    def focus(self) -> None:
        """Move the focus to the chosen way to give the file."""
        self._texts.get(self._how.value, self._uploader).focus()

    def close(self) -> None:
        """Close every widget, also those that are not shown."""
        hidden = (self._uploader, *self._texts.values(), self._about, self._remove, self.preview)
        for widget in (*self.widgets, *hidden):
            close_tree(widget)

    def arrange(self) -> None:
        """Show the chosen way, with what is uploaded and its preview."""
        parts = [self._texts.get(self._how.value, self._uploader)]
        if self._how.value == "Upload" and self._uploaded is not None:
            self._about.value = self._facts
            parts += [self._about, self._remove]
        self._row.children = [self.preview, *parts] if self.preview.value else parts

    def _received(self, name: str, mime: str, content: bytes) -> None:
        mime = mime or mimetypes.guess_type(name)[0] or ""
        self._uploaded = self._convert(name, mime, content)
        self._facts = facts_html(name, len(content), mime)
        self._touched()

    def _removed(self) -> None:
        self._uploaded = None
        self._touched()

    def _touched(self, *_: object) -> None:
        self.arrange()
        self._changed()


def facts_html(name: str, size: int, mime: str = "") -> str:
    """Return name, size and type of a file."""
    kilo, mega = size >= 1e3, size >= 1e6  # noqa: PLR2004
    text = f"{size / 1e6:.1f} MB" if mega else f"{size / 1e3:.0f} kB" if kilo else f"{size} B"
    parts = [f"<code>{name_html(name)}</code> {text}", escape(mime)]
    return " · ".join(filter(None, parts))


class MediaField(Field):
    """Upload, path or URL, with a preview; a path is read when it is used, not as it is typed."""

    CLASSES = "vnb-long vnb-media-field"

    def _build(self) -> list[Any]:
        self._read_path: tuple[Any, str | None, Any] = (None, None, None)  # problem, preview
        kind = self.variable.type
        self._choice = FileChoice(
            self.touched,
            lambda _, mime, content: self._inline(mime, content),
            label=self.label,
            name=self.name,
            accept="" if kind == "DOCUMENT" else f"{kind.lower()}/*",
            example="page.png",
        )
        self.reset()
        return self._choice.widgets

    @property
    def typed(self) -> Any:
        """What is given in all three ways."""
        return self._choice.typed

    @typed.setter
    def typed(self, typed: Any) -> None:
        self._choice.typed = typed

    def touched(self, *_: object) -> None:
        """Show the preview of what is chosen, and notify the form."""
        self._show_preview()
        super().touched()

    def _show_preview(self) -> None:
        value = self._parse()
        if isinstance(value, Path):
            value = self._read_path[2] if self._read_path[0] == value else None
        shows = isinstance(value, dict) and self.variable.type != "DOCUMENT"
        html = (media_html(value, self.variable.type, name=self.name) or "") if shows else ""
        self._choice.preview.value = html if "vnb-media" in html else ""
        self._choice.arrange()

    def _parse(self) -> Any:
        value = self._choice.value
        return Path(value) if value and self._choice.typed.how == "Path" else value

    def _fill(self, value: Any) -> None:
        """Show a `Path`, bytes, an address, or ``{"src": ...}``; None empties the field.

        Raises `InputError` for other text: a default of the server must not name a file.
        """
        src = value.get("src") if isinstance(value, dict) else value
        if src is None or src == "":
            self.typed = _Typed()
        elif isinstance(src, bytes):
            facts = facts_html("bytes", len(src))
            self.typed = _Typed(facts=facts, uploaded=self._inline("", src))
        elif isinstance(src, str) and src.startswith("data:"):
            facts = facts_html("data URL", len(src) * 3 // 4, src[5:].partition(";")[0][:80])
            given = value if isinstance(value, dict) else {"src": src}
            self.typed = _Typed(facts=facts, uploaded=dict(given))
        elif isinstance(src, str) and src.startswith(_ADDRESS):
            self.typed = _Typed("URL", url=src)
        elif isinstance(src, Path):
            self.typed = _Typed("Path", path=str(src))
            self.look()
        else:
            media_dict(src, self.variable.type)  # raises

    def look(self) -> None:
        """Check whether the file that the path names is there, and read its preview."""
        path = self._parse()
        if not isinstance(path, Path):
            return
        problem, preview = f"There is no file {str(path)!r} where the kernel runs.", None
        try:
            file = path.expanduser()
            if file.is_file():
                problem = ""
                if file.stat().st_size <= _PREVIEW:
                    mime = mimetypes.guess_type(file.name)[0] or ""
                    preview = self._inline(mime, file.read_bytes())
        except (OSError, RuntimeError, ValueError):
            pass  # what cannot be read has no preview; a run says why
        self._read_path = (path, problem or None, preview)
        self._judged = (None, None)
        self._show_preview()

    def _check(self, value: Any, variable: VellumVariable) -> str | None:
        if isinstance(value, Path):
            return self._read_path[1] if self._read_path[0] == value else None
        if isinstance(value, str) and not value.startswith((*_ADDRESS, "data:")):
            return "An address begins with http:// or https://."
        return super()._check(value, variable)

    def _inline(self, mime: str, content: bytes) -> dict[str, Any]:
        kind = self.variable.type
        general = "application/octet-stream" if kind == "DOCUMENT" else f"{kind.lower()}/*"
        return {"src": f"data:{mime or general};base64,{base64.b64encode(content).decode('ascii')}"}

    def focus(self) -> None:
        """Move the focus to the chosen way to give the file."""
        self._choice.focus()

    def close(self) -> None:
        """Close every widget of the field."""
        super().close()
        self._choice.close()

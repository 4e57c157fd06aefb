"""File by upload, path or address, and the field for images, audio, videos and documents."""

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
from vellum_nb.rendering.html import media_html, script
from vellum_nb.widgets.base import ThreadSafeWidget, button, close_tree, note, styled
from vellum_nb.widgets.fields import Field
from vellum_nb.widgets.markup import name_html, page_safe

MAX_UPLOAD = 20_000_000  # bytes; a message of 15 MB closes the kernel's websocket
_ADDRESS = ("http://", "https://", "vellum:uploaded-file:")
_MAX_PREVIEW_BYTES = 5_000_000
_MAX_NAME_CHARS = 500


class Uploader(ThreadSafeWidget):
    """Button that uploads a file in pieces small enough for the websocket.

    `received` is called with name, media type and content of a complete file. Larger files are
    rejected before the upload, with `instead` as the suggested alternative.
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
        """Append one piece and request the next one; an unexpected piece ends the upload."""
        message = message if isinstance(message, dict) else {}
        kind, size = message.get("kind"), message.get("size")
        if kind == "start":
            texts = (str(message.get(key, ""))[:_MAX_NAME_CHARS] for key in ("id", "name", "type"))
            self._file = (*texts, size if type(size) is int else -1)  # type: ignore[assignment]
            self._content = bytearray()
        elif kind != "piece" or message.get("id") != self._file[0]:
            return
        for buffer in buffers:
            self._content += bytes(buffer)
        token, name, mime, size = self._file
        at = len(self._content)
        if not at <= size <= self.max_bytes:
            self.send({"kind": "stop", "id": token})
            return
        self.send({"kind": "next", "id": token, "at": at})
        if at == size:
            content, self._content = bytes(self._content), bytearray()
            self._received(name, mime, content)


class _Typed(NamedTuple):
    """Input of all modes and the selected mode; `facts` is HTML about the upload."""

    mode: str = "Upload"
    path: str = ""
    url: str = ""
    facts: str = ""
    uploaded: Any = None


class FileChoice:
    """File by upload, path or address; switching the mode keeps the other inputs.

    `convert` creates the stored value from name, media type and content of an upload. `label` is
    the label of the group, `name` that of a single control.
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
        alternatives = "path or its address" if "URL" in ways else "path on the kernel's machine"
        self._uploader = Uploader(
            self._received,
            accept=accept,
            label=f"Choose a file for {name}…",
            instead=f"Give its {alternatives} instead.",
        )
        place = f"a file on the kernel's machine, e.g. data/{example}"
        self._texts = {
            mode: styled(
                ipw.Text(description=f"{name}: {word}", placeholder=hint, continuous_update=False),
                "vnb-unlabelled",
            )
            for mode, word, hint in (("Path", "path", place), ("URL", "URL", "https://…"))
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
        """The input of all modes."""
        path, url = (text.value for text in self._texts.values())
        return _Typed(self._how.value, path, url, self._facts, self._uploaded)

    @typed.setter
    def typed(self, typed: _Typed) -> None:
        self._facts, self._uploaded = typed.facts, typed.uploaded
        self._texts["Path"].value = page_safe(typed.path)
        self._texts["URL"].value = page_safe(typed.url)
        self._how.value = typed.mode
        self._touched()

    @property
    def value(self) -> Any:
        """The converted upload, or the path or address as text; None without one."""
        mode = self._how.value
        return self._uploaded if mode == "Upload" else self._texts[mode].value.strip() or None

    def focus(self) -> None:
        """Move the focus to the selected mode."""
        self._texts.get(self._how.value, self._uploader).focus()

    def close(self) -> None:
        """Close every widget, including hidden ones."""
        hidden = (self._uploader, *self._texts.values(), self._about, self._remove, self.preview)
        for widget in (*self.widgets, *hidden):
            close_tree(widget)

    def arrange(self) -> None:
        """Show the controls of the selected mode, the uploaded file and the preview."""
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
    """File by upload, path or URL, with a preview; a path is read when it is used."""

    CLASSES = "vnb-long vnb-media-field"

    def _build(self) -> list[Any]:
        self._read_path: tuple[Any, str | None, Any] = (None, None, None)  # problem, preview
        kind = self.variable.type
        self._control = self._choice = FileChoice(
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
        """The input of all modes."""
        return self._choice.typed

    @typed.setter
    def typed(self, typed: Any) -> None:
        self._choice.typed = typed

    def touched(self, *_: object) -> None:
        """Update the preview and notify the form."""
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
        return Path(value) if value and self._choice.typed.mode == "Path" else value

    def _fill(self, value: Any) -> None:
        """Show a `Path`, bytes, an address, or ``{"src": ...}``; None empties the field.

        Raises `InputError` for other text, because a default of the server must not refer to a
        file.
        """
        src = value.get("src") if isinstance(value, dict) else value
        if src is None or src == "":
            self.typed = _Typed()
        elif isinstance(src, bytes):
            facts = facts_html("bytes", len(src))
            self.typed = _Typed(facts=facts, uploaded=self._inline("", src))
        elif isinstance(src, str) and src.startswith("data:"):
            facts = facts_html("data URL", len(src) * 3 // 4, src[5:].partition(";")[0][:80])
            media = value if isinstance(value, dict) else {"src": src}
            self.typed = _Typed(facts=facts, uploaded=dict(media))
        elif isinstance(src, str) and src.startswith(_ADDRESS):
            self.typed = _Typed("URL", url=src)
        elif isinstance(src, Path):
            self.typed = _Typed("Path", path=str(src))
            self.look()
        else:
            media_dict(src, self.variable.type)  # raises

    def look(self) -> None:
        """Check that the path refers to a file, and load its preview."""
        path = self._parse()
        if not isinstance(path, Path):
            return
        problem, preview = f"File {str(path)!r} does not exist on the kernel's machine.", None
        try:
            file = path.expanduser()
            if file.is_file():
                problem = ""
                if file.stat().st_size <= _MAX_PREVIEW_BYTES:
                    mime = mimetypes.guess_type(file.name)[0] or ""
                    preview = self._inline(mime, file.read_bytes())
        except (OSError, RuntimeError, ValueError):
            pass  # an unreadable file is reported by the run
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

    def close(self) -> None:
        """Close every widget of the field."""
        super().close()
        self._choice.close()

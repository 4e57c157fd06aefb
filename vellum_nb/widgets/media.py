"""Images, audio, video and documents that an output holds, shown without loading anything.

Only data URLs whose first bytes say what they are become elements of the page. An address is
written out as text: fetching it would tell its owner who looks, and when.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from html import escape
from typing import Literal

__all__ = ["MAX_SHOWN", "media_html"]

MAX_SHOWN = 10_000_000  # bytes; more than this would clog the page and the notebook file

_SHORT = 200  # characters of an address that are written out

Element = Literal["img", "audio", "video", "pdf"]

_MAGIC: tuple[tuple[int, bytes, str, Element], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png", "img"),
    (0, b"\xff\xd8\xff", "image/jpeg", "img"),
    (0, b"GIF87a", "image/gif", "img"),
    (0, b"GIF89a", "image/gif", "img"),
    (8, b"WEBP", "image/webp", "img"),
    (4, b"ftypavif", "image/avif", "img"),
    (8, b"WAVE", "audio/wav", "audio"),
    (0, b"ID3", "audio/mpeg", "audio"),
    (0, b"\xff\xfb", "audio/mpeg", "audio"),
    (0, b"\xff\xf3", "audio/mpeg", "audio"),
    (0, b"OggS", "audio/ogg", "audio"),
    (0, b"fLaC", "audio/flac", "audio"),
    (4, b"ftypM4A", "audio/mp4", "audio"),
    (4, b"ftyp", "video/mp4", "video"),
    (0, b"\x1aE\xdf\xa3", "video/webm", "video"),
    (0, b"%PDF-", "application/pdf", "pdf"),
)
_SVG = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<svg[\s>]", re.DOTALL | re.IGNORECASE)
_ALLOWED: dict[str, tuple[Element, ...]] = {
    "IMAGE": ("img",),
    "AUDIO": ("audio", "video"),  # audio often comes in a video's container
    "VIDEO": ("video", "audio"),
    "DOCUMENT": ("pdf", "img"),
}


def media_html(value: object, kind: str, *, name: str = "") -> str | None:
    """Return `value`, ``{"src": ...}``, as safe HTML; None when it is no such thing.

    Parameters
    ----------
    value : object
        What came as the output.
    kind : {"IMAGE", "AUDIO", "VIDEO", "DOCUMENT"}
        Its type.
    name : str, optional
        The output's name, for those who cannot see the image.

    Examples
    --------
    >>> media_html({"src": "https://example.com/a.png"}, "IMAGE")
    '<p class="vnb-note">image at <code>https://example.com/a.png</code>, not loaded</p>'
    """
    src = value.get("src") if isinstance(value, Mapping) else value
    if not isinstance(src, str):
        return None
    noun = kind.lower()
    if src[:5].lower() != "data:":
        return _note(f"{noun} at <code>{escape(_short(src))}</code>, not loaded")
    if len(src) > MAX_SHOWN * 4 // 3 + 200:
        return _note(f"{noun} of about {_size(len(src) * 3 // 4)}: too large to be shown here")
    content = _decoded(src)
    if content is None:
        return _note(f"{noun} whose data URL cannot be read: <code>{escape(_short(src))}</code>")
    return _element(content, kind, name)


def _element(content: bytes, kind: str, name: str) -> str:
    mime, element = _sniffed(content)
    if element not in _ALLOWED[kind]:
        named = mime or "of an unknown format"
        text = f"{kind.lower()} of {_size(len(content))}, {named}: not shown, it is no known"
        return _note(f"{text} {kind.lower()} format")
    url = f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
    label = escape(f"{name} ({mime}, {_size(len(content))})".strip())
    if element == "img":
        return f'<img class="vnb-media" src="{url}" alt="{label}">{_note(label)}'
    if element == "pdf":
        link = f'<a download="document.pdf" href="{url}">Save the PDF</a>'
        return f'<p class="vnb-note">{link} {label}</p>'
    tag = "audio" if kind == "AUDIO" else "video"
    return (
        f'<{tag} class="vnb-media" controls preload="none" src="{url}" aria-label="{label}">'
        f"</{tag}>{_note(label)}"
    )


def _sniffed(content: bytes) -> tuple[str, Element | Literal[""]]:
    for offset, magic, mime, element in _MAGIC:
        if content.startswith(magic, offset):
            return mime, element
    # An SVG inside an img element runs no script and loads nothing.
    return ("image/svg+xml", "img") if _SVG.match(content[:2000]) else ("", "")


def _decoded(src: str) -> bytes | None:
    head, comma, body = src.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        return None
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def _note(text: str) -> str:
    return f'<p class="vnb-note">{text}</p>'


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"


def _size(count: int) -> str:
    """Return a number of bytes in words.

    >>> _size(1500), _size(12)
    ('1.5 kB', '12 bytes')
    """
    for unit, name in ((1_000_000, "MB"), (1_000, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"

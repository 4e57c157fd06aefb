"""Typed values as safe static HTML. Everything that comes from a workflow is escaped.

Markdown of an untrusted author can neither run nor load anything. Of images, audio, video and
documents only data URLs whose first bytes say what they are become elements of the page; an
address is written out as text: fetching it would reveal to its owner who looks, and when.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from vellum_nb.models.media import MEDIA_TYPES
from vellum_nb.rendering.diff import Difference
from vellum_nb.rendering.format import cut, plural
from vellum_nb.rendering.values import json_text, number_text

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

__all__ = [
    "MAX_SHOWN",
    "NO_MATH",
    "clipped",
    "difference_html",
    "json_html",
    "markdown_html",
    "media_html",
    "value_html",
]

NO_MATH = "tex2jax_ignore mathjax_ignore"
"""Classes of what MathJax must leave alone: a price in dollars is not a formula."""
MAX_TEXT = 100_000  # characters shown of one text
MAX_SHOWN = 10_000_000  # bytes; larger media would clog the page and the notebook file
_NESTING = 6  # lists within lists that are still typed
_SHORT = 80  # characters of JSON that fit in one line
_DEPTH = 12
_ITEMS = 200  # of one list or object; a page of thousands helps nobody
_NODES = 2_000
_ADDRESS = 200  # characters of an address that are written out


@dataclass(frozen=True, slots=True)
class _Look:
    """How a value is shown, and how deep inside another one it is."""

    markdown: bool = False
    depth: int = 0

    def deeper(self) -> _Look:
        return replace(self, depth=self.depth + 1)


def value_html(value: object, kind: str, *, markdown: bool = False) -> str:
    """Return `value` as safe static HTML.

    A value that is not what its type says is shown as JSON; so is one of an unknown type.

    Examples
    --------
    >>> value_html("<b>hi</b>", "STRING")
    '<pre class="vnb-text">&lt;b&gt;hi&lt;/b&gt;</pre>'
    """
    return _value(value, kind, _Look(markdown=markdown))


def difference_html(found: Difference) -> str:
    """Return what changed; of a value with parts also how many, and the whole value folded.

    Examples
    --------
    >>> from vellum_nb.rendering.diff import difference
    >>> difference_html(difference("a", "b", "STRING")).startswith('<pre class="vnb-text')
    True
    """
    changes = found.to_html()
    if found.is_marked_whole:
        return changes
    whole = value_html(found.new, found.kind)
    if found.kind in MEDIA_TYPES:
        return changes + whole
    return (
        f'<p class="vnb-note">{escape(found.summary)}</p>{changes}<div class="vnb-tree">'
        f"<details><summary>the whole value</summary>{whole}</details></div>"
    )


def clipped(text: str) -> tuple[str, int]:
    """Return as much of `text` as is shown, and how many characters are not."""
    return text[:MAX_TEXT], max(0, len(text) - MAX_TEXT)


def _value(value: object, kind: str, look: _Look) -> str:
    if value is None:
        return '<span class="vnb-null">null</span>'
    if kind == "STRING" and isinstance(value, str):
        return _text(value, look)
    if kind == "NUMBER" and isinstance(value, int | float) and not isinstance(value, bool):
        return f'<span class="vnb-number">{escape(number_text(value))}</span>'
    if kind in MEDIA_TYPES:
        return media_html(value, kind) or json_html(value)
    writer = _WRITERS.get(kind)
    html = writer(value, look) if writer and look.depth < _NESTING else None
    if html is not None:
        return html
    return _text(value, _Look()) if isinstance(value, str) else json_html(value)


def _text(value: str, look: _Look) -> str:
    head, rest = clipped(value)
    if look.markdown:
        return markdown_html(head) + _rest(rest)
    return f'<pre class="vnb-text">{escape(head)}</pre>{_rest(rest)}'


def _rest(count: int) -> str:
    if not count:
        return ""
    return f'<p class="vnb-note">… {count:,} characters more; the run holds the whole text</p>'


def _chat(value: object, look: _Look) -> str | None:
    if not isinstance(value, list) or not all(isinstance(turn, Mapping) for turn in value):
        return None
    if not value:
        return '<span class="vnb-null">no turns</span>'
    turns = "".join(
        f'<div class="vnb-turn"><b class="vnb-role">{escape(str(turn.get("role", "?")))}</b> '
        f"<div>{_turn(turn, look)}</div></div>"
        for turn in value
    )
    return f'<div class="vnb-chat">{turns}</div>'


def _turn(turn: Mapping[str, Any], look: _Look) -> str:
    content = turn.get("content")
    if isinstance(content, Mapping) and "type" in content:
        return _typed(content, look)
    text = turn.get("text") if content is None else content
    return _value(text, "STRING", look.deeper())


def _typed(item: Mapping[str, Any], look: _Look) -> str:
    return _value(item.get("value"), str(item.get("type")), look.deeper())


def _search_results(value: object, look: _Look) -> str | None:
    if not isinstance(value, list) or not all(isinstance(hit, Mapping) for hit in value):
        return None
    if not value:
        return '<span class="vnb-null">no results</span>'
    hits = "".join(f"<li>{_hit(hit, look)}</li>" for hit in value)
    return f'<ol class="vnb-hits">{hits}</ol>'


def _hit(hit: Mapping[str, Any], look: _Look) -> str:
    document = hit.get("document")
    label = document.get("label") if isinstance(document, Mapping) else document
    score = hit.get("score")
    head = f"<b>{escape(str(label or 'no document'))}</b>"
    if isinstance(score, int | float):
        head += f' <span class="vnb-number">score {score:.3g}</span>'
    keywords = hit.get("keywords")
    if isinstance(keywords, list) and keywords:
        head += f' <span class="vnb-quiet">{escape(", ".join(map(str, keywords)))}</span>'
    return f"<div>{head}</div>{_text(str(hit.get('text', '')), look)}"


def _function_call(value: object, _look: _Look) -> str | None:
    if not isinstance(value, Mapping) or "name" not in value:
        return None
    name = f"<code>{escape(str(value['name']))}</code>"
    number = value.get("id")
    call = f' <span class="vnb-quiet">{escape(str(number))}</span>' if number else ""
    return f"<div>call {name}{call}</div>{json_html(value.get('arguments', {}))}"


def _error(value: object, _look: _Look) -> str | None:
    if not isinstance(value, Mapping) or "message" not in value:
        return None
    code = escape(str(value.get("code", "ERROR")))
    message = escape(clipped(str(value["message"]))[0])
    return f'<div class="vnb-error">error <code>{code}</code>: {message}</div>'


def _array(value: object, look: _Look) -> str | None:
    if not isinstance(value, list) or not all(
        isinstance(item, Mapping) and "type" in item and "value" in item for item in value
    ):
        return None
    if not value:
        return None
    items = "".join(f"<li>{_typed(item, look)}</li>" for item in value)
    return f'<ol class="vnb-array" start="0">{items}</ol>'


_WRITERS: dict[str, Callable[[object, _Look], str | None]] = {
    "CHAT_HISTORY": _chat,
    "SEARCH_RESULTS": _search_results,
    "FUNCTION_CALL": _function_call,
    "ERROR": _error,
    "ARRAY": _array,
}


def json_html(value: object) -> str:
    """Return `value` as one line when it is short, else as a tree of ``details`` elements.

    Examples
    --------
    >>> json_html({"ok": True})
    '<code class="vnb-json">{&quot;ok&quot;: true}</code>'
    """
    html = _Tree().node(value, 0)
    return f'<div class="vnb-tree">{html}</div>' if html.startswith("<details") else html


class _Tree:
    """Writes one tree and counts its nodes."""

    def __init__(self) -> None:
        self._nodes = 0

    def node(self, value: object, depth: int, label: str = "") -> str:
        """Return `value` with its label in front, as one line or as a fold."""
        self._nodes += 1
        text = _json_line(value)
        is_fold = isinstance(value, Mapping | list) and bool(value)
        if not is_fold or len(text) <= _SHORT:
            return f'{label}<code class="vnb-json">{escape(text)}</code>'
        if depth >= _DEPTH:
            return f'{label}<pre class="vnb-text">{escape(json_text(value))}</pre>'
        return self._fold(value, depth, label)

    def _fold(self, value: object, depth: int, label: str) -> str:
        size = len(value) if isinstance(value, Mapping | list) else 0
        summary = f"{label}{plural(size, 'key' if isinstance(value, Mapping) else 'item')}"
        items = "".join(f"<li>{item}</li>" for item in self._items(value, depth, size))
        is_open = " open" if depth == 0 else ""
        return f"<details{is_open}><summary>{summary}</summary><ul>{items}</ul></details>"

    def _items(self, value: object, depth: int, size: int) -> Iterator[str]:
        pairs = value.items() if isinstance(value, Mapping) else enumerate(_as_list(value))
        for count, (key, item) in enumerate(pairs):
            if count == _ITEMS or self._nodes > _NODES:
                yield f"… {size - count} more"
                return
            label = f'<span class="vnb-key">{escape(str(key))}</span>: '
            yield self.node(item, depth + 1, label)


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _json_line(value: object) -> str:
    """Return `value` as JSON in one line, in its own order; a wrong value in Python's words."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return "(cannot be shown)" if isinstance(value, Mapping | list) else str(value)


_TAGS = {
    "a", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol",
    "p", "pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_SCHEMES = {"http", "https", "mailto"}


def markdown_html(text: str) -> str:
    r"""Return `text`, Markdown, as safe HTML.

    HTML in it stays text, images become their description and address, and links open in a new
    tab without a referrer.

    Examples
    --------
    >>> markdown_html("**due** <script>")
    '<div class="vnb-md"><p><strong>due</strong> &lt;script&gt;</p>\n</div>'
    """
    import nh3

    html = nh3.clean(
        _parser().render(text),
        tags=_TAGS,
        attributes={"a": {"href", "title"}, "ol": {"start"}},
        attribute_filter=_absolute,
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    return f'<div class="vnb-md">{html}</div>'


def _absolute(_tag: str, name: str, value: str) -> str | None:
    """Drop addresses that would lead into the notebook server itself."""
    is_open = name != "href" or value.lower().partition(":")[0] in _SCHEMES
    return value if is_open else None


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.add_render_rule("image", _image)
    return parser


def _image(
    _renderer: Any, tokens: Sequence[Any], index: int, _options: Any, _environment: Any
) -> str:
    token = tokens[index]
    return escape(f"[image: {token.content or 'no description'}, {token.attrs.get('src')}]")


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
        return _note(f"{noun} at <code>{escape(cut(src, _ADDRESS))}</code>, not loaded")
    if len(src) > MAX_SHOWN * 4 // 3 + 200:
        return _note(f"{noun} of about {_size(len(src) * 3 // 4)}: too large to be shown here")
    content = _decoded(src)
    if content is None:
        return _note(
            f"{noun} whose data URL cannot be read: <code>{escape(cut(src, _ADDRESS))}</code>"
        )
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


def _size(count: int) -> str:
    """Return a number of bytes in words.

    >>> _size(1500), _size(12)
    ('1.5 kB', '12 bytes')
    """
    for unit, name in ((1_000_000, "MB"), (1_000, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"

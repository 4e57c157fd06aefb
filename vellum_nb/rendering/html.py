"""Typed values as safe static HTML, and pages from Jinja2 templates.

Everything that comes from a workflow is escaped. Markdown of an untrusted author can neither run
nor load anything. Of media only data URLs whose first bytes say what they are become elements of
the page; an address is written out as text: fetching it would reveal to its owner who looks.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

from vellum_nb.history import clean, format_bytes
from vellum_nb.models import Run
from vellum_nb.models.media import MEDIA_TYPES
from vellum_nb.rendering import format as formats
from vellum_nb.rendering.diff import Difference
from vellum_nb.rendering.format import (
    cut,
    doubt_text,
    json_text,
    number_text,
    plain_text,
    plural,
)

if TYPE_CHECKING:
    from jinja2 import Environment
    from markdown_it import MarkdownIt


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


def render(name: str, **context: Any) -> str:
    """Return the template `name` of ``templates/`` filled with `context`.

    Everything that a template is given is escaped; half surrogate pairs are replaced.
    """
    return clean(_environment().get_template(name).render(context))


def stylesheet(name: str) -> str:
    """Return a style sheet of ``templates/``."""
    return resources.files("vellum_nb.rendering").joinpath("templates", name).read_text("utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    def line(name: object) -> str:
        """Return a name as Markdown in one line."""
        return formats.markdown_code(formats.one_line(str(name)) or " ")

    environment = Environment(
        loader=PackageLoader("vellum_nb.rendering"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "code": lambda value: formats.markdown_code(str(value)),
        "line": line,
        "words": lambda name: line(name).removeprefix("<code>").removesuffix("</code>"),
        "digits": formats.interval_digits,
        "duration": formats.duration,
        "figure": formats.figure,
        "money": formats.money,
        "p": formats.p_value,
        "percent": formats.percent,
        "visible": lambda name: formats.one_line(formats.visible_name(str(name))),
    }
    environment.globals |= {"plural": plural, "no_math": NO_MATH, "plain_text": plain_text}
    return environment


def value_html(value: object, kind: str, *, markdown: bool = False, depth: int = 0) -> str:
    """Return `value` as safe static HTML.

    A value that is not what its type says is shown as JSON; so is one of an unknown type. `depth`
    is inside how many other values it is.

    >>> value_html("<b>hi</b>", "STRING")
    '<pre class="vnb-text">&lt;b&gt;hi&lt;/b&gt;</pre>'
    """
    if value is None:
        return '<span class="vnb-null">null</span>'
    if kind == "NUMBER" and isinstance(value, int | float) and not isinstance(value, bool):
        return f'<span class="vnb-number">{escape(number_text(value))}</span>'
    if kind in MEDIA_TYPES:
        return media_html(value, kind) or _json_html(value)

    if depth < _NESTING and _is_of_type(value, kind):
        part = partial(value_html, markdown=markdown, depth=depth + 1)
        context = {"part": part, "json": _json_html, "most": MAX_TEXT}
        return render("value.html.j2", value=value, kind=kind, **context)
    if not isinstance(value, str):
        return _json_html(value)
    head, rest = clipped(value)
    is_markdown = markdown and kind == "STRING"
    html = markdown_html(head) if is_markdown else f'<pre class="vnb-text">{escape(head)}</pre>'
    more = f"… {rest:,} more characters; the run has the whole text"
    return html + (_note(more) if rest else "")


def difference_html(found: Difference) -> str:
    """Return what changed; of a value with parts also how many, and the whole value folded.

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
        f"{_note(escape(found.summary))}{changes}"
        f'<div class="vnb-tree"><details><summary>the whole value</summary>{whole}</details></div>'
    )


def clipped(text: str) -> tuple[str, int]:
    """Return as much of `text` as is shown, and how many characters are not."""
    return text[:MAX_TEXT], max(0, len(text) - MAX_TEXT)


def _is_of_type(value: object, kind: str) -> bool:
    """Return whether `value` has the parts that ``value.html.j2`` shows of its type."""
    if kind in {"FUNCTION_CALL", "ERROR"}:
        needed = "message" if kind == "ERROR" else "name"
        return isinstance(value, Mapping) and needed in value
    if kind not in {"CHAT_HISTORY", "SEARCH_RESULTS", "ARRAY"} or not isinstance(value, list):
        return False
    parts = {"type", "value"} if kind == "ARRAY" else set[str]()
    fits = all(isinstance(item, Mapping) and item.keys() >= parts for item in value)
    return fits and (bool(value) or kind != "ARRAY")


def _json_html(value: object) -> str:
    """Return `value` as one line when it is short, else as a tree of ``details`` elements."""
    html = _node(value, 0, "", iter(range(_NODES)))
    return f'<div class="vnb-tree">{html}</div>' if html.startswith("<details") else html


def _node(value: object, depth: int, label: str, room: Iterator[int]) -> str:
    """Return `value` as one line or as a fold; `room` runs out with the nodes that are shown."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = "(cannot be displayed)" if isinstance(value, Mapping | list) else str(value)
    if not isinstance(value, Mapping | list) or not value or len(text) <= _SHORT:
        return f'{label}<code class="vnb-json">{escape(text)}</code>'
    if depth >= _DEPTH:
        return f'{label}<pre class="vnb-text">{escape(json_text(value))}</pre>'
    items = []
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
    for count, (key, item) in enumerate(pairs):
        if count == _ITEMS or next(room, None) is None:
            items.append(f"… {len(value) - count} more")
            break
        name = f'<span class="vnb-key">{escape(str(key))}</span>: '
        items.append(_node(item, depth + 1, name, room))
    size = plural(len(value), "key" if isinstance(value, Mapping) else "item")
    inner = "".join(f"<li>{item}</li>" for item in items)
    opened = " open" if depth == 0 else ""
    return f"<details{opened}><summary>{label}{size}</summary><ul>{inner}</ul></details>"


_TAGS = {
    "a", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol",
    "p", "pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_SCHEMES = {"http", "https", "mailto"}


def markdown_html(text: str) -> str:
    r"""Return `text`, Markdown, as safe HTML.

    HTML in it stays text, images become their description and address, and links open in a new
    tab without a referrer.

    >>> markdown_html("**due** <script>")
    '<div class="vnb-md"><p><strong>due</strong> &lt;script&gt;</p>\n</div>'
    """
    import nh3

    html = nh3.clean(
        _parser().render(text),
        tags=_TAGS,
        attributes={"a": {"href", "title"}, "ol": {"start"}},
        # Drop addresses that would lead into the notebook server itself.
        attribute_filter=lambda _tag, name, value: (
            value if name != "href" or value.lower().partition(":")[0] in _SCHEMES else None
        ),
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    return f'<div class="vnb-md">{html}</div>'


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    def image(_renderer: Any, tokens: Sequence[Any], index: int, *_rest: Any) -> str:
        token = tokens[index]
        return escape(f"[image: {token.content or 'no description'}, {token.attrs.get('src')}]")

    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.add_render_rule("image", image)
    return parser


_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
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
_ALLOWED = {
    "IMAGE": ("img",),
    "AUDIO": ("audio", "video"),  # audio often comes in a video's container
    "VIDEO": ("video", "audio"),
    "DOCUMENT": ("pdf", "img"),
}


def media_html(value: object, kind: str, *, name: str = "") -> str | None:
    """Return `value`, ``{"src": ...}``, as safe HTML; None when it is no such thing.

    >>> media_html({"src": "https://example.com/a.png"}, "IMAGE")
    '<p class="vnb-note">image at <code>https://example.com/a.png</code>, not loaded</p>'
    """
    src = value.get("src") if isinstance(value, Mapping) else value
    if not isinstance(src, str):
        return None
    noun = kind.lower()
    address = f"<code>{escape(cut(src, _ADDRESS))}</code>"
    if src[:5].lower() != "data:":
        return _note(f"{noun} at {address}, not loaded")
    if len(src) > MAX_SHOWN * 4 // 3 + 200:
        return _note(f"{noun} of about {format_bytes(len(src) * 3 // 4)}: too large to display")
    head, _, body = src.partition(",")
    if not head.lower().endswith(";base64"):
        body = "?"
    try:
        content = base64.b64decode("".join(body.split()), validate=True)
    except ValueError:
        return _note(f"{noun} whose data URL cannot be read: {address}")
    return _element(content, kind, name)


def _element(content: bytes, kind: str, name: str) -> str:
    # An SVG inside an img element runs no script and loads nothing.
    mime, element = ("image/svg+xml", "img") if _SVG.match(content[:2000]) else ("", "")
    for offset, magic, known, tag in _MAGIC:
        if content.startswith(magic, offset):
            mime, element = known, tag
            break
    if element not in _ALLOWED[kind]:
        what = f"{kind.lower()} of {format_bytes(len(content))}, {mime or 'of an unknown format'}"
        return _note(f"{what}: not shown, it is no known {kind.lower()} format")
    url = f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
    label = escape(f"{name} ({mime}, {format_bytes(len(content))})".strip())
    if element == "img":
        return f'<img class="vnb-media" src="{url}" alt="{label}">{_note(label)}'
    if element == "pdf":
        return _note(f'<a download="document.pdf" href="{url}">Save the PDF</a> {label}')
    tag = "audio" if kind == "AUDIO" else "video"
    return (
        f'<{tag} class="vnb-media" controls preload="none" src="{url}" aria-label="{label}">'
        f"</{tag}>{_note(label)}"
    )


def _note(html: str) -> str:
    return f'<p class="vnb-note">{html}</p>'


_MEANINGS = {
    "NODE_EXECUTION": "A step of the workflow failed.",
    "NODE_TIMEOUT": "A step of the workflow took too long.",
    "NODE_CANCELLED": "A step of the workflow was cancelled.",
    "NODE_EXECUTION_COUNT_LIMIT_REACHED": "The workflow looped too often.",
    "WORKFLOW_TIMEOUT": "The workflow took too long.",
    "WORKFLOW_CANCELLED": "The workflow was cancelled on the server.",
    "WORKFLOW_INITIALIZATION": "The workflow could not be started.",
    "USER_DEFINED_ERROR": "The workflow refused these inputs.",
    "INVALID_INPUTS": "The workflow cannot use these inputs.",
    "INVALID_TEMPLATE": "A template in the workflow is wrong.",
    "LLM_PROVIDER": "The model's provider failed.",
    "PROVIDER_QUOTA_EXCEEDED": "The quota at the model's provider is used up.",
    "PROVIDER_CREDENTIALS_UNAVAILABLE": "The credentials for the model's provider are missing.",
    "INTEGRATION_CREDENTIALS_UNAVAILABLE": "The credentials for an integration are missing.",
    "INTERNAL_SERVER_ERROR": "The server failed.",
}
_BY_STATE = {
    "REJECTED": "The workflow ended with an error.",
    "FAILED": "No usable answer came.",
    "CANCELLED": "Cancelled before it was sent.",
    "STARTED": "Recorded, no answer yet.",
}


def error_html(run: Run) -> str:
    """Return why `run` has no outputs, in plain words; nothing for one that is fulfilled."""
    if run.state == "FULFILLED":
        return ""
    code, message = (run.error.code, run.error.message) if run.error else ("", "")
    meaning = doubt_text(run)
    if meaning:
        meaning = f"{meaning[0].upper()}{meaning[1:]}."
    elif run.state in {"REJECTED", "CANCELLED"}:
        meaning = _MEANINGS.get(code, "")
    detail = ""
    if code and code != run.state:
        text = f'<pre class="vnb-text">{escape(message[:5000])}</pre>' if message else ""
        detail = f" <code>{escape(code)}</code>{text}"
    tone = "vnb-error" if run.state in {"REJECTED", "FAILED"} else "vnb-quiet"
    return f'<div class="{tone}">{meaning or _BY_STATE[run.state]}{detail}</div>'

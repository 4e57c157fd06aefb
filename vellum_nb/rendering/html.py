"""Typed values as safe static HTML, and pages from Jinja2 templates.

Everything that comes from a workflow is escaped. Markdown of an untrusted author can neither run
nor load anything. Of media only data URLs whose first bytes say what they are become elements of
the page; an address is written out as text: fetching it would reveal to its owner who looks.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

from vellum_nb.history import clean
from vellum_nb.models import Run
from vellum_nb.models.media import MEDIA_TYPES
from vellum_nb.rendering import format as formats
from vellum_nb.rendering.diff import Difference
from vellum_nb.rendering.format import cut, plural
from vellum_nb.rendering.values import json_text, number_text

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
        "duration": formats.duration,
        "figure": formats.figure,
        "money": formats.money,
        "p": formats.p_value,
        "percent": formats.percent,
        "visible": lambda name: formats.one_line(formats.visible_name(str(name))),
    }
    environment.globals |= {"plural": plural, "no_math": NO_MATH}
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

    def part(inner: object, inner_kind: str) -> str:
        return value_html(inner, inner_kind, markdown=markdown, depth=depth + 1)

    writer = _WRITERS.get(kind)
    html = writer(value, part) if writer and depth < _NESTING else None
    if html is None and isinstance(value, str):
        head, rest = clipped(value)
        html = f'<pre class="vnb-text">{escape(head)}</pre>'
        if markdown and kind == "STRING":
            html = markdown_html(head)
        if rest:
            html += _note(f"… {rest:,} characters more; the run holds the whole text")
    return _json_html(value) if html is None else html


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


Part = Callable[[object, str], str]
"""Writes a value inside another one, by its type."""


def _items(value: object, *keys: str) -> list[Mapping[str, Any]] | None:
    """Return `value` if it is a list of objects with these keys."""
    if not isinstance(value, list):
        return None
    fits = all(isinstance(item, Mapping) and item.keys() >= set(keys) for item in value)
    return value if fits else None


def _chat(value: object, part: Part) -> str | None:
    turns = _items(value)
    if turns is None:
        return None
    parts = []
    for turn in turns:
        content, kind = turn.get("content"), "STRING"
        if content is None:
            content = turn.get("text")
        if isinstance(content, Mapping) and "type" in content:
            kind, content = str(content["type"]), content.get("value")
        role = f'<b class="vnb-role">{escape(str(turn.get("role", "?")))}</b>'
        parts.append(f'<div class="vnb-turn">{role} <div>{part(content, kind)}</div></div>')
    html = f'<div class="vnb-chat">{"".join(parts)}</div>'
    return html if parts else '<span class="vnb-null">no turns</span>'


def _search_results(value: object, part: Part) -> str | None:
    hits = _items(value)
    if hits is None:
        return None
    parts = []
    for hit in hits:
        document, score, keywords = (hit.get(name) for name in ("document", "score", "keywords"))
        label = document.get("label") if isinstance(document, Mapping) else document
        head = f"<b>{escape(str(label or 'no document'))}</b>"
        if isinstance(score, int | float):
            head += f' <span class="vnb-number">score {score:.3g}</span>'
        if isinstance(keywords, list) and keywords:
            head += f' <span class="vnb-quiet">{escape(", ".join(map(str, keywords)))}</span>'
        parts.append(f"<li><div>{head}</div>{part(str(hit.get('text', '')), 'STRING')}</li>")
    html = f'<ol class="vnb-hits">{"".join(parts)}</ol>'
    return html if parts else '<span class="vnb-null">no results</span>'


def _function_call(value: object, _part: Part) -> str | None:
    if not isinstance(value, Mapping) or "name" not in value:
        return None
    number = value.get("id")
    call = f' <span class="vnb-quiet">{escape(str(number))}</span>' if number else ""
    name = f"<code>{escape(str(value['name']))}</code>"
    return f"<div>call {name}{call}</div>{_json_html(value.get('arguments', {}))}"


def _error(value: object, _part: Part) -> str | None:
    if not isinstance(value, Mapping) or "message" not in value:
        return None
    code = escape(str(value.get("code", "ERROR")))
    message = escape(clipped(str(value["message"]))[0])
    return f'<div class="vnb-error">error <code>{code}</code>: {message}</div>'


def _array(value: object, part: Part) -> str | None:
    found = _items(value, "type", "value") or ()
    items = "".join(f"<li>{part(item['value'], str(item['type']))}</li>" for item in found)
    return f'<ol class="vnb-array" start="0">{items}</ol>' if found else None


_WRITERS: dict[str, Callable[[object, Part], str | None]] = {
    "CHAT_HISTORY": _chat,
    "SEARCH_RESULTS": _search_results,
    "FUNCTION_CALL": _function_call,
    "ERROR": _error,
    "ARRAY": _array,
}


def _json_html(value: object) -> str:
    """Return `value` as one line when it is short, else as a tree of ``details`` elements."""
    html = _node(value, 0, "", iter(range(_NODES)))
    return f'<div class="vnb-tree">{html}</div>' if html.startswith("<details") else html


def _node(value: object, depth: int, label: str, room: Iterator[int]) -> str:
    """Return `value` as one line or as a fold; `room` runs out with the nodes that are shown."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = "(cannot be shown)" if isinstance(value, Mapping | list) else str(value)
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
        return _note(f"{noun} of about {_size(len(src) * 3 // 4)}: too large to be shown here")
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
        what = f"{kind.lower()} of {_size(len(content))}, {mime or 'of an unknown format'}"
        return _note(f"{what}: not shown, it is no known {kind.lower()} format")
    url = f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
    label = escape(f"{name} ({mime}, {_size(len(content))})".strip())
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


def _size(count: int) -> str:
    """Return a number of bytes in words.

    >>> _size(1500), _size(12)
    ('1.5 kB', '12 bytes')
    """
    for unit, name in ((1_000_000, "MB"), (1_000, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"


_MEANINGS = {
    "NODE_EXECUTION": "A step of the workflow failed.",
    "NODE_TIMEOUT": "A step of the workflow took too long.",
    "NODE_CANCELLED": "A step of the workflow was cancelled.",
    "NODE_EXECUTION_COUNT_LIMIT_REACHED": "The workflow went round too often.",
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
    "CANCELLED": "Cancelled before an answer came; the workflow may have run all the same.",
    "STARTED": "Recorded, no answer yet.",
}


def error_html(run: Run) -> str:
    """Return why `run` has no outputs, in plain words; nothing for one that is fulfilled."""
    if run.state == "FULFILLED":
        return ""
    code, message = (run.error.code, run.error.message) if run.error else ("", "")
    meaning = _MEANINGS.get(code) if run.state == "REJECTED" else None
    detail = ""
    if code and code != run.state:
        text = f'<pre class="vnb-text">{escape(message[:5000])}</pre>' if message else ""
        detail = f" <code>{escape(code)}</code>{text}"
    tone = "vnb-error" if run.state in {"REJECTED", "FAILED"} else "vnb-quiet"
    return f'<div class="{tone}">{meaning or _BY_STATE[run.state]}{detail}</div>'

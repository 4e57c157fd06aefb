"""Typed values as safe static HTML, pages from Jinja2 templates, their scripts and icons.

All workflow data is escaped. Markdown cannot run scripts or load resources. Only data URLs with a
known file signature become media elements; other addresses are written as text, because loading
them would reveal the reader to their owner.
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
from vellum_nb.models.checks import cut
from vellum_nb.models.inputs import is_number
from vellum_nb.models.media import MEDIA_TYPES, sniffed_mime
from vellum_nb.rendering import format as formats
from vellum_nb.rendering.format import doubt_text, json_text, number_text, plain_text, plural

if TYPE_CHECKING:
    from jinja2 import Environment
    from markdown_it import MarkdownIt

NO_MATH = "tex2jax_ignore mathjax_ignore"
"""Classes that disable MathJax, which would render prices in dollars as formulas."""
MAX_TEXT = 100_000  # characters shown per text
MAX_SHOWN = 10_000_000  # bytes; larger media would clog the page and the notebook file
_MAX_NESTING = 6  # levels of nested lists with typed items
_MAX_LINE_CHARS = 80  # characters of JSON on one line
_MAX_DEPTH = 12
_MAX_ITEMS = 200  # items shown per list or object
_MAX_NODES = 2_000
_MAX_ADDRESS_CHARS = 200  # characters shown of an address
_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./([\w.]+)";$', re.MULTILINE)
_IMPORT_JSON = re.compile(
    r'^import (\w+) from "\./([\w.]+)" with \{ type: "json" \};$', re.MULTILINE
)
_EXPORT = re.compile(
    r"^export (?:default (?=widget)|(?=(async )?(const|class|function) ))", re.MULTILINE
)
_MASK = re.compile(r"icon\(([\w-]+)\)")


def render(name: str, **context: Any) -> str:
    """Render the template `name` of ``templates/``, escaped and without lone surrogates."""
    return clean(_environment().get_template(name).render(context))


def stylesheet(name: str) -> str:
    """Return a style sheet of ``templates/``."""
    return resources.files("vellum_nb.rendering").joinpath("templates", name).read_text("utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

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
        "line": lambda name: formats.markdown_code(formats.one_line(str(name)) or " "),
        "words": lambda name: formats.markdown_text(formats.one_line(str(name)) or " "),
        "digits": formats.interval_digits,
        "duration": formats.duration,
        "figure": formats.figure,
        "money": formats.money,
        "p": formats.p_value,
        "percent": formats.percent,
        "visible": lambda name: formats.one_line(formats.visible_name(str(name))),
    }
    environment.globals |= {"plural": plural, "no_math": NO_MATH, "plain_text": plain_text}
    environment.tests["prose"] = formats.is_prose
    return environment


def value_html(value: object, kind: str, *, markdown: bool = False, depth: int = 0) -> str:
    """Return `value` as safe static HTML.

    Values that do not match their type, or have an unknown type, are shown as JSON. `depth` is the
    nesting level.

    >>> value_html("<b>hi</b>", "STRING")
    '<pre class="vnb-text">&lt;b&gt;hi&lt;/b&gt;</pre>'
    """
    if value is None:
        return '<span class="vnb-null">null</span>'
    if kind == "NUMBER" and is_number(value):
        return f'<span class="vnb-number">{escape(number_text(value))}</span>'
    if kind in MEDIA_TYPES:
        return media_html(value, kind) or _json_html(value)
    if depth < _MAX_NESTING and _is_of_type(value, kind):
        part = partial(value_html, markdown=markdown, depth=depth + 1)
        context = {"part": part, "json": _json_html, "most": MAX_TEXT}
        return render("value.html.j2", value=value, kind=kind, **context)
    if not isinstance(value, str):
        return _json_html(value)
    head, hidden = clipped(value)
    is_markdown = markdown and kind == "STRING"
    html = markdown_html(head) if is_markdown else f'<pre class="vnb-text">{escape(head)}</pre>'
    more = f"… {hidden:,} more characters; the run has the whole text"
    return html + (_note(more) if hidden else "")


def clipped(text: str) -> tuple[str, int]:
    """Truncate `text` to `MAX_TEXT` characters; return it with the number of omitted ones."""
    return text[:MAX_TEXT], max(0, len(text) - MAX_TEXT)


def _is_of_type(value: object, kind: str) -> bool:
    """Return whether `value` has the fields that ``value.html.j2`` requires of its type."""
    if kind in {"FUNCTION_CALL", "ERROR"}:
        needed = "message" if kind == "ERROR" else "name"
        return isinstance(value, Mapping) and needed in value
    if kind not in {"CHAT_HISTORY", "SEARCH_RESULTS", "ARRAY"} or not isinstance(value, list):
        return False
    parts = {"type", "value"} if kind == "ARRAY" else set[str]()
    fits = all(isinstance(item, Mapping) and item.keys() >= parts for item in value)
    return fits and (bool(value) or kind != "ARRAY")


def _json_html(value: object) -> str:
    """Return `value` as JSON on one line, or as a tree of ``details`` elements if it is long."""
    html = _node(value, 0, "", iter(range(_MAX_NODES)))
    return f'<div class="vnb-tree">{html}</div>' if html.startswith("<details") else html


def _node(value: object, depth: int, label: str, room: Iterator[int]) -> str:
    """Return one node of the tree; `room` yields once per displayed node."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = "(cannot be displayed)" if isinstance(value, Mapping | list) else str(value)
    if not isinstance(value, Mapping | list) or not value or len(text) <= _MAX_LINE_CHARS:
        return f'{label}<code class="vnb-json">{escape(text)}</code>'
    if depth >= _MAX_DEPTH:
        return f'{label}<pre class="vnb-text">{escape(json_text(value))}</pre>'
    items = []
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
    for count, (key, item) in enumerate(pairs):
        if count == _MAX_ITEMS or next(room, None) is None:
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
    r"""Convert Markdown to safe HTML.

    HTML is escaped, images are replaced by their description and address, and links open in a new
    tab without a referrer.

    >>> markdown_html("**due** <script>")
    '<div class="vnb-md"><p><strong>due</strong> &lt;script&gt;</p>\n</div>'
    """
    import nh3

    html = nh3.clean(
        _parser().render(text),
        tags=_TAGS,
        attributes={"a": {"href", "title"}, "ol": {"start"}},
        # Drop addresses of the notebook server itself.
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


_SVG = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<svg[\s>]", re.DOTALL | re.IGNORECASE)
_ALLOWED = {
    "IMAGE": ("image",),
    "AUDIO": ("audio", "video"),  # audio often has a video container
    "VIDEO": ("video", "audio"),
    "DOCUMENT": ("pdf", "image"),
}


def media_html(value: object, kind: str, *, name: str = "") -> str | None:
    """Return a media value, ``{"src": ...}``, as safe HTML; None for other values.

    >>> media_html({"src": "https://example.com/a.png"}, "IMAGE")
    '<p class="vnb-note">image at <code>https://example.com/a.png</code>, not loaded</p>'
    """
    src = value.get("src") if isinstance(value, Mapping) else value
    if not isinstance(src, str):
        return None
    noun = kind.lower()
    address = f"<code>{escape(cut(src, _MAX_ADDRESS_CHARS))}</code>"
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
    # An SVG in an img element runs no scripts and loads no resources.
    mime = sniffed_mime(content) or ("image/svg+xml" if _SVG.match(content[:2000]) else "")
    shown_as = "pdf" if mime == "application/pdf" else mime.partition("/")[0]
    if shown_as not in _ALLOWED[kind]:
        size = format_bytes(len(content))
        return _note(f"{kind.lower()} of {size}, {mime or 'unknown format'}: not shown")
    url = f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
    label = escape(f"{name} ({mime}, {format_bytes(len(content))})".strip())
    if shown_as == "image":
        return f'<img class="vnb-media" src="{url}" alt="{label}">{_note(label)}'
    if shown_as == "pdf":
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
    "FAILED": "No usable answer was received.",
    "CANCELLED": "Cancelled before it was sent.",
    "STARTED": "Recorded, no answer yet.",
}


def error_html(run: Run) -> str:
    """Explain the state or error of `run`; empty for a fulfilled one."""
    if run.state == "FULFILLED" and run.error is None:
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
    return f'<div class="{tone}">{meaning or _BY_STATE.get(run.state, "")}{detail}</div>'


def asset(*names: str) -> str:
    """Return the common styles and those of ``static/``, with each ``icon(name)`` as an image."""
    common = ["colours.css", *(["lines.css"] if "view.css" in names else [])]
    common += ["transcript.css"] if {"view.css", "blind.css"} & {*names} else []
    text = "\n".join([*map(stylesheet, common), *map(_read, names)])
    return _MASK.sub(lambda match: _mask(match[1]), text)


def script(name: str) -> str:
    """Return an ES module of ``static/`` with its imports inlined.

    anywidget keeps widgets alive if their source is a path, and a script without an address cannot
    import modules.
    """

    def inline(match: re.Match[str]) -> str:
        body = _EXPORT.sub("", script(match[2]))
        return f"const {match[1]} = (() => {{\n{body}\nreturn {match[1]};\n}})();"

    text = _IMPORT_JSON.sub(lambda match: f"const {match[1]} = {_read(match[2])};", _read(name))
    return _IMPORT.sub(inline, text)


def _read(name: str) -> str:
    folder = resources.files("vellum_nb").joinpath("widgets", "static")
    return folder.joinpath(name).read_text("utf-8")


_ICONS: dict[str, str] = json.loads(_read("icons.json"))


def _mask(name: str) -> str:
    """Return an icon as a CSS mask image."""
    path = f"<path d='{_ICONS[name]}'/>"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'>{path}</svg>"
    return f'url("data:image/svg+xml,{svg.replace("<", "%3C").replace(">", "%3E")}")'


def icon(name: str, kind: str = "vnb-glyph", size: int = 16) -> str:
    """Return an icon as inline SVG, hidden from screen readers."""
    return (
        f'<svg class="{kind}" viewBox="0 0 24 24" width="{size}" height="{size}" '
        f'aria-hidden="true"><path fill="currentColor" d="{_ICONS[name]}"/></svg>'
    )

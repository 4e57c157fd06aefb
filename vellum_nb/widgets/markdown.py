"""Markdown of an untrusted author as HTML that can neither run nor load anything."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

__all__ = ["markdown_html"]

_TAGS = {
    "a", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol",
    "p", "pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_SCHEMES = {"http", "https", "mailto"}


def markdown_html(text: str) -> str:
    r"""Return `text`, Markdown, as safe HTML.

    HTML in it stays text, images become their description and address, and links open in a new
    tab without telling where they came from.

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

"""One output value as safe HTML, by its type. Everything that comes from a workflow is escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from vellum_nb.experiments.diffs import Difference
from vellum_nb.experiments.wording import number_text
from vellum_nb.models.media import MEDIA_TYPES
from vellum_nb.widgets.json_tree import json_html
from vellum_nb.widgets.markdown import markdown_html
from vellum_nb.widgets.media import media_html

__all__ = ["clipped", "difference_html", "value_html"]

MAX_TEXT = 100_000  # characters shown of one text
_NESTING = 6  # lists within lists that are still told apart by type


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

    Parameters
    ----------
    value : object
        A plain JSON value.
    kind : str
        Vellum's type: STRING, NUMBER, JSON, CHAT_HISTORY, SEARCH_RESULTS and so on.
    markdown : bool, default False
        Show text as Markdown.

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
    >>> from vellum_nb.experiments.diffs import difference
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
    shown, rest = clipped(value)
    if look.markdown:
        return markdown_html(shown) + _rest(rest)
    return f'<pre class="vnb-text">{escape(shown)}</pre>{_rest(rest)}'


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

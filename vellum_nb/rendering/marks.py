"""Pieces of a difference with their marks, as HTML, plain text and Markdown; hostile text inert."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

from vellum_nb.rendering.format import plural
from vellum_nb.rendering.text_diff import Op

__all__ = ["diff_html", "markdown_code", "marked_markdown", "marked_text", "printable"]

_AROUND = 3  # lines shown on each side of what is folded
_NEAR = 200  # characters, where there are no lines
_FOLD = 1_200  # characters; an equal piece with more is folded
_MOST = 20_000  # characters shown of one piece that changed
_TOTAL = 100_000  # characters shown of all pieces together

# What GitHub's Markdown would take for more than a letter, and what would turn the text around.
_MARKDOWN = re.compile(r"[<>&*_`\[\]|\\~$#@]|:(?=\S)|(?<=www)\.", re.IGNORECASE)
_INVISIBLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_MARKS = {"equal": ("", ""), "delete": ("[-", "-]"), "insert": ("{+", "+}")}


def diff_html(ops: Iterable[Op], *, fold: bool = False) -> str:
    """Return `ops` as escaped HTML with ``ins`` and ``del`` elements.

    The plus and minus marks are part of the text, so that the difference reads without any style.

    Examples
    --------
    >>> diff_html([Op("insert", "<b>")])
    '<ins class="vnb-ins"><b class="vnb-mark">+</b><span>&lt;b&gt;</span></ins>'
    """
    pieces = list(ops)
    last = len(pieces) - 1
    room = _TOTAL
    parts = []
    for place, op in enumerate(pieces):
        if op.kind == "insert" and place and pieces[place - 1].kind == "delete":
            parts.append(" ")  # so that the two are not read as one word
        text = _folded(op, first=place == 0, last=place == last) if fold else [op.text]
        parts.append(_piece(op.kind, text))
        room -= sum(map(len, text))
        if fold and room < 0 and place < last:
            parts.append(_aside(f" … {last - place:,} pieces more"))
            break
    return "".join(parts)


def _piece(kind: str, text: list[str]) -> str:
    """Return a piece: what is left out stands between two texts, and is part of neither."""
    html = escape(text[0])
    if len(text) > 1:
        html += _aside(text[1]) + escape(text[2])
    if kind == "equal":
        return html
    tag, mark = ("ins", "+") if kind == "insert" else ("del", "\N{MINUS SIGN}")
    return f'<{tag} class="vnb-{tag}"><b class="vnb-mark">{mark}</b><span>{html}</span></{tag}>'


def _aside(text: str) -> str:
    return f'<span class="vnb-quiet vnb-fold">{text}</span>'


def _folded(op: Op, *, first: bool, last: bool) -> list[str]:
    """Return the text, or its beginning, what is left out, and its end."""
    text = op.text
    if op.kind != "equal":
        if len(text) <= _MOST:
            return [text]
        return [text[:_MOST], f" … {len(text) - _MOST:,} characters more ", ""]
    if len(text) <= _FOLD:
        return [text]
    lines = text.splitlines(keepends=True)
    head = "" if first else "".join(lines[:_AROUND])
    head = head if len(head) < _FOLD // 2 else head[:_NEAR]
    tail = "" if last else "".join(lines[-_AROUND:])
    tail = tail if len(tail) < _FOLD // 2 else tail[-_NEAR:]
    left_out = text[len(head) : len(text) - len(tail)]
    count = left_out.count("\n")
    size = f"{count:,} lines" if count > 1 else plural(len(left_out), "character")
    # Where whole lines are left out, what says so is a line too.
    end = "\n" if tail and left_out.endswith("\n") else ""
    return [head, f" … {size} the same … ", end + tail]


def marked_text(ops: Iterable[Op]) -> str:
    """Return `ops` as plain text.

    Examples
    --------
    >>> marked_text([Op("equal", "a "), Op("delete", "b"), Op("insert", "c")])
    'a [-b-]{+c+}'
    """
    return "".join(_MARKS[op.kind][0] + printable(op.text) + _MARKS[op.kind][1] for op in ops)


def marked_markdown(ops: Iterable[Op]) -> str:
    """Return `ops` as Markdown that stands in a paragraph or in a cell of a table.

    Examples
    --------
    >>> marked_markdown([Op("delete", "*b*"), Op("insert", "c")])
    '<code>&#91;-&#42;b&#42;-&#93;{+c+}</code>'
    """
    return markdown_code("".join(_MARKS[op.kind][0] + op.text + _MARKS[op.kind][1] for op in ops))


def markdown_code(text: str) -> str:
    """Return `text` as Markdown that GitHub shows letter by letter.

    Examples
    --------
    >>> markdown_code("a|b")
    '<code>a&#124;b</code>'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _INVISIBLE.sub("\N{REPLACEMENT CHARACTER}", text)
    text = _MARKDOWN.sub(lambda match: _entity(match[0]), text)
    return f"<code>{text.replace(chr(10), '<br>')}</code>"


def _entity(letter: str) -> str:
    # The comment keeps a mail address from becoming a link.
    return "<!-- -->&#64;" if letter == "@" else f"&#{ord(letter)};"


def printable(text: str) -> str:
    """Replace what would control a terminal: text from a server is not to be trusted."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)

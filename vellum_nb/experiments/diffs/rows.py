"""Changes as rows for people: where, the pieces that differ, and a remark."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from vellum_nb.experiments.diffs.marks import (
    diff_html,
    markdown_code,
    marked_markdown,
    marked_text,
    printable,
)
from vellum_nb.experiments.diffs.model import MISSING, Change
from vellum_nb.experiments.diffs.words import Kind, Op
from vellum_nb.experiments.wording import json_text, value_text

__all__ = ["Row", "delta_text", "noun_of", "row_html", "row_markdown", "row_of", "row_text"]

_NOUNS = {"CHAT_HISTORY": "turn", "ARRAY": "item", "SEARCH_RESULTS": "result"}
_OWN = {"CHAT_HISTORY": "text", "ARRAY": "value", "SEARCH_RESULTS": "text"}  # goes without saying
_PLAIN = re.compile(r"[^\W\d][\w-]*\Z")
_GLIMPSE = 80  # characters of an item that moved
_WAYS: tuple[Kind, Kind] = ("delete", "insert")
_STEPS = 12  # of a path that are written out
_LABEL = 60  # characters of a key or a document's name


class Row(NamedTuple):
    """One change for people.

    Attributes
    ----------
    label : str
        Where it is; empty when it is the value itself.
    ops : sequence of Op
        What differs.
    remark : str
        What the pieces do not say, such as by how much a number grew.
    """

    label: str
    ops: Sequence[Op]
    remark: str


def row_of(change: Change, kinds: tuple[str, str], roots: tuple[Any, Any]) -> Row:
    """Return `change` as a row.

    Parameters
    ----------
    change : Change
        A change between the two roots.
    kinds : tuple of str
        Vellum's types of the old and the new root.
    roots : tuple
        The old and the new root.
    """
    kind = kinds[1]
    label = _label(change, kind, roots)
    if change.kind == "move":
        text = _text(change, change.new, kind)
        if kind == "SEARCH_RESULTS" and isinstance(change.new, Mapping):
            text = str(change.new.get("text", ""))  # the label has the rest
        glimpse = textwrap.shorten(text[: 4 * _GLIMPSE], _GLIMPSE, placeholder="…") or "…"
        return Row(label, [Op("equal", glimpse)], f"moved from {_place(change, kind)}")
    if change.ops:
        return Row(label, change.ops, "")
    sides = [(change.old, kinds[0]), (change.new, kind)]
    texts = [None if value is MISSING else _text(change, value, type_) for value, type_ in sides]
    if texts[0] == texts[1]:  # the text "3" and the number
        texts = [json_text(change.old), json_text(change.new)]
    ops = [Op(way, text) for way, text in zip(_WAYS, texts, strict=True) if text is not None]
    return Row(label, ops, f"by {delta_text(change.delta)}" if change.delta is not None else "")


def is_short(value: Any) -> bool:
    """Return whether `value` as JSON fits in a line."""
    text = json_text(value)
    return "\n" not in text and text[:1] in "[{"


def noun_of(kind: str) -> str | None:
    """Return what an item of a value of this type is called, if it is a list of such items."""
    return _NOUNS.get(kind)


def row_html(row: Row) -> str:
    """Return `row` as escaped HTML."""
    label = f'<span class="vnb-key">{escape(row.label)}</span>: ' if row.label else ""
    remark = (
        f'<span class="vnb-quiet vnb-number"> {escape(row.remark)}</span>' if row.remark else ""
    )
    return f'<pre class="vnb-text vnb-change">{label}{diff_html(row.ops, fold=True)}{remark}</pre>'


def row_text(row: Row) -> str:
    """Return `row` as plain text."""
    label = f"{printable(row.label)}: " if row.label else ""
    return f"{label}{marked_text(row.ops)}{f' {row.remark}' if row.remark else ''}"


def row_markdown(row: Row) -> str:
    """Return `row` as Markdown."""
    label = f"{markdown_code(row.label)}: " if row.label else ""
    return f"{label}{marked_markdown(row.ops)}{f' {row.remark}' if row.remark else ''}"


def delta_text(delta: float) -> str:
    """Return by how much a number grew, with its sign.

    Examples
    --------
    >>> delta_text(0.30000000000000004), delta_text(2)
    ('+0.3', '+2')
    """
    sign = "+" if delta > 0 else "\N{MINUS SIGN}"
    try:
        return f"{sign}{abs(delta):.6g}"
    except OverflowError:
        return f"{sign}{abs(delta)}"


def _text(change: Change, value: Any, kind: str) -> str:
    """Return `value`, which stands at the end of the change's path, as its type says."""
    if len(change.path) == 1 and kind in _NOUNS:
        text = value_text([value], kind)
        role = value.get("role", "?") if isinstance(value, Mapping) else None
        return text.removeprefix(f"{role}: ") or '""'
    if change.path:
        is_media = isinstance(value, Mapping) and isinstance(value.get("src"), str)
        kind = "IMAGE" if is_media else "JSON"
    return value_text(value, kind) or '""'


def _place(change: Change, kind: str) -> str:
    """Return where an item stood before it moved."""
    place = int(change.was[-1])
    noun = _NOUNS.get(kind) if len(change.was) == 1 else None
    return f"{noun} {place + 1}" if noun else f"[{place}]"


def _label(change: Change, kind: str, roots: tuple[Any, Any]) -> str:
    path = change.path
    noun = _NOUNS.get(kind)
    if not noun or not path or not isinstance(path[0], int):
        return _path_text(path)
    old, new = roots
    root = old if change.kind == "delete" and len(path) == 1 else new
    name = _name(root[path[0]], kind)
    rest = [part for part in path[1:] if part != "content"] if kind == "CHAT_HISTORY" else path[1:]
    if rest and rest[0] in {_OWN[kind], "value"}:
        rest = rest[1:]
    tail = f" {_path_text(rest)}" if rest else ""
    return f"{noun} {path[0] + 1}{name}{tail}"


def _name(item: Any, kind: str) -> str:
    if not isinstance(item, Mapping):
        return ""
    if kind == "CHAT_HISTORY":
        return f" {str(item.get('role', '?'))[:_LABEL]}"
    if kind == "SEARCH_RESULTS":
        document = item.get("document")
        name = document.get("label") if isinstance(document, Mapping) else document
        return f" ({str(name)[:_LABEL]})" if name else ""
    return ""


def _path_text(path: Sequence[str | int]) -> str:
    """Return a path as people write it.

    >>> _path_text(("items", 2, "unit price"))
    'items[2]["unit price"]'
    """
    if len(path) > _STEPS:
        half = _STEPS // 2
        return f"{_path_text(path[:half])} … {_path_text(path[-half:])}"
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN.match(part):
            text += f".{part}" if text else part
        else:
            short = part if len(part) <= _LABEL else f"{part[:_LABEL]}…"
            text += f'["{short}"]'
    return text

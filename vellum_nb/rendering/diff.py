"""How one value differs from another, by Vellum's types; as rows for people, HTML and Markdown."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from html import escape
from typing import Any, Final, Literal, NamedTuple

from vellum_nb.models.media import MEDIA_TYPES
from vellum_nb.rendering.format import cut, plural
from vellum_nb.rendering.marks import (
    diff_html,
    markdown_code,
    marked_markdown,
    marked_text,
    printable,
)
from vellum_nb.rendering.text_diff import Op, matches, word_diff
from vellum_nb.rendering.values import json_text, number_text, value_text

__all__ = ["MISSING", "Change", "Difference", "Row", "difference"]

_MOST = 100  # rows shown as HTML
_TYPED = {"CHAT_HISTORY", "SEARCH_RESULTS", "ARRAY", "FUNCTION_CALL", "ERROR"}
_NOUNS = {"CHAT_HISTORY": "turn", "ARRAY": "item", "SEARCH_RESULTS": "result"}
_OWN = {"CHAT_HISTORY": "text", "ARRAY": "value", "SEARCH_RESULTS": "text"}  # goes without saying
_KEYS = ("id", "key", "name", "label")  # what an item of a list is often known by
_IDS = ("id", "key")  # what has another one of these is another thing
_SHAPES = {"turn": "role", "typed": "type"}  # what distinguishes the items of a kind
_ITEM = {"CHAT_HISTORY": "turn", "ARRAY": "typed", "SEARCH_RESULTS": "hit"}  # kinds of items
_PLAIN = re.compile(r"[^\W\d][\w-]*\Z")
_GLIMPSE = 80  # characters of an item that moved
_STEPS = 12  # of a path that are written out
_LABEL = 60  # characters of a key or a document's name

Path = tuple[str | int, ...]


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""Stands for a value that is not there at all; null is there."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing in which two values differ.

    Attributes
    ----------
    kind : {"insert", "delete", "change", "move"}
        A `move` is an item of a list that stands elsewhere; changes inside it are separate.
    path : tuple
        Keys and places that lead there in the new value; for a deletion the last one is the old.
    old, new : object
        The values; `MISSING` where there is none.
    delta : float or None
        By how much a number grew.
    ops : tuple of Op
        The pieces of a text that changed, in reading order.
    moved_from : int or None
        The place in the old list of an item that moved.
    """

    kind: Literal["insert", "delete", "change", "move"]
    path: Path
    old: Any
    new: Any
    delta: float | None = None
    ops: tuple[Op, ...] = ()
    moved_from: int | None = None


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

    def to_html(self) -> str:
        """Return the row as escaped HTML."""
        label = f'<span class="vnb-key">{escape(self.label)}</span>: ' if self.label else ""
        remark = ""
        if self.remark:
            remark = f'<span class="vnb-quiet vnb-number"> {escape(self.remark)}</span>'
        pieces = diff_html(self.ops, fold=True)
        return f'<pre class="vnb-text vnb-change">{label}{pieces}{remark}</pre>'

    def to_text(self) -> str:
        """Return the row as plain text."""
        label = f"{printable(self.label)}: " if self.label else ""
        return f"{label}{marked_text(self.ops)}{f' {self.remark}' if self.remark else ''}"

    def to_markdown(self) -> str:
        """Return the row as Markdown."""
        label = f"{markdown_code(self.label)}: " if self.label else ""
        return f"{label}{marked_markdown(self.ops)}{f' {self.remark}' if self.remark else ''}"


@dataclass(frozen=True, slots=True)
class Difference:
    """How a new value differs from an old one.

    Attributes
    ----------
    old, new : object
        The two values.
    kind, old_kind : str
        Vellum's types of the new and the old value.
    changes : tuple of Change
        What differs, in the order of the new value; empty when nothing does.
    fields : int
        How many scalars the two values have, each counted once.
    differing : int
        How many of them differ.
    """

    old: Any
    new: Any
    kind: str
    old_kind: str
    changes: tuple[Change, ...]
    fields: int
    differing: int

    def __bool__(self) -> bool:
        return bool(self.changes)

    @property
    def summary(self) -> str:
        """The difference in one line, such as "3 of 12 fields differ"."""
        if not self.changes:
            return "same"
        if self.old is MISSING or self.new is MISSING:
            return "new" if self.old is MISSING else "missing"
        if "ERROR" in {self.kind, self.old_kind} and self.kind != self.old_kind:
            return "an error instead of an answer" if self.kind == "ERROR" else "no error any more"
        first = self.changes[0]
        return _of_one(first) if first.path == () else _counted(self)

    @property
    def is_marked_whole(self) -> bool:
        """Whether `to_html` shows the whole new value, marked, and not a list of its changes."""
        if self.kind in MEDIA_TYPES:
            return False
        return self._is_one_line() or any(change.path == () for change in self.changes)

    def rows(self, limit: int | None = None) -> list[Row]:
        """Return the changes, or the first `limit`, for people: where, which pieces, a remark."""
        if self._is_one_line():
            return [Row("", word_diff(json_text(self.old), json_text(self.new)), "")]
        kinds, roots = (self.old_kind, self.kind), (self.old, self.new)
        return [_row_of(change, kinds, roots) for change in self.changes[:limit]]

    def _is_one_line(self) -> bool:
        """Return whether the whole value, marked, reads better than a list of changes."""
        if not self.changes or self.changes[0].path == () or self.kind in _TYPED:
            return False
        texts = (json_text(self.old), json_text(self.new))
        are_short = all("\n" not in text and text[:1] in "[{" for text in texts)
        return are_short and not any(change.kind == "move" for change in self.changes)

    def to_html(self) -> str:
        """Return the changes as escaped HTML; long pieces are folded, and say so.

        Examples
        --------
        >>> difference(2, 5, "NUMBER").to_html().endswith(
        ...     '<span class="vnb-quiet vnb-number"> by +3</span></pre>'
        ... )
        True
        """
        html = "".join(row.to_html() for row in self.rows(_MOST))
        rest = max(0, len(self.changes) - _MOST)
        return html + (f'<p class="vnb-note">… {rest:,} changes more</p>' if rest else "")

    def to_text(self) -> str:
        """Return the changes as plain text, whole.

        Examples
        --------
        >>> difference("charged twice", "charged once", "STRING").to_text()
        'charged [-twice-]{+once+}'
        """
        return "\n".join(row.to_text() for row in self.rows())

    def to_markdown(self) -> str:
        """Return the changes as Markdown, whole; it stands in a paragraph or in a table's cell.

        Examples
        --------
        >>> difference({"a": 1}, {"a": 2}, "JSON").to_markdown()
        '<code>{"a": &#91;-1-&#93;{+2+}}</code>'
        """
        return "<br>".join(row.to_markdown() for row in self.rows())

    def __repr__(self) -> str:
        return f"<Difference {self.kind}: {self.summary}>"


def difference(old: Any, new: Any, kind: str, *, old_kind: str | None = None) -> Difference:
    """Return how `new` differs from `old`.

    Text is compared word by word, JSON by path (the order of keys does not matter, items of a list
    may move), a chat by its turns, numbers by how much they grew, a function call by its name and
    arguments, search results by document, media by what they refer to.

    Examples
    --------
    >>> difference({"n": 1, "tags": ["a", "b"]}, {"tags": ["b"], "n": 1.0}, "JSON")
    <Difference JSON: 1 of 3 fields differs>
    """
    old_kind = old_kind or kind
    comparer = _Comparer()
    changes = _changes(comparer, old, new, (old_kind, kind))
    fields = comparer.fields(new)
    differing = 0
    for change in changes:
        if change.kind != "move":
            sizes = [comparer.fields(value) for value in (change.old, change.new)]
            fields += max(sizes) - sizes[1]
            differing += max(sizes)
    return Difference(old, new, kind, old_kind, changes, fields, differing)


def _changes(comparer: _Comparer, old: Any, new: Any, kinds: tuple[str, str]) -> tuple[Change, ...]:
    if comparer.number(old) == comparer.number(new):
        return ()
    if old is MISSING or new is MISSING:
        return (Change("insert" if old is MISSING else "delete", (), old, new),)
    if kinds[0] != kinds[1] and "ERROR" in kinds:
        return (Change("change", (), old, new),)
    return tuple(comparer.changes(old, new, kinds[1] if kinds[0] == kinds[1] else "JSON"))


class _Pair(NamedTuple):
    """Two values that belong together, and where they are."""

    old: Any
    new: Any
    kind: str
    path: Path


class _Item(NamedTuple):
    """What identifies an item of a list.

    Attributes
    ----------
    number : int
        The same for the same values.
    key : hashable, optional
        The same for items about the same thing, such as an id.
    shape : hashable
        The same for items of which one may have become the other.
    """

    number: int
    key: Hashable
    shape: Hashable


class _Comparer:
    """Finds the changes between two values, without recursion: values may be nested deeply.

    Each distinct value gets a number. As for `same_value`, 1 and 1.0 are the same, 1 and true are
    not, and the order of keys does not matter.
    """

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._sizes: list[int] = []
        self._by_object: dict[int, int] = {}

    def number(self, value: Any) -> int:
        """Return the number of `value`, after those of all it holds."""
        if not _has_items(value):
            return self._numbered(_scalar(value), 1)
        stack = [value]
        while stack and id(value) not in self._by_object:
            top = stack[-1]
            inner = list(top.values()) if isinstance(top, Mapping) else top
            waiting = [v for v in inner if _has_items(v) and id(v) not in self._by_object]
            stack += waiting
            if not waiting:
                stack.pop()
                numbers = [self.number(item) for item in inner]
                key = ("list", tuple(numbers))
                if isinstance(top, Mapping):
                    key = ("object", frozenset(zip(top, numbers, strict=True)))  # type: ignore[assignment]
                size = sum(self._sizes[number] for number in numbers) or 1
                self._by_object[id(top)] = self._numbered(key, size)
        return self._by_object[id(value)]

    def fields(self, value: Any) -> int:
        """Return how many scalars `value` holds; what is empty counts as one, what is missing 0."""
        return 0 if value is MISSING else self._sizes[self.number(value)]

    def _numbered(self, key: Hashable, size: int) -> int:
        number = self._numbers.setdefault(key, len(self._sizes))
        if number == len(self._sizes):
            self._sizes.append(size)
        return number

    def changes(self, old: Any, new: Any, kind: str) -> list[Change]:
        """Return the changes in the order of the new value, deletions last in each part."""
        found: list[Change] = []
        stack: list[_Pair | Change] = [_Pair(old, new, kind, ())]
        while stack:
            step = stack.pop()
            if isinstance(step, Change):
                found.append(step)
            elif self.number(step.old) != self.number(step.new):
                stack += reversed(self._steps(step))
        return found

    def _steps(self, pair: _Pair) -> Sequence[_Pair | Change]:
        """Return what to compare instead of `pair`."""
        old, new, _, path = pair
        if isinstance(old, Mapping) and isinstance(new, Mapping) and _has_common_parts(pair):
            return _of_objects(pair)
        if isinstance(old, list | tuple) and isinstance(new, list | tuple):
            return self._of_lists(pair)
        if isinstance(old, str) and isinstance(new, str):
            return [Change("change", path, old, new, ops=tuple(word_diff(old, new)))]
        delta = _delta(old, new) if _is_number(old) and _is_number(new) else None
        return [Change("change", path, old, new, delta)]

    def _of_lists(self, pair: _Pair) -> list[_Pair | Change]:
        old, new, kind, path = pair
        item = _ITEM.get(kind, "JSON")
        sides = [[self._item(value, item) for value in side] for side in (old, new)]
        pairs = _aligned(*sides)
        moved = _moved(pairs)
        steps: list[_Pair | Change] = []
        for place, value in enumerate(new):
            here = (*path, place)
            if place not in pairs:
                steps.append(Change("insert", here, MISSING, value))
                continue
            before = pairs[place]
            if place in moved:
                steps.append(Change("move", here, old[before], value, moved_from=before))
            if sides[0][before].number != sides[1][place].number:
                steps.append(_Pair(old[before], value, item, here))
        used = set(pairs.values())
        steps += [
            Change("delete", (*path, place), value, MISSING)
            for place, value in enumerate(old)
            if place not in used
        ]
        return steps

    def _item(self, value: Any, kind: str) -> _Item:
        number = self.number(value)
        if not isinstance(value, Mapping):
            shape = "number" if _is_number(value) else type(value).__name__
            return _Item(number, None, "list" if isinstance(value, list | tuple) else shape)
        if kind == "hit":
            document = self._document(value.get("document"))
            return _Item(number, (document, self.number(value.get("text"))), document)
        if kind != "JSON":
            return _Item(number, None, self.number(value.get(_SHAPES[kind])))
        keys = ((key, value[key]) for key in _KEYS if isinstance(value.get(key), str | int))
        key = next(keys, None)
        return _Item(number, key, ("object", key if key and key[0] in _IDS else ""))

    def _document(self, document: Any) -> Hashable:
        named = isinstance(document, Mapping) and (document.get("id") or document.get("label"))
        return named if isinstance(named, str) else self.number(document)


def _of_objects(pair: _Pair) -> list[_Pair | Change]:
    old, new, _, path = pair
    steps: list[_Pair | Change] = []
    for key, value in new.items():
        if key in old:
            steps.append(_Pair(old[key], value, _kind_of_part(pair, key), (*path, key)))
        else:
            steps.append(Change("insert", (*path, key), MISSING, value))
    steps += [
        Change("delete", (*path, key), value, MISSING)
        for key, value in old.items()
        if key not in new
    ]
    return steps


def _aligned(old: Sequence[_Item], new: Sequence[_Item]) -> dict[int, int]:
    """Return which items belong together: place in the new list to place in the old one.

    The same ones first, in order, then anywhere if there is but one; then those with one key;
    then, between two that stayed, those of one shape.
    """
    numbers = [[item.number for item in side] for side in (old, new)]
    stayed = matches(*numbers)
    pairs = {j + n: i + n for i, j, size in stayed for n in range(size)}
    _pair_unique(pairs, *numbers)
    _pair_unique(pairs, [item.key for item in old], [item.key for item in new])
    used = set(pairs.values())
    at_i = at_j = 0
    for i, j, size in [*stayed, (len(old), len(new), 0)]:
        rest_i = [n for n in range(at_i, i) if n not in used]
        rest_j = [n for n in range(at_j, j) if n not in pairs]
        shapes = [old[n].shape for n in rest_i], [new[n].shape for n in rest_j]
        for start_i, start_j, count in matches(*shapes) if all(shapes) else ():
            pairs |= {rest_j[start_j + n]: rest_i[start_i + n] for n in range(count)}
        at_i, at_j = i + size, j + size
    return pairs


def _pair_unique(pairs: dict[int, int], old: Sequence[Hashable], new: Sequence[Hashable]) -> None:
    """Add the pairs of what is left and has a token that is left once on each side."""
    used = set(pairs.values())
    left_old, left_new = (
        [(token, n) for n, token in enumerate(side) if n not in without and token is not None]
        for side, without in ((old, used), (new, pairs))
    )
    counts = [Counter(token for token, _ in side) for side in (left_old, left_new)]
    places = dict(left_old)
    for token, place in left_new:
        if counts[0][token] == 1 == counts[1][token]:
            pairs[place] = places[token]


def _moved(pairs: Mapping[int, int]) -> set[int]:
    """Return the places in the new list of the items that left the order of the others."""
    in_old_order = [place for place, _ in sorted(pairs.items(), key=lambda pair: pair[1])]
    in_new_order = sorted(pairs)
    stayed = matches(in_old_order, in_new_order)
    return set(pairs) - {in_new_order[j + n] for _, j, size in stayed for n in range(size)}


def _has_items(value: object) -> bool:
    return isinstance(value, Mapping | list | tuple)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scalar(value: Any) -> Hashable:
    if _is_number(value):
        return "number", value if value == value else None  # noqa: PLR0124  (NaN differs from itself)
    try:
        hash(value)
    except TypeError:
        return type(value), repr(value)
    return type(value), value


def _has_common_parts(pair: _Pair) -> bool:
    """Return whether it helps to look inside two objects."""
    if pair.kind in MEDIA_TYPES:
        return False
    if pair.kind == "FUNCTION_CALL":
        return bool(pair.old.get("name") == pair.new.get("name"))
    return bool(pair.old.keys() & pair.new.keys()) or pair.path == ()


def _kind_of_part(pair: _Pair, key: str) -> str:
    """Return the kind of the value of `key` in both."""
    if pair.kind == "turn" and key == "content":
        return "typed"
    if pair.kind == "typed" and key == "value":
        kinds = {str(side.get("type")) for side in (pair.old, pair.new)}
        return kinds.pop() if len(kinds) == 1 else "JSON"
    return "JSON"


def _delta(old: float, new: float) -> float | None:
    try:
        return new - old
    except OverflowError:
        return None


def _of_one(change: Change) -> str:
    """Return in words how a value that is compared whole differs."""
    if change.delta is not None:
        numbers = f"{number_text(change.old)} → {number_text(change.new)}"
        return f"{numbers} ({_delta_text(change.delta)})"
    if change.ops:
        counts = [
            f"{sign}{words}"
            for kind, sign in (("insert", "+"), ("delete", "\N{MINUS SIGN}"))
            if (words := sum(len(op.text.split()) for op in change.ops if op.kind == kind))
        ]
        return f"{' '.join(counts)} words" if counts else "only spaces differ"
    return "replaced"


def _counted(found: Difference) -> str:
    """Return how many parts differ, in the words of the type."""
    noun = _NOUNS.get(found.kind)
    fields, differing = found.fields, found.differing
    if noun and isinstance(found.old, list | tuple) and isinstance(found.new, list | tuple):
        parts = {
            (change.kind == "delete" and len(change.path) == 1, change.path[0])
            for change in found.changes
            if change.kind != "move"
        }
        deleted = sum(is_deleted for is_deleted, _ in parts)
        fields, differing = len(found.new) + deleted, len(parts)
    moved = sum(change.kind == "move" for change in found.changes)
    verb = "differs" if differing == 1 else "differ"
    words = [f"{differing:,} of {plural(fields, noun or 'field')} {verb}"] if differing else []
    return ", ".join([*words, *([f"{moved:,} moved"] if moved else [])])


def _row_of(change: Change, kinds: tuple[str, str], roots: tuple[Any, Any]) -> Row:
    """Return `change`, between two roots of these kinds, as a row."""
    kind = kinds[1]
    label = _label(change, kind, roots)
    if change.moved_from is not None:
        text = _text(change, change.new, kind)
        if kind == "SEARCH_RESULTS" and isinstance(change.new, Mapping):
            text = str(change.new.get("text", ""))  # the label has the rest
        glimpse = textwrap.shorten(text[: 4 * _GLIMPSE], _GLIMPSE, placeholder="…") or "…"
        return Row(
            label,
            [Op("equal", glimpse)],
            f"moved from {_place(change.moved_from, change.path, kind)}",
        )
    if change.ops:
        return Row(label, change.ops, "")
    sides = [(change.old, kinds[0]), (change.new, kind)]
    texts = [None if value is MISSING else _text(change, value, type_) for value, type_ in sides]
    if texts[0] == texts[1]:  # the text "3" and the number
        texts = [json_text(change.old), json_text(change.new)]
    ops = [Op("delete", texts[0])] if texts[0] is not None else []
    ops += [Op("insert", texts[1])] if texts[1] is not None else []
    return Row(label, ops, f"by {_delta_text(change.delta)}" if change.delta is not None else "")


def _delta_text(delta: float) -> str:
    """Return by how much a number grew, with its sign.

    >>> _delta_text(0.30000000000000004), _delta_text(2)
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


def _place(place: int, path: Path, kind: str) -> str:
    """Return where an item was before it moved."""
    noun = _NOUNS.get(kind) if len(path) == 1 else None
    return f"{noun} {place + 1}" if noun else f"[{place}]"


def _label(change: Change, kind: str, roots: tuple[Any, Any]) -> str:
    path = change.path
    noun = _NOUNS.get(kind)
    if not noun or not path or not isinstance(path[0], int):
        return _path_text(path)
    root = roots[0 if change.kind == "delete" and len(path) == 1 else 1]
    name = _name(root[path[0]], kind)
    rest = [part for part in path[1:] if part != "content" or kind != "CHAT_HISTORY"]
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
            text += f'["{cut(part, _LABEL)}"]'
    return text

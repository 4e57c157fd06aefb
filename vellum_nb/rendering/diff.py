"""How one value differs from another, by Vellum's types; as rows for people, HTML and Markdown."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, NamedTuple

from vellum_nb.models.media import MEDIA_TYPES
from vellum_nb.rendering.format import cut, markdown_code, plural, printable
from vellum_nb.rendering.values import json_text, number_text, same_value, value_key, value_text

# Words with their accents; numbers and contractions stay whole; scripts written without spaces go
# by character.
_WORD = re.compile(
    r"\s+|\d+(?:[.,]\d+)*"
    r"|[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
    r"|[^\W_]\w*(?:['\u2019]\w+)*[\u0300-\u036f\w]*"
    r"|\S"
)
_MOST_PAIRS = 100_000_000  # pairs of tokens compared: about 20 ms, 15 MB
_AT_MOST = 10_000  # tokens of each side that are compared where there would be more pairs
_UNLIKE = 0.25  # texts that share less than this are shown as one replacement
_ISLAND = 100  # characters; longer equal pieces are never merged into a change
_LONG_WORD = 200  # characters; of such a word only the middle that differs is marked

_AROUND = 3  # lines shown on each side of what is folded
_NEAR = 200  # characters, where there are no lines
_FOLD = 1_200  # characters; an equal piece with more is folded
_MOST = 20_000  # characters shown of one piece that changed
_TOTAL = 100_000  # characters shown of all pieces together
_MARKS = {"equal": ("", ""), "delete": ("[-", "-]"), "insert": ("{+", "+}")}

_ROWS = 100  # rows shown as HTML
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

Block = tuple[str, str, str]  # equal text, or deleted and inserted text
Path = tuple[str | int, ...]


class Op(NamedTuple):
    """One piece of a difference: `insert` is only in the new text, `delete` only in the old."""

    kind: Literal["equal", "insert", "delete"]
    text: str


def word_diff(a: str, b: str) -> list[Op]:
    """Return how `b` differs from `a`, line by line and then word by word.

    The equal and deleted pieces joined give `a`, the equal and inserted ones `b`. Where the two
    have little in common the result is one replacement rather than confetti.

    >>> [(op.kind, op.text) for op in word_diff("charged twice", "charged once")]
    [('equal', 'charged '), ('delete', 'twice'), ('insert', 'once')]
    """
    if a == b:
        return [Op("equal", a)] if a else []
    blocks: list[Block] = []
    for block in _blocks(a.splitlines(keepends=True), b.splitlines(keepends=True)):
        blocks += [block] if block[0] else _words(block[1], block[2])
    ops: list[Op] = []
    for equal, old, new in _joined(blocks):
        head, tail = _shared_ends(old, new)
        ends = len(old) - tail, len(new) - tail
        pieces = (Op("equal", equal + old[:head]), Op("delete", old[head : ends[0]]))
        for op in (*pieces, Op("insert", new[head : ends[1]]), Op("equal", old[ends[0] :])):
            if op.text and ops and ops[-1].kind == op.kind:
                ops[-1] = Op(op.kind, ops[-1].text + op.text)
            elif op.text:
                ops.append(op)
    return ops


def matches(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[tuple[int, int, int]]:
    """Return the common parts of `a` and `b` in order: start in `a`, start in `b`, length.

    The longest common subsequence, in bits; of very long sequences only what they share at both
    ends, and between those only the head.

    >>> matches(["a", "b", "c"], ["a", "x", "c"])
    [(0, 0, 1), (2, 2, 1)]
    """
    from rapidfuzz.distance import LCSseq

    least = min(len(a), len(b))
    head = next((n for n in range(least) if a[n] != b[n]), least)
    tail = next((n for n in range(least - head) if a[-1 - n] != b[-1 - n]), least - head)
    middle_a, middle_b = a[head : len(a) - tail], b[head : len(b) - tail]
    if len(middle_a) * len(middle_b) > _MOST_PAIRS:
        middle_a, middle_b = middle_a[:_AT_MOST], middle_b[:_AT_MOST]
    found = [(0, 0, head)]
    if middle_a and middle_b:
        # rapidfuzz compares hashes: what it calls equal is compared once more.
        found += [
            (head + at.a, head + at.b, at.size)
            for at in LCSseq.editops(middle_a, middle_b).as_matching_blocks()
            if middle_a[at.a : at.a + at.size] == middle_b[at.b : at.b + at.size]
        ]
    found.append((len(a) - tail, len(b) - tail, tail))
    return [match for match in found if match[2]]


def _blocks(a: Sequence[str], b: Sequence[str]) -> list[Block]:
    """Return what is equal and what differs, token by token, in turn."""
    blocks: list[Block] = []
    at_a = at_b = 0
    for i, j, size in [*matches(a, b), (len(a), len(b), 0)]:
        blocks.append(("", "".join(a[at_a:i]), "".join(b[at_b:j])))
        at_a, at_b = i + size, j + size
        blocks.append(("".join(a[i:at_a]), "", ""))
    return _joined(blocks)


def _joined(blocks: Iterable[Block]) -> list[Block]:
    """Join neighbours, so that equal text and changes alternate."""
    joined: list[Block] = []
    for block in blocks:
        if joined and bool(joined[-1][0]) == bool(block[0]):
            equal, old, new = joined[-1]
            joined[-1] = (equal + block[0], old + block[1], new + block[2])
        elif any(block):
            joined.append(block)
    return joined


def _words(old: str, new: str) -> list[Block]:
    """Return the difference of two changed blocks of lines, word by word."""
    if not old or not new:
        return [("", old, new)]
    blocks = _blocks(_WORD.findall(old), _WORD.findall(new))
    merged: list[Block] = []
    for block in blocks:
        joined = block
        while not block[0] and len(merged) > 1 and _is_island(merged[-1][0], merged[-2], joined):
            island, before = merged.pop()[0], merged.pop()
            joined = ("", before[1] + island + joined[1], before[2] + island + joined[2])
        merged.append(joined)
    shared = _weight("".join(block[0] for block in merged))
    if shared >= _UNLIKE * min(_weight(old), _weight(new)):
        return merged
    # One replacement between the words with which both texts begin and end.
    head, tail = (
        end if any(map(str.isalnum, end)) else "" for end in (blocks[0][0], blocks[-1][0])
    )
    if min(len(old), len(new)) < len(head) + len(tail):
        tail = ""
    changed = [text[len(head) : len(text) - len(tail)] for text in (old, new)]
    return [(head, "", ""), ("", changed[0], changed[1]), (tail, "", "")]


def _weight(text: str) -> int:
    """Return how many characters of `text` are visible."""
    return sum(map(len, text.split()))


def _is_island(island: str, before: Block, after: Block) -> bool:
    """Return whether equal text is small beside the changes before and after it."""
    if len(island) > _ISLAND or "\n" in island:
        return False
    least = 2 * len(island.strip())
    if not least:
        # A space between two replaced words; between two mere insertions it separates them.
        return all(old or more for old, more in zip(before[1:], after[1:], strict=True))
    return all(max(map(len, change[1:])) >= least for change in (before, after))


def _shared_ends(old: str, new: str) -> tuple[int, int]:
    """Return how many characters both sides of a change begin and end with, and need no mark.

    These are spaces; of one very long word all letters.
    """
    from rapidfuzz.distance import Postfix, Prefix

    head = Prefix.similarity(old, new)
    tail = Postfix.similarity(old[head:], new[head:])
    is_long = min(len(old), len(new)) >= _LONG_WORD
    if is_long and all(len(text.split(maxsplit=1)) == 1 for text in (old, new)):
        return head, tail
    head = min(head, len(old) - len(old.lstrip()))
    return head, min(tail, len(old) - head - len(old[head:].rstrip()))


def diff_html(ops: Iterable[Op], *, fold: int = 0) -> str:
    """Return `ops` as escaped HTML with ``ins`` and ``del`` elements.

    The plus and minus marks are part of the text, so that the difference reads without any style.
    Equal pieces of more than `fold` characters are folded; 0: none.

    >>> diff_html([Op("insert", "<b>")])
    '<ins class="vnb-ins"><b class="vnb-mark">+</b><span>&lt;b&gt;</span></ins>'
    """
    pieces, parts, room = list(ops), list[str](), _TOTAL
    last = len(pieces) - 1
    for place, op in enumerate(pieces):
        if op.kind == "insert" and place and pieces[place - 1].kind == "delete":
            parts.append(" ")  # so that the two are not read as one word
        head, gap, tail = op.text, "", ""
        if fold:
            head, gap, tail = _folded(op, fold, first=place == 0, last=place == last)
        html = escape(head) + (_aside(gap) if gap else "") + escape(tail)
        if op.kind != "equal":
            tag, mark = ("ins", "+") if op.kind == "insert" else ("del", "\N{MINUS SIGN}")
            mark = f'<b class="vnb-mark">{mark}</b>'
            html = f'<{tag} class="vnb-{tag}">{mark}<span>{html}</span></{tag}>'
        parts.append(html)
        room -= len(head) + len(tail)
        if fold and room < 0 and place < last:
            parts.append(_aside(f" … {last - place:,} pieces more"))
            break
    return "".join(parts)


def _aside(text: str) -> str:
    return f'<span class="vnb-quiet vnb-fold">{text}</span>'


def _folded(op: Op, limit: int, *, first: bool, last: bool) -> tuple[str, str, str]:
    """Return the beginning of a piece, what says how much is left out, and its end."""
    text = op.text
    if len(text) <= (limit if op.kind == "equal" else _MOST):
        return text, "", ""
    if op.kind != "equal":
        return text[:_MOST], f" … {len(text) - _MOST:,} characters more ", ""
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
    return head, f" … {size} the same … ", end + tail


MISSING: Any = object()
"""Stands for a value that is not there at all; null is there."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing in which two values differ; `path` is in the new value, of a deletion in the old.

    A `move` is an item of a list that stood at `moved_from`; changes inside it are separate. A
    value that is not there is `MISSING`.
    """

    kind: Literal["insert", "delete", "change", "move"]
    path: Path
    old: Any
    new: Any
    moved_from: int | None = None

    @property
    def growth(self) -> str:
        """By how much a number grew, with its sign; empty where it is no number."""
        if not (_is_number(self.old) and _is_number(self.new)):
            return ""
        try:
            delta = self.new - self.old
            return f"{'+' if delta > 0 else chr(0x2212)}{abs(delta):.6g}"
        except OverflowError:
            return ""


class Row(NamedTuple):
    """One change for people: where it is, what differs, by how much a number grew."""

    label: str
    ops: Sequence[Op]
    remark: str = ""

    def to_html(self) -> str:
        """Return the row as escaped HTML."""
        label = f'<span class="vnb-key">{escape(self.label)}</span>: ' if self.label else ""
        remark = ""
        if self.remark:
            remark = f'<span class="vnb-quiet vnb-number"> {escape(self.remark)}</span>'
        pieces = diff_html(self.ops, fold=_FOLD)
        return f'<pre class="vnb-text vnb-change">{label}{pieces}{remark}</pre>'

    def to_text(self) -> str:
        """Return the row as plain text."""
        return self._marked(printable(self.label), printable(self._pieces))

    def to_markdown(self) -> str:
        """Return the row as Markdown."""
        return self._marked(self.label and markdown_code(self.label), markdown_code(self._pieces))

    @property
    def _pieces(self) -> str:
        return "".join(f"{_MARKS[op.kind][0]}{op.text}{_MARKS[op.kind][1]}" for op in self.ops)

    def _marked(self, label: str, pieces: str) -> str:
        return f"{f'{label}: ' if label else ''}{pieces}{f' {self.remark}' if self.remark else ''}"


@dataclass(frozen=True, slots=True)
class Difference:
    """How a new value differs from an old one: `changes` are in the order of the new value.

    `kind` and `old_kind` are Vellum's types of the two.
    """

    old: Any
    new: Any
    kind: str
    old_kind: str
    changes: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.changes)

    @property
    def differing(self) -> tuple[int, int]:
        """How many scalars differ, of how many that the two values have, each counted once."""
        fields, differing = _fields(self.new), 0
        for change in self.changes:
            if change.kind != "move":
                old, new = _fields(change.old), _fields(change.new)
                fields += max(old, new) - new
                differing += max(old, new)
        return differing, fields

    @property
    def summary(self) -> str:
        """The difference in one line, such as "3 of 12 fields differ"."""
        if not self.changes:
            return "same"
        if self.old is MISSING or self.new is MISSING:
            return "new" if self.old is MISSING else "missing"
        if "ERROR" in {self.kind, self.old_kind} and self.kind != self.old_kind:
            return "an error instead of an answer" if self.kind == "ERROR" else "no error any more"
        if self.changes[0].path == ():
            return _of_one(self.changes[0])
        noun = _NOUNS.get(self.kind, "field")
        differing, fields = self.differing
        if noun != "field" and isinstance(self.old, list) and isinstance(self.new, list):
            parts = {
                (change.kind == "delete" and len(change.path) == 1, change.path[0])
                for change in self.changes
                if change.kind != "move"
            }
            differing, fields = len(parts), len(self.new) + sum(deleted for deleted, _ in parts)
        moved = sum(change.kind == "move" for change in self.changes)
        verb = "differs" if differing == 1 else "differ"
        words = [f"{differing:,} of {plural(fields, noun)} {verb}"] if differing else []
        return ", ".join([*words, *([f"{moved:,} moved"] if moved else [])])

    @property
    def is_marked_whole(self) -> bool:
        """Whether `to_html` shows the whole new value, marked, and not a list of its changes."""
        if self.kind in MEDIA_TYPES:
            return False
        return self._is_one_line() or any(change.path == () for change in self.changes)

    def rows(self, limit: int | None = None) -> list[Row]:
        """Return the changes, or the first `limit`, for people."""
        if self._is_one_line():
            return [Row("", word_diff(json_text(self.old), json_text(self.new)))]
        return [_row_of(self, change) for change in self.changes[:limit]]

    def _is_one_line(self) -> bool:
        """Return whether the whole value, marked, reads better than a list of changes."""
        if not self.changes or self.changes[0].path == () or self.kind in _TYPED:
            return False
        texts = (json_text(self.old), json_text(self.new))
        are_short = all("\n" not in text and text[:1] in "[{" for text in texts)
        return are_short and not any(change.kind == "move" for change in self.changes)

    def to_html(self) -> str:
        """Return the changes as escaped HTML; long pieces are folded, and say so."""
        html = "".join(row.to_html() for row in self.rows(_ROWS))
        rest = max(0, len(self.changes) - _ROWS)
        return html + (f'<p class="vnb-note">… {rest:,} changes more</p>' if rest else "")

    def to_text(self) -> str:
        """Return the changes as plain text, whole."""
        return "\n".join(row.to_text() for row in self.rows())

    def to_markdown(self) -> str:
        """Return the changes as Markdown that may stand in a table's cell, whole."""
        return "<br>".join(row.to_markdown() for row in self.rows())

    def __repr__(self) -> str:
        return f"<Difference {self.kind}: {self.summary}>"


def difference(old: Any, new: Any, kind: str, *, old_kind: str | None = None) -> Difference:
    """Return how `new` differs from `old`.

    Text is compared word by word, JSON by path (the order of keys does not matter, items of a list
    may move), a chat by its turns, numbers by how much they grew, a function call by its name and
    arguments, search results by document, media by what they refer to.

    >>> difference({"n": 1, "tags": ["a", "b"]}, {"tags": ["b"], "n": 1.0}, "JSON")
    <Difference JSON: 1 of 3 fields differs>
    """
    old_kind = old_kind or kind
    whole: Literal["insert", "delete", "change"] = "change"
    if old is MISSING or new is MISSING:
        whole = "insert" if old is MISSING else "delete"
    changes = [Change(whole, (), old, new)]
    if same_value(old, new):
        changes = []
    elif whole == "change" and (kind == old_kind or "ERROR" not in {kind, old_kind}):
        with suppress(RecursionError):  # a thousand levels deep: shown as replaced
            changes = list(_changes(old, new, kind if kind == old_kind else "JSON", ()))
    return Difference(old, new, kind, old_kind, tuple(changes))


def _changes(old: Any, new: Any, kind: str, path: Path) -> Iterator[Change]:
    """Yield the changes in the order of the new value, deletions last in each part."""
    if isinstance(old, Mapping) and isinstance(new, Mapping) and _share_parts(old, new, kind, path):
        for key, value in new.items():
            if key in old:
                part = _kind_of_part(old, new, kind, key)
                yield from _changes(old[key], value, part, (*path, key))
            else:
                yield Change("insert", (*path, key), MISSING, value)
        for key, value in old.items():
            if key not in new:
                yield Change("delete", (*path, key), value, MISSING)
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple):
        yield from _list_changes(old, new, _ITEM.get(kind, "JSON"), path)
    elif not same_value(old, new):
        yield Change("change", path, old, new)


def _share_parts(old: Mapping[str, Any], new: Mapping[str, Any], kind: str, path: Path) -> bool:
    """Return whether it helps to look inside two objects."""
    if kind in MEDIA_TYPES:
        return False
    if kind == "FUNCTION_CALL":
        return bool(old.get("name") == new.get("name"))
    return bool(old.keys() & new.keys()) or path == ()


def _kind_of_part(old: Mapping[str, Any], new: Mapping[str, Any], kind: str, key: str) -> str:
    """Return the kind of the value of `key` in both."""
    if kind == "turn" and key == "content":
        return "typed"
    types = {str(side.get("type")) for side in (old, new)}
    return types.pop() if kind == "typed" and key == "value" and len(types) == 1 else "JSON"


class _Item(NamedTuple):
    """An item of a list.

    Items about the same thing share `key`; of one `shape` one may have become the other.
    """

    value: str
    key: Hashable
    shape: Hashable


def _list_changes(
    old: Sequence[Any], new: Sequence[Any], kind: str, path: Path
) -> Iterator[Change]:
    sides = [[_item(value, kind) for value in side] for side in (old, new)]
    pairs = _aligned(*sides)
    in_old_order = [place for place, _ in sorted(pairs.items(), key=lambda pair: pair[1])]
    in_new_order = sorted(pairs)
    stayed = matches(in_old_order, in_new_order)
    moved = pairs.keys() - {in_new_order[j + n] for _, j, size in stayed for n in range(size)}
    for place, value in enumerate(new):
        here = (*path, place)
        if place not in pairs:
            yield Change("insert", here, MISSING, value)
            continue
        before = pairs[place]
        if place in moved:
            yield Change("move", here, old[before], value, moved_from=before)
        if sides[0][before].value != sides[1][place].value:
            yield from _changes(old[before], value, kind, here)
    used = set(pairs.values())
    for place, value in enumerate(old):
        if place not in used:
            yield Change("delete", (*path, place), value, MISSING)


def _item(value: Any, kind: str) -> _Item:
    text = value_key(value)
    if not isinstance(value, Mapping):
        return _Item(text, None, "number" if _is_number(value) else type(value).__name__)
    if kind == "hit":
        document = value.get("document")
        named = isinstance(document, Mapping) and (document.get("id") or document.get("label"))
        name = named if isinstance(named, str) else value_key(document)
        return _Item(text, (name, value_key(value.get("text"))), name)
    if kind != "JSON":
        return _Item(text, None, value_key(value.get(_SHAPES[kind])))
    keys = ((key, value[key]) for key in _KEYS if isinstance(value.get(key), str | int))
    key = next(keys, None)
    return _Item(text, key, ("object", key if key and key[0] in _IDS else ""))


def _aligned(old: Sequence[_Item], new: Sequence[_Item]) -> dict[int, int]:
    """Return which items belong together: place in the new list to place in the old one.

    The same ones first, in order, then anywhere if there is but one; then those with one key;
    then, between two that stayed, those of one shape.
    """
    values = [[item.value for item in side] for side in (old, new)]
    stayed = matches(*values)
    pairs = {j + n: i + n for i, j, size in stayed for n in range(size)}
    _pair_unique(pairs, *values)
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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fields(value: Any) -> int:
    """Return how many scalars `value` holds; what is empty counts as one, what is missing 0."""
    count, stack = 0, [] if value is MISSING else [value]
    while stack:
        top = stack.pop()
        inner = list(top.values()) if isinstance(top, Mapping) else top
        if isinstance(inner, list | tuple) and inner:
            stack.extend(inner)
        else:
            count += 1
    return count


def _of_one(change: Change) -> str:
    """Return in words how a value that is compared whole differs."""
    if change.growth:
        return f"{number_text(change.old)} → {number_text(change.new)} ({change.growth})"
    if not (isinstance(change.old, str) and isinstance(change.new, str)):
        return "replaced"
    ops = word_diff(change.old, change.new)
    counts = [
        f"{sign}{words}"
        for kind, sign in (("insert", "+"), ("delete", "\N{MINUS SIGN}"))
        if (words := sum(len(op.text.split()) for op in ops if op.kind == kind))
    ]
    return f"{' '.join(counts)} words" if counts else "only spaces differ"


def _row_of(found: Difference, change: Change) -> Row:
    """Return a change of a difference as a row."""
    kind = found.kind
    label = _label(found, change)
    if change.moved_from is not None:
        text = _text(change, change.new, kind)
        if kind == "SEARCH_RESULTS" and isinstance(change.new, Mapping):
            text = str(change.new.get("text", ""))  # the label has the rest
        glimpse = textwrap.shorten(text[: 4 * _GLIMPSE], _GLIMPSE, placeholder="…") or "…"
        noun = _NOUNS.get(kind) if len(change.path) == 1 else None
        place = f"{noun} {change.moved_from + 1}" if noun else f"[{change.moved_from}]"
        return Row(label, [Op("equal", glimpse)], f"moved from {place}")
    if isinstance(change.old, str) and isinstance(change.new, str):
        return Row(label, word_diff(change.old, change.new))
    sides = [(change.old, found.old_kind), (change.new, kind)]
    texts = [None if value is MISSING else _text(change, value, type_) for value, type_ in sides]
    if texts[0] == texts[1]:  # the text "3" and the number
        texts = [json_text(change.old), json_text(change.new)]
    ops = [Op("delete", texts[0])] if texts[0] is not None else []
    ops += [Op("insert", texts[1])] if texts[1] is not None else []
    return Row(label, ops, f"by {change.growth}" if change.growth else "")


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


def _label(found: Difference, change: Change) -> str:
    path, kind = change.path, found.kind
    noun = _NOUNS.get(kind)
    if not noun or not path or not isinstance(path[0], int):
        return _path_text(path)
    root = found.old if change.kind == "delete" and len(path) == 1 else found.new
    item, name = root[path[0]], ""
    if isinstance(item, Mapping) and kind == "CHAT_HISTORY":
        name = f" {str(item.get('role', '?'))[:_LABEL]}"
    elif isinstance(item, Mapping) and kind == "SEARCH_RESULTS":
        document = item.get("document")
        document = document.get("label") if isinstance(document, Mapping) else document
        name = f" ({str(document)[:_LABEL]})" if document else ""
    rest = [part for part in path[1:] if part != "content" or kind != "CHAT_HISTORY"]
    if rest and rest[0] in {_OWN[kind], "value"}:
        rest = rest[1:]
    return f"{noun} {path[0] + 1}{name}{f' {_path_text(rest)}' if rest else ''}"


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

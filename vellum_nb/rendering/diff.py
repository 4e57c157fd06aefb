"""How one value differs from another, by Vellum's types; as rows for people, HTML and Markdown."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from itertools import groupby, zip_longest
from typing import Any, Literal, NamedTuple

from vellum_nb.escaping import printable, printed
from vellum_nb.models import Run
from vellum_nb.models.media import MEDIA_TYPES
from vellum_nb.models.types import value_type
from vellum_nb.rendering.format import (
    cut,
    duration,
    json_text,
    markdown_code,
    number_text,
    output_kind,
    plain_text,
    plural,
    same_value,
    value_key,
    value_text,
)

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
_TOTAL = 100_000  # characters of HTML of all pieces together
_MARKS = {"equal": ("", ""), "delete": ("[-", "-]"), "insert": ("{+", "+}")}

_ROWS = 100  # rows shown as HTML
_KEYS = ("id", "key", "name", "label")  # what an item of a list is often known by
_IDS = ("id", "key")  # what has another one of these is another thing
_SHAPES = {"turn": "role", "typed": "type"}  # what distinguishes the items of a kind
_PLAIN = re.compile(r"[^\W\d][\w-]*\Z")
_GLIMPSE = 80  # characters of an item that moved
_LABEL = 60  # characters of a role or a document's name
_PATH = 200  # characters of a path

Path = tuple[str | int, ...]


class Block(NamedTuple):
    """Equal text, or deleted and inserted text."""

    equal: str
    old: str
    new: str


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
    blocks: list[Block] = []
    for block in _blocks(a.splitlines(keepends=True), b.splitlines(keepends=True)):
        blocks += [block] if block.equal else _words(block.old, block.new)
    ops: list[Op] = []
    for equal, old, new in _joined(blocks):
        head, tail = _shared_ends(old, new)
        end = len(old) - tail
        ops += [Op("equal", equal + old[:head]), Op("delete", old[head:end])]
        ops += [Op("insert", new[head : len(new) - tail]), Op("equal", old[end:])]
    groups = groupby((op for op in ops if op.text), key=lambda op: op.kind)
    return [Op(kind, "".join(op.text for op in group)) for kind, group in groups]


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
    # rapidfuzz compares hashes: what it calls equal is compared once more.
    found = [
        (head + at.a, head + at.b, at.size)
        for at in LCSseq.editops(middle_a, middle_b).as_matching_blocks()
        if middle_a[at.a : at.a + at.size] == middle_b[at.b : at.b + at.size]
    ]
    ends = (0, 0, head), (len(a) - tail, len(b) - tail, tail)
    return [match for match in (ends[0], *found, ends[1]) if match[2]]


def _blocks(a: Sequence[str], b: Sequence[str]) -> list[Block]:
    """Return what is equal and what differs, token by token, in turn."""
    blocks: list[Block] = []
    at_a = at_b = 0
    for i, j, size in [*matches(a, b), (len(a), len(b), 0)]:
        blocks.append(Block("", "".join(a[at_a:i]), "".join(b[at_b:j])))
        at_a, at_b = i + size, j + size
        blocks.append(Block("".join(a[i:at_a]), "", ""))
    return _joined(blocks)


def _joined(blocks: Iterable[Block]) -> list[Block]:
    """Join neighbours, so that equal text and changes alternate."""
    groups = groupby(filter(any, blocks), key=lambda block: bool(block.equal))
    return [Block(*map("".join, zip(*group, strict=True))) for _, group in groups]


def _words(old: str, new: str) -> list[Block]:
    """Return the difference of two changed blocks of lines, word by word."""
    if not old or not new:
        return [Block("", old, new)]
    blocks = _blocks(_WORD.findall(old), _WORD.findall(new))
    merged: list[Block] = []
    for block in blocks:
        last = block
        while not last.equal and len(merged) > 1 and _is_island(merged[-1].equal, merged[-2], last):
            island, before = merged.pop().equal, merged.pop()
            last = Block("", before.old + island + last.old, before.new + island + last.new)
        merged.append(last)
    texts = ("".join(each.equal for each in merged), old, new)
    shared, *visible = (sum(map(len, text.split())) for text in texts)
    if shared >= _UNLIKE * min(visible):
        return merged
    # One replacement between the words with which both texts begin and end.
    head = [each for each in blocks[:1] if any(map(str.isalnum, each.equal))]
    tail = [each for each in blocks[1:][-1:] if any(map(str.isalnum, each.equal))]
    middle = blocks[len(head) : len(blocks) - len(tail)]
    sides = [(each.equal + each.old, each.equal + each.new) for each in middle]
    return [*head, Block("", *map("".join, zip(*sides, strict=True))), *tail]


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
        html = _folded(op, fold, first=place == 0, last=place == last) if fold else escape(op.text)
        if op.kind != "equal":
            tag, mark = ("ins", "+") if op.kind == "insert" else ("del", "\N{MINUS SIGN}")
            mark = f'<b class="vnb-mark">{mark}</b>'
            html = f'<{tag} class="vnb-{tag}">{mark}<span>{html}</span></{tag}>'
        parts.append(html)
        room -= len(html)
        if fold and room < 0 and place < last:
            parts.append(_aside(f" … {last - place:,} pieces more"))
            break
    return "".join(parts)


def _aside(text: str) -> str:
    return f'<span class="vnb-quiet vnb-fold">{text}</span>'


def _folded(op: Op, limit: int, *, first: bool, last: bool) -> str:
    """Return a piece as HTML: where it is long its ends, and how much is left out between."""
    text = op.text
    if op.kind != "equal":
        more = f" … {len(text) - _MOST:,} characters more "
        return escape(text[:_MOST]) + (_aside(more) if len(text) > _MOST else "")
    if len(text) <= limit:
        return escape(text)
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
    return escape(head) + _aside(f" … {size} the same … ") + end + escape(tail)


MISSING: Any = object()
"""Stands for a value that is not there at all; null is there."""


class Change(NamedTuple):
    """One thing in which two values differ; `path` is in the new value, of a deletion in the old.

    A `move` is an item of a list that stood at `moved_from`; changes inside it are separate. A
    value that is not there is `MISSING`.
    """

    kind: Literal["insert", "delete", "change", "move"]
    path: Path
    old: Any
    new: Any
    moved_from: int = 0


class Row(NamedTuple):
    """One change for people: where it is, what differs, by how much a number grew."""

    label: str
    ops: Sequence[Op]
    remark: str = ""

    def to_html(self) -> str:
        """Return the row as escaped HTML."""
        label = f'<span class="vnb-key">{escape(self.label)}</span>: ' if self.label else ""
        remark = f'<span class="vnb-quiet vnb-number"> {escape(self.remark)}</span>'
        pieces = diff_html(self.ops, fold=_FOLD) + (remark if self.remark else "")
        return f'<pre class="vnb-text vnb-change">{label}{pieces}</pre>'

    def to_text(self) -> str:
        """Return the row as plain text."""
        return self._marked(printable)

    def to_markdown(self) -> str:
        """Return the row as Markdown."""
        return self._marked(markdown_code)

    def _marked(self, quote: Callable[[str], str]) -> str:
        pieces = "".join(text.join(_MARKS[kind]) for kind, text in self.ops)
        label = f"{quote(self.label)}: " if self.label else ""
        return f"{label}{quote(pieces)}{f' {self.remark}' if self.remark else ''}"


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
        noun = value_type(self.kind).part_noun or "field"
        changes = [change for change in self.changes if change.kind != "move"]
        if noun != "field" and isinstance(self.old, list) and isinstance(self.new, list):
            parts = {
                (each.kind == "delete" and len(each.path) == 1, each.path[0]) for each in changes
            }
            differing, fields = len(parts), len(self.new) + sum(deleted for deleted, _ in parts)
        else:
            sizes = [(_fields(change.old), _fields(change.new)) for change in changes]
            differing = sum(map(max, sizes))
            fields = _fields(self.new) + differing - sum(new for _, new in sizes)
        moved = len(self.changes) - len(changes)
        verb = "differs" if differing == 1 else "differ"
        words = [f"{differing:,} of {plural(fields, noun)} {verb}"] if differing else []
        return ", ".join([*words, *([f"{moved:,} moved"] if moved else [])])

    @property
    def is_marked_whole(self) -> bool:
        """Whether `to_html` shows the whole new value, marked, and not a list of its changes."""
        is_whole = self._is_one_line() or any(change.path == () for change in self.changes)
        return is_whole and self.kind not in MEDIA_TYPES

    def rows(self, limit: int | None = None) -> list[Row]:
        """Return the changes, or the first `limit`, for people."""
        if self._is_one_line():
            return [Row("", word_diff(json_text(self.old), json_text(self.new)))]
        return [_row_of(self, change) for change in self.changes[:limit]]

    def _is_one_line(self) -> bool:
        """Return whether the whole value, marked, reads better than a list of changes."""
        if not self.changes or self.changes[0].path == () or value_type(self.kind).has_parts:
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
        """Return all changes as Markdown that fits into a cell of a table."""
        return "<br>".join(row.to_markdown() for row in self.rows())

    @printed
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
    changes = [] if same_value(old, new) else [Change(whole, (), old, new)]
    if changes and whole == "change" and (kind == old_kind or "ERROR" not in {kind, old_kind}):
        with suppress(RecursionError):  # a thousand levels deep: shown as replaced
            changes = list(_changes(old, new, kind if kind == old_kind else "JSON", ()))
    return Difference(old, new, kind, old_kind, tuple(changes))


def _changes(old: Any, new: Any, kind: str, path: Path) -> Iterator[Change]:
    """Yield the changes in the order of the new value, deletions last in each part."""
    if isinstance(old, Mapping) and isinstance(new, Mapping) and _share_parts(old, new, kind, path):
        types = {str(side.get("type")) for side in (old, new)}
        inner = types.pop() if len(types) == 1 else "JSON"
        kinds = {"turn": {"content": "typed"}, "typed": {"value": inner}}.get(kind, {})
        for key, value in new.items():
            if key in old:
                yield from _changes(old[key], value, kinds.get(key, "JSON"), (*path, key))
            else:
                yield Change("insert", (*path, key), MISSING, value)
        for key, value in old.items():
            if key not in new:
                yield Change("delete", (*path, key), value, MISSING)
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple):
        yield from _list_changes(old, new, value_type(kind).part, path)
    elif not same_value(old, new):
        yield Change("change", path, old, new)


def _share_parts(old: Mapping[str, Any], new: Mapping[str, Any], kind: str, path: Path) -> bool:
    """Return whether it helps to look inside two objects."""
    if kind == "FUNCTION_CALL":
        return bool(old.get("name") == new.get("name"))
    return kind not in MEDIA_TYPES and (bool(old.keys() & new.keys()) or path == ())


def _list_changes(
    old: Sequence[Any], new: Sequence[Any], kind: str, path: Path
) -> Iterator[Change]:
    pairs = _aligned(old, new, kind)
    before = [pairs[place] for place in sorted(pairs)]
    in_order = matches(sorted(before), before)
    stayed = {before[j + n] for _, j, size in in_order for n in range(size)}
    for place, value in enumerate(new):
        here = (*path, place)
        if place not in pairs:
            yield Change("insert", here, MISSING, value)
            continue
        if pairs[place] not in stayed:
            yield Change("move", here, old[pairs[place]], value, pairs[place])
        if not same_value(old[pairs[place]], value):
            yield from _changes(old[pairs[place]], value, kind, here)
    for place in sorted(set(range(len(old))).difference(before)):
        yield Change("delete", (*path, place), old[place], MISSING)


def _aligned(old: Sequence[Any], new: Sequence[Any], kind: str) -> dict[int, int]:
    """Return which items belong together: place in the new list to place in the old one.

    The same ones first, in order, then anywhere if there is but one; then those with one key;
    then, between two that stayed, those of one shape.
    """
    values = [list(map(value_key, side)) for side in (old, new)]
    known = [[_key_and_shape(value, kind) for value in side] for side in (old, new)]
    stayed = matches(*values)
    pairs = {j + n: i + n for i, j, size in stayed for n in range(size)}
    _pair_unique(pairs, *values)
    _pair_unique(pairs, *([key for key, _ in side] for side in known))
    used = set(pairs.values())
    at_i = at_j = 0
    for i, j, size in [*stayed, (len(old), len(new), 0)]:
        rest_i = [n for n in range(at_i, i) if n not in used]
        rest_j = [n for n in range(at_j, j) if n not in pairs]
        shapes = [known[0][n][1] for n in rest_i], [known[1][n][1] for n in rest_j]
        for start_i, start_j, count in matches(*shapes):
            pairs |= {rest_j[start_j + n]: rest_i[start_i + n] for n in range(count)}
        at_i, at_j = i + size, j + size
    return pairs


def _key_and_shape(value: Any, kind: str) -> tuple[Hashable, Hashable]:
    """Return what items about the same thing share, and those of which one may become another."""
    if not isinstance(value, Mapping):
        return None, "number" if _is_number(value) else type(value).__name__
    if kind == "hit":
        document = value.get("document")
        named = isinstance(document, Mapping) and (document.get("id") or document.get("label"))
        name = named if isinstance(named, str) else value_key(document)
        return (name, value_key(value.get("text"))), name
    if kind != "JSON":
        return None, value_key(value.get(_SHAPES[kind]))
    keys = ((key, value[key]) for key in _KEYS if isinstance(value.get(key), str | int))
    key = next(keys, None)
    return key, ("object", key if key and key[0] in _IDS else "")


def _pair_unique(pairs: dict[int, int], old: Sequence[Hashable], new: Sequence[Hashable]) -> None:
    """Add the pairs of what is left and has a token that is left once on each side."""
    places = []
    for side, paired in ((old, set(pairs.values())), (new, set(pairs))):
        left = [(each, at) for at, each in enumerate(side) if at not in paired and each is not None]
        counts = Counter(each for each, _ in left)
        places.append({each: at for each, at in left if counts[each] == 1})
    pairs |= {places[1][each]: places[0][each] for each in places[1].keys() & places[0].keys()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _growth(change: Change) -> str:
    """Return by how much a number grew, with its sign; nothing where it is no number."""
    if not (_is_number(change.old) and _is_number(change.new)):
        return ""
    try:
        delta = change.new - change.old
        return f"{'+' if delta > 0 else chr(0x2212)}{abs(delta):.6g}"
    except OverflowError:
        return ""


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
    if growth := _growth(change):
        return f"{number_text(change.old)} → {number_text(change.new)} ({growth})"
    if not (isinstance(change.old, str) and isinstance(change.new, str)):
        return "replaced"
    words: Counter[str] = Counter()
    for kind, text in word_diff(change.old, change.new):
        words[kind] += len(text.split())
    marks = {"insert": "+", "delete": "\N{MINUS SIGN}"}
    counts = [f"{mark}{words[kind]}" for kind, mark in marks.items() if words[kind]]
    return f"{' '.join(counts)} words" if counts else "only spaces differ"


def _row_of(found: Difference, change: Change) -> Row:
    """Return a change of a difference as a row."""
    label, kind = _label(found, change), found.kind
    if change.kind == "move":
        text = _text(change, change.new, kind)
        if kind == "SEARCH_RESULTS" and isinstance(change.new, Mapping):
            text = str(change.new.get("text", ""))  # the label has the rest
        glimpse = textwrap.shorten(text[: 4 * _GLIMPSE], _GLIMPSE, placeholder="…") or "…"
        noun = value_type(kind).part_noun if len(change.path) == 1 else ""
        place = f"{noun} {change.moved_from + 1}" if noun else f"[{change.moved_from}]"
        return Row(label, [Op("equal", glimpse)], f"moved from {place}")
    if isinstance(change.old, str) and isinstance(change.new, str):
        return Row(label, word_diff(change.old, change.new))
    old = "" if change.old is MISSING else _text(change, change.old, found.old_kind)
    new = "" if change.new is MISSING else _text(change, change.new, kind)
    if old == new:  # the text "3" and the number
        old, new = json_text(change.old), json_text(change.new)
    ops = [op for op in (Op("delete", old), Op("insert", new)) if op.text]
    return Row(label, ops, f"by {growth}" if (growth := _growth(change)) else "")


def _text(change: Change, value: Any, kind: str) -> str:
    """Return `value`, which stands at the end of the change's path, as its type says."""
    if len(change.path) == 1 and value_type(kind).part_noun:
        text = value_text([value], kind)
        role = value.get("role", "?") if isinstance(value, Mapping) else None
        return text.removeprefix(f"{role}: ") or '""'
    if change.path:
        return plain_text(value) or '""'
    return value_text(value, kind) or '""'


def _label(found: Difference, change: Change) -> str:
    path, kind = change.path, found.kind
    noun = value_type(kind).part_noun
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
    if rest and rest[0] in {value_type(kind).part_value, "value"}:
        rest = rest[1:]
    return f"{noun} {path[0] + 1}{name}{f' {_path_text(rest)}' if rest else ''}"


def _path_text(path: Sequence[str | int]) -> str:
    """Return a path as people write it.

    >>> _path_text(("items", 2, "unit price"))
    'items[2]["unit price"]'
    """
    parts = (
        f"[{part}]"
        if isinstance(part, int)
        else f".{part}"
        if _PLAIN.match(part)
        else f'["{part}"]'
        for part in path
    )
    return cut("".join(parts).removeprefix("."), _PATH)


OutputStatus = Literal["alone", "missing", "new", "same", "differs"]


def output_status(name: str, run: Run, base: Run | None) -> OutputStatus:
    """Return how an output of a run compares with that of another run, where there is one."""
    if name not in run.outputs:
        return "missing"
    if base is None or base is run or not base.outputs:
        return "alone"
    if name not in base.outputs:
        return "new"
    return "same" if same_value(base.outputs[name], run.outputs[name]) else "differs"


def typed_output(name: str, run: Run) -> tuple[Any, str]:
    """Return an output, `MISSING` where the run has none, and Vellum's type of it."""
    value = run.outputs.get(name, MISSING)
    return value, output_kind(value, run.output_types.get(name))


def output_difference(name: str, run: Run, base: Run) -> Difference:
    """Return how an output of a run differs from that of another."""
    old, old_kind = typed_output(name, base)
    return difference(old, *typed_output(name, run), old_kind=old_kind)


def side_by_side_text(runs: Sequence[Run], *, width: int = 100) -> str:
    """Return `runs` as columns of text, differences against the first marked word by word."""
    names = list(dict.fromkeys(name for run in runs for name in run.outputs))
    label = max([len(name) for name in names] + [5]) + 2
    column = max(20, (width - label) // len(runs) - 2)
    latencies = ["" if r.latency_s is None else f" · {duration(r.latency_s)}" for r in runs]
    heads = zip(runs, latencies, strict=True)
    rows = [("", [f"{run.release_tag} · {run.state}{latency}" for run, latency in heads])]
    if any(run.error for run in runs):
        errors = [f"{run.error.code}: {run.error.message}" if run.error else "" for run in runs]
        rows.append(("error", errors))
    rows += [(name, [_output_text(name, run, runs[0]) for run in runs]) for name in names]
    lines = []
    for name, cells in rows:
        wrapped = [
            [part for line in printable(cell).splitlines() or [""]
             for part in textwrap.wrap(line, column) or [""]]
            for cell in cells
        ]  # fmt: skip
        for number, parts in enumerate(zip_longest(*wrapped, fillvalue="")):
            head = printable(name) if number == 0 else ""
            line = head.ljust(label) + "  ".join(part.ljust(column) for part in parts)
            lines.append(line.rstrip())
    return "\n".join(lines)


def _output_text(name: str, run: Run, first: Run) -> str:
    """Return an output, with its differences against the first run's."""
    status = output_status(name, run, first)
    if status in {"new", "differs"}:
        return output_difference(name, run, first).to_text()
    return "(missing)" if status == "missing" else value_text(*typed_output(name, run))

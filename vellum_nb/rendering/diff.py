"""Differences of typed values as rows, HTML and Markdown, and of code."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import unified_diff
from html import escape
from io import StringIO
from itertools import groupby
from typing import Any, Literal, NamedTuple

from vellum_nb.escaping import printable, printed
from vellum_nb.models import Run
from vellum_nb.models.checks import cut
from vellum_nb.models.inputs import is_number
from vellum_nb.models.media import MEDIA_TYPES
from vellum_nb.models.types import value_type
from vellum_nb.rendering.format import (
    json_text,
    markdown_code,
    markdown_text,
    number_text,
    plain_text,
    plural,
    same_value,
    value_key,
    value_text,
    visible_name,
)
from vellum_nb.rendering.html import NO_MATH, stylesheet

# Accents, numbers and contractions are not split; scripts without spaces are split into characters.
_WORD = re.compile(
    r"\s+|\d+(?:[.,]\d+)*"
    r"|[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
    r"|[^\W_]\w*(?:['\u2019]\w+)*[\u0300-\u036f\w]*"
    r"|\S"
)
_MAX_PAIRS = 100_000_000  # compared pairs of tokens: about 20 ms, 15 MB
_MAX_TOKENS = 10_000  # compared tokens per side if there would be more pairs
_MIN_SHARED_SHARE = 0.25  # texts that share less are shown as one replacement
_MAX_ISLAND_CHARS = 100  # characters; longer equal pieces are never merged into a change
_LONG_WORD_CHARS = 200  # characters; only the changed middle of such a word is marked

_PIECE_CHARS = 20_000  # characters shown of a changed piece
_MAX_HTML_CHARS = 100_000  # characters of HTML for all pieces
_FOLD_WORDS = 20  # words; longer equal passages of one side are folded
_MIN_KEPT_SHARE = 0.4  # texts that keep less of the words of the shorter one are rewritten
_MIN_REWRITTEN_WORDS = 6  # words; changes of a shorter text are marked
_MARKS = {"equal": ("", ""), "delete": ("[-", "-]"), "insert": ("{+", "+}")}

_MAX_ROWS = 100  # rows in the HTML
_KEYS = ("id", "key", "name", "label")  # keys that identify an item of a list
_IDS = ("id", "key")  # different values of these keys mean different items
_SHAPES = {"turn": "role", "typed": "type"}  # keys that distinguish items of a kind
_PLAIN = re.compile(r"[^\W\d][\w-]*\Z")
_EXCERPT_CHARS = 80  # characters of an excerpt of a moved item
_MAX_LABEL_CHARS = 60  # characters of a role or document name
_MAX_PATH_CHARS = 200  # characters of a path

Path = tuple[str | int, ...]
Side = Literal["both", "old", "new"]
_SIDES: tuple[Side, Side] = ("old", "new")


class Block(NamedTuple):
    """Equal text, or deleted and inserted text."""

    equal: str
    old: str
    new: str


class Op(NamedTuple):
    """Piece of a difference: `insert` is only in the new text, `delete` only in the old.

    In an excerpt, `cut` is the amount of text left out and `label` the place or size of a change.
    """

    kind: Literal["equal", "insert", "delete", "cut", "label"]
    text: str


def word_diff(a: str, b: str) -> list[Op]:
    """Return the difference of two texts, by lines and then by words.

    The equal and deleted pieces joined are `a`, the equal and inserted ones `b`. Texts with little
    in common yield one replacement.

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
    """Return the longest common subsequence as blocks: start in `a`, start in `b`, length.

    For very long sequences, only the common ends and the head of the middle are compared.

    >>> matches(["a", "b", "c"], ["a", "x", "c"])
    [(0, 0, 1), (2, 2, 1)]
    """
    from rapidfuzz.distance import LCSseq

    least = min(len(a), len(b))
    head = next((n for n in range(least) if a[n] != b[n]), least)
    tail = next((n for n in range(least - head) if a[-1 - n] != b[-1 - n]), least - head)
    middle_a, middle_b = a[head : len(a) - tail], b[head : len(b) - tail]
    if len(middle_a) * len(middle_b) > _MAX_PAIRS:
        middle_a, middle_b = middle_a[:_MAX_TOKENS], middle_b[:_MAX_TOKENS]
    # rapidfuzz compares hashes; compare the matches by value.
    blocks = [
        (head + at.a, head + at.b, at.size)
        for at in LCSseq.editops(middle_a, middle_b).as_matching_blocks()
        if middle_a[at.a : at.a + at.size] == middle_b[at.b : at.b + at.size]
    ]
    ends = (0, 0, head), (len(a) - tail, len(b) - tail, tail)
    return [match for match in (ends[0], *blocks, ends[1]) if match[2]]


def _blocks(a: Sequence[str], b: Sequence[str]) -> list[Block]:
    """Return alternating equal and changed blocks of tokens."""
    blocks: list[Block] = []
    at_a = at_b = 0
    for i, j, size in [*matches(a, b), (len(a), len(b), 0)]:
        blocks.append(Block("", "".join(a[at_a:i]), "".join(b[at_b:j])))
        at_a, at_b = i + size, j + size
        blocks.append(Block("".join(a[i:at_a]), "", ""))
    return _joined(blocks)


def _joined(blocks: Iterable[Block]) -> list[Block]:
    """Merge adjacent blocks of the same kind."""
    groups = groupby(filter(any, blocks), key=lambda block: bool(block.equal))
    return [Block(*map("".join, zip(*group, strict=True))) for _, group in groups]


def _words(old: str, new: str) -> list[Block]:
    """Return the word-level difference of two changed blocks of lines."""
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
    texts = ("".join(block.equal for block in merged), old, new)
    shared, *visible = (sum(map(len, text.split())) for text in texts)
    if shared >= _MIN_SHARED_SHARE * min(visible):
        return merged
    # Keep the words at both ends that the texts share, and replace the middle.
    head = [block for block in blocks[:1] if any(map(str.isalnum, block.equal))]
    tail = [block for block in blocks[1:][-1:] if any(map(str.isalnum, block.equal))]
    middle = blocks[len(head) : len(blocks) - len(tail)]
    sides = [(block.equal + block.old, block.equal + block.new) for block in middle]
    return [*head, Block("", *map("".join, zip(*sides, strict=True))), *tail]


def _is_island(island: str, before: Block, after: Block) -> bool:
    """Return whether equal text is short compared with the changes around it."""
    if len(island) > _MAX_ISLAND_CHARS or "\n" in island:
        return False
    least = 2 * len(island.strip())
    if not least:
        # A space joins two replacements but separates two insertions.
        return all(old or more for old, more in zip(before[1:], after[1:], strict=True))
    return all(max(map(len, change[1:])) >= least for change in (before, after))


def _shared_ends(old: str, new: str) -> tuple[int, int]:
    """Return the lengths of the common spaces, or parts of one long word, at both ends."""
    from rapidfuzz.distance import Postfix, Prefix

    head = Prefix.similarity(old, new)
    tail = Postfix.similarity(old[head:], new[head:])
    is_long = min(len(old), len(new)) >= _LONG_WORD_CHARS
    if is_long and all(len(text.split(maxsplit=1)) == 1 for text in (old, new)):
        return head, tail
    head = min(head, len(old) - len(old.lstrip()))
    return head, min(tail, len(old) - head - len(old[head:].rstrip()))


def _word_counts(ops: Iterable[Op]) -> Counter[str]:
    """Return the number of words by kind of piece."""
    words = Counter[str]()
    for kind, text in ops:
        words[kind] += len(text.split())
    return words


def _is_rewritten(ops: Iterable[Op]) -> bool:
    """Return whether two texts share so little that marks would only obscure them."""
    words = _word_counts(ops)
    shorter = words["equal"] + min(words["delete"], words["insert"])
    return shorter >= _MIN_REWRITTEN_WORDS and words["equal"] < _MIN_KEPT_SHARE * shorter


def side_html(ops: Iterable[Op], side: Side, *, fold: bool = False) -> str:
    """Return one of two compared texts as escaped HTML, with the words marked that it has alone.

    In the new text, a caret marks words that were removed without replacement. A rewritten text is
    plain, after a label. The side "both" is the removed and the new words in one text. `fold` folds
    long equal passages.

    >>> side_html(word_diff("charged twice today", "charged today"), "old")
    'charged <del class="vnb-del">twice </del>today'
    """
    pieces, parts, room, before = list(_marked(ops, side)), list[str](), _MAX_HTML_CHARS, ""
    for place, (kind, text) in enumerate(pieces):
        parts += [" "] if (before, kind) == ("delete", "insert") else []  # keeps them apart
        parts.append(_piece_html(kind, text, fold=fold))
        before, room = kind, room - len(parts[-1])
        if room < 0 and place < len(pieces) - 1:
            parts.append(_aside(f" … {len(pieces) - 1 - place:,} pieces more"))
            break
    return "".join(parts)


def _marked(ops: Iterable[Op], side: Side) -> Iterator[tuple[str, str]]:
    """Yield the pieces of a side: kind and text. Adds "flag", "caret" and unmarked "plain" ones."""
    pieces = list(ops)
    hidden = {"new": "delete", "old": "insert"}.get(side)
    plain = hidden is not None and _is_rewritten(pieces)
    if plain and side == "new":
        yield "flag", "rewritten"
    for place, (kind, text) in enumerate(pieces):
        if kind != hidden:
            yield ("plain" if plain else kind), text
            continue
        words, near = len(text.split()), pieces[max(0, place - 1) : place + 2]
        if side == "new" and words and not plain and all(op.kind != "insert" for op in near):
            yield "caret", f"{plural(words, 'word')} removed"


def _piece_html(kind: str, text: str, *, fold: bool) -> str:
    html = escape(text[:_PIECE_CHARS])
    if (omitted := len(text) - _PIECE_CHARS) > 0:
        html += _aside(f" … {omitted:,} characters more ")
    tag = {"insert": "ins", "delete": "del"}.get(kind)
    if tag:
        return f'<{tag} class="vnb-{tag}">{html}</{tag}>'
    if kind == "equal" and fold and (words := len(text.split())) > _FOLD_WORDS:
        summary = f"<summary>{words:,} unchanged words</summary>"
        return f' <details class="vnb-same">{summary}{html}</details> '
    return _FORMS.get(kind, "{0}").format(html)


_FORMS = {
    "flag": '<span class="vnb-flag">{0}</span> ',
    "caret": '<span class="vnb-caret" role="img" aria-label="{0}" title="{0}">\u2038</span>',
    "cut": '<span class="vnb-grid-cut" title="{0} left out here">…</span>',
    "label": '<span class="vnb-grid-name">{0}</span>',
}
"""HTML of special pieces; cuts and labels are those of an excerpt."""


def _aside(text: str) -> str:
    return f'<span class="vnb-quiet vnb-fold">{text}</span>'


def _new_markdown(ops: Iterable[Op]) -> str:
    """Return the new text as Markdown: new words in bold, carets, long equal passages folded."""
    parts = []
    for kind, text in _marked(ops, "new"):
        words = len(text.split())
        if kind == "equal" and words > _FOLD_WORDS:
            parts.append(f" … {words:,} unchanged words … ")
        elif kind in {"flag", "caret"}:
            parts.append("\u2038" if kind == "caret" else f"<i>{text}</i> ")
        else:
            html = markdown_text(text)
            parts.append(f"<b>{html}</b>" if kind == "insert" else html)
    return f"<code>{''.join(parts)}</code>"


MISSING: Any = object()
"""Sentinel of an absent value, as opposed to null."""


class Change(NamedTuple):
    """One change between two values.

    `path` refers to the new value, or to the old one for a deletion. A `move` is an item of a list
    with its old index in `moved_from`; changes inside it are listed separately. A missing value is
    `MISSING`.
    """

    kind: Literal["insert", "delete", "change", "move"]
    path: Path
    old: Any
    new: Any
    moved_from: int = 0


class Row(NamedTuple):
    """One change for display: its place, its text, and the difference of a number."""

    label: str
    ops: Sequence[Op]
    remark: str = ""

    @property
    def _is_replacement(self) -> bool:
        """Whether a part of a value was replaced, added or removed as a whole."""
        return bool(self.label) and all(op.kind in {"delete", "insert"} for op in self.ops)

    def to_html(self, side: Side = "new") -> str:
        """Return the row as escaped HTML: both texts in one, or one of them."""
        label = f'<span class="vnb-key">{escape(self.label)}</span>: ' if self.label else ""
        remark = f'<span class="vnb-quiet vnb-number"> {escape(self.remark)}</span>'
        if self._is_replacement:
            pieces = " → ".join(_piece_html(*op, fold=False) for op in self.ops)
        else:
            pieces = side_html(self.ops, side, fold=True)
        pieces += remark if self.remark else ""
        return f'<pre class="vnb-text vnb-change">{label}{pieces}</pre>'

    def to_text(self) -> str:
        """Return the row as plain text."""
        pieces = printable("".join(text.join(_MARKS[kind]) for kind, text in self.ops))
        label = f"{printable(self.label)}: " if self.label else ""
        return f"{label}{pieces}{f' {self.remark}' if self.remark else ''}"

    def to_markdown(self) -> str:
        """Return the row as Markdown."""
        if self._is_replacement:
            texts = [(kind, markdown_code(text)) for kind, text in self.ops]
            pieces = " → ".join(f"<b>{t}</b>" if kind == "insert" else t for kind, t in texts)
        else:
            pieces = _new_markdown(self.ops)
        label = f"{markdown_code(self.label)}: " if self.label else ""
        return f"{label}{pieces}{f' {self.remark}' if self.remark else ''}"


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of two typed values; `changes` are in the order of the new value."""

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
            return (
                "an error instead of an answer"
                if self.kind == "ERROR"
                else "an answer instead of an error"
            )
        if self.changes[0].path == ():
            return _of_one(self.changes[0])
        noun = value_type(self.kind).part_noun or "field"
        changes = [change for change in self.changes if change.kind != "move"]
        if noun != "field" and isinstance(self.old, list) and isinstance(self.new, list):
            parts = {(c.kind == "delete" and len(c.path) == 1, c.path[0]) for c in changes}
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
        """True if `to_html` shows the whole marked value instead of a list of changes."""
        is_whole = self._is_one_line() or any(change.path == () for change in self.changes)
        return is_whole and self.kind not in MEDIA_TYPES

    def rows(self, limit: int | None = None) -> list[Row]:
        """Return the changes, or the first `limit`, as rows."""
        if self._is_one_line():
            return [Row("", word_diff(json_text(self.old), json_text(self.new)))]
        return [_row_of(self, change) for change in self.changes[:limit]]

    def _is_one_line(self) -> bool:
        """Return whether the whole marked value is clearer than a list of changes."""
        if not self.changes or self.changes[0].path == () or value_type(self.kind).has_parts:
            return False
        texts = (json_text(self.old), json_text(self.new))
        are_short = all("\n" not in text and text[:1] in "[{" for text in texts)
        return are_short and not any(change.kind == "move" for change in self.changes)

    def to_html(self, side: Side = "new") -> str:
        """Return the changes as escaped HTML, with long pieces folded."""
        html = "".join(row.to_html(side) for row in self.rows(_MAX_ROWS))
        omitted = max(0, len(self.changes) - _MAX_ROWS)
        return html + (f'<p class="vnb-note">… {omitted:,} changes more</p>' if omitted else "")

    def to_text(self) -> str:
        """Return all changes as plain text."""
        return "\n".join(row.to_text() for row in self.rows())

    def to_markdown(self) -> str:
        """Return all changes as Markdown for a table cell."""
        return "<br>".join(row.to_markdown() for row in self.rows())

    @printed
    def __repr__(self) -> str:
        return f"<Difference {self.kind}: {self.summary}>"


def difference(old: Any, new: Any, kind: str, *, old_kind: str | None = None) -> Difference:
    """Return the difference of `new` from `old`.

    Text is compared by words, JSON by path (ignoring the order of keys, and with moved list items),
    chats by turns, numbers by value, function calls by name and arguments, search results by
    document, and media by reference.

    >>> difference({"n": 1, "tags": ["a", "b"]}, {"tags": ["b"], "n": 1.0}, "JSON")
    <Difference JSON: 1 of 3 fields differs>
    """
    old_kind = old_kind or kind
    whole_change: Literal["insert", "delete", "change"] = "change"
    if old is MISSING or new is MISSING:
        whole_change = "insert" if old is MISSING else "delete"
    changes = [] if same_value(old, new) else [Change(whole_change, (), old, new)]
    is_comparable = kind == old_kind or "ERROR" not in {kind, old_kind}
    if changes and whole_change == "change" and is_comparable:
        with suppress(RecursionError):  # nested too deeply: shown as replaced
            changes = list(_changes(old, new, kind if kind == old_kind else "JSON", ()))
    return Difference(old, new, kind, old_kind, tuple(changes))


def _changes(old: Any, new: Any, kind: str, path: Path) -> Iterator[Change]:
    """Yield the changes in the order of the new value, with deletions last in each part."""
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
    """Return whether two objects are compared by their parts."""
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
        item_path = (*path, place)
        if place not in pairs:
            yield Change("insert", item_path, MISSING, value)
            continue
        if pairs[place] not in stayed:
            yield Change("move", item_path, old[pairs[place]], value, pairs[place])
        if not same_value(old[pairs[place]], value):
            yield from _changes(old[pairs[place]], value, kind, item_path)
    for place in sorted(set(range(len(old))).difference(before)):
        yield Change("delete", (*path, place), old[place], MISSING)


def _aligned(old: Sequence[Any], new: Sequence[Any], kind: str) -> dict[int, int]:
    """Align the items of two lists: index in the new list to index in the old one.

    Equal items are paired first, then unique items at any position, items with the same key, and
    items of the same shape between two unmoved ones.
    """
    values = [list(map(value_key, side)) for side in (old, new)]
    keys = [[_key_and_shape(value, kind) for value in side] for side in (old, new)]
    stayed = matches(*values)
    pairs = {j + n: i + n for i, j, size in stayed for n in range(size)}
    _pair_unique(pairs, *values)
    _pair_unique(pairs, *([key for key, _ in side] for side in keys))
    used = set(pairs.values())
    at_i = at_j = 0
    for i, j, size in [*stayed, (len(old), len(new), 0)]:
        open_old = [n for n in range(at_i, i) if n not in used]
        open_new = [n for n in range(at_j, j) if n not in pairs]
        shapes = [keys[0][n][1] for n in open_old], [keys[1][n][1] for n in open_new]
        for start_i, start_j, count in matches(*shapes):
            pairs |= {open_new[start_j + n]: open_old[start_i + n] for n in range(count)}
        at_i, at_j = i + size, j + size
    return pairs


def _key_and_shape(value: Any, kind: str) -> tuple[Hashable, Hashable]:
    """Return the key that identifies an item, and the shape that its replacements share."""
    if not isinstance(value, Mapping):
        return None, "number" if is_number(value) else type(value).__name__
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
    """Pair the unpaired items whose token is unique on both sides."""
    places = []
    for side, paired in ((old, set(pairs.values())), (new, set(pairs))):
        unpaired = [(t, at) for at, t in enumerate(side) if at not in paired and t is not None]
        counts = Counter(token for token, _ in unpaired)
        places.append({token: at for token, at in unpaired if counts[token] == 1})
    pairs |= {places[1][token]: places[0][token] for token in places[1].keys() & places[0].keys()}


def _signed_delta(change: Change) -> str:
    """Return the signed difference of two numbers; empty for other values."""
    if not (is_number(change.old) and is_number(change.new)):
        return ""
    try:
        delta = change.new - change.old
        return f"{'+' if delta > 0 else chr(0x2212)}{abs(delta):.6g}"
    except OverflowError:
        return ""


def _fields(value: Any) -> int:
    """Count the scalars in `value`; an empty container counts as one, `MISSING` as 0."""
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
    """Describe the change of a value that is compared as a whole."""
    if delta := _signed_delta(change):
        return f"{number_text(change.old)} → {number_text(change.new)} ({delta})"
    if not (isinstance(change.old, str) and isinstance(change.new, str)):
        return "replaced"
    words = _word_counts(word_diff(change.old, change.new))
    marks = {"insert": "+", "delete": "\N{MINUS SIGN}"}
    counts = [f"{mark}{words[kind]}" for kind, mark in marks.items() if words[kind]]
    return f"{' '.join(counts)} words" if counts else "only spaces differ"


def _row_of(changed: Difference, change: Change) -> Row:
    """Return the row of one change."""
    label, kind = _label(changed, change), changed.kind
    if change.kind == "move":
        text = _text(change, change.new, kind)
        if kind == "SEARCH_RESULTS" and isinstance(change.new, Mapping):
            text = str(change.new.get("text", ""))  # the label has the other fields
        start = text[: 4 * _EXCERPT_CHARS]
        excerpt = textwrap.shorten(start, _EXCERPT_CHARS, placeholder="…") or "…"
        noun = value_type(kind).part_noun if len(change.path) == 1 else ""
        place = f"{noun} {change.moved_from + 1}" if noun else f"[{change.moved_from}]"
        return Row(label, [Op("equal", excerpt)], f"moved from {place}")
    if isinstance(change.old, str) and isinstance(change.new, str):
        return Row(label, word_diff(change.old, change.new))
    old = "" if change.old is MISSING else _text(change, change.old, changed.old_kind)
    new = "" if change.new is MISSING else _text(change, change.new, kind)
    if old == new:  # the text "3" and the number 3
        old, new = json_text(change.old), json_text(change.new)
    ops = [op for op in (Op("delete", old), Op("insert", new)) if op.text]
    return Row(label, ops, f"by {delta}" if (delta := _signed_delta(change)) else "")


def _text(change: Change, value: Any, kind: str) -> str:
    """Return the value at the end of the change's path as text."""
    if len(change.path) == 1 and value_type(kind).part_noun:
        text = value_text([value], kind)
        role = value.get("role", "?") if isinstance(value, Mapping) else None
        return text.removeprefix(f"{role}: ") or '""'
    if change.path:
        return plain_text(value) or '""'
    return value_text(value, kind) or '""'


def _label(changed: Difference, change: Change) -> str:
    path, kind = change.path, changed.kind
    noun = value_type(kind).part_noun
    if not noun or not path or not isinstance(path[0], int):
        return _path_text(path)
    root = changed.old if change.kind == "delete" and len(path) == 1 else changed.new
    item, name = root[path[0]], ""
    if isinstance(item, Mapping) and kind == "CHAT_HISTORY":
        name = f" {str(item.get('role', '?'))[:_MAX_LABEL_CHARS]}"
    elif isinstance(item, Mapping) and kind == "SEARCH_RESULTS":
        document = item.get("document")
        document = document.get("label") if isinstance(document, Mapping) else document
        name = f" ({str(document)[:_MAX_LABEL_CHARS]})" if document else ""
    inner = [part for part in path[1:] if part != "content" or kind != "CHAT_HISTORY"]
    if inner and inner[0] in {value_type(kind).part_value, "value"}:
        inner = inner[1:]
    return f"{noun} {path[0] + 1}{name}{f' {_path_text(inner)}' if inner else ''}"


def _path_text(path: Sequence[str | int]) -> str:
    """Format a path.

    >>> _path_text(("items", 2, "unit price"))
    'items[2]["unit price"]'
    """
    text = ""
    for part in path:
        is_plain = isinstance(part, str) and _PLAIN.match(part)
        text += f".{part}" if is_plain else f"[{part}]" if isinstance(part, int) else f'["{part}"]'
    return cut(text.removeprefix("."), _MAX_PATH_CHARS)


OutputStatus = Literal["alone", "missing", "new", "same", "differs"]


def output_status(name: str, run: Run, base: Run | None) -> OutputStatus:
    """Compare an output of a run with that of the baseline run, if any."""
    if name not in run.outputs:
        return "missing"
    if base is None or base is run or not base.outputs:
        return "alone"
    if name not in base.outputs:
        return "new"
    return "same" if same_value(base.outputs[name], run.outputs[name]) else "differs"


@dataclass(frozen=True, repr=False)
class CodeDiff:
    r"""Difference between the code of two releases.

    In a notebook, changed words are marked and equal parts are folded.

    Attributes
    ----------
    deployment, old, new : str
        The deployment and the compared releases.
    before, after : mapping
        Path to text.

    Examples
    --------
    >>> diff = CodeDiff("triage", "v1", "v2", {"a.py": "x = 1\n"}, {"a.py": "x = 2\n"})
    >>> diff
    <CodeDiff triage v1 → v2: 1 file differs (+1 -1)>
    >>> print(diff.text.splitlines()[-1])
    +x = 2
    """

    deployment: str
    old: str
    new: str
    before: Mapping[str, str]
    after: Mapping[str, str]

    @property
    def paths(self) -> list[str]:
        """The files that differ."""
        paths = sorted({*self.before, *self.after})
        return [path for path in paths if self.before.get(path) != self.after.get(path)]

    @property
    def text(self) -> str:
        """Unified diff; empty if the code is equal."""
        return "".join(line for path in self.paths for line in self._unified(path))

    @property
    def sentence(self) -> str:
        """Numbers of changed files and lines."""
        marks = [line[:1] for line in self.text.splitlines() if not line.startswith(("+++", "---"))]
        files = plural(len(self.paths), "file differs", "files differ")
        return f"{files} (+{marks.count('+')} -{marks.count('-')})"

    def _unified(self, path: str) -> Iterator[str]:
        lines = unified_diff(
            list(StringIO(self.before.get(path))),  # only line feeds end a line, as in editors
            list(StringIO(self.after.get(path))),
            f"{self.old}/{path}" if path in self.before else "/dev/null",
            f"{self.new}/{path}" if path in self.after else "/dev/null",
        )
        for line in lines:
            end = "" if line.endswith("\n") else "\n\\ No newline at end of file\n"
            yield f"{line}{end}"

    @printed
    def __repr__(self) -> str:
        changes = self.sentence if self.paths else "no difference"
        return f"<CodeDiff {self.deployment} {self.old} → {self.new}: {changes}>"

    def to_html(self) -> str:
        """Return the old and the new text of each file next to each other, without styles."""
        names = map(visible_name, (self.deployment, self.old, self.new))
        parts = ["<b>{}: code of {} and of {}</b>".format(*map(escape, names))]
        for path in self.paths:
            ops = word_diff(self.before.get(path, ""), self.after.get(path, ""))
            sides = (
                f'<pre class="vnb-text vnb-change">{side_html(ops, side, fold=True)}</pre>'
                for side in _SIDES
            )
            parts.append(f'<p>{escape(path)}</p><div class="vnb-code-sides">{"".join(sides)}</div>')
        parts += [] if self.paths else ["<p>no difference</p>"]
        return f'<div class="{NO_MATH}">{"".join(parts)}</div>'

    @printed
    def _repr_html_(self) -> str:
        return (
            f'<style>{stylesheet("colours.css")}</style><div class="vnb-out">{self.to_html()}</div>'
        )

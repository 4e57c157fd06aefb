"""How one value differs from another, by its type: found, told, shown, applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vellum_nb.experiments.diffs.identity import is_list
from vellum_nb.experiments.diffs.model import MISSING, Change
from vellum_nb.experiments.diffs.patch import patched
from vellum_nb.experiments.diffs.rows import (
    Row,
    delta_text,
    is_short,
    noun_of,
    row_html,
    row_markdown,
    row_of,
    row_text,
)
from vellum_nb.experiments.diffs.walk import Walk
from vellum_nb.experiments.diffs.words import word_diff
from vellum_nb.experiments.wording import json_text, number_text
from vellum_nb.models.media import MEDIA_TYPES

__all__ = ["Difference", "difference"]

_MOST = 100  # rows shown as HTML
_TYPED = {"CHAT_HISTORY", "SEARCH_RESULTS", "ARRAY", "FUNCTION_CALL", "ERROR"}


@dataclass(frozen=True, slots=True)
class Difference:
    """How a new value differs from an old one.

    Attributes
    ----------
    old, new : object
        The two values.
    kind : str
        Vellum's type of the new value.
    changes : tuple of Change
        What differs, in the order of the new value; empty when nothing does.
    fields : int
        How many scalars the two values have, each counted once.
    differing : int
        How many of them differ.
    old_kind : str
        Vellum's type of the old value.
    tolerance : float
        Up to which difference numbers were taken for the same.
    """

    old: Any
    new: Any
    kind: str
    changes: tuple[Change, ...]
    fields: int
    differing: int
    old_kind: str
    tolerance: float

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
        if first.path == ():
            return _of_one(first)
        return _counted(self)

    @property
    def is_marked_whole(self) -> bool:
        """Whether `to_html` shows the whole new value, marked, and not a list of its changes."""
        if self.kind in MEDIA_TYPES:
            return False
        return self._is_one_line() or any(change.path == () for change in self.changes)

    def apply(self, old: Any) -> Any:
        """Return what `old` becomes when the changes are made: the new value.

        Raises
        ------
        InputError
            `old` is not the value this difference was made from.
        """
        return patched(old, self.changes)

    def rows(self, limit: int | None = None) -> list[Row]:
        """Return the changes, or the first `limit`, for people: where, which pieces, a remark."""
        if self._is_one_line():
            return [Row("", word_diff(json_text(self.old), json_text(self.new)), "")]
        kinds, roots = (self.old_kind, self.kind), (self.old, self.new)
        return [row_of(change, kinds, roots) for change in self.changes[:limit]]

    def _is_one_line(self) -> bool:
        """Return whether the whole value, marked, reads better than a list of changes."""
        if not self.changes or self.changes[0].path == () or self.kind in _TYPED:
            return False
        if self.tolerance or any(change.kind == "move" for change in self.changes):
            return False
        return is_short(self.old) and is_short(self.new)

    def to_html(self) -> str:
        """Return the changes as escaped HTML; long pieces are folded, and say so.

        Examples
        --------
        >>> difference(2, 5, "NUMBER").to_html().endswith(
        ...     '<span class="vnb-quiet vnb-number"> by +3</span></pre>'
        ... )
        True
        """
        html = "".join(row_html(row) for row in self.rows(_MOST))
        rest = max(0, len(self.changes) - _MOST)
        return html + (f'<p class="vnb-note">… {rest:,} changes more</p>' if rest else "")

    def to_text(self) -> str:
        """Return the changes as plain text, whole.

        Examples
        --------
        >>> difference("charged twice", "charged once", "STRING").to_text()
        'charged [-twice-]{+once+}'
        """
        return "\n".join(row_text(row) for row in self.rows())

    def to_markdown(self) -> str:
        """Return the changes as Markdown, whole; it stands in a paragraph or in a table's cell.

        Examples
        --------
        >>> difference({"a": 1}, {"a": 2}, "JSON").to_markdown()
        '<code>{"a": &#91;-1-&#93;{+2+}}</code>'
        """
        return "<br>".join(row_markdown(row) for row in self.rows())

    def __repr__(self) -> str:
        return f"<Difference {self.kind}: {self.summary}>"


def difference(
    old: Any, new: Any, kind: str, *, old_kind: str | None = None, tolerance: float = 0.0
) -> Difference:
    """Return how `new` differs from `old`.

    Text is compared word by word, JSON by path (the order of keys does not matter, items of a list
    may move), a chat by its turns, numbers by how much they grew, a function call by its name and
    arguments, search results by document, media by what they refer to.

    Parameters
    ----------
    old, new : object
        Plain JSON values; `MISSING` for one that is not there.
    kind : str
        Vellum's type of `new`, such as STRING, JSON or CHAT_HISTORY.
    old_kind : str, optional
        Vellum's type of `old`. Default: the same.
    tolerance : float, default 0
        Numbers that differ by no more than this are the same.

    Examples
    --------
    >>> difference({"n": 1, "tags": ["a", "b"]}, {"tags": ["b"], "n": 1.0}, "JSON")
    <Difference JSON: 1 of 3 fields differs>
    """
    old_kind = old_kind or kind
    walk = Walk(tolerance)
    changes = _changes(walk, old, new, (old_kind, kind))
    fields, differing = _fields(walk, new, changes)
    return Difference(old, new, kind, changes, fields, differing, old_kind, tolerance)


def _changes(walk: Walk, old: Any, new: Any, kinds: tuple[str, str]) -> tuple[Change, ...]:
    if walk.known.of(old) == walk.known.of(new):
        return ()
    if old is MISSING:
        return (Change("insert", (), (), old, new),)
    if new is MISSING:
        return (Change("delete", (), (), old, new),)
    if kinds[0] == kinds[1]:
        return tuple(walk.changes(old, new, kinds[1]))
    if "ERROR" in kinds:
        return (Change("change", (), (), old, new),)
    return tuple(walk.changes(old, new, "JSON"))


def _fields(walk: Walk, new: Any, changes: Sequence[Change]) -> tuple[int, int]:
    """Return how many scalars there are in both values together, and how many differ."""
    count = walk.known.fields(new) if new is not MISSING else 0
    differing = 0
    for change in changes:
        sizes = [
            0 if value is MISSING else walk.known.fields(value)
            for value in (change.old, change.new)
        ]
        if change.kind != "move":
            count += max(sizes) - sizes[1]
            differing += max(sizes)
    return count, differing


def _of_one(change: Change) -> str:
    """Return how a value that is compared whole differs."""
    if change.delta is not None:
        numbers = f"{number_text(change.old)} → {number_text(change.new)}"
        return f"{numbers} ({delta_text(change.delta)})"
    if change.ops:
        counts = [
            f"{sign}{words}"
            for kind, sign in (("insert", "+"), ("delete", "\N{MINUS SIGN}"))
            if (words := sum(len(op.text.split()) for op in change.ops if op.kind == kind))
        ]
        return f"{' '.join(counts)} words" if counts else "only spaces differ"
    return "replaced"


def _counted(difference: Difference) -> str:
    """Return how many parts differ, in the words of the type."""
    noun = noun_of(difference.kind)
    fields, differing = difference.fields, difference.differing
    if noun and is_list(difference.old) and is_list(difference.new):
        parts = {
            (change.kind == "delete" and len(change.path) == 1, change.path[0])
            for change in difference.changes
            if change.kind != "move"
        }
        gone = sum(is_gone for is_gone, _ in parts)
        fields, differing = len(difference.new) + gone, len(parts)
    moved = sum(change.kind == "move" for change in difference.changes)
    words = []
    if differing:
        nouns = f"{noun or 'field'}{'' if fields == 1 else 's'}"
        words.append(f"{differing:,} of {fields:,} {nouns} differ{'s' if differing == 1 else ''}")
    if moved:
        words.append(f"{moved:,} moved")
    return ", ".join(words)

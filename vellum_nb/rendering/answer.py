"""`AnswerCell`: one output or the error of a run as HTML, Markdown, text and excerpt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, Self

from vellum_nb.models import Run
from vellum_nb.models.checks import cut
from vellum_nb.models.media import MEDIA_TYPES
from vellum_nb.rendering.diff import (
    MISSING,
    Difference,
    Op,
    OutputStatus,
    Side,
    difference,
    output_status,
    word_diff,
)
from vellum_nb.rendering.format import (
    markdown_code,
    one_line,
    output_kind,
    plain_text,
    value_text,
    visible_name,
)
from vellum_nb.rendering.html import error_html, value_html

_STATUS_NOTES = {"new": "new: the baseline has no such output", "differs": "differs"}
_MAX_EXPECTED_CHARS = 200
_CONTEXT_CHARS = 60  # characters of equal text next to a change in an excerpt
_MAX_CHANGES = 8  # changes of a structured value in an excerpt
_MAX_STRUCTURED_CHARS = 100_000  # characters; larger structured values are compared as text
_SEARCH_FACTOR = 3  # times the limit: characters of a text that are searched for changes


@dataclass(frozen=True, slots=True)
class AnswerCell:
    """One output of a run and of a baseline run, or the error or state of a run.

    `value` and `old` are `MISSING` if the run lacks the output; a "problem" has the run as `value`.
    """

    label: str
    status: OutputStatus | Literal["problem"]
    value: Any
    kind: str
    old: Any = MISSING
    old_kind: str = "JSON"

    @classmethod
    def of(cls, name: str, run: Run, baseline: Run | None = None) -> Self:
        """Return the cell of the output `name`."""
        status, typed = output_status(name, run, baseline), _typed(name, run)
        return cls(name, status, *typed, *(_typed(name, baseline) if baseline else ()))

    @classmethod
    def of_problem(cls, run: Run | None) -> Self | None:
        """Return the cell of the error or state; None for a run without an error."""
        if run is None or (run.state == "FULFILLED" and run.error is None):
            return None
        return cls("error" if run.error else "state", "problem", run, "ERROR")

    def to_html(self, *, markdown: bool = False, complete: bool = False, side: Side = "new") -> str:
        """Return the cell as safe HTML.

        `side` selects the text in which differences are marked: the new one, or both in one.
        `markdown` renders text as Markdown, without marking its changes. `complete` writes values
        as plain text of any length, for readers who do not have the run.
        """
        if self.status == "missing":
            return '<span class="vnb-missing">? missing</span>'
        if complete and self.status == "same":
            return '<span class="quiet">= identical</span>'
        if self.status == "problem":
            return _text_html(self.to_text()) if complete else error_html(self.value)
        if self.status == "differs" and not (markdown and isinstance(self.value, str)):
            return self._difference_html(complete=complete, side=side)
        status_note = _STATUS_NOTES.get(self.status)
        note = f'<p class="vnb-note">{status_note}</p>' if status_note else ""
        return note + self._value_html(markdown=markdown, complete=complete)

    def baseline_html(self, *, markdown: bool = False, complete: bool = False) -> str:
        """Return the value of the baseline, with the words marked that this output lacks."""
        if self.status == "differs" and not (markdown and isinstance(self.old, str)):
            diff = self._difference()
            html = diff.to_html("old") if diff.is_marked_whole else ""
            if html and "vnb-fold" not in html:  # it shows all of the value
                return html
        if complete:
            return _text_html(value_text(self.old, self.old_kind))
        return value_html(self.old, self.old_kind, markdown=markdown)

    def to_markdown(self) -> str:
        """Return the cell as Markdown that fits into a cell of a table."""
        if self.status in {"missing", "same"}:
            return "? missing" if self.status == "missing" else "= identical"
        if self.status in {"new", "differs"}:
            return self._difference().to_markdown()
        return markdown_code(self.to_text())

    def to_text(self) -> str:
        """Return the cell as plain text."""
        if self.status == "problem":
            error = self.value.error
            return ": ".join(filter(None, (error.code, error.message))) if error else ""
        if self.status in {"new", "differs"}:
            return self._difference().to_text()
        return "(missing)" if self.status == "missing" else value_text(self.value, self.kind)

    def excerpt(self, limit: int) -> tuple[list[Op], bool]:
        """Return at most `limit` characters around the changes, and whether text is left out."""
        old = "" if self.old is MISSING else value_text(self.old, self.old_kind)
        new = "" if self.value is MISSING else value_text(self.value, self.kind)
        if self.status in {"alone", "same"}:
            return _fitted([Op("equal", new)] if new else [], limit)
        is_text = isinstance(self.old, str) and isinstance(self.value, str)
        if self.status != "differs" or is_text or max(len(old), len(new)) > _MAX_STRUCTURED_CHARS:
            return _fitted(_text_ops(old, new, _SEARCH_FACTOR * limit), limit)
        return _fitted(_structure_ops(self._difference()), limit)

    def _difference(self) -> Difference:
        return difference(self.old, self.value, self.kind, old_kind=self.old_kind)

    def _value_html(self, *, markdown: bool = False, complete: bool = False) -> str:
        if complete:
            return _text_html(value_text(self.value, self.kind))
        return value_html(self.value, self.kind, markdown=markdown)

    def _difference_html(self, *, complete: bool, side: Side) -> str:
        """Return the changes, then the folded value unless they show all of it."""
        diff = self._difference()
        changes = diff.to_html(side)
        if self.kind in MEDIA_TYPES:
            return changes + ("" if complete else self._value_html())
        if diff.is_marked_whole and "vnb-fold" not in changes:
            return changes
        note = "" if diff.is_marked_whole else f'<p class="vnb-note">{escape(diff.summary)}</p>'
        value = f"<summary>the whole value</summary>{self._value_html(complete=complete)}"
        return f'{note}{changes}<div class="vnb-tree"><details>{value}</details></div>'


def check_html(
    expected: object, *, is_met: bool, icon: Callable[[str], str], name: str = ""
) -> str:
    """Return whether an output has its expected value, which is named if not, as HTML.

    `icon` draws "check" or "close"; `name` is that of the output, if it has to be named.
    """
    label = f"{escape(one_line(visible_name(name)))} " if name else ""
    if is_met:
        return f'<span class="vnb-check">{icon("check")} {label}as expected</span>'
    text = escape(one_line(visible_name(plain_text(expected)), _MAX_EXPECTED_CHARS))
    return f'<span class="vnb-check vnb-check-bad">{icon("close")} {label}expected {text}</span>'


def _text_html(text: str) -> str:
    return f'<div class="text">{escape(text)}</div>' if text else ""


def _typed(name: str, run: Run) -> tuple[Any, str]:
    """Return an output, `MISSING` if the run lacks it, and its Vellum type."""
    value = run.outputs.get(name, MISSING)
    return value, output_kind(value, run.output_types.get(name))


def _text_ops(old: str, new: str, searched: int) -> list[Op]:
    """Return the changes of the first `searched` characters from shortly before the first one."""
    start = _start(old, new)
    ops = [Op("cut", f"{start:,} characters")] if start else []
    end = start + searched
    ops += _folded(word_diff(old[start:end], new[start:end]), at_start=not start)
    remaining = max(len(old), len(new)) - end
    return [*ops, Op("cut", f"{remaining:,} characters")] if remaining > 0 else ops


def _structure_ops(changes: Difference) -> list[Op]:
    """Return the first changes of a structured value, one per line."""
    ops: list[Op] = []
    rows = changes.rows(_MAX_CHANGES)
    for row in rows:
        ops += [Op("equal", "\n")] if ops else []
        ops += [Op("label", cut(f"{row.label}: ", 2 * _CONTEXT_CHARS))] if row.label else []
        ops += _folded(row.ops, at_start=True)
        ops += [Op("label", f" {row.remark}")] if row.remark else []
    remaining = len(changes.changes) - len(rows) if len(rows) == _MAX_CHANGES else 0
    return [*ops, Op("cut", f"{remaining:,} changes")] if remaining > 0 else ops


def _start(old: str, new: str) -> int:
    """Return the start of a word shortly before the first difference."""
    from rapidfuzz.distance import Prefix

    shared = Prefix.similarity(old, new)
    if shared <= 2 * _CONTEXT_CHARS:
        return 0
    space = old.find(" ", shared - _CONTEXT_CHARS, shared)
    return space + 1 if space >= 0 else shared - _CONTEXT_CHARS


def _folded(ops: Iterable[Op], *, at_start: bool) -> list[Op]:
    """Return `ops` without the middle of long equal pieces."""
    pieces = list(ops)
    folded: list[Op] = []
    for place, op in enumerate(pieces):
        head = _CONTEXT_CHARS if place or not at_start else 0
        tail = _CONTEXT_CHARS if place < len(pieces) - 1 else 0
        gap = len(op.text) - head - tail
        if op.kind != "equal" or gap <= _CONTEXT_CHARS:
            folded.append(op)
        else:
            folded += [Op("equal", op.text[:head]), Op("cut", f"{gap:,} characters")]
            folded.append(Op("equal", op.text[len(op.text) - tail :]))
    return [op for op in folded if op.text]


def _fitted(ops: Sequence[Op], limit: int) -> tuple[list[Op], bool]:
    """Return as many characters of `ops` as fit, and whether text is left out."""
    fitted: list[Op] = []
    for place, op in enumerate(ops):
        size = 0 if op.kind == "cut" else len(op.text)
        if size > limit:
            remaining = sum(len(op.text) for op in ops[place:] if op.kind != "cut") - limit
            fitted += [Op(op.kind, op.text[:limit])] if limit else []
            return [*fitted, Op("cut", f"{remaining:,} characters")], True
        limit -= size
        fitted.append(op)
    return fitted, any(op.kind == "cut" for op in fitted)

"""Differences between two texts: lines first, then words. Knows nothing of runs or widgets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from vellum_nb.experiments.matching import matches

__all__ = ["Op", "diff_html", "word_diff"]

Kind = Literal["equal", "insert", "delete"]

# Numbers and contractions stay whole; scripts written without spaces go by character.
_WORD = re.compile(
    r"\s+"
    r"|\d+(?:[.,]\d+)*"
    r"|[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
    r"|[^\W_]\w*(?:['\u2019]\w+)*[\u0300-\u036f\w]*"
    r"|.",
    re.DOTALL,
)
_UNLIKE = 0.25  # texts that share less than this are shown as one replacement
_BRIDGE = 3  # blocks: a change, what is equal, a change
_ISLAND = 100  # characters; longer equal pieces always stand


@dataclass(frozen=True, slots=True)
class Op:
    """One piece of a difference.

    Attributes
    ----------
    kind : {"equal", "insert", "delete"}
        `insert` is only in the new text, `delete` only in the old one.
    text : str
        The piece; never empty.
    """

    kind: Kind
    text: str


def word_diff(a: str, b: str) -> list[Op]:
    """Return how `b` differs from `a`, word by word.

    The equal and deleted pieces joined give `a`, the equal and inserted ones `b`. Where the two
    have little in common the result is one replacement rather than confetti.

    Parameters
    ----------
    a, b : str
        The old and the new text.

    Returns
    -------
    list of Op
        In reading order; a deletion comes before the insertion that replaces it.

    Examples
    --------
    >>> [(op.kind, op.text) for op in word_diff("charged twice", "charged once")]
    [('equal', 'charged '), ('delete', 'twice'), ('insert', 'once')]
    """
    if a == b:
        return [Op("equal", a)] if a else []
    ops: list[Op] = []
    lines_a, lines_b = a.splitlines(keepends=True), b.splitlines(keepends=True)
    for equal, old, new in _stretches(lines_a, lines_b):
        ops += [Op("equal", equal)] if equal else _words(old, new)
    return _merged(ops)


def diff_html(ops: Iterable[Op]) -> str:
    """Return `ops` as escaped HTML with ``ins`` and ``del`` elements.

    The plus and minus marks are part of the text, so that the difference reads without any style.

    Examples
    --------
    >>> diff_html([Op("insert", "<b>")])
    '<ins class="vnb-ins"><b class="vnb-mark">+</b><span>&lt;b&gt;</span></ins>'
    """
    parts = []
    previous = ""
    for op in ops:
        if op.kind == "insert" and previous == "delete":
            parts.append(" ")  # so that the two are not read as one word
        parts.append(escape(op.text) if op.kind == "equal" else _marked(op))
        previous = op.kind
    return "".join(parts)


def _marked(op: Op) -> str:
    """Return a change with its mark, which a style can leave out of the line through the text."""
    tag, mark = ("ins", "+") if op.kind == "insert" else ("del", "\N{MINUS SIGN}")
    text = f'<b class="vnb-mark">{mark}</b><span>{escape(op.text)}</span>'
    return f'<{tag} class="vnb-{tag}">{text}</{tag}>'


def _stretches(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield (equal, "", "") and ("", old, new) stretches of two token lists in turn."""
    at_a = at_b = 0
    for start_a, start_b, size in [*matches(a, b), (len(a), len(b), 0)]:
        old, new = "".join(a[at_a:start_a]), "".join(b[at_b:start_b])
        if old or new:
            yield "", old, new
        if size:
            yield "".join(a[start_a : start_a + size]), "", ""
        at_a, at_b = start_a + size, start_b + size


def _words(old: str, new: str) -> list[Op]:
    """Return the difference of two changed blocks of lines, word by word."""
    if not old or not new:
        return _replacement(old, new)
    ops: list[Op] = []
    for equal, gone, come in _stretches(_WORD.findall(old), _WORD.findall(new)):
        ops += [Op("equal", equal)] if equal else _replacement(gone, come)
    least = _UNLIKE * min(_weight(old), _weight(new))
    if _shared(ops) >= least:
        merged = _without_islands(ops)
        if _shared(merged) >= least:
            return merged
    return _replaced_between(_merged(ops), old, new)


def _replaced_between(ops: list[Op], old: str, new: str) -> list[Op]:
    """Return one replacement between the words with which both texts begin and end."""
    head = _edge(ops[0])
    tail = _edge(ops[-1]) or _end(old, new)
    old, new = (text[len(head) : len(text) - len(tail)] for text in (old, new))
    return _merged([Op("equal", head), *_replacement(old, new), Op("equal", tail)])


def _edge(op: Op) -> str:
    return op.text if op.kind == "equal" and any(map(str.isalnum, op.text)) else ""


def _end(old: str, new: str) -> str:
    """Return the line break, or whatever space, with which both end."""
    end = old[len(old.rstrip()) :]
    return end if new.endswith(end) else ""


def _shared(ops: Iterable[Op]) -> int:
    return sum(_weight(op.text) for op in ops if op.kind == "equal")


def _without_islands(ops: list[Op]) -> list[Op]:
    """Merge equal pieces that are small beside the changes on both sides of them."""
    kept: list[tuple[str, str, str]] = []
    for block in _blocks(ops):
        kept.append(block)
        while len(kept[-3:]) == _BRIDGE and _is_island(*kept[-3:]):
            (_, old, new), (island, _, _), (_, old_2, new_2) = kept[-3:]
            kept[-3:] = [("", old + island + old_2, new + island + new_2)]
    return [
        op
        for equal, old, new in kept
        for op in ([Op("equal", equal)] if equal else _replacement(old, new))
    ]


def _blocks(ops: list[Op]) -> list[tuple[str, str, str]]:
    """Return `ops` as (equal, "", "") and ("", old, new) blocks that alternate."""
    blocks: list[tuple[str, str, str]] = []
    for op in _merged(ops):
        if op.kind == "equal":
            blocks.append((op.text, "", ""))
            continue
        old, new = (op.text, "") if op.kind == "delete" else ("", op.text)
        if blocks and not blocks[-1][0]:
            blocks[-1] = ("", blocks[-1][1] + old, blocks[-1][2] + new)
        else:
            blocks.append(("", old, new))
    return blocks


def _is_island(
    before: tuple[str, str, str], island: tuple[str, str, str], after: tuple[str, str, str]
) -> bool:
    text = island[0]
    if not text or "\n" in text or len(text) > _ISLAND:
        return False
    if not text.strip():
        # A space between two replaced words; between two mere insertions it keeps them apart.
        return bool(before[1] and after[1] and before[2] and after[2])
    near = 4 * _ISLAND
    sizes = [max(_weight(old[:near]), _weight(new[:near])) for _, old, new in (before, after)]
    return 2 * _weight(text) <= min(sizes)


def _replacement(old: str, new: str) -> list[Op]:
    ops = [Op("delete", old)] if old else []
    return [*ops, Op("insert", new)] if new else ops


def _weight(text: str) -> int:
    """Return how many characters of `text` can be seen."""
    return len(text) - sum(map(str.isspace, text))


def _merged(ops: Iterable[Op]) -> list[Op]:
    """Join neighbours of one kind, leave out empty pieces."""
    merged: list[Op] = []
    texts: list[str] = []
    for op in ops:
        if not op.text:
            continue
        if merged and merged[-1].kind == op.kind:
            texts.append(op.text)
            continue
        if texts:
            merged[-1] = Op(merged[-1].kind, "".join(texts))
        merged.append(op)
        texts = [op.text]
    if texts:
        merged[-1] = Op(merged[-1].kind, "".join(texts))
    return merged

"""One row of the grid as it is sent to the page: a case, and a cell a release, cut to size.

A piece of text is a mark and a text: ``"="`` is in both, ``"-"`` only in the old text, ``"+"``
only in the new one, ``"~"`` is left out and the text says how much, ``"@"`` is where or by how
much something changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.cases import Case, error_text, is_answer
from vellum_nb.comparison.metrics import Metric
from vellum_nb.history import clean
from vellum_nb.models import Run
from vellum_nb.rendering.diff import Op, difference, word_diff
from vellum_nb.rendering.format import duration, figure, signed, visible_name
from vellum_nb.rendering.values import same_value, value_text
from vellum_nb.widgets.grid.order import inputs_of, label_text

__all__ = [
    "Chip",
    "MAX_ROW",
    "Piece",
    "RowSource",
    "changed",
    "chips",
    "differing",
    "plain",
    "row",
    "short",
]

Piece: TypeAlias = tuple[str, str]

_MARKS = {"equal": "=", "delete": "-", "insert": "+"}
_AROUND = 60  # characters that are shown before and after a change
_ROWS = 8  # changes of a structured value
_LARGEST = 100_000  # characters of a structured value that is compared by its parts
_WINDOW = 3  # times the limit: as much text is searched for differences


def short(text: str, limit: int) -> str:
    """Return `text` clean, and cut with an ellipsis where it is longer than `limit`."""
    text = text[: limit + 1]
    return clean(text if len(text) <= limit else f"{text[: limit - 1]}…")


def plain(text: str, limit: int) -> tuple[list[Piece], bool]:
    """Return `text` in pieces, and whether some of it is left out.

    Examples
    --------
    >>> plain("charged twice", 7)
    ([('=', 'charged'), ('~', '6 characters')], True)
    """
    rest = len(text) - limit
    pieces = [("=", clean(text[:limit]))] if text else []
    return ([*pieces, ("~", f"{rest:,} characters")], True) if rest > 0 else (pieces, False)


def differing(old: Any, new: Any, kinds: tuple[str, str], limit: int) -> tuple[list[Piece], bool]:
    """Return how one value differs from another, by Vellum's types of the two.

    Examples
    --------
    >>> differing(2, 5, ("NUMBER", "NUMBER"), 100)
    ([('-', '2'), ('+', '5'), ('@', ' by +3')], False)
    """
    texts = value_text(old, kinds[0]), value_text(new, kinds[1])
    if same_value(old, new):
        return plain(texts[1], limit)
    is_text = isinstance(old, str) and isinstance(new, str)
    if is_text or max(map(len, texts)) > _LARGEST:
        return changed(*texts, limit)
    found = difference(old, new, kinds[1], old_kind=kinds[0])
    pieces: list[Piece] = []
    rows = found.rows(_ROWS)
    for row in rows:
        pieces += [("=", "\n")] if pieces else []
        pieces += [("@", short(f"{row.label}: ", 2 * _AROUND))] if row.label else []
        pieces += _shortened(row.ops, at_start=True)
        pieces += [("@", f" {row.remark}")] if row.remark else []
    rest = len(found.changes) - len(rows) if len(rows) == _ROWS else 0
    pieces += [("~", f"{rest:,} changes")] if rest > 0 else []
    pieces, is_cut = _fitting(pieces, limit)
    return pieces, is_cut or any(mark == "~" for mark, _ in pieces)


def changed(old: str, new: str, limit: int) -> tuple[list[Piece], bool]:
    """Return how `new` differs from `old`, in pieces; a change is in sight however far down it is.

    Examples
    --------
    >>> changed("charged twice", "charged once", 100)
    ([('=', 'charged '), ('-', 'twice'), ('+', 'once')], False)
    """
    start = _start(old, new)
    size = _WINDOW * limit
    parts = old[start : start + size], new[start : start + size]
    pieces: list[Piece] = [("~", f"{start:,} characters")] if start else []
    pieces += _shortened(word_diff(*parts), at_start=not start)
    rest = max(len(old), len(new)) - start - size
    if rest > 0:
        pieces.append(("~", f"{rest:,} characters"))
    pieces, is_cut = _fitting(pieces, limit)
    return pieces, is_cut or any(mark == "~" for mark, _ in pieces)


def _start(old: str, new: str) -> int:
    """Return where to begin: shortly before the first difference, at a word."""
    low, high = 0, min(len(old), len(new))
    while low < high:  # how much both begin with
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    if low <= 2 * _AROUND:
        return 0
    begin = low - _AROUND
    space = old.find(" ", begin, low)
    return space + 1 if space >= 0 else begin


def _shortened(ops: Iterable[Op], *, at_start: bool) -> list[Piece]:
    """Return the pieces without the middle of what both have in common."""
    found = list(ops)
    pieces: list[Piece] = []
    for place, op in enumerate(found):
        head = _AROUND if place or not at_start else 0
        tail = _AROUND if place < len(found) - 1 else 0
        gap = len(op.text) - head - tail
        if op.kind != "equal" or gap <= _AROUND:
            pieces.append((_MARKS[op.kind], clean(op.text)))
            continue
        ends = op.text[:head], op.text[len(op.text) - tail :]
        pieces += [("=", clean(ends[0])), ("~", f"{gap:,} characters"), ("=", clean(ends[1]))]
    return [(mark, text) for mark, text in pieces if text]


def _fitting(pieces: list[Piece], limit: int) -> tuple[list[Piece], bool]:
    room = limit
    for place, (mark, text) in enumerate(pieces):
        if mark == "~":
            continue
        if len(text) > room:
            rest = sum(len(other) for kind, other in pieces[place:] if kind != "~") - room
            head = [(mark, text[:room])] if room else []
            return [*pieces[:place], *head, ("~", f"{rest:,} characters")], True
        room -= len(text)
    return pieces, False


Chip = tuple[str, str, str]
"""Text, tone ("good", "bad" or ""), and what the tooltip says."""

_MOST_CHIPS = 12
_CHIP_NAME = 40
_CHECK, _CROSS = "✓", "✗"


def chips(
    comparison: Comparison, case: Case, release: str, metrics: Sequence[Metric]
) -> list[Chip]:
    """Return the chips of one cell: what was expected, and what `metrics` say."""
    base = case.checks(case.baseline)
    found = [
        _check(name, met=met, before=base.get(name), own=release == case.baseline)
        for name, met in case.checks(release).items()
    ]
    for metric in metrics:
        chip = _metric(comparison, case, release, metric)
        if chip is not None:
            found.append(chip)
    return found[:_MOST_CHIPS]


def _check(name: str, *, met: bool, before: bool | None, own: bool) -> Chip:
    tone = "" if met else "bad"
    if met and before is False and not own:
        tone = "good"
    compared = "as expected" if met else "not as expected"
    name = short(visible_name(name), _CHIP_NAME)
    return f"{name} {_CHECK if met else _CROSS}", tone, f"{name}: {compared}"


def _metric(comparison: Comparison, case: Case, release: str, metric: Metric) -> Chip | None:
    name = short(visible_name(metric.name), _CHIP_NAME)
    scored = comparison.scored(metric.name)
    value = comparison.value(case, release, metric.name)
    column = comparison.releases.index(release)
    if value is None:
        failed = int(scored.failed[case.number - 1, column])
        return (f"{name} failed", "bad", f"{name} raised; errors() says what") if failed else None
    repeats = int(scored.count[case.number - 1, column])
    compared = f"{name}: {figure(value)}" + (
        f", mean of {repeats:,} repeats" if repeats > 1 else ""
    )
    is_pass = scored.passes and metric.name != "score" and value in {0.0, 1.0}
    text = f"{name} {_CHECK if value else _CROSS}" if is_pass else f"{name} {figure(value)}"
    if release == case.baseline:
        return text, "", compared
    delta = comparison.delta(case, release, metric.name)
    if delta is not None and abs(delta) > max(metric.tolerance, 1e-9) and not is_pass:
        text = f"{text} {signed(delta, like=max(abs(delta), abs(value)))}"
    verdict = comparison.verdict(case, release, metric.name)
    return text, {"better": "good", "worse": "bad"}.get(verdict, ""), compared


MAX_ROW = 40_000  # bytes of one row
_INPUT, _INPUTS = 320, 6
_LABEL, _LABELS = 40, 8
_TEXT, _OUTPUTS = 700, 8  # characters of an output, and how many outputs
_LEAST = 24
_INLINE = 40  # outputs as short as this stand beside each other

Cell = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RowSource:
    """What rows are made of.

    Attributes
    ----------
    comparison : Comparison
        Whose cases they are.
    metric : str or None
        By which metric cases are better or worse.
    replays : frozenset of str
        The releases on which a missing case can be run.
    busy : mapping
        (case id, release) to what is under way there, or what went wrong.
    """

    comparison: Comparison
    metric: str | None
    replays: frozenset[str] = frozenset()
    busy: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)


def row(source: RowSource, case: Case) -> dict[str, Any]:
    """Return what travels for one case; never more than about `MAX_ROW`."""
    limit = _TEXT
    while True:
        made = _row(source, case, limit)
        if len(json.dumps(made)) <= MAX_ROW or limit <= _LEAST:
            return made
        limit //= 2


def _row(source: RowSource, case: Case, limit: int) -> dict[str, Any]:
    comparison = source.comparison
    inputs = [(name, value) for name, value in inputs_of(case).items() if value is not None]
    size = min(_INPUT, limit)
    labels = [(name, value) for name, value in case.labels.items() if value is not None]
    return {
        "id": case.case_id,
        "n": case.number,
        "labels": [[short(n, _LABEL), short(label_text(v), _LABEL)] for n, v in labels[:_LABELS]],
        "unstable": case.is_unstable,
        "inputs": [
            [_name(name) if len(inputs) > 1 else "", short(_input(value), size)]
            for name, value in inputs[:_INPUTS]
        ],
        "more": max(0, len(inputs) - _INPUTS),
        "cells": [
            _cell(source, case, each, limit) for each in (comparison.baseline, *comparison.others)
        ],
    }


def _name(name: str) -> str:
    return short(visible_name(name), _LABEL)


def _input(value: object) -> str:
    is_media = isinstance(value, dict) and isinstance(value.get("src"), str)
    return value_text(value, "IMAGE" if is_media else "JSON")


def _cell(source: RowSource, case: Case, release: str, limit: int) -> Cell:
    found = case.counting(release)
    busy, problem = source.busy.get((case.case_id, release), ("", ""))
    head: Cell = {"busy": clean(busy), "problem": short(problem, 300)}
    if found is None or not is_answer(found):
        return head | _gap(source, case, release, found)
    base = case.counting(case.baseline)
    base = base if is_answer(base) else None
    kind, word = _verdict(source, case, release, base)
    against = None if release == case.baseline else base
    outputs, is_cut = _outputs(found, against, limit)
    unlike, answers = case.repeats(release)
    return head | {
        "kind": kind,
        "word": word,
        "run": found.id,
        "quality": found.quality,
        "latency": duration(found.latency_s),
        "error": _error(found, limit),
        "outputs": outputs,
        "cut": is_cut,
        "chips": chips(source.comparison, case, release, source.comparison.metrics),
        "unstable": f"differs in {unlike:,} of {answers:,} repeats" if unlike else "",
    }


def _gap(source: RowSource, case: Case, release: str, found: Run | None) -> Cell:
    tries = len(case.tries.get(release, ()))
    name = _name(release)
    times = "1 try" if tries == 1 else f"{tries:,} tries"
    what = f"No answer from {name} in {times}." if tries else f"Not run on {name}."
    error = error_text(found)
    return {
        "kind": "missing",
        "word": "missing",
        "run": "" if found is None else found.id,
        "gap": f"{what} Counted as missing, never as a pass.",
        "error": short(error, 300),
        "replay": release in source.replays,
    }


def _verdict(source: RowSource, case: Case, release: str, base: Run | None) -> tuple[str, str]:
    if release == case.baseline:
        return "baseline", ""
    if base is None:
        return "alone", f"nothing to hold against: no answer on {_name(case.baseline)}"
    differs = case.status(release) == "differs"
    if source.metric is None:
        return _plainly(differs=differs)
    verdict = source.comparison.verdict(case, release, source.metric)
    if verdict == "same" and not differs:
        return _plainly(differs=False)
    name = short(visible_name(source.metric), _LABEL)
    words = {
        "better": "better",
        "worse": "worse",
        "noise": "within the noise",
        "error": f"{name} failed",
        "same": f"same {name}",
    }
    return (verdict, words[verdict]) if verdict in words else _plainly(differs=differs)


def _plainly(*, differs: bool) -> tuple[str, str]:
    return ("differs", "differs") if differs else ("same", "same")


def _error(found: Run, limit: int) -> str:
    return short(error_text(found), limit)


def _outputs(run: Run, base: Run | None, limit: int) -> tuple[list[dict[str, Any]], bool]:
    """Return the outputs, short ones to stand in a line, and whether something is left out."""
    names = list(dict.fromkeys([*(base.outputs if base else ()), *run.outputs]))
    if not run.outputs:
        return [], False
    made = [_output(name, run, base, limit) for name in names[:_OUTPUTS]]
    cut = len(names) > _OUTPUTS or any(each.pop("cut") for each in made)
    long = sum(not each["inline"] for each in made)
    for each in made:
        each["told"] = not each.pop("is_text") or (long > 1 and not each["inline"])
    return made, cut


def _output(name: str, run: Run, base: Run | None, limit: int) -> dict[str, Any]:
    compared = base is not None and bool(base.outputs)
    old = _value(base, name) if base is not None and compared else None
    new = _value(run, name)
    note = ""
    if new is None:
        (pieces, cut), note = changed(value_text(*(old or ("", ""))), "", limit), "missing"
    elif not compared:
        pieces, cut = plain(value_text(*new), limit)
    elif old is None:
        (pieces, cut), note = changed("", value_text(*new), limit), "new"
    else:
        pieces, cut = differing(old[0], new[0], (old[1], new[1]), limit)
    sides = ("".join(text for mark, text in pieces if mark != left_out) for left_out in "+-")
    inline = not cut and all(len(text) <= _INLINE and "\n" not in text for text in sides)
    is_text = isinstance((new or old or ("",))[0], str)
    made = {"name": _name(name), "pieces": pieces, "cut": cut, "note": note, "inline": inline}
    return made | {"is_text": is_text}  # a bare number says nothing without its name


def _value(run: Run, name: str) -> tuple[Any, str] | None:
    """Return an output and its type; None where there is none."""
    if name not in run.outputs:
        return None
    value = run.outputs[name]
    return value, run.output_types.get(name, "STRING" if isinstance(value, str) else "JSON")

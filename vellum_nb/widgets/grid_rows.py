"""One row of the grid as HTML: a case, and a cell a release, cut to size.

A piece of text is a mark and a text: ``"="`` is in both, ``"-"`` only in the old text, ``"+"``
only in the new one, ``"~"`` is left out and the text says how much, ``"@"`` is where or by how
much something changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.cases import Case, error_text, is_answer
from vellum_nb.comparison.metrics import Metric
from vellum_nb.history import clean
from vellum_nb.models import Run
from vellum_nb.rendering.diff import MISSING, Op, difference, output_status, typed_output, word_diff
from vellum_nb.rendering.format import (
    cut,
    duration,
    figure,
    plain_text,
    plural,
    signed,
    value_text,
    visible_name,
)
from vellum_nb.rendering.html import render
from vellum_nb.widgets.markup import icon

Piece: TypeAlias = tuple[str, str]
Chip: TypeAlias = tuple[str, ...]
"""Text, tone, tooltip, and the name of an icon."""

MAX_ROW = 40_000  # bytes of one row
_MARKS = {"equal": "=", "delete": "-", "insert": "+"}
_AROUND = 60  # characters that are shown before and after a change
_CHANGES = 8  # of a structured value
_LARGEST = 100_000  # characters of a structured value that is compared by its parts
_WINDOW = 3  # times the limit: as much text is searched for differences
_TEXT, _LEAST = 700, 24  # characters of an output, at most and at least
_INPUT = 320
_INPUTS, _OUTPUTS, _LABELS, _CHIPS, _FAILURES = 6, 8, 8, 12, 8
_NAME, _FAILURE = 40, 80
_INLINE = 40  # outputs as short as this stand beside each other
_ICONS = {
    "worse": "down-arrow",
    "better": "up-arrow",
    **dict.fromkeys(("missing", "alone"), "CANCELLED"),
    "error": "FAILED",
}
_PASS = {True: "✓", False: "✗"}
_NOTES = {"missing": "output missing", "new": "new output"}


def short(text: str, limit: int) -> str:
    """Return `text` clean, and cut with an ellipsis where it is longer than `limit`."""
    return clean(cut(text, limit))


def label_text(value: object) -> str:
    """Return a label as it is shown and filtered by: its beginning, where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return clean(text[:200])


def plain(text: str, limit: int) -> tuple[list[Piece], bool]:
    """Return `text` in pieces, and whether some of it is left out."""
    return _fitted([("=", text)] if text else [], limit)


def differing(old: Any, new: Any, kinds: tuple[str, str], limit: int) -> tuple[list[Piece], bool]:
    """Return how one value differs from another, by Vellum's types of the two."""
    texts = value_text(old, kinds[0]), value_text(new, kinds[1])
    is_text = isinstance(old, str) and isinstance(new, str)
    if is_text or max(map(len, texts)) > _LARGEST:
        return changed(*texts, limit)
    found = difference(old, new, kinds[1], old_kind=kinds[0])
    pieces: list[Piece] = []
    rows = found.rows(_CHANGES)
    for each in rows:
        pieces += [("=", "\n")] if pieces else []
        pieces += [("@", short(f"{each.label}: ", 2 * _AROUND))] if each.label else []
        pieces += _folded(each.ops, at_start=True)
        pieces += [("@", f" {each.remark}")] if each.remark else []
    rest = len(found.changes) - len(rows) if len(rows) == _CHANGES else 0
    return _fitted([*pieces, ("~", f"{rest:,} changes")] if rest > 0 else pieces, limit)


def changed(old: str, new: str, limit: int) -> tuple[list[Piece], bool]:
    """Return how `new` differs from `old`; a change is in sight however far down it is."""
    start, end = _start(old, new), _WINDOW * limit
    pieces: list[Piece] = [("~", f"{start:,} characters")] if start else []
    ops = word_diff(old[start : start + end], new[start : start + end])
    pieces += _folded(ops, at_start=not start)
    rest = max(len(old), len(new)) - start - end
    return _fitted([*pieces, ("~", f"{rest:,} characters")] if rest > 0 else pieces, limit)


def _start(old: str, new: str) -> int:
    """Return where to begin: shortly before the first difference, at a word."""
    low, high = 0, min(len(old), len(new))
    while low < high:  # how much both begin with
        middle = (low + high + 1) // 2
        low, high = (middle, high) if old[low:middle] == new[low:middle] else (low, middle - 1)
    if low <= 2 * _AROUND:
        return 0
    space = old.find(" ", low - _AROUND, low)
    return space + 1 if space >= 0 else low - _AROUND


def _folded(ops: Iterable[Op], *, at_start: bool) -> list[Piece]:
    """Return the pieces without the middle of what both have in common."""
    found = list(ops)
    pieces: list[Piece] = []
    for place, op in enumerate(found):
        head = _AROUND if place or not at_start else 0
        tail = _AROUND if place < len(found) - 1 else 0
        gap = len(op.text) - head - tail
        if op.kind != "equal" or gap <= _AROUND:
            pieces.append((_MARKS[op.kind], op.text))
        else:
            pieces += [("=", op.text[:head]), ("~", f"{gap:,} characters")]
            pieces.append(("=", op.text[len(op.text) - tail :]))
    return [(mark, text) for mark, text in pieces if text]


def _fitted(pieces: list[Piece], limit: int) -> tuple[list[Piece], bool]:
    """Return as many characters of `pieces` as fit, and whether something is left out."""
    fitted: list[Piece] = []
    for place, (mark, text) in enumerate(pieces):
        size = 0 if mark == "~" else len(text)
        if size > limit:
            rest = sum(len(other) for kind, other in pieces[place:] if kind != "~") - limit
            fitted += [(mark, clean(text[:limit]))] if limit else []
            return [*fitted, ("~", f"{rest:,} characters")], True
        limit -= size
        fitted.append((mark, clean(text)))
    return fitted, any(mark == "~" for mark, _ in fitted)


def _chips(comparison: Comparison, case: Case, release: str) -> list[Chip]:
    """Return what was expected and what metrics say: text, tone and tooltip of each chip."""
    own, base = release == case.baseline, case.checks(case.baseline)
    found: list[Chip] = []
    for name, met in case.checks(release).items():
        tone = "bad" if not met else "good" if base.get(name) is False and not own else ""
        compared = "as expected" if met else "not as expected"
        found.append((f"{_name(name)} {_PASS[met]}", tone, f"{_name(name)}: {compared}"))
    names, proposals = comparison.figures.failures[case.number - 1][release]
    for name, author in list(names.items())[:_FAILURES]:
        by = f", named by {author}" if author else ""
        found.append((_name(name), "bad", f"failure: {name}{by}", "FAILED"))
    for name, judge in list(proposals.items())[:_FAILURES]:
        title = f"failure: {name}, proposed by {judge}; f confirms it"
        found.append((f"{_name(name)}?", "warn", title, "FAILED"))
    scores = (_score(comparison, case, release, metric) for metric in comparison.metrics)
    return [*found, *filter(None, scores)][:_CHIPS]


def _score(comparison: Comparison, case: Case, release: str, metric: Metric) -> Chip | None:
    name, scored = _name(metric.name), comparison.figures.scored[metric.name]
    value = comparison.figures.value(case, release, metric.name)
    place = case.number - 1, comparison.releases.index(release)
    if value is None:
        failed = bool(scored.failed[place])
        return (f"{name} failed", "bad", f"{name} raised; errors() says what") if failed else None
    repeats = int(scored.count[place])
    title = f"{name}: {figure(value)}"
    title += f", mean of {repeats:,} repeats" if repeats > 1 else ""
    is_pass = scored.passes and metric.name != "score" and value in {0.0, 1.0}
    text = f"{name} {_PASS[bool(value)] if is_pass else figure(value)}"
    if release == case.baseline:
        return text, "", title
    delta = float(comparison.figures.compared(release, metric.name).delta[case.number - 1])
    if abs(delta) > max(metric.tolerance, 1e-9) and not is_pass:
        text = f"{text} {signed(delta, like=max(abs(delta), abs(value)))}"
    verdict = comparison.figures.verdict(case, release, metric.name)
    return text, {"better": "good", "worse": "bad"}.get(verdict, ""), title


Busy = Mapping[tuple[str, str], tuple[str, str]]
"""(case id, release) to what is under way there, and what went wrong."""


def row(
    comparison: Comparison, case: Case, metric: str | None, replayed: frozenset[str], busy: Busy
) -> dict[str, Any]:
    """Return what travels for one case, its HTML; never more than about `MAX_ROW`.

    `metric` says what is better or worse; on the releases in `replayed` a missing case can be run.
    """
    limit = _TEXT
    inputs = [(name, value) for name, value in case.inputs.items() if value is not None]
    labels = [(name, value) for name, value in case.labels.items() if value is not None]
    while True:
        size = min(_INPUT, limit)
        html = render(
            "grid_row.html.j2",
            icon=icon,
            icons=_ICONS,
            case=case,
            labels=[(_name(n), short(label_text(v), _NAME)) for n, v in labels[:_LABELS]],
            inputs=[
                (_name(name) if len(inputs) > 1 else "", short(plain_text(value), size))
                for name, value in inputs[:_INPUTS]
            ],
            more=len(inputs) - _INPUTS,
            cells=[
                _state(each, each in replayed, *busy.get((case.case_id, each), ("", "")))
                | _cell(comparison, case, each, metric, limit)
                for each in (comparison.baseline, *comparison.figures.others)
            ],
        )
        if len(json.dumps(html)) <= MAX_ROW or limit <= _LEAST:
            found = {"id": case.case_id, "number": case.number, "html": html}
            return found | {"failures": _failures(comparison, case)}
        limit //= 2


def _failures(comparison: Comparison, case: Case) -> dict[str, list[list[Any]]]:
    """Return release to the failures of its answer: name, label, whether it is only proposed."""
    found = comparison.figures.failures[case.number - 1]
    return {
        each: [
            [name, short(visible_name(name), _FAILURE), names is both[1]]
            for names in both
            for name in [*names][:_FAILURES]
        ]
        for each, both in found.items()
    }


def _state(release: str, can_replay: bool, busy: str, problem: str) -> dict[str, Any]:  # noqa: FBT001
    named = {"name": release, "release": short(visible_name(release), 120)}
    can_replay = can_replay and not busy
    state = {"can_replay": can_replay, "busy": busy, "problem": short(problem, 300)}
    return {"gap": "", "latency": "", **named, **state}


def _name(name: str) -> str:
    return short(visible_name(name), _NAME)


def _cell(
    comparison: Comparison, case: Case, release: str, metric: str | None, limit: int
) -> dict[str, Any]:
    found, base = case.counting(release), case.counting(case.baseline)
    error = error_text(found)
    if found is None or not is_answer(found):
        tries = len(case.tries.get(release, ()))
        what = f"No answer from {_name(release)} in {plural(tries, 'try', 'tries')}."
        gap = what if tries else f"Not run on {_name(release)}."
        word, gap = found.state.lower() if found else "missing", f"{gap} It never counts as a pass."
        return {"kind": "missing", "word": word, "gap": gap, "error": short(error, 300)}
    base = base if is_answer(base) else None
    kind, word = _verdict(comparison, case, release, metric, base)
    against = base if release != case.baseline else None
    lines, is_cut = _lines(found, against, limit)
    unlike, answers = case.repeats(release)
    chips: list[Chip] = _chips(comparison, case, release)
    if unlike:
        text, title = (
            f"differs in {unlike:,} of {answers:,} repeats",
            "Repeats have different answers",
        )
        chips.append((text, "warn", title, "unstable"))
    if found.quality is not None:
        rated = f"rated {found.quality:.2f}"
        chips.append((rated, "", "How a person rated this answer, from 0 to 1"))
    return {
        "kind": kind,
        "word": word,
        "latency": duration(found.latency_s),
        "error": short(error, limit),
        "lines": lines,
        "cut": is_cut,
        "chips": chips,
    }


def _verdict(
    comparison: Comparison, case: Case, release: str, metric: str | None, base: Run | None
) -> tuple[str, str]:
    """Return how a case fares on a release, as a kind and in words."""
    if release == case.baseline:
        return "baseline", ""
    if base is None:
        return "alone", f"nothing to compare with: no answer on {_name(case.baseline)}"
    status = case.status(release)
    verdict = status if metric is None else comparison.figures.verdict(case, release, metric)
    name = "" if metric is None else _name(metric)
    words = {
        "better": "better",
        "worse": "worse",
        "noise": "within the noise",
        "error": f"{name} failed",
        "same": "identical" if status == "same" else f"same {name}",
    }
    return (verdict, words[verdict]) if verdict in words else (status, status)


def _lines(run: Run, base: Run | None, limit: int) -> tuple[list[list[dict[str, Any]]], bool]:
    """Return the outputs in lines, short ones beside each other; whether something is left out."""
    if not run.outputs:
        return [], False
    names = list(dict.fromkeys([*(base.outputs if base else ()), *run.outputs]))
    made = [_output(name, run, base, limit) for name in names[:_OUTPUTS]]
    long = sum(not each["inline"] for each in made)
    lines: list[list[dict[str, Any]]] = []
    for each in made:  # a bare number says nothing without its name
        each["named"] = not each["is_text"] or (long > 1 and not each["inline"])
        if each["inline"] and lines and lines[-1][0]["inline"]:
            lines[-1].append(each)
        else:
            lines.append([each])
    return lines, len(names) > _OUTPUTS or any(each["cut"] for each in made)


def _output(name: str, run: Run, base: Run | None, limit: int) -> dict[str, Any]:
    status = output_status(name, run, base)
    new, kind = typed_output(name, run)
    old, old_kind = (MISSING, "JSON") if base is None else typed_output(name, base)
    if status == "missing":
        (pieces, is_cut), new = changed(value_text(old, old_kind), "", limit), old
    elif status == "new":
        pieces, is_cut = changed("", value_text(new, kind), limit)
    elif status == "differs":
        pieces, is_cut = differing(old, new, (old_kind, kind), limit)
    else:
        pieces, is_cut = plain(value_text(new, kind), limit)
    sides = ("".join(text for mark, text in pieces if mark != left_out) for left_out in "+-")
    inline = not is_cut and all(len(text) <= _INLINE and "\n" not in text for text in sides)
    made = {"name": _name(name), "pieces": pieces, "note": _NOTES.get(status, "")}
    return made | {"inline": inline, "cut": is_cut, "is_text": isinstance(new, str)}

"""Cases on one line: a short form of the inputs, and one cell per release."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.cases import Case, is_answer
from vellum_nb.history import clean
from vellum_nb.models import Run
from vellum_nb.rendering.answer import AnswerCell
from vellum_nb.rendering.diff import MISSING, side_html
from vellum_nb.rendering.format import (
    cut,
    figure,
    one_line,
    plain_text,
    plural,
    same_value,
    signed,
    visible_name,
)
from vellum_nb.rendering.html import render
from vellum_nb.widgets.markup import icon, is_short

MAX_NAME_CHARS = 40
_MAX_VALUE_CHARS, _MAX_TEXT_CHARS, _MAX_TITLE_CHARS, _MAX_INPUT_CHARS = 24, 100, 400, 160
_MAX_VALUES = 6
ICONS = {
    "worse": "down-arrow",
    "better": "up-arrow",
    **dict.fromkeys(("missing", "alone"), "CANCELLED"),
    "error": "FAILED",
}

Busy = Mapping[tuple[str, str], tuple[str, str]]
"""Activity and error of a cell, by case id and release."""

IDLE = "", ""


def label_text(value: object) -> str:
    """Return a label as displayed and filtered by: at most 200 characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return clean(text[:200])


def short_name(name: str) -> str:
    """Return a name with visible controls, abridged."""
    return cut(visible_name(name), MAX_NAME_CHARS)


def cell_state(release: str, can_replay: bool, busy: str, problem: str) -> dict[str, Any]:  # noqa: FBT001
    """Return the actions, activity and error of a cell."""
    named = {"name": release, "release": cut(visible_name(release), 120)}
    can_replay = can_replay and not busy
    state = {"can_replay": can_replay, "busy": busy, "problem": cut(problem, 300)}
    return {"gap": "", "latency": "", **named, **state}


def verdict_of(
    comparison: Comparison, case: Case, release: str, metric: str | None, base: Run | None
) -> tuple[str, str]:
    """Return the verdict on an answer as an icon name and in words."""
    if release == case.baseline:
        return "baseline", ""
    if base is None:
        return "alone", f"nothing to compare with: no answer on {short_name(case.baseline)}"
    status = case.status(release)
    verdict = status if metric is None else comparison.figures.verdict(case, release, metric)
    name = "" if metric is None else short_name(metric)
    words = {
        "better": "better",
        "worse": "worse",
        "noise": "within the noise",
        "error": f"{name} failed",
        "same": "identical" if status == "same" else f"same {name}",
    }
    return (verdict, words[verdict]) if verdict in words else (status, status)


def line_html(
    comparison: Comparison, case: Case, metric: str | None, replayed: frozenset[str], busy: Busy
) -> str:
    """Return a case as one line."""
    cells = [
        cell_state(release, release in replayed, *busy.get((case.case_id, release), IDLE))
        | _cell(comparison, case, release, metric)
        for release in (comparison.baseline, *comparison.figures.others)
    ]
    title = _inputs_text(case)
    text = {"text": cut(title, _MAX_INPUT_CHARS), "title": cut(title, _MAX_TITLE_CHARS)}
    return render("grid_line.html.j2", icon=icon, icons=ICONS, case=case, cells=cells, **text)


def _inputs_text(case: Case) -> str:
    """Return the first long text of the inputs, or all of them."""
    inputs = {name: value for name, value in case.inputs.items() if value is not None}
    long = (value for value in inputs.values() if isinstance(value, str) and not is_short(value))
    named = [f"{visible_name(name)}: {plain_text(value)}" for name, value in inputs.items()]
    rest = plain_text(next(iter(inputs.values()))) if len(inputs) == 1 else " · ".join(named)
    return one_line(next(long, rest)[: 4 * _MAX_TITLE_CHARS])


def _cell(comparison: Comparison, case: Case, release: str, metric: str | None) -> dict[str, Any]:
    run, base = case.counting(release), case.counting(case.baseline)
    problem = AnswerCell.of_problem(run)
    error = one_line(problem.to_text()[:_MAX_TITLE_CHARS]) if problem else ""
    made: dict[str, Any] = {"parts": [], "html": "", "error": error, "score": "", "tone": ""}
    made |= {"repeats": "", "note": "", "failures": failure_text(comparison, case, release)}
    if run is None or not is_answer(run):
        tries = len(case.tries.get(release, ()))
        gap = f"no answer in {plural(tries, 'try', 'tries')}" if tries else "not run"
        word = run.state.lower() if run else "missing"
        title = f"{gap} on {short_name(release)}; it never counts as a pass. {error}"
        return made | {"kind": "missing", "word": word, "gap": gap, "title": title.strip()}
    base = base if is_answer(base) else None
    kind, word = verdict_of(comparison, case, release, metric, base)
    met = case.checks(release)
    if kind == "baseline" and met:
        word = "as expected" if all(met.values()) else "not as expected"
    is_same = release != case.baseline and base is not None and case.status(release) == "same"
    values = [] if is_same or problem else _values(run, case.expected, met)
    unlike, answers = case.repeats(release)
    title = "; ".join(_titled(*value) for value in values)
    made |= {
        "kind": kind,
        "word": word,
        "same": is_same,
        "met": all(met.values()) if met else None,
        "parts": _parts(values),
        "html": "" if is_same or problem or values else _text_html(run, base),
        "title": cut(title or error or word, _MAX_TITLE_CHARS),
        "repeats": f"{answers - unlike:,} of {answers:,}" if unlike else "",
    }
    if values and base is not None and run is not base:
        made["note"] = _other_difference(run, base, [name for name, *_ in values])
    return made | score_of(comparison, case, release, metric, kind)


def failure_text(comparison: Comparison, case: Case, release: str) -> str:
    """Return the failures of an answer; those that are only proposed have a question mark."""
    names, proposals = comparison.figures.failures[case.number - 1][release]
    texts = [*map(short_name, names), *(f"{short_name(name)}?" for name in proposals)]
    return cut(", ".join(texts), _MAX_TITLE_CHARS)


def _values(
    run: Run, expected: Mapping[str, Any], met: Mapping[str, bool]
) -> list[tuple[str, str, str]]:
    """Return the short outputs and those that are not as expected: name, value, expected value."""
    values = []
    for name in dict.fromkeys([*run.outputs, *expected]):
        value, is_wrong = run.outputs.get(name, MISSING), met.get(name) is False
        if is_wrong or (value is not MISSING and is_short(value)):
            text = "missing" if value is MISSING else value_text(value)
            values.append((name, text, value_text(expected[name]) if is_wrong else ""))
    return values[:_MAX_VALUES]


def value_text(value: object) -> str:
    """Return a value as short text on one line."""
    text = plain_text(value)
    return cut(one_line(visible_name(text[: 4 * _MAX_VALUE_CHARS])) or '""', _MAX_VALUE_CHARS)


def _titled(name: str, value: str, expected: str) -> str:
    return f"{short_name(name)}: {value}" + (f", expected {expected}" if expected else "")


def _parts(values: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """Return the values as class and text; expected values follow the wrong ones.

    >>> "".join(text for _, text in _parts([("a", "1", "2"), ("b", "3", "")]))
    '1, expected 2 · 3'
    """
    all_wrong = len(values) > 1 and all(expected for *_, expected in values)
    parts: list[tuple[str, str]] = []
    for _, value, expected in values:
        parts += [("between", " · ")] if parts else []
        parts += [("wrong" if expected else "value", value)]
        parts += [("expected", f", expected {expected}")] if expected and not all_wrong else []
    joined = " · ".join(expected for *_, expected in values)
    return [*parts, ("expected", f", expected {joined}")] if all_wrong else parts


def _text_html(run: Run, base: Run | None) -> str:
    """Return the beginning of the first output, or its first change, as HTML."""
    against = None if base is run else base
    cells = [AnswerCell.of(name, run, against) for name in run.outputs]
    chosen = next((cell for cell in cells if cell.status == "differs"), cells[0] if cells else None)
    return side_html(chosen.excerpt(_MAX_TEXT_CHARS)[0], "new") if chosen else ""


def _other_difference(run: Run, base: Run, names: list[str]) -> str:
    """Return the name of an output outside of the line that differs, if those in it do not."""
    both = dict.fromkeys([*run.outputs, *base.outputs])
    unlike = [
        name
        for name in both
        if not same_value(run.outputs.get(name, MISSING), base.outputs.get(name, MISSING))
    ]
    return short_name(unlike[0]) if unlike and not set(unlike) & set(names) else ""


def score_of(
    comparison: Comparison, case: Case, release: str, metric: str | None, kind: str
) -> dict[str, str]:
    """Return the score of the baseline or its change on a candidate, and its tone."""
    value = None if metric is None else comparison.figures.value(case, release, metric)
    if value is None or metric is None:
        return {}
    if release == case.baseline:
        return {"score": figure(value)}
    delta = float(comparison.figures.against[release, metric].delta[case.number - 1])
    least = max(comparison.figures.scored[metric].metric.tolerance, 1e-9)
    if math.isnan(delta) or abs(delta) <= least:
        return {}
    tone = {"better": "good", "worse": "bad"}.get(kind, "")
    return {"score": signed(delta, like=max(abs(delta), abs(value))), "tone": tone}

"""Rows of the grid as abridged HTML: a case, and one cell per release."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.cases import Case, is_answer
from vellum_nb.comparison.lines import (
    ICONS,
    IDLE,
    MAX_NAME_CHARS,
    Busy,
    cell_state,
    label_text,
    line_html,
    short_name,
    value_text,
    verdict_of,
)
from vellum_nb.comparison.metrics import Metric
from vellum_nb.comparison.transcripts import Transcript, transcript_html
from vellum_nb.models import Run
from vellum_nb.models.checks import cut
from vellum_nb.rendering.answer import AnswerCell
from vellum_nb.rendering.diff import MISSING, side_html
from vellum_nb.rendering.format import (
    duration,
    figure,
    plain_text,
    plural,
    signed,
    visible_name,
)
from vellum_nb.rendering.html import icon, render

Chip: TypeAlias = tuple[str, ...]
"""Text, tone, tooltip, and optionally the name of an icon."""

MAX_ROW_BYTES = 40_000
MAX_NOTE_CHARS = 2_000
_MAX_CHARS, _MIN_CHARS = 700, 24  # largest and smallest number of characters per output
_MAX_INPUT_CHARS = 320
_MAX_TALK_CHARS = 20_000  # of the HTML of a transcript
_MAX_INPUTS, _MAX_OUTPUTS, _MAX_LABELS, _MAX_CHIPS, _MAX_FAILURES = 6, 8, 8, 12, 8
_MAX_FAILURE_CHARS = 80
_MAX_INLINE_CHARS = 40  # characters; shorter outputs share a line
_PASS = {True: "✓", False: "✗"}
_NOTES = {"missing": "output missing", "new": "new output"}


def _chips(comparison: Comparison, case: Case, release: str) -> list[Chip]:
    """Return the chips of an answer: expected outputs, failures and metrics."""
    is_baseline, base = release == case.baseline, case.checks(case.baseline)
    chips: list[Chip] = []
    for name, met in case.checks(release).items():
        tone = "bad" if not met else "good" if base.get(name) is False and not is_baseline else ""
        text, compared = f"{short_name(name)} {_PASS[met]}", "as expected"
        if not met:
            missed = case.unmet(release, name)
            where = f" in turn {missed.turn}" if missed.turn else ""
            wanted = f"expected {value_text(missed.expected[name])}{where}"
            text, compared = f"{text} {wanted}", f"not as expected, {wanted}"
        chips.append((text, tone, f"{short_name(name)}: {compared}"))
    chips += failure_chips(comparison, case, release)
    scores = (_score(comparison, case, release, metric) for metric in comparison.metrics)
    return [*chips, *filter(None, scores)][:_MAX_CHIPS]


def failure_chips(comparison: Comparison, case: Case, release: str) -> list[Chip]:
    """Return the chips of the failures of an answer; proposed names have a question mark."""
    names, proposals = comparison.figures.failures[case.number - 1][release]
    chips: list[Chip] = []
    for name, author in list(names.items())[:_MAX_FAILURES]:
        by = f", named by {author}" if author else ""
        chips.append((short_name(name), "bad", f"failure: {name}{by}", "FAILED"))
    for name, judge in list(proposals.items())[:_MAX_FAILURES]:
        title = f"failure: {name}, proposed by {judge}; f confirms it"
        chips.append((f"{short_name(name)}?", "warn", title, "FAILED"))
    return chips


def _score(comparison: Comparison, case: Case, release: str, metric: Metric) -> Chip | None:
    name, scored = short_name(metric.name), comparison.figures.scored[metric.name]
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
    delta = float(comparison.figures.against[release, metric.name].delta[case.number - 1])
    if abs(delta) > max(metric.tolerance, 1e-9) and not is_pass:
        text = f"{text} {signed(delta, like=max(abs(delta), abs(value)))}"
    verdict = comparison.figures.verdict(case, release, metric.name)
    return text, {"better": "good", "worse": "bad"}.get(verdict, ""), title


def row(
    comparison: Comparison,
    case: Case,
    metric: str | None,
    replayed: frozenset[str],
    busy: Busy,
    *,
    full: bool = True,
    inline: bool = False,
) -> dict[str, Any]:
    """Return the message for one case: its outputs in `full` or on one line.

    In full, `inline` shows removed and new words together.
    `metric` decides the verdicts; a missing case can be run on the releases in `replayed`.
    """
    of = comparison, case, metric, replayed, busy
    if full:
        html = _row_html(*of, inline=inline)
    else:
        html = line_html(
            comparison.figures, case, metric, icon, replayed=replayed, busy=busy, titled=True
        )
    message = {"id": case.case_id, "number": case.number, "html": html}
    answers = {release: case.answer(release) for release in comparison.releases}
    notes = {r: run.note[:MAX_NOTE_CHARS] for r, run in answers.items() if run and run.note}
    return message | {"failures": _failures(comparison, case), "notes": notes}


def _row_html(
    comparison: Comparison,
    case: Case,
    metric: str | None,
    replayed: frozenset[str],
    busy: Busy,
    *,
    inline: bool,
) -> str:
    """Return a row of at most about `MAX_ROW_BYTES` bytes."""
    limit, turn = _MAX_CHARS, case.decisive
    releases = (comparison.baseline, *comparison.figures.others)
    talk = Transcript.of(case, releases, {}) if case.turns else None
    turns = transcript_html(talk, icon, inline=inline, max_chars=_MAX_TALK_CHARS) if talk else ""
    inputs = [(name, value) for name, value in case.inputs.items() if value is not None]
    labels = [(name, value) for name, value in case.labels.items() if value is not None]
    while True:
        size = min(_MAX_INPUT_CHARS, limit)
        html = render(
            "grid_row.html.j2",
            icon=icon,
            icons=ICONS,
            case=case,
            turn=turn.turn,
            talk=talk,
            turns=turns if len(turns) <= _MAX_TALK_CHARS else "",
            labels=[
                (short_name(n), cut(label_text(v), MAX_NAME_CHARS)) for n, v in labels[:_MAX_LABELS]
            ],
            inputs=[
                (short_name(name) if len(inputs) > 1 else "", cut(plain_text(value), size))
                for name, value in inputs[:_MAX_INPUTS]
            ],
            more=len(inputs) - _MAX_INPUTS,
            cells=[
                cell_state(release, release in replayed, *busy.get((case.case_id, release), IDLE))
                | _cell(comparison, case, turn, release, metric, limit=limit, inline=inline)
                for release in releases
            ],
        )
        if len(json.dumps(html)) <= MAX_ROW_BYTES or limit <= _MIN_CHARS:
            return html
        limit //= 2


def _failures(comparison: Comparison, case: Case) -> dict[str, list[list[Any]]]:
    """Return the failures of each answer: name, label, and whether it is only proposed."""
    failures = comparison.figures.failures[case.number - 1]
    return {
        release: [
            [name, cut(visible_name(name), _MAX_FAILURE_CHARS), names is both[1]]
            for names in both
            for name in [*names][:_MAX_FAILURES]
        ]
        for release, both in failures.items()
    }


def _cell(
    comparison: Comparison,
    case: Case,
    turn: Case,
    release: str,
    metric: str | None,
    *,
    limit: int,
    inline: bool,
) -> dict[str, Any]:
    run, base = case.counting(release), case.counting(case.baseline)
    problem = AnswerCell.of_problem(run)
    error = problem.to_text() if problem else ""
    if run is None or not is_answer(run):
        tries = len(case.tries.get(release, ()))
        gap = f"Not run on {short_name(release)}."
        if tries:
            gap = f"No answer from {short_name(release)} in {plural(tries, 'try', 'tries')}."
        word, gap = run.state.lower() if run else "missing", f"{gap} It never counts as a pass."
        return {"kind": "missing", "word": word, "gap": gap, "error": cut(error, 300)}
    base = base if is_answer(base) else None
    kind, word = verdict_of(comparison.figures, case, release, metric, base)
    against = turn.answer(case.baseline) if base and release != case.baseline else None
    lines, is_cut = _lines(turn.counting(release) or run, against, limit, inline=inline)
    unlike, answers = case.repeats(release)
    chips: list[Chip] = _chips(comparison, case, release)
    if unlike:
        text = f"differs in {unlike:,} of {answers:,} repeats"
        chips.append((text, "warn", "Repeats have different answers", "unstable"))
    if run.quality is not None:
        chips.append((f"rated {run.quality:.2f}", "", "Rating by a person, from 0 to 1"))
    return {
        "kind": kind,
        "word": word,
        "latency": duration(run.latency_s),
        "error": cut(error, limit),
        "lines": lines,
        "cut": is_cut,
        "chips": chips,
    }


def _lines(
    run: Run, base: Run | None, limit: int, *, inline: bool
) -> tuple[list[list[dict[str, Any]]], bool]:
    """Return the outputs in lines, short ones together, and whether text is left out."""
    if not run.outputs:
        return [], False
    names = list(dict.fromkeys([*(base.outputs if base else ()), *run.outputs]))
    made = [
        _output(AnswerCell.of(name, run, base), limit, inline=inline)
        for name in names[:_MAX_OUTPUTS]
    ]
    long = sum(not output["inline"] for output in made)
    lines: list[list[dict[str, Any]]] = []
    for output in made:  # a number needs its name to be understood
        output["named"] = not output["is_text"] or (long > 1 and not output["inline"])
        if output["inline"] and lines and lines[-1][0]["inline"]:
            lines[-1].append(output)
        else:
            lines.append([output])
    return lines, len(names) > _MAX_OUTPUTS or any(output["cut"] for output in made)


def _output(cell: AnswerCell, limit: int, *, inline: bool) -> dict[str, Any]:
    ops, is_cut = cell.excerpt(limit)
    sides = ["".join(op.text for op in ops if op.kind != kind) for kind in ("insert", "delete")]
    return {
        "name": short_name(cell.label),
        "html": side_html(ops, "both" if inline or cell.value is MISSING else "new"),
        "note": _NOTES.get(cell.status, ""),
        "inline": not is_cut and all(len(s) <= _MAX_INLINE_CHARS and "\n" not in s for s in sides),
        "cut": is_cut,
        "is_text": isinstance(cell.old if cell.value is MISSING else cell.value, str),
    }

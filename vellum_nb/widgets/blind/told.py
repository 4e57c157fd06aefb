"""What the blind rating shows, as plain values. Pure: a session in, texts and safe HTML out.

Before the end nothing here may tell which release is which: no name, id, time, latency or cost,
and no order that follows from the releases.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from vellum_nb.comparison.blind import BlindSession
from vellum_nb.models import Run
from vellum_nb.models.blind import BlindPair
from vellum_nb.rendering.format import visible_name
from vellum_nb.rendering.states import error_html
from vellum_nb.rendering.values import value_text
from vellum_nb.rendering.values_html import value_html
from vellum_nb.widgets.blind.result import result_html
from vellum_nb.widgets.outputs import output_html

__all__ = ["told"]

_LONGEST = 160
_SHORT = 24
_SHORT_ONES = 4


def told(session: BlindSession, *, kept: bool, can_send: bool) -> dict[str, Any]:
    """Return what is shown now.

    Parameters
    ----------
    session : BlindSession
        What is rated.
    kept : bool
        Whether ratings stay when the kernel ends.
    can_send : bool
        Whether there is somebody to send actuals to.
    """
    state = session.state
    shown: dict[str, Any] = {
        "state": state,
        "title": _cut(visible_name(session.record.deployment)),
        "question": _cut(session.record.question),
        "rated": session.rated,
        "skipped": session.skipped,
        "total": session.total,
        "same": session.same,
        "last": session.last or "",
        "foot": _foot(session, kept=kept),
        "kept": kept,
        "caption": "",
        "inputs": "",
        "a": "",
        "b": "",
        "note": "",
        "result": "",
        "unsent": session.unsent if can_send and state == "ended" else 0,
    }
    pair = session.current
    if state == "asking" and pair is not None:
        shown |= _asked(session, pair)
    if state == "ended":
        shown["result"] = result_html(session)
    return shown


def _asked(session: BlindSession, pair: BlindPair) -> dict[str, Any]:
    a, b = session.answers(pair)
    names = session.names(pair)
    caption, inputs = _inputs(session.inputs(pair), pair.number)
    return {
        "caption": caption,
        "inputs": inputs,
        "a": _answer("A", a, names),
        "b": _answer("B", b, names),
        "note": session.note,
        "case": pair.number,
    }


def _answer(letter: str, run: Run, names: list[str]) -> str:
    problem = error_html(run)
    rows = [_row("error", problem)] if problem else []
    if run.outputs or not problem:
        rows += [_row(name, output_html(name, run)) for name in names]
    if not rows:
        rows.append(_row("outputs", '<span class="vnb-null">none</span>'))
    alone = "" if run.outputs else " vnb-out-alone"
    return (
        f'<section class="vnb-out-run{alone}" style="grid-row:span {len(names) + 3}" '
        f'aria-label="Answer {letter}"><h3 class="vnb-blind-letter">{letter}</h3>'
        f'<dl class="vnb-out-rows">{"".join(rows)}</dl></section>'
    )


def _row(name: str, html: str) -> str:
    return f'<div class="vnb-out-row"><dt>{escape(visible_name(name))}</dt><dd>{html}</dd></div>'


def _inputs(inputs: Mapping[str, Any], number: int) -> tuple[str, str]:
    """Return the caption with the short inputs, and the long ones as HTML."""
    texts = [name for name, value in inputs.items() if isinstance(value, str)]
    main = max(texts, key=lambda name: len(inputs[name]), default=None)
    short = [name for name, value in inputs.items() if name != main and _is_short(value)]
    short = short[:_SHORT_ONES]
    long = [name for name in inputs if name not in short]
    words = [f"{visible_name(name)} {_value(inputs[name])}" for name in short]
    head = [visible_name(long[0])] if len(long) == 1 else []
    caption = " · ".join([*head, f"case {number:,}", *words])
    alone = len(long) == 1
    rows = "".join(_input(name, inputs[name], alone=alone) for name in long)
    return _cut(caption), rows


def _input(name: str, value: Any, *, alone: bool) -> str:
    html = value_html(value, "STRING" if isinstance(value, str) else _kind(value))
    label = "" if alone else f'<span class="vnb-blind-name">{escape(visible_name(name))}</span>'
    return f'<div class="vnb-blind-input">{label}{html}</div>'


def _kind(value: Any) -> str:
    turns = isinstance(value, list) and value and all(isinstance(t, dict) for t in value)
    return "CHAT_HISTORY" if turns and all("role" in turn for turn in value) else "JSON"


def _is_short(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _SHORT and "\n" not in value
    return value is None or isinstance(value, bool | int | float)


def _value(value: Any) -> str:
    return visible_name(value_text(value, "STRING" if isinstance(value, str) else "JSON"))


def _foot(session: BlindSession, *, kept: bool) -> str:
    if session.state == "ended":
        return "Which release stood under A was drawn anew for each case. Results stay as they are."
    if not session.total and not session.same:
        return "Run the deployment on both releases with the same inputs, then compare anew."
    parts = []
    if session.state != "empty":
        number = f"all {session.total:,} are" if session.total > 1 else "it is"
        parts.append(f"The win rate and which release is A or B stay hidden until {number} rated.")
        saved = "Ratings are saved as you go."
        parts.append(saved if kept else "There is no history here: ratings end with the kernel.")
    if session.same:
        parts.append(f"{_cases(session.same)} the same outputs on both: a tie, without asking.")
    if session.missing:
        parts.append(f"{_cases(session.missing)} no answer on both, and cannot be rated.")
    return " ".join(parts)


def _cases(number: int) -> str:
    return "1 case has" if number == 1 else f"{number:,} cases have"


def _cut(text: str) -> str:
    line = " ".join(text[: 4 * _LONGEST].split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"

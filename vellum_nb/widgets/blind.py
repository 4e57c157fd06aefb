"""Rating two releases in the notebook without knowing which is which.

Before the end nothing on the page says which release is which: no name, id, time, latency or
cost, and no order that follows from the releases.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from html import escape
from typing import Any

import traitlets

from vellum_nb.comparison.blind import BlindResult, BlindSession
from vellum_nb.errors import VellumNBError
from vellum_nb.models import Run
from vellum_nb.models.blind import BlindPair
from vellum_nb.rendering.format import p_value, percent, visible_name
from vellum_nb.rendering.html import error_html, value_html
from vellum_nb.rendering.values import value_text
from vellum_nb.widgets.base import SerialExecutor, ThreadSafeWidget
from vellum_nb.widgets.markup import asset, script
from vellum_nb.widgets.outputs import OUTPUT_CSS, output_html

__all__ = ["BlindView", "blind_view_model", "result_html"]

_LIMIT = 200
_KINDS = (("wins", "better"), ("ties", "tie"), ("losses", "worse"))


def result_html(session: BlindSession) -> str:
    """Return who won how often, how sure that is, and who stood under which letter."""
    found = session.result()
    return f"{_head(found)}{_bar(found)}{_facts(session, found)}{_cases(session)}"


def _head(found: BlindResult) -> str:
    if not found.wins + found.losses:
        return "<h3>Neither was preferred: there are only ties</h3>"
    rate = found.rate
    ahead, behind = (found.second, found.first)
    share, low, high = rate.mean, rate.low, rate.high
    if share < 0.5:  # noqa: PLR2004  (one half)
        ahead, behind = behind, ahead
        share, low, high = 1 - share, 1 - high, 1 - low
    decided = found.wins + found.losses
    p = found.row()["p"]
    chance = "unlikely to be chance" if p <= 0.05 else "could be chance"  # noqa: PLR2004  (as everywhere)
    if share == 0.5:  # noqa: PLR2004
        title = f"{_name(ahead)} and {_name(behind)} won equally often"
    else:
        title = f"{_name(ahead)} was preferred to {_name(behind)} in {percent(share)}"
        title += " of the decided cases"
    noun = "case" if decided == 1 else "cases"
    return _joined(
        f"<h3>{title}</h3><p>{decided:,} decided {noun}, ties left out · 95 % interval "
        f"{percent(low)} to {percent(high)} · p = {p_value(p)} · {chance}</p>"
    )


def _joined(html: str) -> str:
    """Return it with no line between a figure and its unit."""
    return html.replace(" %", "&nbsp;%")


def _bar(found: BlindResult) -> str:
    counts = {"wins": found.wins, "ties": found.ties + found.same, "losses": found.losses}
    pieces = "".join(
        f'<span class="vnb-blind-{kind}" style="flex-grow:{counts[kind]}"></span>'
        for kind, _ in _KINDS
        if counts[kind]
    )
    words = " · ".join(f"{counts[kind]:,} {_word(word, counts[kind])}" for kind, word in _KINDS)
    return (
        f'<div class="vnb-blind-sum"><b>{_name(found.second)}</b> '
        f'<span class="vnb-blind-bar" aria-hidden="true">{pieces}</span> <span>{words}</span></div>'
    )


def _word(word: str, count: int) -> str:
    return "ties" if word == "tie" and count != 1 else word


def _facts(session: BlindSession, found: BlindResult) -> str:
    decided = found.wins + found.losses
    facts = [
        f"{_name(found.first)} stood under A in {found.a_first:,} of {found.rated:,} rated cases",
        f"A was preferred in {found.preferred_a:,} of {decided:,} decided ones",
    ]
    for number, words in (
        (found.same, "with the same outputs on both: ties, without asking"),
        (found.skipped, "skipped"),
        (found.unrated, "not rated"),
        (session.missing, "without an answer on both"),
    ):
        if number:
            facts.append(f"{number:,} {words}")
    return f'<p class="vnb-blind-quiet">{" · ".join(facts)} · seed {session.record.seed}</p>'


def _cases(session: BlindSession) -> str:
    frame = session.frame()
    rows = [row for row in frame.to_dict("records") if row["choice"] in {"A", "B", "tie", "skip"}]
    if not rows:
        return ""
    numbers = {pair.case_id: pair.number for pair in session.pairs}
    body = "".join(_case(numbers[row["case_id"]], row) for row in rows[:_LIMIT])
    heads = "".join(
        f'<th scope="col">{name}</th>' for name in ("case", "A", "B", "you said", "note")
    )
    more = len(rows) - _LIMIT
    rest = f"<p>{more:,} cases more: blind_results() has them all</p>" if more > 0 else ""
    return (
        f"<details><summary>Which was which, case by case</summary><table><thead><tr>{heads}</tr>"
        f"</thead><tbody>{body}</tbody></table>{rest}</details>"
    )


def _case(number: int, row: Mapping[Hashable, Any]) -> str:
    said = row["choice"]
    if said in {"A", "B"}:
        said = f"{said}: {_name(row['preferred'])}"
    note = row["note"] if isinstance(row["note"], str) else ""
    cells = (_name(row["release_a"]), _name(row["release_b"]), said, escape(note[:500]))
    return f'<tr><th scope="row">{number:,}</th>{"".join(f"<td>{c}</td>" for c in cells)}</tr>'


def _name(name: object) -> str:
    return escape(visible_name(str(name)))


_LONGEST = 160
_SHORT = 24
_SHORT_ONES = 4


def blind_view_model(session: BlindSession, *, is_saved: bool, can_send: bool) -> dict[str, Any]:
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
    view: dict[str, Any] = {
        "state": state,
        "title": _cut(visible_name(session.record.deployment)),
        "question": _cut(session.record.question),
        "rated": session.rated,
        "skipped": session.skipped,
        "total": session.total,
        "same": session.same,
        "last": session.last or "",
        "foot": _foot(session, is_saved=is_saved),
        "kept": is_saved,
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
        view |= _question_view(session, pair)
    if state == "ended":
        view["result"] = result_html(session)
    return view


def _question_view(session: BlindSession, pair: BlindPair) -> dict[str, Any]:
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


def _foot(session: BlindSession, *, is_saved: bool) -> str:
    if session.state == "ended":
        return "Which release stood under A was shuffled per case. Results stay as they are."
    if not session.total and not session.same:
        return "Run the deployment on both releases with the same inputs, then compare again."
    parts = []
    if session.state != "empty":
        number = f"all {session.total:,} are" if session.total > 1 else "it is"
        parts.append(f"The win rate and which release is A or B stay hidden until {number} rated.")
        saved = "Ratings are saved as you go."
        parts.append(
            saved if is_saved else "There is no history here: ratings end with the kernel."
        )
    if session.same:
        parts.append(
            f"{_counted_cases(session.same)} the same outputs on both: a tie, without asking."
        )
    if session.missing:
        parts.append(f"{_counted_cases(session.missing)} no answer on both, and cannot be rated.")
    return " ".join(parts)


def _counted_cases(number: int) -> str:
    return "1 case has" if number == 1 else f"{number:,} cases have"


def _cut(text: str) -> str:
    line = " ".join(text[: 4 * _LONGEST].split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


_MANY = 3  # problems that are listed in full
Rate = Callable[[Run, float, Mapping[str, Any]], object]


class BlindView(ThreadSafeWidget):
    """The blind rating of two releases; ``cmp.view(blind=True)`` makes it.

    Parameters
    ----------
    session : BlindSession
        What is rated.
    rate : callable, optional
        Called with a run, a quality from 0 to 1 and what is kept with it; sends an actual.

    Attributes
    ----------
    session : BlindSession
        As given.
    error : str
        What went wrong; a trait.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> for tag in ("v1", "v2"):
    ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
    >>> ws.compare("ticket-triage").view(blind=True)
    BlindView(ticket-triage: 0 of 1 rated)
    """

    _esm = traitlets.Unicode(script("blind.js")).tag(sync=True)
    _css = traitlets.Unicode(OUTPUT_CSS + asset("blind.css")).tag(sync=True)

    error = traitlets.Unicode("").tag(sync=True)
    sending = traitlets.Unicode("").tag(sync=True)
    view_model = traitlets.Dict().tag(sync=True)

    def __init__(self, session: BlindSession, *, rate: Rate | None = None) -> None:
        self.session = session
        self._rate = rate
        self._step = 0
        self._executor = SerialExecutor("vellum-nb-blind")
        self._acts: dict[str, Callable[[Mapping[str, Any]], object]] = {
            "rate": self._rated,
            "undo": self._undone,
            "again": lambda _: self.session.ask_skipped(),
            "finish": self._finished,
        }
        super().__init__(view_model=self._now())
        self.on_msg(self._on_message)

    def send_actuals(self) -> int:
        """Send the ratings to Vellum as actuals, once each; return how many were sent.

        The better answer gets quality 1, the other 0, both one half where it was a tie; in the
        history, too.

        Raises
        ------
        InputError
            The rating has not ended.
        """
        if self._rate is None:
            self.error = "There is no workspace to send actuals with: compare by ws.compare(...)"
            return 0
        self.sending = "sending…"
        try:
            sent, problems = self.session.send(self._rate)
        finally:
            self.sending = ""
        self.error = _problems(problems, self.session.unsent)
        self.sending = f"{sent:,} sent" if sent else ""
        self._show()
        return sent

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is being sent; return whether that is so."""
        return self._executor.wait(timeout)

    def _now(self) -> dict[str, Any]:
        self._step += 1
        is_saved = self.session.is_kept
        found = blind_view_model(self.session, is_saved=is_saved, can_send=self._rate is not None)
        return found | {"step": self._step}

    def _show(self) -> None:
        self.view_model = self._now()

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        if not isinstance(content, dict):
            return
        kind = content.get("kind")
        if kind == "actuals":
            self._executor.submit(self._send_all)
            return
        act = self._acts.get(kind) if isinstance(kind, str) else None
        if act is None or content.get("step") != self._step:  # meant for what stood there before
            self._show()
            return
        try:
            self.error = ""
            act(content)
        except VellumNBError as exc:
            self.error = str(exc)
        finally:
            self._show()

    def _rated(self, content: Mapping[str, Any]) -> None:
        note = content.get("note")
        said: Any = content.get("said")
        if not self.session.rate(said, note=note if isinstance(note, str) else ""):
            over = self.session.state == "ended"
            what = "The rating was ended" if over else "This case was rated"
            stands = "yours came too late to count" if over else "that rating stands"
            self.error = f"{what} elsewhere meanwhile; {stands}."

    def _undone(self, _: Mapping[str, Any]) -> None:
        had = self.session.last
        if not self.session.undo() and had:
            self.error = "It was taken back, or the rating ended, elsewhere meanwhile."

    def _send_all(self) -> None:
        self.send_actuals()

    def _finished(self, _: Mapping[str, Any]) -> None:
        if self.session.state == "ready":
            self.session.finish()

    def __repr__(self) -> str:
        session = self.session
        return (
            f"BlindView({session.record.deployment}: {session.rated:,} of {session.total:,} rated)"
        )

    def _html(self) -> str:
        session = self.session
        head = (
            f"<p><b>Blind rating</b> of {escape(visible_name(session.record.deployment))}: "
            f"{session.rated:,} of {session.total:,} rated</p>"
        )
        return head + (result_html(session) if session.state == "ended" else "")


def _problems(problems: list[str], unsent: int) -> str:
    if not problems:
        return ""
    first = "; ".join(each.rstrip(".") for each in dict.fromkeys(problems[:_MANY]))
    more = len(problems) - _MANY
    rest = f" and {more:,} more" if more > 0 else ""
    return f"{unsent:,} could not be sent: {first}{rest}. Send again tries just those."

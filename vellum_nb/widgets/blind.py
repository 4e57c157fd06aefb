"""Blind rating of two releases in the notebook.

Until the rating ends, the page does not identify the releases: no name, id, time, latency or cost,
and the order is random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import traitlets

from vellum_nb.comparison.actions import Actions
from vellum_nb.comparison.blind import BlindResult, BlindSession
from vellum_nb.comparison.transcripts import Transcript, transcript_html
from vellum_nb.errors import VellumNBError
from vellum_nb.escaping import printed
from vellum_nb.models import Run
from vellum_nb.models.blind import BlindPair
from vellum_nb.models.inputs import is_chat
from vellum_nb.rendering.format import (
    is_short,
    p_value,
    percent,
    plural,
    value_text,
    visible_name,
)
from vellum_nb.rendering.html import asset, icon, script, value_html
from vellum_nb.widgets.base import SerialExecutor, ThreadSafeWidget, close_with_cell
from vellum_nb.widgets.markup import name_html, short_line, table_html
from vellum_nb.widgets.outputs import output_rows, section_html

_MAX_CASES = 200  # rows of results
_MAX_NOTE_CHARS = 500
_MAX_SHORT_INPUTS = 4
_MAX_LISTED = 3  # problems
_ALPHA = 0.05


def result_html(session: BlindSession) -> str:
    """Return the counts of wins, their uncertainty, and the letter of each release."""
    result = session.outcome()
    decided = result.wins + result.losses
    counts = (
        ("wins", "better", result.wins),
        ("ties", "tie" if result.ties + result.same == 1 else "ties", result.ties + result.same),
        ("losses", "worse", result.losses),
    )
    pieces = "".join(
        f'<span class="vnb-blind-{kind}" style="flex-grow:{count}"></span>'
        for kind, _, count in counts
        if count
    )
    words = " · ".join(f"{count:,} {word}" for _, word, count in counts)
    facts = [
        f"{name_html(result.first)} was A in {result.a_first:,} of {result.rated:,} rated cases",
        f"A was preferred in {result.preferred_a:,} of {decided:,} with a preference",
    ]
    facts += [
        f"{number:,} {words}"
        for number, words in (
            (result.same, "with identical outputs on both: ties, not presented"),
            (result.skipped, "skipped"),
            (result.unrated, "not rated"),
            (session.missing, "not presented: an answer is missing"),
        )
        if number
    ]
    return (
        f'{_head(result)}<div class="vnb-blind-sum"><b>{name_html(result.second)}</b> '
        f'<span class="vnb-blind-bar" aria-hidden="true">{pieces}</span> <span>{words}</span></div>'
        f'<p class="vnb-blind-quiet">{" · ".join(facts)} · seed {session.record.seed}</p>'
        f"{_cases(session)}"
    )


def _head(result: BlindResult) -> str:
    decided = result.wins + result.losses
    if not decided:
        return "<h3>Neither was preferred: there are only ties</h3>"
    ahead, behind = name_html(result.second), name_html(result.first)
    share, low, high = result.rate.mean, result.rate.low, result.rate.high
    if result.wins < result.losses:
        ahead, behind = behind, ahead
        share, low, high = 1 - share, 1 - high, 1 - low
    title = f"{ahead} was preferred to {behind} in {percent(share)} of the cases with a preference"
    if result.wins == result.losses:
        title = f"{ahead} and {behind} won equally often"
    chance = "unlikely to be chance" if result.p <= _ALPHA else "could be chance"
    when = ", which holds at any time" if result.unrated else ""
    html = (
        f"<h3>{title}</h3><p>{plural(decided, 'case')} with a preference · 95 % interval "
        f"{percent(low)} to {percent(high)} · p = {p_value(result.p)}{when} · {chance}</p>"
    )
    return html.replace(" %", "&nbsp;%")


def _cases(session: BlindSession) -> str:
    frame = session.results()
    rows = [row for row in frame.to_dict("records") if row["choice"] in {"A", "B", "tie", "skip"}]
    if not rows:
        return ""
    numbers = {pair.case_id: pair.number for pair in session.pairs}
    body = ""
    for row in rows[:_MAX_CASES]:
        choice, note = row["choice"], row["note"]
        if choice in {"A", "B"}:
            choice = f"{choice}: {name_html(row['preferred'])}"
        cells = [name_html(row["release_a"]), name_html(row["release_b"]), choice]
        cells.append(escape(note[:_MAX_NOTE_CHARS]) if isinstance(note, str) else "")
        number = f'<th scope="row">{numbers[row["case_id"]]:,}</th>'
        body += f"<tr>{number}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    names = ("case", "A", "B", "your choice", "note")
    more = len(rows) - _MAX_CASES
    omitted = f"<p>{more:,} cases more: blind().results() has them all</p>" if more > 0 else ""
    table = f"{table_html('', names, body)}{omitted}"
    return f"<details><summary>Which was which, case by case</summary>{table}</details>"


def blind_view_model(
    session: BlindSession, *, can_send: bool, ending: bool = False
) -> dict[str, Any]:
    """Return the state of the page.

    `can_send` offers to send actuals; `ending` asks whether to end the rating early.
    """
    state, pair = session.state, session.current
    ending = ending and state == "asking"
    view: dict[str, Any] = {
        "state": state,
        "title": short_line(visible_name(session.record.deployment)),
        "rated": session.rated,
        "skipped": session.skipped,
        "total": session.total,
        "last": session.last or "",
        "decided": state == "asking" and session.is_decided,
        "foot": _foot(session),
        "kept": session.is_kept,
        "question": "",
        "note": "",
        "ending": ending,
        "words": _words(session, ending=ending),
        "result": result_html(session) if state == "ended" else "",
        "unsent": session.unsent if can_send and state == "ended" else 0,
    }
    if state == "asking" and pair is not None:
        html = f"<h3>{escape(short_line(session.record.question))}</h3>"
        talk = session.transcript(pair)
        html += _pair(session, pair) if talk is None else _conversation(talk, pair.number)
        view |= {"question": html, "note": session.note, "case": pair.number}
    return view


def _words(session: BlindSession, *, ending: bool) -> str:
    """Return the text that replaces a question, or asks whether to end the rating."""
    if ending:
        left_out = session.total - session.rated
        return (
            f"{session.rated:,} of {session.total:,} cases are rated; the other {left_out:,} are "
            "left out of the results. Ratings cannot be changed once the results are shown."
        )
    if session.state == "empty":
        if session.same:
            return "Nothing to rate: both releases gave identical outputs in every case."
        return "Nothing to rate: no case has an answer on both releases."
    if session.state != "ready":
        return ""
    if not session.skipped:
        return "All cases are rated. Ratings cannot be changed once the results are shown."
    rated = f"{session.rated:,} rated, {session.skipped:,} skipped."
    return f"{rated} Skipped cases are left out of the results."


def _pair(session: BlindSession, pair: BlindPair) -> str:
    """Return the inputs of a case and both answers."""
    names = session.names(pair)
    answers = zip("AB", session.answers(pair), strict=True)
    both = "".join(_answer(letter, run, names) for letter, run in answers)
    caption, inputs = _inputs(session.inputs(pair), pair.number)
    html = f'<div class="vnb-blind-case"><div class="vnb-blind-caption">{escape(caption)}'
    return f'{html}</div>{inputs}</div><div class="vnb-blind-answers">{both}</div>'


def _conversation(transcript: Transcript, number: int) -> str:
    """Return all turns of two conversations below their letters."""
    caption = f"case {number:,} · {plural(transcript.planned, 'turn')}"
    heads = "".join(f'<h3 class="vnb-blind-letter">{letter}</h3>' for letter in "AB")
    html = f'<p class="vnb-blind-caption">{caption}</p><div class="vnb-blind-heads">{heads}</div>'
    return html + transcript_html(transcript, icon)


def _answer(letter: str, run: Run, names: Sequence[str]) -> str:
    head = f'<h3 class="vnb-blind-letter">{letter}</h3>'
    alone = "" if run.outputs else " vnb-out-alone"
    rows = output_rows(run, names)
    return section_html(f"Answer {letter}", head, rows, len(names), classes=alone)


def _inputs(inputs: Mapping[str, Any], number: int) -> tuple[str, str]:
    """Return the caption with the short inputs, and the long inputs as HTML."""
    texts = [name for name, value in inputs.items() if isinstance(value, str)]
    main = max(texts, key=lambda name: len(inputs[name]), default=None)
    short = [name for name, value in inputs.items() if name != main and is_short(value)]
    short = short[:_MAX_SHORT_INPUTS]
    long = [name for name in inputs if name not in short]
    caption = [visible_name(long[0])] if len(long) == 1 else []
    caption.append(f"case {number:,}")
    for name in short:
        text = value_text(inputs[name], "STRING" if isinstance(inputs[name], str) else "JSON")
        caption.append(f"{visible_name(name)} {visible_name(text)}")
    rows = ""
    for name in long:
        value = inputs[name]
        kind = "STRING" if isinstance(value, str) else "CHAT_HISTORY" if is_chat(value) else "JSON"
        label = f'<span class="vnb-blind-name">{name_html(name)}</span>' if len(long) > 1 else ""
        rows += f'<div class="vnb-blind-input">{label}{value_html(value, kind)}</div>'
    return short_line(" · ".join(caption)), rows


def _foot(session: BlindSession) -> str:
    if session.state == "ended":
        return "A and B were shuffled per case. Sending replaces earlier ratings of the runs."
    if not session.total and not session.same:
        return "Run the deployment on both releases with the same inputs, then compare again."
    parts = []
    if session.state != "empty":
        number = f"all {session.total:,} are" if session.total > 1 else "it is"
        saved = "Ratings are saved as you go."
        if not session.is_kept:
            saved = "Without a history, ratings are lost with the kernel."
        hidden = f"Win rate and releases stay hidden until {number} rated or it is decided."
        if session.is_decided:
            hidden = "The preferred release is decided: you can show the results now."
        parts = [hidden, saved]
    if session.same:
        have = plural(session.same, "case has", "cases have")
        parts.append(f"{have} identical outputs on both: a tie, not presented.")
    if session.missing:
        have = plural(session.missing, "case has", "cases have")
        parts.append(f"{have} no answer on one or both, and cannot be rated.")
    return " ".join(parts)


class BlindView(ThreadSafeWidget):
    """The blind rating of two releases; ``cmp.view(blind=True)`` makes it.

    Parameters
    ----------
    session : BlindSession
        What is rated.
    actions : Actions, optional
        Operations of a workspace. Without them, no actuals can be sent.

    Attributes
    ----------
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
    _css = traitlets.Unicode(asset("outputs.css", "panel.css", "blind.css")).tag(sync=True)

    error = traitlets.Unicode("").tag(sync=True)
    sending = traitlets.Unicode("").tag(sync=True)
    view_model = traitlets.Dict().tag(sync=True)

    def __init__(self, session: BlindSession, actions: Actions | None = None) -> None:
        self.session = session
        self._actions = actions
        self._step = 0
        self._ending = False  # whether the page asks to end the rating early
        self._unsubscribe: Callable[[], None] = lambda: None
        self._executor = SerialExecutor("vellum-nb-blind")
        super().__init__()
        self._show()
        self.on_msg(self._on_message)
        close_with_cell(self)
        if actions is not None:  # the rating can end in another view of this process
            subscribe, refresh = actions.history.subscribe, self._refresh
            self._unsubscribe = subscribe(lambda _run: None, on_bulk_change=refresh)

    def send_actuals(self) -> int:
        """Send the ratings to Vellum as actuals, once each; return the number sent.

        The better answer gets quality 1, the other 0, and both get 0.5 for a tie, also in the
        history.

        Raises
        ------
        InputError
            The rating has not ended.
        """
        if self._actions is None:
            self.error = "There is no workspace to send actuals with: compare by ws.compare(...)"
            return 0
        rate = self._actions.rate
        self.sending = "sending…"
        try:
            sent, problems = self.session.send(
                lambda run, quality, data: rate(run, quality, metadata=data)
            )
        finally:
            self.sending = ""
        self.error = ""
        if problems:
            listed = dict.fromkeys(problems[:_MAX_LISTED])
            first = "; ".join(problem.rstrip(".") for problem in listed)
            omitted = len(problems) - _MAX_LISTED
            more = f" and {omitted:,} more" if omitted > 0 else ""
            count = f"{self.session.unsent:,} could not be sent"
            self.error = f"{count}: {first}{more}. Press Send to retry only those."
        self.sending = f"{sent:,} sent" if sent else ""
        self._show()
        return sent

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all actuals are sent; return False on a timeout."""
        return self._executor.wait(timeout)

    def ask_to_end(self) -> None:
        """Ask in the page whether to end the rating now and show the results."""
        self._ending = True
        self._show()

    def close(self) -> None:
        """Close the view; the rating stays open."""
        self._unsubscribe()
        super().close()

    def _refresh(self) -> None:
        if self.session.refresh_if_ended():
            self._show()

    def _show(self) -> None:
        self._step += 1
        can_send = self._actions is not None
        view = blind_view_model(self.session, can_send=can_send, ending=self._ending)
        self.view_model = {**view, "step": self._step}

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        if not isinstance(content, dict):
            return
        kind = content.get("kind")
        if kind == "actuals":
            self._executor.submit(self.send_actuals)
            return
        try:
            if content.get("step") == self._step:  # otherwise the message refers to an earlier case
                self.error = ""
                self._act(kind, content)
        except VellumNBError as exc:
            self.error = str(exc)
        finally:
            self._show()

    def _act(self, kind: object, content: Mapping[str, Any]) -> None:
        session, ending = self.session, self._ending
        self._ending = kind == "end"
        if kind == "rate":
            note, said = content.get("note"), content.get("said")
            if not session.rate(said, note=note if isinstance(note, str) else ""):  # type: ignore[arg-type]
                over = session.state == "ended"
                event = "The rating was ended" if over else "This case was rated"
                effect = "your rating was not saved" if over else "that rating is kept"
                self.error = f"{event} in another view; {effect}."
        elif kind == "undo":
            if session.last and not session.undo():
                self.error = "It was undone, or the rating ended, in another view."
        elif kind == "again":
            session.ask_skipped()
        elif kind == "finish" and (session.state == "ready" or session.is_decided or ending):
            session.finish()

    @printed
    def __repr__(self) -> str:
        session = self.session
        return (
            f"BlindView({session.record.deployment}: {session.rated:,} of {session.total:,} rated)"
        )

    def _html(self) -> str:
        session = self.session
        head = (
            f"<p><b>Blind rating</b> of {name_html(session.record.deployment)}: "
            f"{session.rated:,} of {session.total:,} rated</p>"
        )
        return head + (result_html(session) if session.state == "ended" else "")

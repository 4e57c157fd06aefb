"""The open case of a grid, or run of a history: inputs, expected values, answers and traces."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from html import escape
from typing import Any

import ipywidgets as ipw

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.actions import Actions, require
from vellum_nb.comparison.cases import Case, is_answer
from vellum_nb.comparison.lines import ICONS, IDLE, Busy, label_text, score_of, verdict_of
from vellum_nb.comparison.transcripts import Transcript, transcript_html
from vellum_nb.history import clean
from vellum_nb.models import NodeRun, Run
from vellum_nb.rendering.format import (
    figure,
    input_kind,
    is_short,
    one_line,
    plain_text,
    plural,
    visible_name,
)
from vellum_nb.rendering.html import clipped, icon, render, value_html
from vellum_nb.widgets.base import ErrorBoundary, button, note, set_class, styled
from vellum_nb.widgets.form import FORM_STYLE
from vellum_nb.widgets.grid_rows import MAX_NOTE_CHARS, failure_chips
from vellum_nb.widgets.outputs import heads_html, side_by_side_html, side_by_side_traces
from vellum_nb.widgets.results import AnswerBars

_MAX_INPUT_CHARS = 20_000  # characters of an input shown at first
_MAX_TRACE_CHARS = 1_000_000  # of the HTML of the traces of a conversation


class Detail:
    """One open case next to the grid, initially empty.

    `changed` is called with each updated run, `close` by the close button, `run_again` by the
    button to run the case again, which `show` offers.
    """

    SUBJECT = "case"
    CONTROLS: tuple[str, ...] = ("rate", "trace")

    def __init__(
        self,
        actions: Actions | None,
        changed: Callable[[Run], None],
        close: Callable[[], None],
        *,
        run_again: Callable[[], None] = lambda: None,
    ) -> None:
        self._edge = ErrorBoundary()
        self._head = note("", "vnb-case-head")
        self._answers = note("", "vnb-answers")
        self._traces = note("", "vnb-case-traces")
        self._actions, self._changed, self._can_fail = actions, changed, actions is not None
        self._runs: tuple[Run, ...] = ()
        self._nodes: dict[str, tuple[NodeRun, ...]] = {}  # of turns, by run id
        self._turn_runs: Mapping[int, Mapping[str, Run]] = {}  # by turn and release
        self._show_again: Callable[[], None] = lambda: None
        self._repeat = styled(ipw.Dropdown(description="repeat"), "vnb-case-repeat vnb-none")
        self._repeat_case = ""
        self._repeat.observe(self._on_repeat, "value")
        self._read = button("Compare traces", "vnb-case-read vnb-none", self._on_read)
        self.bars = AnswerBars(
            actions,
            offered=self.CONTROLS,
            boundary=self._edge,
            changed=changed,
            go_on=None,
        )
        parts = [self._edge.widget, self._answers, self._read, self._traces, self.bars]
        results = styled(ipw.VBox(parts), "vnb-results")
        tooltip = f"Close the {self.SUBJECT} (Escape)"
        shut = button("", "vnb-icon-button vnb-remove", close, tooltip=tooltip)
        self._replay = button("", "vnb-icon-button vnb-replay vnb-none", run_again)
        style = note(FORM_STYLE, "vnb-style")
        parts = [style, self._head, self._repeat, results, self._replay, shut]
        self.widget = styled(ipw.VBox(parts), "vnb vnb-case vnb-none")

    def show(
        self,
        comparison: Comparison,
        case: Case,
        release: str = "",
        *,
        metric: str | None = None,
        inline: bool = False,
        replayed: Collection[str] = (),
        busy: Busy | None = None,
    ) -> None:
        """Show the runs of `case` on each release, baseline first.

        The baseline marks the words that `release`, or the first candidate, has lost. `metric`
        decides the verdicts; `inline` shows removed and new words together. The case can be run
        again on the releases in `replayed`. A column is a release, as its tag may have moved.
        """
        others = comparison.figures.others
        shown: dict[str, Any] = {"metric": metric, "inline": inline, "replayed": replayed}
        self._show_again = partial(self.show, comparison, case, release, **shown, busy=busy)
        release = release if release in others else next(iter(others), "")
        repeats = self._offer_repeats(case)
        runs = {
            name: case.tries[name][repeats[name]]
            for name in (comparison.baseline, *others)
            if name in repeats and repeats[name] < len(case.tries[name])
        }
        turns = f" · {plural(case.turns, 'turn')}" if case.turns else ""
        self._draw(
            tuple(run.model_copy(update={"release_tag": name}) for name, run in runs.items()),
            title=f"Case {case.number:,}{turns}",
            labels={name: label_text(v) for name, v in case.labels.items() if v is not None},
            inputs={} if case.turns else case.inputs,
            expected={} if case.turns else case.expected,
            missing=[name for name in comparison.releases if not case.tries.get(name)],
            can_add=self._can_fail,
        )
        self._offer_replay([name for name in comparison.releases if name in replayed])
        remarks, below = dict[str, str](), dict[str, str]()
        for name in runs:
            activity = "".join((busy or {}).get((case.case_id, name), IDLE))
            remarks[name] = _remark(comparison, case, name, metric, activity)
            remarks[name] += _repeat_html(case, repeats[name], name)
            below[name] = _failures_html(comparison, case, name, can_fail=self._can_fail)
        talks = Transcript.of(case, (comparison.baseline, *others), repeats) if case.turns else None
        self._show_answers(case, talks, release, inline=inline, remarks=remarks, below=below)

    def _show_answers(
        self, case: Case, talks: Transcript | None, release: str, *, inline: bool, **html: Any
    ) -> None:
        """Show the answers, of a conversation all turns, and the stored traces."""
        options = {**html, "inline": inline, "compared": release}
        if talks is not None:
            self._show_turn_traces(talks, release)
            text = heads_html(self._runs, **options)
            text += _turns_html(talks, release, inline=inline)
        else:
            self._turn_runs = {}
            self._show_traces(self._runs, release, can_read=len(self._runs) > 1)
            text = side_by_side_html(self._runs, expected=case.expected, **options)
        self._answers.value = clean(text) if self._runs or talks else ""

    def _offer_repeats(self, case: Case) -> dict[str, int]:
        """Offer the repeats of a conversation; return the place of the shown run by release."""
        tries = {name: runs for name, runs in case.tries.items() if runs}
        count = max(map(len, tries.values()), default=0) if case.turns else 0
        is_same_case, self._repeat_case = self._repeat_case == case.case_id, case.case_id
        chosen = self._repeat.value if is_same_case else None
        chosen = chosen if chosen is not None and chosen < count else None
        numbers = [(f"{number:,}", number - 1) for number in range(1, count + 1)]
        self._repeat.unobserve(self._on_repeat, "value")
        self._repeat.options = [("newest answers", None), *numbers]
        self._repeat.index = 0 if chosen is None else chosen + 1
        self._repeat.observe(self._on_repeat, "value")
        set_class(self._repeat, "vnb-none", on=count <= 1)
        if chosen is not None:
            return dict.fromkeys(tries, chosen)
        ids = {name: [run.id for run in runs] for name, runs in tries.items()}
        return {name: ids[name].index(run.id) for name, run in case.runs.items()}

    def _on_repeat(self, _change: object) -> None:
        self._show_again()

    def _offer_replay(self, releases: Sequence[str]) -> None:
        """Show the button that runs the case again, if it can be run on any release."""
        self._replay.tooltip = f"Run this case again on {', '.join(map(visible_name, releases))}"
        set_class(self._replay, "vnb-none", on=not releases)

    def _draw(
        self,
        runs: tuple[Run, ...],
        *,
        title: str,
        labels: Mapping[str, str],
        inputs: Mapping[str, Any],
        expected: Mapping[str, Any],
        missing: Sequence[str] = (),
        can_add: bool = False,
    ) -> None:
        """Show heading, inputs and bars."""
        self._edge.clear()
        self._runs = runs
        given = {name: value for name, value in inputs.items() if value is not None}
        of_head = {"title": title, "labels": labels, "inputs": given, "expected": expected}
        head = render(
            "grid_case.html.j2",
            **of_head,
            missing=missing,
            can_add=can_add,
            html=_input_html,
            is_short=is_short,
            text=plain_text,
        )
        self._head.value = clean(head)
        self.bars.show(runs)
        self.widget.remove_class("vnb-none")

    def _show_traces(
        self, runs: Sequence[Run], release: str = "", *, can_read: bool = True
    ) -> None:
        """Show the stored traces, and the button that fetches the others."""
        self._offer_traces(runs if can_read else ())
        self._traces.value = clean(side_by_side_traces(runs, release))

    def _show_turn_traces(self, transcript: Transcript, release: str) -> None:
        """Show the stored traces of each turn, and the button that fetches the others."""
        parts, size, all_runs = list[str](), 0, list[Run]()
        self._turn_runs = transcript.runs
        for number, by_release in transcript.runs.items():
            runs = [
                run.model_copy(
                    update={"release_tag": name, "nodes": run.nodes or self._nodes.get(run.id, ())}
                )
                for name, run in by_release.items()
            ]
            all_runs += runs
            if size <= _MAX_TRACE_CHARS:
                parts.append(side_by_side_traces(runs, release, turn=number))
                size += len(parts[-1])
        self._offer_traces(all_runs)
        self._traces.value = clean("".join(parts))

    def _offer_traces(self, runs: Sequence[Run]) -> None:
        """Show the button that fetches traces, if one of `runs` lacks its trace."""
        unread = any(not run.nodes and run.execution_id for run in runs)
        set_class(self._read, "vnb-none", on=not unread or self._actions is None)

    def hide(self) -> None:
        """Clear the view."""
        self._edge.clear()
        self._turn_runs, self._repeat_case = {}, ""
        self._show_again = lambda: None
        self._runs = ()
        self.bars.show(())
        self._traces.value = self._head.value = self._answers.value = ""
        self.widget.add_class("vnb-none")

    def _on_read(self) -> None:
        """Fetch the missing traces in a thread and show each one when it arrives."""
        read, runs = require(self._actions, "read traces").trace, self._runs
        last_ids = {run.id for run in runs}
        turns = [run for by_release in self._turn_runs.values() for run in by_release.values()]

        def work() -> None:
            for run in turns or runs:
                if not (run.nodes or run.id in self._nodes) and run.execution_id:
                    nodes = tuple(read(run))
                    if turns:
                        self._nodes[run.id] = nodes
                        self._show_again()
                    if run.id in last_ids:
                        self._changed(run.model_copy(update={"nodes": nodes}))

        self.bars.submit(work)


def _repeat_html(case: Case, place: int, release: str) -> str:
    """Return which of several repeats of a conversation is shown."""
    count = len(case.tries[release]) if case.turns else 0
    text = f"repeat {place + 1:,} of {count:,}"
    return f' <span class="vnb-quiet">{text}</span>' if count > 1 else ""


def _turns_html(transcript: Transcript, release: str, *, inline: bool) -> str:
    html = transcript_html(transcript, icon, compared=release, inline=inline)
    return f'<div class="vnb-out">{html}</div>'


def _input_html(value: object) -> str:
    if not isinstance(value, str):
        return value_html(value, input_kind(value)) if plain_text(value) else ""
    html = value_html(value, "STRING")
    if len(value) <= _MAX_INPUT_CHARS:
        return html
    beginning = f'<pre class="vnb-text">{escape(clipped(value)[0][:_MAX_INPUT_CHARS])}</pre>'
    summary = f"<summary>show all {len(value):,} characters</summary>"
    return f"{beginning}<details>{summary}{html}</details>"


def _remark(
    comparison: Comparison, case: Case, release: str, metric: str | None, activity: str
) -> str:
    """Return verdict, score and activity of an answer as HTML for its heading."""
    run, base = case.counting(release), case.answer(case.baseline)
    figures = comparison.figures
    if not is_answer(run):
        return escape(activity)
    kind, word = verdict_of(figures, case, release, metric, base)
    parts = ["baseline"]
    if kind != "baseline":
        tone = {"worse": " vnb-grid-is-bad", "better": " vnb-grid-is-good"}.get(kind, "")
        glyph = icon(ICONS.get(kind, kind), size=14)
        parts = [f'<b class="vnb-case-verdict{tone}">{glyph} {escape(word)}</b>']
    value = None if metric is None else figures.value(case, release, metric)
    if value is not None:
        parts.append(f'<span class="vnb-number">{figure(value)}</span>')
    score = score_of(figures, case, release, metric, kind)
    if change := score.get("tone"):
        parts.append(f'<b class="vnb-case-verdict vnb-grid-is-{change}">{score["score"]}</b>')
    if activity:
        parts.append(f'<span class="vnb-quiet">{escape(activity)}</span>')
    return " ".join(parts)


def _failures_html(comparison: Comparison, case: Case, release: str, *, can_fail: bool) -> str:
    """Return the failures and the note of an answer, with their buttons, as rows."""
    run = case.answer(release)
    if run is None:
        return ""
    chips = failure_chips(comparison, case, release)
    text = visible_name(one_line(run.note or "", MAX_NOTE_CHARS))
    options = {"chips": chips, "note": text, "release": release, "can_fail": can_fail}
    is_empty = not (chips or text or can_fail)
    return "" if is_empty else render("grid_failures.html.j2", icon=icon, **options)

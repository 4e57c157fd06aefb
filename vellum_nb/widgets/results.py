"""The answers of a form: side by side, each with its bar, rated, corrected and traced."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Required, TypedDict

import ipywidgets as ipw
import traitlets

from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.experiments.wording import same_value, value_text
from vellum_nb.history.rows.rows import clean
from vellum_nb.models import Cancellation, NodeRun, Run, RunRequest, VellumVariable
from vellum_nb.widgets.base import ErrorBoundary, SerialExecutor, ThreadSafeWidget, note
from vellum_nb.widgets.field import UnreadableError, read_json, write_json
from vellum_nb.widgets.job import Job, Live, Progress, Stream, answer, live_texts
from vellum_nb.widgets.markup import alert_html, asset, shown_name
from vellum_nb.widgets.outputs import legend_html, side_by_side_html, trace_html
from vellum_nb.widgets.run_bar import RunBar, RunOptions
from vellum_nb.widgets.spec import Progressing, not_sent

__all__ = [
    "AnswerBars",
    "CallArguments",
    "Calls",
    "Execute",
    "Judging",
    "Launch",
    "Mark",
    "Rate",
    "Results",
    "Trace",
    "corrections",
    "make_requests",
    "outputs_text",
]


def outputs_text(run: Run) -> str:
    r"""Return the outputs of `run` as plain text: one as it is, several with their names.

    A run without outputs is told by its error.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> run = Run(
    ...     id="1",
    ...     deployment="d",
    ...     release_tag="v1",
    ...     timestamp=datetime.now(UTC),
    ...     inputs={},
    ...     case_id="c",
    ...     outputs={"category": "billing", "reply": "Dear Ann,\nthank you."},
    ... )
    >>> print(outputs_text(run))
    category: billing
    reply:
    Dear Ann,
    thank you.
    """
    texts = {
        name: value_text(value, run.output_types.get(name, "JSON"))
        for name, value in run.outputs.items()
    }
    if len(texts) == 1:
        return clean(next(iter(texts.values())))
    if not texts and run.error:
        return clean(f"{run.error.code}: {run.error.message}")
    lines = (
        f"{name}:\n{text}" if "\n" in text else f"{name}: {text}" for name, text in texts.items()
    )
    return clean("\n".join(lines))


@dataclass(frozen=True)
class Mark:
    """What a bar shows beside what its run says.

    Attributes
    ----------
    busy : str
        What is under way, in words.
    problem : str
        Why something that was asked for could not be done.
    editor : list of dict
        The outputs to correct: ``name``, ``text``, and whether it is ``json``.
    saved : int
        How many corrections were saved; the editor closes when it grows.
    trace : str
        Safe HTML; nothing before it was asked for.
    """

    busy: str = ""
    problem: str = ""
    editor: Sequence[Mapping[str, Any]] = field(default_factory=list)
    saved: int = 0
    trace: str = ""


class AnswerBars(ThreadSafeWidget):
    """Puts a bar under each answer that stands beside it, and text into those that stream.

    Copy works while the kernel is busy; a notebook without its kernel has no bars.

    Parameters
    ----------
    controls : sequence of str
        Which of "rate" and "trace" there are.

    Attributes
    ----------
    texts : list of str
        What each Copy copies; nothing for an answer that has not come.
    bars : list of dict
        What each bar shows.
    live : list of dict
        What each answer that streams has so far, see `live_texts`; empty for the others.
    """

    _esm = traitlets.Unicode(
        asset("hearing.js", "answers_kit.js", "answers_bar.js", "answers.js")
    ).tag(sync=True)
    controls = traitlets.List(traitlets.Unicode()).tag(sync=True)
    texts = traitlets.List(traitlets.Unicode()).tag(sync=True)
    bars = traitlets.List(traitlets.Dict()).tag(sync=True)
    live = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self, controls: Sequence[str] = ()) -> None:
        super().__init__(controls=list(controls))
        self._lock = threading.RLock()
        self._runs: Sequence[Run] = ()
        self._marks: dict[str, Mark] = {}

    def show(self, runs: Sequence[Run]) -> None:
        """Show a bar for each of `runs`; what is known of other runs is forgotten."""
        with self._lock:
            self._runs = runs
            self._marks = {run.id: self._marks.get(run.id, Mark()) for run in runs}
            self.texts = [outputs_text(run) for run in runs]
            self._draw()

    def run(self, run_id: object) -> Run | None:
        """Return the run that a bar belongs to."""
        return next((run for run in self._runs if run.id and run.id == run_id), None)

    def mark(self, run_id: str, **changes: Any) -> None:
        """Show something else in the bar of a run, if it is still there."""
        with self._lock:
            if run_id in self._marks:
                self._marks[run_id] = replace(self._marks[run_id], **changes)
                self._draw()

    def saved(self, run_id: str) -> None:
        """Close the editor of a run: its correction is kept."""
        with self._lock:
            count = self._marks.get(run_id, Mark()).saved + 1
            self.mark(run_id, saved=count, editor=[])

    def hear(self, call: Callable[[Run, str, Mapping[str, Any]], None]) -> None:
        """Have `call` called with the run, the event and the message of each click."""

        def heard(_widget: object, content: Any, _buffers: object) -> None:
            if not isinstance(content, dict):
                return
            event, run = content.get("event"), self.run(content.get("id"))
            if run is not None and isinstance(event, str):
                call(run, event, content)

        self.on_msg(heard)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take nothing from the browser: what it wants comes as messages."""

    def _draw(self) -> None:
        self.bars = [_bar(run, self._marks[run.id]) for run in self._runs]

    def __repr__(self) -> str:
        return f"AnswerBars({', '.join(run.release_tag for run in self._runs)})"


def _bar(run: Run, mark: Mark) -> dict[str, Any]:
    corrected = ", ".join(run.desired or ())
    return {
        "id": run.id,
        "tag": run.release_tag,
        "quality": run.quality,
        "note": f"corrected: {corrected}" if corrected else "",
        "rates": bool(run.outputs) and run.state != "STARTED",
        "goes_on": run.execution_id is not None,
        "traces": bool(run.nodes) or run.execution_id is not None,
        **asdict(mark),
    }


Rate = Callable[[Run, float | None, Mapping[str, Any] | None], Run]
Trace = Callable[[Run], Sequence[NodeRun]]

_LONGEST = 20_000  # characters of an output that can be corrected in the page
_THUMBS = (None, 0.0, 1.0)


class Judging:
    """Does what the bars under the answers ask for, in a thread, and shows how that went.

    Parameters
    ----------
    bars : AnswerBars
        Where the clicks come from.
    rate, trace : callable, optional
        Rates a run (with neither quality nor desired outputs: takes its rating back), and reads
        its nodes.
    edge : ErrorBoundary
        Where faults are shown.
    judged : callable
        Called with the run as it is now.
    go_on : callable
        Called with the run that Continue goes on from.
    """

    def __init__(
        self,
        bars: AnswerBars,
        *,
        rate: Rate | None,
        trace: Trace | None,
        edge: ErrorBoundary,
        judged: Callable[[Run], None],
        go_on: Callable[[Run], None],
    ) -> None:
        self._bars = bars
        self._rate = rate
        self._trace = trace
        self._edge = edge
        self._judged = judged
        self._errands = SerialExecutor("vellum-nb-judging")
        self._events: dict[str, Callable[[Run, Mapping[str, Any]], None]] = {
            "rate": self._rated,
            "correct": self._opened,
            "save": self._corrected,
            "close": lambda run, _: bars.mark(run.id, editor=[], problem=""),
            "trace": self._traced,
            "continue": lambda run, _: go_on(run),
        }
        bars.hear(self._heard)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing that was asked for is under way; return whether that is so."""
        return self._errands.wait(timeout)

    def _heard(self, run: Run, event: str, message: Mapping[str, Any]) -> None:
        with self._edge:
            if event in self._events:
                self._events[event](run, message)

    def _rated(self, run: Run, message: Mapping[str, Any]) -> None:
        quality = message.get("quality")
        if self._rate is not None and quality in _THUMBS:
            self._keep(run, lambda _: quality)

    def _opened(self, run: Run, _: Mapping[str, Any]) -> None:
        fields = _editor(run)
        shown = {field["name"] for field in fields}
        longer = ", ".join(shown_name(name) for name in run.outputs if name not in shown)
        problem = f"Too long to correct here: {longer}. ws.rate(run, desired=...) takes it."
        self._bars.mark(run.id, editor=fields, problem=problem if longer else "")

    def _corrected(self, run: Run, message: Mapping[str, Any]) -> None:
        texts = message.get("texts")
        if self._rate is None or not isinstance(texts, dict):
            return
        try:
            desired = corrections(run, texts)
        except InputError as exc:
            self._bars.mark(run.id, problem=str(exc))
            return
        self._keep(run, lambda newest: newest.quality, desired)

    def _keep(
        self,
        run: Run,
        quality: Callable[[Run], float | None],
        desired: Mapping[str, Any] | None = None,
    ) -> None:
        rate = self._rate
        if rate is None:
            return

        def keep() -> None:
            newest = self._bars.run(run.id) or run  # an earlier click may have changed it
            self._judged(rate(newest, quality(newest), desired))
            if desired is not None:
                self._bars.saved(run.id)

        self._do(run, "saving…", keep)

    def _traced(self, run: Run, _: Mapping[str, Any]) -> None:
        trace = self._trace
        if run.nodes:
            self._show_trace(run, run.nodes)
        elif trace is not None:

            def read() -> None:
                nodes = tuple(trace(run))
                newest = self._bars.run(run.id) or run
                self._judged(newest.model_copy(update={"nodes": nodes}))
                self._show_trace(run, nodes)

            self._do(run, "reading the trace…", read)

    def _show_trace(self, run: Run, nodes: Sequence[NodeRun]) -> None:
        self._bars.mark(run.id, trace=trace_html(nodes, title=run.release_tag), problem="")

    def _do(self, run: Run, words: str, call: Callable[[], None]) -> None:
        def errand() -> None:
            with self._edge:
                self._bars.mark(run.id, busy=words, problem="")
                try:
                    call()
                except VellumNBError as exc:
                    self._bars.mark(run.id, problem=str(exc))
                finally:
                    self._bars.mark(run.id, busy="")

        self._errands.do(errand)


def corrections(run: Run, texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the outputs of `run` should have been: those corrected before and those of now.

    Raises
    ------
    InputError
        A text is no JSON, or nothing was changed.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> run = Run(
    ...     id="1",
    ...     deployment="d",
    ...     release_tag="v1",
    ...     timestamp=datetime.now(UTC),
    ...     inputs={},
    ...     case_id="c",
    ...     outputs={"category": "account", "score": 1},
    ... )
    >>> corrections(run, {"category": "billing", "score": "1"})
    {'category': 'billing'}
    """
    before = dict(run.desired or {})
    known = {**run.outputs, **before}
    changed = {}
    for name, text in texts.items():
        if name not in run.outputs or not isinstance(text, str):
            continue
        value = _value(name, text, known[name])
        if not same_value(value, known[name]):
            changed[name] = value
    if not changed:
        msg = "Nothing was changed: correct a text, then save."
        raise InputError(msg, [])
    return before | changed


def _value(name: str, text: str, known: Any) -> Any:
    if isinstance(known, str):
        return text
    try:
        return read_json(text)
    except UnreadableError as exc:
        msg = f"{shown_name(name)}: {exc}"
        raise InputError(msg, []) from None


def _editor(run: Run) -> list[dict[str, Any]]:
    known = {**run.outputs, **(run.desired or {})}
    fields = []
    for name in run.outputs:
        is_text = isinstance(known[name], str)
        text = known[name] if is_text else write_json(known[name])
        if len(text) <= _LONGEST:
            label = shown_name(name)
            fields.append({"name": name, "label": label, "text": clean(text), "json": not is_text})
    return fields


_PACE = 1_000_000  # characters of growing text that are sent to the page in a second


class Results:
    """Shows runs as they come. Only the form's one reporting thread calls `show`.

    Parameters
    ----------
    bars : AnswerBars
        What stands under each answer.
    outputs : sequence of str, optional
        The names of the outputs that a run is expected to have.
    """

    def __init__(self, bars: AnswerBars, *, outputs: Sequence[str] = ()) -> None:
        self._bars = bars
        self._outputs = tuple(outputs)
        self._lock = threading.RLock()
        self._runs: tuple[Run, ...] = ()
        self._when = ""
        self._requests: Sequence[RunRequest] = ()
        self._sent = datetime.now(UTC)
        self._drawn_for: object = None
        self._places: dict[str, tuple[str, ...]] = {}  # of the answers that stream
        self._latest: Mapping[str, Progressing] = {}
        self._live_again = 0.0
        self._stale = False
        self._line = note("", "vnb-line")
        self._markdown = ipw.Checkbox(description="Markdown", indent=False)
        self._markdown.add_class("vnb-check")
        self._markdown.observe(self._drawn, "value")
        self._trouble = note("", "vnb-trouble")
        self._answers = note("", "vnb-answers")
        head = ipw.Box([self._line, self._markdown])
        head.add_class("vnb-results-head")
        self.widget = ipw.VBox([self._trouble, head, self._answers, bars])
        self.widget.add_class("vnb-results")
        self.widget.add_class("vnb-none")

    def show(
        self,
        requests: Sequence[RunRequest],
        progress: Progress,
        live: Mapping[str, Progressing] | None = None,
    ) -> None:
        """Show what has come; a place is kept for what has not.

        Parameters
        ----------
        requests : sequence of RunRequest
            What was asked for.
        progress : Progress
            How far it is.
        live : mapping, optional
            Where runs stream: release tag to what has come so far.
        """
        errors = [
            (request.release_tag, outcome)
            for request, outcome in zip(requests, progress.outcomes, strict=True)
            if isinstance(outcome, BaseException)
        ]
        self._trouble.value = "".join(alert_html(exc, what=tag) for tag, exc in errors)
        if self._requests is not requests:
            self._requests, self._sent = requests, datetime.now(UTC)
        with self._lock:
            self._latest = live or {}
            self._show_answers(progress, live)
            if self._places and time.monotonic() >= self._live_again:
                self._show_live()
        if self._runs or errors:
            self.widget.remove_class("vnb-none")

    def replace(self, run: Run) -> None:
        """Show `run` in place of the one with its id, if that is still there."""
        with self._lock:
            self._runs = tuple(run if old.id == run.id else old for old in self._runs)
            self._bars.show(self._runs)

    def _show_answers(self, progress: Progress, live: Mapping[str, Progressing] | None) -> None:
        has_words = any(any(each.texts.values()) for each in (live or {}).values())
        names = None if live is None else self._expected(progress, live)
        drawn_for = (self._requests, progress.outcomes, names, has_words)
        if self._drawn_for == drawn_for:
            return
        self._drawn_for = drawn_for
        waiting = not progress.runs and not progress.finished and not has_words
        if self._runs and waiting:
            return  # the old answers stay until there is a new one, so that nothing jumps
        pairs = list(zip(self._requests, progress.outcomes, strict=True))
        open_ = [request.release_tag for request, outcome in pairs if outcome is None]
        self._places = {} if names is None else dict.fromkeys(open_, names)
        self._runs = tuple(
            answer(outcome) or self._placeholder(request, progress.runs)
            for request, outcome in pairs
            if answer(outcome) or outcome is None
        )
        self._when = datetime.now(UTC).astimezone().strftime("%H:%M:%S")
        self._bars.live = []
        self._drawn()

    def _expected(self, progress: Progress, live: Mapping[str, Progressing]) -> tuple[str, ...]:
        come = [name for run in progress.runs for name in run.outputs]
        coming = [name for each in live.values() for name in each.texts]
        return tuple(dict.fromkeys([*come, *self._outputs, *coming]))

    def _show_live(self) -> None:
        before = self._bars.live or [{}] * len(self._runs)
        now = [
            self._live(run.release_tag, old) for run, old in zip(self._runs, before, strict=True)
        ]
        self._bars.live = now
        length = sum(len(text) for each in now for text in each.get("texts", ()))
        self._live_again = time.monotonic() + length / _PACE

    def _live(self, tag: str, before: Mapping[str, Any]) -> dict[str, Any]:
        if tag not in self._places:
            return {}
        return live_texts(self._latest.get(tag, Progressing()), self._places[tag], before)

    def _placeholder(self, request: RunRequest, others: Sequence[Run]) -> Run:
        return Run(
            id="",
            deployment=request.deployment,
            release_tag=request.release_tag,
            timestamp=self._sent,
            inputs={},
            case_id=others[0].case_id if others else "",
            not_sent=request.not_sent,
        )

    def compare_to(self, *, edited: bool) -> None:
        """Say whether the inputs were edited since the answers came."""
        if edited != self._stale:
            self._stale = edited
            self._line.value = self._line_html()

    def _drawn(self, _: object = None) -> None:
        self._line.value = self._line_html()
        self._bars.show(self._runs)
        live = {
            tag: dict(zip(names, self._live(tag, {})["texts"], strict=True))
            for tag, names in self._places.items()
        }
        markdown = self._markdown.value
        html = side_by_side_html(self._runs, markdown=markdown, live=live) if self._runs else ""
        self._answers.value = html

    def _line_html(self) -> str:
        if not self._runs:
            return ""
        waits = all(run.state == "STARTED" for run in self._runs)
        parts = [f"sent at {self._when}" if waits else f"answers of {self._when}"]
        if sum(bool(run.outputs) for run in self._runs) > 1 and not self._markdown.value:
            legend = legend_html(self._runs[0].release_tag)
            parts.append(f'<span class="vnb-legend">{legend}</span>')
        stale = '<span class="vnb-stale">inputs edited since</span>' if self._stale else ""
        return f"<span>{' · '.join(parts)}</span>{stale}"


Execute = Callable[[RunRequest, Cancellation], Run]


class CallArguments(TypedDict, total=False):
    """What `Calls` is made from, for type checkers."""

    run: Required[Execute]
    stream: Stream | None
    rate: Rate | None
    trace: Trace | None


@dataclass(frozen=True)
class Calls:
    """What a form is handed to act with; what is None cannot be done.

    Attributes
    ----------
    run, stream : callable
        Execute one request; `stream` calls back with what has come so far.
    rate, trace : callable
        Rate a run, and return its nodes.
    """

    run: Execute
    stream: Stream | None = None
    rate: Rate | None = None
    trace: Trace | None = None

    @property
    def controls(self) -> list[str]:
        """The names of what can be done with an answer."""
        return [name for name in ("rate", "trace") if getattr(self, name) is not None]


class Launch:
    """Holds the newest job of a form, and its answers.

    Parameters
    ----------
    calls : Calls
        What runs, rates and traces.
    outputs : sequence of str
        The names of the outputs that a run is expected to have.
    bar, edge : RunBar, ErrorBoundary
        Where progress and faults are shown; while runs are under way only the job's reporting
        thread writes there.
    answered : callable
        Called with the runs when all have ended, and when one of them was rated.
    ended : callable
        Called after all have ended, whatever happened.
    go_on : callable
        Called with the run that Continue goes on from.

    Attributes
    ----------
    results : Results
        The answers.
    """

    def __init__(
        self,
        calls: Calls,
        *,
        outputs: Sequence[str],
        bar: RunBar,
        edge: ErrorBoundary,
        answered: Callable[[tuple[Run, ...]], None],
        ended: Callable[[], None],
        go_on: Callable[[Run], None],
    ) -> None:
        self._calls = calls
        self._bar = bar
        self._edge = edge
        self._answered = answered
        self._when_ended = ended
        self._lock = threading.Lock()
        self._telling = threading.RLock()  # so that the newest is told last
        self._runs: tuple[Run, ...] = ()
        self._rated: dict[str, Run] = {}
        self._job: Job | None = None
        if calls.stream is not None:
            bar.offer_stream()
        bars = AnswerBars(calls.controls)
        self.results = Results(bars, outputs=outputs)
        self._judging = Judging(
            bars, rate=calls.rate, trace=calls.trace, edge=edge, judged=self._judged, go_on=go_on
        )

    def start(self, requests: Sequence[RunRequest], *, streaming: bool = False) -> None:
        """Start, and return at once."""
        stream = self._calls.stream
        live = Live(stream) if streaming and stream else None

        def report(progress: Progress) -> None:
            with self._edge:
                progress = self._as_judged(progress)
                self._bar.progress(progress, live.node() if live else "")
                self.results.show(requests, progress, live.latest if live else None)
                if progress.finished:
                    self._take(progress.runs)

        with self._lock:
            self._rated = {}
        self._edge.clear()
        self._bar.running()
        self._job = Job(live or self._calls.run, requests, report=report, ended=self._ended)
        self._job.start()

    def cancel(self) -> None:
        """Cut off what is under way."""
        if self._job is not None and not self._job.wait(0):
            self._bar.cancelling()
            self._job.cancel()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until nothing is under way; an interrupt cancels it."""
        if self._job is None:
            return
        try:
            self._job.wait(timeout)
        except KeyboardInterrupt:
            self.cancel()
            raise

    def close(self) -> None:
        """Cut off what is under way, and wait a moment for it."""
        self.cancel()
        self.wait(2)
        self._judging.wait(2)

    def _judged(self, run: Run) -> None:
        with self._lock:
            self._rated[run.id] = run
        self._take(None)
        self.results.replace(run)

    def _as_judged(self, progress: Progress) -> Progress:
        """Return `progress` with what was said of its runs while others were under way."""
        with self._lock:
            outcomes = tuple(
                self._rated.get(outcome.id, outcome) if isinstance(outcome, Run) else outcome
                for outcome in progress.outcomes
            )
        return replace(progress, outcomes=outcomes)

    def _take(self, runs: tuple[Run, ...] | None) -> None:
        """Hand on `runs`, or those there are, with what was said of them."""
        with self._telling:
            with self._lock:
                known = self._runs if runs is None else runs
                self._runs = tuple(self._rated.get(run.id, run) for run in known)
            self._answered(self._runs)

    def _ended(self) -> None:
        with self._edge:
            try:
                self._bar.stopped()
            finally:
                self._when_ended()


def make_requests(
    deployment: str,
    values: Mapping[str, Any],
    by_tag: Mapping[str, Sequence[VellumVariable]],
    *,
    options: RunOptions,
) -> list[RunRequest]:
    """Return one request a release: the same case for all, with what is not sent to it."""
    return [
        RunRequest(
            deployment=deployment,
            inputs=dict(values),
            release_tag=tag,
            not_sent=not_sent(values, variables),
            external_id=options.external_id_for(tag, count=len(by_tag)),
            metadata=options.metadata,
            previous_execution_id=options.previous_execution_id,
        )
        for tag, variables in by_tag.items()
    ]

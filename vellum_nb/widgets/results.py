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
from vellum_nb.models import Cancellation, NodeRun, Run, RunRequest, VellumVariable
from vellum_nb.rendering.format import visible_name
from vellum_nb.rendering.values import same_value, value_text
from vellum_nb.widgets.base import ErrorBoundary, SerialExecutor, ThreadSafeWidget, note
from vellum_nb.widgets.field import UnreadableError, read_json, write_json
from vellum_nb.widgets.job import Job, Live, Progress, Stream, answer, live_texts
from vellum_nb.widgets.markup import alert_html, page_safe, script
from vellum_nb.widgets.outputs import legend_html, side_by_side_html, trace_html
from vellum_nb.widgets.run_bar import RunBar, RunOptions
from vellum_nb.widgets.spec import Progressing, not_sent

__all__ = [
    "AnswerActions",
    "AnswerBars",
    "Answers",
    "CallArguments",
    "Calls",
    "Execute",
    "FormRuns",
    "Rate",
    "Trace",
    "corrections",
    "make_requests",
    "outputs_text",
]

Execute = Callable[[RunRequest, Cancellation], Run]
Rate = Callable[[Run, float | None, Mapping[str, Any] | None], Run]
Trace = Callable[[Run], Sequence[NodeRun]]

_LONGEST = 20_000  # characters of an output that can be corrected in the page
_THUMBS = (None, 0.0, 1.0)
_PACE = 1_000_000  # characters of growing text that are sent to the page in a second


def outputs_text(run: Run) -> str:
    """Return what Copy copies: one output as it is, several with their names, or the error."""
    texts = {
        name: value_text(value, run.output_types.get(name, "JSON"))
        for name, value in run.outputs.items()
    }
    if len(texts) == 1:
        return next(iter(texts.values()))
    if not texts and run.error:
        return f"{run.error.code}: {run.error.message}"
    lines = (
        f"{name}:\n{text}" if "\n" in text else f"{name}: {text}" for name, text in texts.items()
    )
    return "\n".join(lines)


@dataclass(frozen=True)
class _Mark:
    """What a bar shows beside its run.

    `busy` is what is under way, `problem` why something failed; `editor` are the outputs to
    correct, and `saved` counts corrections: the editor closes when it grows. `trace` is safe HTML.
    """

    busy: str = ""
    problem: str = ""
    editor: Sequence[Mapping[str, Any]] = field(default_factory=list)
    saved: int = 0
    trace: str = ""


class AnswerBars(ThreadSafeWidget):
    """Puts a bar under each answer that stands beside it, and text into those that stream.

    Copy works while the kernel is busy; a notebook without its kernel has no bars. The traits:
    which of "rate" and "trace" there are (`controls`), what each Copy copies (`texts`), what each
    bar shows (`bars`), and what each answer that streams has so far (`live`, see `live_texts`).
    """

    _esm = traitlets.Unicode(script("answers.js")).tag(sync=True)
    controls = traitlets.List(traitlets.Unicode()).tag(sync=True)
    texts = traitlets.List(traitlets.Unicode()).tag(sync=True)
    bars = traitlets.List(traitlets.Dict()).tag(sync=True)
    live = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self, controls: Sequence[str] = ()) -> None:
        super().__init__(controls=list(controls))
        self._lock = threading.RLock()
        self._runs: Sequence[Run] = ()
        self._marks: dict[str, _Mark] = {}

    def show(self, runs: Sequence[Run]) -> None:
        """Show a bar for each of `runs`; what is known of other runs is forgotten."""
        with self._lock:
            self._runs = runs
            self._marks = {run.id: self._marks.get(run.id, _Mark()) for run in runs}
            self.texts = page_safe([outputs_text(run) for run in runs])
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

    def close_editor(self, run_id: str) -> None:
        """Close the editor of a run: its correction is saved."""
        with self._lock:
            count = self._marks.get(run_id, _Mark()).saved + 1
            self.mark(run_id, saved=count, editor=[])

    def on_event(self, call: Callable[[Run, str, Mapping[str, Any]], None]) -> None:
        """Have `call` called with the run, the event and the message of each click."""

        def receive(_widget: object, content: Any, _buffers: object) -> None:
            if not isinstance(content, dict):
                return
            event, run = content.get("event"), self.run(content.get("id"))
            if run is not None and isinstance(event, str):
                call(run, event, content)

        self.on_msg(receive)

    def _draw(self) -> None:
        self.bars = [_bar(run, self._marks[run.id]) for run in self._runs]

    def __repr__(self) -> str:
        return f"AnswerBars({', '.join(run.release_tag for run in self._runs)})"


def _bar(run: Run, mark: _Mark) -> dict[str, Any]:
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


class AnswerActions:
    """Does what the bars under the answers ask for, in a thread, and shows the outcome there.

    `rate` rates a run (with neither quality nor desired outputs: takes its rating back), `trace`
    reads its nodes. `changed` is called with the run as it is then, `go_on` with the run that
    Continue goes on from.
    """

    def __init__(
        self,
        bars: AnswerBars,
        *,
        rate: Rate | None,
        trace: Trace | None,
        boundary: ErrorBoundary,
        changed: Callable[[Run], None],
        go_on: Callable[[Run], None],
    ) -> None:
        self._bars = bars
        self._rate = rate
        self._trace = trace
        self._boundary = boundary
        self._changed = changed
        self._executor = SerialExecutor("vellum-nb-ratings")
        self._events: dict[str, Callable[[Run, Mapping[str, Any]], None]] = {
            "rate": self._on_rate,
            "correct": self._on_correct,
            "save": self._on_save,
            "close": lambda run, _: bars.mark(run.id, editor=[], problem=""),
            "trace": self._on_trace,
            "continue": lambda run, _: go_on(run),
        }
        bars.on_event(self._on_event)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is under way; return whether that is so."""
        return self._executor.wait(timeout)

    def _on_event(self, run: Run, event: str, message: Mapping[str, Any]) -> None:
        with self._boundary:
            if event in self._events:
                self._events[event](run, message)

    def _on_rate(self, run: Run, message: Mapping[str, Any]) -> None:
        quality = message.get("quality")
        if self._rate is not None and quality in _THUMBS:
            self._save(run, lambda _: quality)

    def _on_correct(self, run: Run, _: Mapping[str, Any]) -> None:
        fields = _editor(run)
        names = {field["name"] for field in fields}
        longer = ", ".join(visible_name(name) for name in run.outputs if name not in names)
        problem = f"Too long to correct here: {longer}. ws.rate(run, desired=...) takes it."
        self._bars.mark(run.id, editor=fields, problem=problem if longer else "")

    def _on_save(self, run: Run, message: Mapping[str, Any]) -> None:
        texts = message.get("texts")
        if self._rate is None or not isinstance(texts, dict):
            return
        try:
            desired = corrections(run, texts)
        except InputError as exc:
            self._bars.mark(run.id, problem=str(exc))
            return
        self._save(run, lambda newest: newest.quality, desired)

    def _save(
        self,
        run: Run,
        quality: Callable[[Run], float | None],
        desired: Mapping[str, Any] | None = None,
    ) -> None:
        def save() -> None:
            if self._rate is None:
                return
            newest = self._bars.run(run.id) or run  # an earlier click may have changed it
            self._changed(self._rate(newest, quality(newest), desired))
            if desired is not None:
                self._bars.close_editor(run.id)

        self._submit(run, "saving…", save)

    def _on_trace(self, run: Run, _: Mapping[str, Any]) -> None:
        trace = self._trace
        if run.nodes:
            self._show_trace(run, run.nodes)
        elif trace is not None:

            def read() -> None:
                nodes = tuple(trace(run))
                newest = self._bars.run(run.id) or run
                self._changed(newest.model_copy(update={"nodes": nodes}))
                self._show_trace(run, nodes)

            self._submit(run, "reading the trace…", read)

    def _show_trace(self, run: Run, nodes: Sequence[NodeRun]) -> None:
        self._bars.mark(run.id, trace=trace_html(nodes, title=run.release_tag), problem="")

    def _submit(self, run: Run, words: str, call: Callable[[], None]) -> None:
        def guarded() -> None:
            with self._boundary:
                self._bars.mark(run.id, busy=words, problem="")
                try:
                    call()
                except VellumNBError as exc:
                    self._bars.mark(run.id, problem=str(exc))
                finally:
                    self._bars.mark(run.id, busy="")

        self._executor.submit(guarded)


def corrections(run: Run, texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the outputs of `run` should have been: those corrected before and those of now.

    Raises
    ------
    InputError
        A text is not JSON, or nothing was changed.
    """
    before = dict(run.desired or {})
    known = {**run.outputs, **before}
    changed = {}
    for name, text in texts.items():
        if name not in run.outputs or not isinstance(text, str):
            continue
        value = _corrected(name, text, known[name])
        if not same_value(value, known[name]):
            changed[name] = value
    if not changed:
        msg = "Nothing was changed: correct a text, then save."
        raise InputError(msg, [])
    return before | changed


def _corrected(name: str, text: str, known: Any) -> Any:
    if isinstance(known, str):
        return text
    try:
        return read_json(text)
    except UnreadableError as exc:
        msg = f"{visible_name(name)}: {exc}"
        raise InputError(msg, []) from None


def _editor(run: Run) -> list[dict[str, Any]]:
    known = {**run.outputs, **(run.desired or {})}
    fields = []
    for name in run.outputs:
        is_text = isinstance(known[name], str)
        text = known[name] if is_text else write_json(known[name])
        if len(text) <= _LONGEST:
            label = visible_name(name)
            fields.append({"name": name, "label": label, "text": text, "json": not is_text})
    return fields


class Answers:
    """Shows runs side by side as they come, and whether they are still current.

    Only the form's one reporting thread calls `show`. `outputs` are the names of the outputs that
    a run is expected to have.
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
        self._markdown.observe(lambda _: self._draw(), "value")
        self._trouble = note("", "vnb-trouble")
        self._answers = note("", "vnb-answers")
        head = ipw.Box([self._line, self._markdown])
        head.add_class("vnb-results-head")
        self.widget = ipw.VBox([self._trouble, head, self._answers, bars])
        self.widget.add_class("vnb-results").add_class("vnb-none")

    def show(
        self,
        requests: Sequence[RunRequest],
        progress: Progress,
        live: Mapping[str, Progressing] | None = None,
    ) -> None:
        """Show what has come for `requests`; a place is kept for what has not.

        Where runs stream, `live` maps release tags to what has come so far.
        """
        pairs = zip(requests, progress.outcomes, strict=True)
        errors = [(each.release_tag, exc) for each, exc in pairs if isinstance(exc, BaseException)]
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

    def compare_to(self, *, edited: bool) -> None:
        """Show whether the inputs were edited since the answers came."""
        if edited != self._stale:
            self._stale = edited
            self._line.value = self._line_html()

    def _show_answers(self, progress: Progress, live: Mapping[str, Progressing] | None) -> None:
        has_words = any(any(each.texts.values()) for each in (live or {}).values())
        names = None if live is None else self._expected(progress, live)
        drawn_for = (self._requests, progress.outcomes, names, has_words)
        waiting = not progress.runs and not progress.finished and not has_words
        if self._drawn_for == drawn_for:
            return
        self._drawn_for = drawn_for
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
        self._draw()

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

    def _draw(self) -> None:
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


class CallArguments(TypedDict, total=False):
    """What `Calls` is made from, for type checkers."""

    run: Required[Execute]
    stream: Stream | None
    rate: Rate | None
    trace: Trace | None


@dataclass(frozen=True)
class Calls:
    """What a form can do: execute one request, as a stream or not, rate a run and read its nodes.

    What is None is not offered.
    """

    run: Execute
    stream: Stream | None = None
    rate: Rate | None = None
    trace: Trace | None = None

    @property
    def controls(self) -> list[str]:
        """The names of what can be done with an answer."""
        return [name for name in ("rate", "trace") if getattr(self, name) is not None]


class FormRuns:
    """Starts the runs of a form, shows their progress and answers, and cancels them.

    `answered` is called with the runs when all have ended, and when one of them was rated;
    `ended` after all have ended, whatever happened; `go_on` with the run that Continue goes on
    from. While runs are under way only the job's reporting thread writes to `bar`.
    """

    def __init__(
        self,
        calls: Calls,
        *,
        outputs: Sequence[str],
        bar: RunBar,
        boundary: ErrorBoundary,
        answered: Callable[[tuple[Run, ...]], None],
        ended: Callable[[], None],
        go_on: Callable[[Run], None],
    ) -> None:
        self._calls = calls
        self._bar = bar
        self._boundary = boundary
        self._answered = answered
        self._on_end = ended
        self._lock = threading.Lock()
        self._notifying = threading.RLock()  # so that the newest comes last
        self._runs: tuple[Run, ...] = ()
        self._rated: dict[str, Run] = {}
        self._job: Job | None = None
        if calls.stream is not None:
            bar.offer_stream()
        bars = AnswerBars(calls.controls)
        self.answers = Answers(bars, outputs=outputs)
        self._actions = AnswerActions(
            bars,
            rate=calls.rate,
            trace=calls.trace,
            boundary=boundary,
            changed=self._on_rated,
            go_on=go_on,
        )

    def start(self, requests: Sequence[RunRequest], *, streaming: bool = False) -> None:
        """Start, and return at once."""
        stream = self._calls.stream
        live = Live(stream) if streaming and stream else None

        def report(progress: Progress) -> None:
            with self._boundary:
                progress = self._with_ratings(progress)
                self._bar.progress(progress, live.node() if live else "")
                self.answers.show(requests, progress, live.latest if live else None)
                if progress.finished:
                    self._hand_on(progress.runs)

        with self._lock:
            self._rated = {}
        self._boundary.clear()
        self._bar.running()
        self._job = Job(live or self._calls.run, requests, report=report, ended=self._end)
        self._job.start()

    def cancel(self) -> None:
        """Cut off what is under way."""
        if self._job is not None and not self._job.wait(0):
            self._bar.cancelling()
            self._job.cancel()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until nothing is under way; an interrupt cancels it."""
        try:
            if self._job is not None:
                self._job.wait(timeout)
        except KeyboardInterrupt:
            self.cancel()
            raise

    def close(self) -> None:
        """Cut off what is under way, and wait a moment for it."""
        self.cancel()
        self.wait(2)
        self._actions.wait(2)

    def _on_rated(self, run: Run) -> None:
        with self._lock:
            self._rated[run.id] = run
        self._hand_on(None)
        self.answers.replace(run)

    def _with_ratings(self, progress: Progress) -> Progress:
        """Return `progress` with the runs that were rated while others were under way."""
        with self._lock:
            outcomes = tuple(
                self._rated.get(outcome.id, outcome) if isinstance(outcome, Run) else outcome
                for outcome in progress.outcomes
            )
        return replace(progress, outcomes=outcomes)

    def _hand_on(self, runs: tuple[Run, ...] | None) -> None:
        """Hand on `runs`, or those there are, with their ratings."""
        with self._notifying:
            with self._lock:
                known = self._runs if runs is None else runs
                self._runs = tuple(self._rated.get(run.id, run) for run in known)
            self._answered(self._runs)

    def _end(self) -> None:
        with self._boundary:
            try:
                self._bar.stopped()
            finally:
                self._on_end()


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

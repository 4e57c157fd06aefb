"""Runs of a form: executed in threads, displayed side by side, rated, corrected and traced."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import ipywidgets as ipw
import traitlets

from vellum_nb.comparison.actions import Actions, require
from vellum_nb.errors import HistoryError, InputError, VellumNBError
from vellum_nb.models import Cancellation, Run, RunRequest
from vellum_nb.models.checks import cut
from vellum_nb.rendering.answer import AnswerCell
from vellum_nb.rendering.format import plural, visible_name
from vellum_nb.rendering.html import clipped, script
from vellum_nb.widgets.base import ErrorBoundary, SerialExecutor, ThreadSafeWidget, note, styled
from vellum_nb.widgets.corrections import corrected_outputs, correction_fields
from vellum_nb.widgets.markup import alert_html, page_safe
from vellum_nb.widgets.outputs import legend_html, lookup_text, side_by_side_html, trace_html
from vellum_nb.widgets.spec import Progressing

Execute = Callable[[RunRequest, Cancellation], Run]
Stream = Callable[[RunRequest, Cancellation, Callable[[Progressing], None]], Run]
Live = Mapping[str, Progressing]

_REPORT_INTERVAL_S = 0.1
_MAX_WAIT_S = 0.5  # delays an interrupt at the start of a wait by at most this time
_MAX_WORKERS = 16
_MAX_NODE_CHARS = 60
_MAX_CHARS_PER_S = 1_000_000  # characters of streamed text per second sent to the page
_NO_MARKS: Mapping[str, Any] = {
    **dict.fromkeys(("busy", "problem", "looked_up", "trace"), ""),
    "editor": [],
    "saved": 0,
}


@dataclass(frozen=True)
class Progress:
    """Progress of the runs of a form.

    `outcomes` has one item per request: the run, the exception raised, or None while it is running.
    """

    outcomes: tuple[Run | BaseException | None, ...]
    elapsed: float
    cancelled: bool

    @property
    def done(self) -> int:
        """The number of finished runs."""
        return sum(outcome is not None for outcome in self.outcomes)

    @property
    def finished(self) -> bool:
        """True if all runs are finished."""
        return self.done == len(self.outcomes)

    @property
    def runs(self) -> tuple[Run, ...]:
        """The finished runs, including those that could not be recorded."""
        return tuple(filter(None, map(_answer, self.outcomes)))


def _answer(outcome: Run | BaseException | None) -> Run | None:
    """Return the run of an outcome, including the unrecorded run of a `HistoryError`."""
    run = outcome.run if isinstance(outcome, HistoryError) else outcome
    return run if isinstance(run, Run) else None


class AnswerBars(ThreadSafeWidget):
    """Bar under each answer, and the text of streaming answers.

    Traits: the available actions (`controls`), the text of each Copy button (`texts`), the state of
    each bar (`bars`) and the partial outputs of each streaming answer (`live`). Ratings, traces and
    look-ups run in a thread; `changed` is called with the updated run, `go_on` with the run to
    continue. `offered` are the controls that need `actions`.
    """

    _esm = traitlets.Unicode(script("answers.js")).tag(sync=True)
    controls = traitlets.List(traitlets.Unicode()).tag(sync=True)
    texts = traitlets.List(traitlets.Unicode()).tag(sync=True)
    bars = traitlets.List(traitlets.Dict()).tag(sync=True)
    live = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(
        self,
        actions: Actions | None,
        *,
        offered: Sequence[str] = ("rate", "trace", "look up"),
        boundary: ErrorBoundary,
        changed: Callable[[Run], None],
        go_on: Callable[[Run], None] | None,
    ) -> None:
        controls = list(offered) if actions is not None else []
        super().__init__(controls=controls if go_on is None else [*controls, "continue"])
        self._actions = actions
        self._boundary = boundary
        self._changed = changed
        self._executor = SerialExecutor("vellum-nb-ratings")
        self._lock = threading.RLock()
        self._runs: Sequence[Run] = ()
        self._marks: dict[str, Mapping[str, Any]] = {}
        self._events: dict[str, Callable[[Run, Mapping[str, Any]], None]] = {
            "rate": self._on_rate,
            "correct": self._on_correct,
            "save": self._on_save,
            "close": lambda run, _: self._mark(run, editor=[], problem=""),
            "trace": self._on_trace,
            "look up": self._on_look_up,
            "continue": lambda run, _: None if go_on is None else go_on(run),
        }
        self.on_msg(self._on_message)

    def show(self, runs: Sequence[Run]) -> None:
        """Show one bar per run; the state of other runs is dropped."""
        with self._lock:
            self._runs = runs
            self._marks = {run.id: self._marks.get(run.id, _NO_MARKS) for run in runs}
            self.texts = page_safe([outputs_text(run) for run in runs])
            self._draw()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every rating, trace and look-up is finished; return False on a timeout."""
        return self._executor.wait(timeout)

    def submit(self, call: Callable[[], None]) -> None:
        """Run `call` in the thread of the bars; errors are shown above them."""
        self._executor.submit(self._boundary.guarded(call))

    def _run(self, run_id: object) -> Run | None:
        return next((run for run in self._runs if run.id and run.id == run_id), None)

    def _mark(self, run: Run, **changes: Any) -> None:
        """Update the bar of a run, if it is still displayed."""
        with self._lock:
            if run.id in self._marks:
                self._marks[run.id] = {**self._marks[run.id], **changes}
                self._draw()

    def _draw(self) -> None:
        bars = []
        for run in self._runs:
            corrected = ", ".join(run.desired or ())
            bar = {
                "id": run.id,
                "tag": run.release_tag,
                "quality": run.quality,
                "note": f"corrected: {corrected}" if corrected else "",
                "rates": bool(run.outputs) and run.state != "STARTED",
                "goes_on": run.execution_id is not None,
                "traces": bool(run.nodes) or run.execution_id is not None,
                "in_doubt": run.doubt is not None,
            }
            bars.append({**bar, **self._marks[run.id]})
        self.bars = bars

    def _on_message(self, _widget: object, content: Any, _buffers: object) -> None:
        if not isinstance(content, dict):
            return
        event, run = content.get("event"), self._run(content.get("id"))
        control = "rate" if event in {"correct", "save", "close"} else event
        if run is not None and control in self.controls:
            with self._boundary:
                self._events[str(event)](run, content)

    def _on_rate(self, run: Run, message: Mapping[str, Any]) -> None:
        quality = message.get("quality")
        if quality in (None, 0, 1):
            rate = require(self._actions, "rate").rate
            self._submit(run, "saving…", lambda newest: rate(newest, quality, None))

    def _on_correct(self, run: Run, _: Mapping[str, Any]) -> None:
        fields, longer = correction_fields(run)
        words = f"Too long to correct here: {', '.join(longer)}. Use ws.rate(run, desired=...)."
        self._mark(run, editor=fields, problem=words if longer else "")

    def _on_save(self, run: Run, message: Mapping[str, Any]) -> None:
        texts, rate = message.get("texts"), require(self._actions, "rate").rate
        if not isinstance(texts, dict):
            return
        try:
            desired = corrected_outputs(run, texts)
        except InputError as exc:
            self._mark(run, problem=str(exc))
            return

        def save(newest: Run) -> Run:
            rated = rate(newest, newest.quality, desired)
            saved = self._marks.get(run.id, _NO_MARKS)["saved"] + 1
            self._mark(run, saved=saved, editor=[])  # the page closes its editor
            return rated

        self._submit(run, "saving…", save)

    def _on_trace(self, run: Run, _: Mapping[str, Any]) -> None:
        if run.nodes:
            self._mark(run, trace=trace_html(run.nodes, title=run.release_tag), problem="")
            return

        def read(newest: Run) -> Run:
            nodes = tuple(require(self._actions, "read traces").trace(newest))
            self._mark(run, trace=trace_html(nodes, title=run.release_tag))
            return newest.model_copy(update={"nodes": nodes})

        self._submit(run, "reading the trace…", read)

    def _on_look_up(self, run: Run, _: Mapping[str, Any]) -> None:
        def find(newest: Run) -> Run:
            updated = require(self._actions, "look up runs").look_up(newest)
            self._mark(run, looked_up=lookup_text([updated]))
            return updated

        self._mark(run, looked_up="")
        self._submit(run, "looking it up…", find)

    def _submit(self, run: Run, busy: str, call: Callable[[Run], Run]) -> None:
        """Run `call` in the thread with the latest version of the run."""

        def work() -> None:
            self._mark(run, busy=busy, problem="")
            try:
                self._changed(call(self._run(run.id) or run))
            except VellumNBError as exc:
                self._mark(run, problem=str(exc))
            finally:
                self._mark(run, busy="")

        self._executor.submit(self._boundary.guarded(work))


def outputs_text(run: Run) -> str:
    """Return the text of the Copy button: the only output, all outputs with names, or the error.

    A long text is truncated and says so.
    """
    texts = {name: AnswerCell.of(name, run).to_text() for name in run.outputs}
    problem = None if texts else AnswerCell.of_problem(run)
    lines = [
        f"{name}:\n{text}" if "\n" in text else f"{name}: {text}" for name, text in texts.items()
    ]
    alone = [problem.to_text()] if problem else list(texts.values())
    text, omitted = clipped(alone[0] if len(alone) == 1 else "\n".join(lines))
    return f"{text}\n… {omitted:,} more characters; the run has the whole text" if omitted else text


class Answers:
    """Runs displayed side by side, with a note if they are outdated.

    `show` is called only by the reporting thread. `outputs` are the expected names of outputs.
    """

    def __init__(self, bars: AnswerBars, *, outputs: Sequence[str] = ()) -> None:
        self._bars = bars
        self._outputs = outputs
        self._lock = threading.RLock()
        self._runs: tuple[Run, ...] = ()
        self._when = self._sent = datetime.now(UTC)
        self._requests: Sequence[RunRequest] = ()
        self._drawn_for: object = None
        self._names: tuple[str, ...] = ()  # output names of streaming answers
        self._latest: Live = {}  # partial outputs of streaming answers
        self._next_live = 0.0
        self._stale = False
        self._line = note("", "vnb-line")
        self._markdown = styled(ipw.Checkbox(description="Markdown", indent=False), "vnb-check")
        self._markdown.observe(lambda _: self._draw(), "value")
        self._trouble = note("", "vnb-trouble")
        self._answers = note("", "vnb-answers")
        head = styled(ipw.Box([self._line, self._markdown]), "vnb-results-head")
        parts = [self._trouble, head, self._answers, bars]
        self.widget = styled(ipw.VBox(parts), "vnb-results vnb-none")

    def show(
        self, requests: Sequence[RunRequest], progress: Progress, live: Live | None = None
    ) -> None:
        """Show the answers to `requests`, with placeholders for pending ones.

        `live` maps release tags to the progress of streaming runs.
        """
        pairs = list(zip(requests, progress.outcomes, strict=True))
        errors = [(r.release_tag, exc) for r, exc in pairs if isinstance(exc, BaseException)]
        self._trouble.value = "".join(alert_html(exc, source=tag) for tag, exc in errors)
        if self._requests is not requests:
            self._requests, self._sent = requests, datetime.now(UTC)
        with self._lock:
            self._show_answers(pairs, progress, live)
            if self._latest and time.monotonic() >= self._next_live:
                before = self._bars.live or [{}] * len(self._runs)
                now = [self._live(run, old) for run, old in zip(self._runs, before, strict=True)]
                self._bars.live = now
                length = sum(len(text) for column in now for text in column.get("texts", ()))
                self._next_live = time.monotonic() + length / _MAX_CHARS_PER_S
        if self._runs or errors:
            self.widget.remove_class("vnb-none")

    def replace(self, run: Run) -> None:
        """Replace the displayed run with the same id, if any."""
        with self._lock:
            before = {old.id: (old.state, old.doubt) for old in self._runs}
            self._runs = tuple(run if old.id == run.id else old for old in self._runs)
            if before.get(run.id) in {None, (run.state, run.doubt)}:
                self._bars.show(self._runs)
            else:
                self._draw()

    def compare_to(self, *, edited: bool) -> None:
        """Show whether the inputs were edited after the runs."""
        if edited != self._stale:
            self._stale = edited
            self._line.value = self._line_html()

    def _show_answers(self, pairs: Any, progress: Progress, live: Live | None) -> None:
        open_ = [request.release_tag for request, outcome in pairs if outcome is None]
        self._latest = {} if live is None else {t: live.get(t, Progressing()) for t in open_}
        has_words = any(any(stream.texts.values()) for stream in self._latest.values())
        come = [name for run in progress.runs for name in run.outputs]
        coming = [name for stream in self._latest.values() for name in stream.texts]
        names = tuple(dict.fromkeys([*come, *self._outputs, *coming]))
        drawn_for = (pairs, names if self._latest else (), has_words)
        if self._drawn_for == drawn_for:
            return
        self._drawn_for = drawn_for
        if self._runs and not (progress.runs or progress.finished or has_words):
            return  # keeps the layout stable until the first new answer
        self._names = names
        case = progress.runs[0].case_id if progress.runs else ""
        self._runs = tuple(
            _answer(outcome) or self._placeholder(request, case)
            for request, outcome in pairs
            if outcome is None or _answer(outcome)
        )
        self._when = datetime.now(UTC)
        self._bars.live = []
        self._draw()

    def _placeholder(self, request: RunRequest, case_id: str) -> Run:
        return Run(
            id="",
            deployment=request.deployment,
            release_tag=request.release_tag,
            timestamp=self._sent,
            inputs={},
            case_id=case_id,
            not_sent=request.not_sent or (),
        )

    def _live(self, run: Run, before: Mapping[str, Any]) -> dict[str, Any]:
        """Return the partial outputs of a stream, and which of them has grown since `before`."""
        progressing = self._latest.get(run.release_tag)
        if progressing is None or run.state != "STARTED":
            return {}
        texts = live_texts(progressing, self._names)
        old = before.get("texts", [])
        grown = [at for at, text in enumerate(texts) if text and text not in old[at : at + 1]]
        growing = grown[-1] if grown else before.get("growing", -1)
        return {"facts": live_facts(progressing), "texts": texts, "growing": growing}

    def _draw(self) -> None:
        self._line.value = self._line_html()
        self._bars.show(self._runs)
        live = {
            tag: dict(zip(self._names, live_texts(stream, self._names), strict=True))
            for tag, stream in self._latest.items()
        }
        markdown = self._markdown.value
        html = side_by_side_html(self._runs, markdown=markdown, live=live) if self._runs else ""
        self._answers.value = html

    def _line_html(self) -> str:
        if not self._runs:
            return ""
        waits = all(run.state == "STARTED" for run in self._runs)
        when = self._when.astimezone().strftime("%H:%M:%S")
        parts = [f"sent at {when}" if waits else f"answers of {when}"]
        if sum(bool(run.outputs) for run in self._runs) > 1 and not self._markdown.value:
            legend = legend_html(self._runs)
            parts.append(f'<span class="vnb-legend">{legend}</span>')
        stale = '<span class="vnb-stale">inputs edited since</span>' if self._stale else ""
        return f"<span>{' · '.join(parts)}</span>{stale}"


def live_facts(progressing: Progressing) -> str:
    """Describe the progress of a stream."""
    parts = ["streaming"]
    if progressing.first_s is not None:
        parts.append(f"first words after {progressing.first_s:.2f} s")
    if words := sum(len(text.split()) for text in progressing.texts.values()):
        parts.append(plural(words, "word"))
    return " · ".join(parts)


def live_texts(progressing: Progressing, names: Sequence[str]) -> list[str]:
    """Return the truncated partial texts; incomplete surrogate pairs are replaced."""
    texts = []
    for name in names:
        visible, hidden = clipped(progressing.texts.get(name, ""))
        text = visible.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        texts.append(f"{text}…" if hidden else text)
    return texts


@dataclass(kw_only=True, eq=False)
class FormRuns:
    """Executes the runs of a form, reports their progress, shows their answers and cancels them.

    Each run has its own thread; another one reports ten times per second. It calls `reported` with
    the progress and the running node, and `ended` after the last report, even after an error.
    `answered` is called with the runs when all are finished, and after a rating.
    """

    run: Execute
    stream: Stream | None
    actions: Actions | None
    outputs: Sequence[str]
    boundary: ErrorBoundary
    reported: Callable[[Progress, str], None]
    answered: Callable[[tuple[Run, ...]], None]
    ended: Callable[[], None]
    go_on: Callable[[Run], None] | None

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._runs: tuple[Run, ...] = ()
        self._rated: dict[str, Run] = {}
        self._cancellation = Cancellation()
        self._thread: threading.Thread | None = None
        self._all_ended = threading.Event()
        self._all_ended.set()
        self.bars = AnswerBars(
            self.actions,
            boundary=self.boundary,
            changed=self._on_rated,
            go_on=self.go_on,
        )
        self.answers = Answers(self.bars, outputs=self.outputs)

    def start(
        self, requests: Callable[[], Sequence[RunRequest]], *, streaming: bool = False
    ) -> None:
        """Start the runs without waiting for them; `requests` is called in their thread."""
        with self._lock:
            self._rated = {}
        self.boundary.clear()
        self._cancellation = Cancellation()
        self._all_ended.clear()
        live: dict[str, Progressing] | None = {} if streaming and self.stream else None
        work = partial(self._work, requests, live)
        self._thread = threading.Thread(target=work, name="vellum-nb-form", daemon=True)
        self._thread.start()

    def cancel(self) -> bool:
        """Cancel the runs in progress; return whether there were any."""
        self._cancellation.cancel()
        return not self._all_ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for all runs; return False on a timeout. An interrupt cancels the runs.

        Returns at once in the reporting thread, whose callbacks may call it.
        """
        until = float("inf") if timeout is None else time.monotonic() + timeout
        try:
            while threading.current_thread() is not self._thread and not self._all_ended.is_set():
                remaining = until - time.monotonic()
                if remaining <= 0:
                    break
                self._all_ended.wait(min(remaining, _MAX_WAIT_S))
        except KeyboardInterrupt:
            self.cancel()
            raise
        return self._all_ended.is_set()

    def close(self) -> None:
        """Cancel the runs in progress and wait for them briefly."""
        self.cancel()
        self.wait(2)
        self.bars.wait(2)

    def _work(
        self, prepare: Callable[[], Sequence[RunRequest]], live: dict[str, Progressing] | None
    ) -> None:
        began = time.monotonic()
        try:
            # The boundary shows why `prepare` failed.
            with (
                suppress(VellumNBError),
                self.boundary,
                ThreadPoolExecutor(_MAX_WORKERS, "vellum-nb-run") as pool,
            ):
                requests = tuple(prepare())
                futures = [pool.submit(self._execute, request, live) for request in requests]
                try:
                    while not self._report(requests, futures, began, live):
                        open_ = [future for future in futures if not future.done()]
                        wait(open_, timeout=_REPORT_INTERVAL_S, return_when=FIRST_COMPLETED)
                except BaseException:
                    self.cancel()
                    raise
        finally:
            try:
                self.boundary.guarded(self.ended)()
            finally:
                self._all_ended.set()

    def _execute(self, request: RunRequest, live: dict[str, Progressing] | None) -> Run:
        if live is None or self.stream is None:
            return self.run(request, self._cancellation)
        show = partial(live.__setitem__, request.release_tag)
        return self.stream(request, self._cancellation, show)

    def _report(
        self,
        requests: Sequence[RunRequest],
        futures: Sequence[Future[Run]],
        began: float,
        live: dict[str, Progressing] | None,
    ) -> bool:
        """Report the progress of the runs; return whether all are finished."""
        latest = None if live is None else dict(live)
        ended = [
            (future.exception() or future.result()) if future.done() else None for future in futures
        ]
        with self._lock:  # a run can be rated while others are in progress
            outcomes = tuple(
                self._rated.get(run.id, run) if isinstance(run, Run) else run for run in ended
            )
        elapsed = time.monotonic() - began
        progress = Progress(outcomes, elapsed, self._cancellation.cancelled)
        self.reported(progress, _node(latest or {}))
        self.answers.show(requests, progress, latest)
        if progress.finished:
            self._hand_on(progress.runs)
        return progress.finished

    def _on_rated(self, run: Run) -> None:
        with self._lock:
            self._rated[run.id] = run
            self._hand_on(self._runs)
        self.answers.replace(run)

    def _hand_on(self, runs: tuple[Run, ...]) -> None:
        with self._lock:
            self._runs = tuple(self._rated.get(run.id, run) for run in runs)
            self.answered(self._runs)


def _node(latest: Live) -> str:
    """Return the running node if there is a single run, otherwise an empty string."""
    if len(latest) != 1:
        return ""
    (progressing,) = latest.values()
    name = cut(visible_name(progressing.node), _MAX_NODE_CHARS)
    return f"node {progressing.nodes_done + 1} · {name}" if name else ""

"""The runs of a form: executed at once, their answers side by side, rated, corrected, traced."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import ipywidgets as ipw
import traitlets

from vellum_nb.errors import HistoryError, InputError, VellumNBError
from vellum_nb.models import Cancellation, NodeRun, Run, RunRequest
from vellum_nb.rendering.format import (
    cut,
    lookup_text,
    plural,
    same_value,
    value_text,
    visible_name,
)
from vellum_nb.rendering.html import clipped
from vellum_nb.widgets.base import ErrorBoundary, SerialExecutor, ThreadSafeWidget, note, styled
from vellum_nb.widgets.fields import read_json, write_json
from vellum_nb.widgets.markup import alert_html, page_safe, script
from vellum_nb.widgets.outputs import legend_html, side_by_side_html, trace_html
from vellum_nb.widgets.spec import Progressing

Execute = Callable[[RunRequest, Cancellation], Run]
Stream = Callable[[RunRequest, Cancellation, Callable[[Progressing], None]], Run]
Rate = Callable[[Run, float | None, Mapping[str, Any] | None], Run]
Trace = Callable[[Run], Sequence[NodeRun]]
LookUp = Callable[[Run], Run]
Live = Mapping[str, Progressing]

_TICK = 0.1
_LONGEST_WAIT = 0.5  # an interrupt that comes just as a wait begins is seen when that ends
_AT_ONCE = 16
_LONGEST = 20_000  # characters of an output that can be corrected in the page
_LONGEST_NODE = 60
_RATE = 1_000_000  # characters of growing text that are sent to the page in a second
_NO_MARKS: Mapping[str, Any] = {
    **dict.fromkeys(("busy", "problem", "looked_up", "trace"), ""),
    "editor": [],
    "saved": 0,
}


@dataclass(frozen=True)
class Progress:
    """How the runs of a form get on.

    `outcomes` has one item a request: the run, the exception that was raised, or None while it is
    under way.
    """

    outcomes: tuple[Run | BaseException | None, ...]
    elapsed: float
    cancelled: bool

    @property
    def done(self) -> int:
        """How many have ended."""
        return sum(outcome is not None for outcome in self.outcomes)

    @property
    def finished(self) -> bool:
        """Whether all have ended."""
        return self.done == len(self.outcomes)

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs there are, also those that could not be recorded."""
        return tuple(filter(None, map(_answer, self.outcomes)))


def _answer(outcome: Run | BaseException | None) -> Run | None:
    """Return the run of an outcome; an error of the history brings the one it could not record."""
    run = outcome.run if isinstance(outcome, HistoryError) else outcome
    return run if isinstance(run, Run) else None


class AnswerBars(ThreadSafeWidget):
    """Puts a bar under each answer, and text into those that stream.

    The traits: which of "rate", "trace" and "look up" there are (`controls`), what each Copy copies
    (`texts`), what each bar shows (`bars`), and what each answer that streams has so far (`live`).
    Bars rate, trace and look up in a thread; `changed` is called with the run as it is then,
    `go_on` with the run that Continue goes on from.
    """

    _esm = traitlets.Unicode(script("answers.js")).tag(sync=True)
    controls = traitlets.List(traitlets.Unicode()).tag(sync=True)
    texts = traitlets.List(traitlets.Unicode()).tag(sync=True)
    bars = traitlets.List(traitlets.Dict()).tag(sync=True)
    live = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(
        self,
        *,
        rate: Rate | None,
        trace: Trace | None,
        look_up: LookUp | None = None,
        boundary: ErrorBoundary,
        changed: Callable[[Run], None],
        go_on: Callable[[Run], None],
    ) -> None:
        offered = {"rate": rate, "trace": trace, "look up": look_up}
        super().__init__(controls=[name for name, call in offered.items() if call is not None])
        self._rate = rate
        self._trace = trace
        self._look_up = look_up
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
            "continue": lambda run, _: go_on(run),
        }
        self.on_msg(self._on_message)

    def show(self, runs: Sequence[Run]) -> None:
        """Show a bar for each of `runs`; what is known of other runs is forgotten."""
        with self._lock:
            self._runs = runs
            self._marks = {run.id: self._marks.get(run.id, _NO_MARKS) for run in runs}
            self.texts = page_safe([outputs_text(run) for run in runs])
            self._draw()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is being saved or read; return whether that is so."""
        return self._executor.wait(timeout)

    def submit(self, call: Callable[[], None]) -> None:
        """Make a call in the thread of the bars; what goes wrong is shown above them."""

        def work() -> None:
            with self._boundary:
                call()

        self._executor.submit(work)

    def _run(self, run_id: object) -> Run | None:
        return next((run for run in self._runs if run.id and run.id == run_id), None)

    def _mark(self, run: Run, **changes: Any) -> None:
        """Show something else in the bar of a run, if it is still there."""
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
        if run is not None and isinstance(event, str) and event in self._events:
            with self._boundary:
                self._events[event](run, content)

    def _on_rate(self, run: Run, message: Mapping[str, Any]) -> None:
        quality = message.get("quality")
        if self._rate is not None and quality in (None, 0, 1):
            rate = self._rate
            self._submit(run, "saving…", lambda newest: rate(newest, quality, None))

    def _on_correct(self, run: Run, _: Mapping[str, Any]) -> None:
        known = {**run.outputs, **(run.desired or {})}
        fields, longer = [], []
        for name in run.outputs:
            is_text, label = isinstance(known[name], str), visible_name(name)
            text = known[name] if is_text else write_json(known[name])
            if len(text) > _LONGEST:
                longer.append(label)
            else:
                fields.append({"name": name, "label": label, "text": text, "json": not is_text})
        words = f"Too long to correct here: {', '.join(longer)}. ws.rate(run, desired=...) does it."
        self._mark(run, editor=fields, problem=words if longer else "")

    def _on_save(self, run: Run, message: Mapping[str, Any]) -> None:
        texts, rate = message.get("texts"), self._rate
        if rate is None or not isinstance(texts, dict):
            return
        try:
            desired = _corrections(run, texts)
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
        trace = self._trace
        if run.nodes:
            self._mark(run, trace=trace_html(run.nodes, title=run.release_tag), problem="")
        elif trace is not None:

            def read(newest: Run) -> Run:
                nodes = tuple(trace(newest))
                self._mark(run, trace=trace_html(nodes, title=run.release_tag))
                return newest.model_copy(update={"nodes": nodes})

            self._submit(run, "reading the trace…", read)

    def _on_look_up(self, run: Run, _: Mapping[str, Any]) -> None:
        look_up = self._look_up
        if look_up is not None:

            def find(newest: Run) -> Run:
                found = look_up(newest)
                self._mark(run, looked_up=lookup_text([found]))
                return found

            self._mark(run, looked_up="")
            self._submit(run, "looking it up…", find)

    def _submit(self, run: Run, busy: str, call: Callable[[Run], Run]) -> None:
        """Call with the run as it is when its turn comes; an earlier click may have changed it."""

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
    """Return what Copy copies: one output as it is, several with their names, or the error."""
    texts = {
        name: value_text(value, run.output_types.get(name, "JSON"))
        for name, value in run.outputs.items()
    }
    if len(texts) == 1:
        return next(iter(texts.values()))
    if not texts and run.error:
        return f"{run.error.code}: {run.error.message}"
    return "\n".join(
        f"{name}:\n{text}" if "\n" in text else f"{name}: {text}" for name, text in texts.items()
    )


def _corrections(run: Run, texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the outputs of `run` should have been, those corrected before included."""
    before = dict(run.desired or {})
    known = {**run.outputs, **before}
    changed = {}
    for name, text in texts.items():
        if name not in run.outputs or not isinstance(text, str):
            continue
        try:
            value = text if isinstance(known[name], str) else read_json(text)
        except InputError as exc:
            msg = f"{visible_name(name)}: {exc}"
            raise InputError(msg) from None
        if not same_value(value, known[name]):
            changed[name] = value
    if not changed:
        msg = "Nothing was changed: edit a text, then save."
        raise InputError(msg)
    return before | changed


class Answers:
    """Shows runs side by side as they come, and whether they are still current.

    Only the thread that reports calls `show`. `outputs` are the names of the outputs that a run
    is expected to have.
    """

    def __init__(self, bars: AnswerBars, *, outputs: Sequence[str] = ()) -> None:
        self._bars = bars
        self._outputs = outputs
        self._lock = threading.RLock()
        self._runs: tuple[Run, ...] = ()
        self._when = self._sent = datetime.now(UTC)
        self._requests: Sequence[RunRequest] = ()
        self._drawn_for: object = None
        self._names: tuple[str, ...] = ()  # of the outputs of answers that stream
        self._latest: Live = {}  # what those that stream have so far
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
        """Show the answers to `requests`, with a placeholder for those that have not come.

        Where runs stream, `live` maps release tags to what has come so far.
        """
        pairs = list(zip(requests, progress.outcomes, strict=True))
        errors = [(each.release_tag, exc) for each, exc in pairs if isinstance(exc, BaseException)]
        self._trouble.value = "".join(alert_html(exc, what=tag) for tag, exc in errors)
        if self._requests is not requests:
            self._requests, self._sent = requests, datetime.now(UTC)
        with self._lock:
            self._show_answers(pairs, progress, live)
            if self._latest and time.monotonic() >= self._next_live:
                before = self._bars.live or [{}] * len(self._runs)
                now = [self._live(run, old) for run, old in zip(self._runs, before, strict=True)]
                self._bars.live = now
                length = sum(len(text) for each in now for text in each.get("texts", ()))
                self._next_live = time.monotonic() + length / _RATE
        if self._runs or errors:
            self.widget.remove_class("vnb-none")

    def replace(self, run: Run) -> None:
        """Show `run` in place of the one with its id, if that is still there."""
        with self._lock:
            before = {old.id: (old.state, old.doubt) for old in self._runs}
            self._runs = tuple(run if old.id == run.id else old for old in self._runs)
            if before.get(run.id) in {None, (run.state, run.doubt)}:
                self._bars.show(self._runs)
            else:
                self._draw()

    def compare_to(self, *, edited: bool) -> None:
        """Show whether the inputs were edited since the answers came."""
        if edited != self._stale:
            self._stale = edited
            self._line.value = self._line_html()

    def _show_answers(self, pairs: Any, progress: Progress, live: Live | None) -> None:
        open_ = [request.release_tag for request, outcome in pairs if outcome is None]
        self._latest = (
            {tag: live.get(tag, Progressing()) for tag in open_} if live is not None else {}
        )
        has_words = any(text for each in self._latest.values() for text in each.texts.values())
        come = [name for run in progress.runs for name in run.outputs]
        coming = [name for each in self._latest.values() for name in each.texts]
        names = tuple(dict.fromkeys([*come, *self._outputs, *coming]))
        drawn_for = (pairs, names if self._latest else (), has_words)
        if self._drawn_for == drawn_for:
            return
        self._drawn_for = drawn_for
        if self._runs and not (progress.runs or progress.finished or has_words):
            return  # the old answers stay until there is a new one, so that nothing jumps
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
        """Return what the page shows of a run that streams: the text of each output.

        `growing` is the place of the output that has grown since `before`, which was shown then.
        """
        progressing = self._latest.get(run.release_tag)
        if progressing is None or run.state != "STARTED":
            return {}
        texts = live_texts(progressing, self._names)
        known = before.get("texts", [])
        grown = [at for at, text in enumerate(texts) if text and text not in known[at : at + 1]]
        growing = grown[-1] if grown else before.get("growing", -1)
        return {"facts": live_facts(progressing), "texts": texts, "growing": growing}

    def _draw(self) -> None:
        self._line.value = self._line_html()
        self._bars.show(self._runs)
        live = {
            tag: dict(zip(self._names, live_texts(each, self._names), strict=True))
            for tag, each in self._latest.items()
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
            legend = legend_html(self._runs[0].release_tag)
            parts.append(f'<span class="vnb-legend">{legend}</span>')
        stale = '<span class="vnb-stale">inputs edited since</span>' if self._stale else ""
        return f"<span>{' · '.join(parts)}</span>{stale}"


def live_facts(progressing: Progressing) -> str:
    """Return how a stream gets on, in words."""
    parts = ["streaming"]
    if progressing.first_s is not None:
        parts.append(f"first words after {progressing.first_s:.2f} s")
    if words := sum(len(text.split()) for text in progressing.texts.values()):
        parts.append(plural(words, "word"))
    return " · ".join(parts)


def live_texts(progressing: Progressing, names: Sequence[str]) -> list[str]:
    """Return the text of each output so far, as much as is shown.

    Half a character waits for its other half.
    """
    texts = []
    for name in names:
        visible, rest = clipped(progressing.texts.get(name, ""))
        whole = visible.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        texts.append(f"{whole}…" if rest else whole)
    return texts


@dataclass(kw_only=True, eq=False)
class FormRuns:
    """Starts the runs of a form, reports their progress, shows their answers, and cancels them.

    Each run has a thread of its own; another reports ten times a second. `reported` is called
    from it with the progress and the node that runs, `ended` after the last report, whatever
    happened. `answered` is called with the runs when all have ended, and when one was rated.
    """

    run: Execute
    stream: Stream | None
    rate: Rate | None
    trace: Trace | None
    look_up: LookUp | None
    outputs: Sequence[str]
    boundary: ErrorBoundary
    reported: Callable[[Progress, str], None]
    answered: Callable[[tuple[Run, ...]], None]
    ended: Callable[[], None]
    go_on: Callable[[Run], None]

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._runs: tuple[Run, ...] = ()
        self._rated: dict[str, Run] = {}
        self._cancellation = Cancellation()
        self._thread: threading.Thread | None = None
        self._all_ended = threading.Event()
        self._all_ended.set()
        self.bars = AnswerBars(
            rate=self.rate,
            trace=self.trace,
            look_up=self.look_up,
            boundary=self.boundary,
            changed=self._on_rated,
            go_on=self.go_on,
        )
        self.answers = Answers(self.bars, outputs=self.outputs)

    def start(self, requests: Sequence[RunRequest], *, streaming: bool = False) -> None:
        """Start, and return at once."""
        with self._lock:
            self._rated = {}
        self.boundary.clear()
        self._cancellation = Cancellation()
        self._all_ended.clear()
        live: dict[str, Progressing] | None = {} if streaming and self.stream else None
        work = partial(self._work, tuple(requests), live)
        self._thread = threading.Thread(target=work, name="vellum-nb-form", daemon=True)
        self._thread.start()

    def cancel(self) -> bool:
        """Cut off what is under way; return whether there is something."""
        self._cancellation.cancel()
        return not self._all_ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is under way, return whether that is so; an interrupt cancels it.

        The reporting thread itself never waits: what it calls back may ask.
        """
        until = float("inf") if timeout is None else time.monotonic() + timeout
        try:
            while threading.current_thread() is not self._thread and not self._all_ended.is_set():
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._all_ended.wait(min(left, _LONGEST_WAIT))
        except KeyboardInterrupt:
            self.cancel()
            raise
        return self._all_ended.is_set()

    def close(self) -> None:
        """Cut off what is under way, and wait a moment for it."""
        self.cancel()
        self.wait(2)
        self.bars.wait(2)

    def _work(self, requests: Sequence[RunRequest], live: dict[str, Progressing] | None) -> None:
        began = time.monotonic()
        workers = min(_AT_ONCE, len(requests)) or 1
        try:
            with self.boundary, ThreadPoolExecutor(workers, "vellum-nb-run") as pool:
                futures = [pool.submit(self._execute, request, live) for request in requests]
                try:
                    while not self._report(requests, futures, began, live):
                        open_ = [future for future in futures if not future.done()]
                        wait(open_, timeout=_TICK, return_when=FIRST_COMPLETED)
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
        """Report how the runs get on; return whether all have ended."""
        latest = None if live is None else dict(live)
        ended = [
            (future.exception() or future.result()) if future.done() else None for future in futures
        ]
        with self._lock:  # of a run that was rated while others are under way the rated one
            outcomes = tuple(
                self._rated.get(each.id, each) if isinstance(each, Run) else each for each in ended
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
    """Return which node runs, where there is one run and it says so."""
    if len(latest) != 1:
        return ""
    (progressing,) = latest.values()
    name = cut(visible_name(progressing.node), _LONGEST_NODE)
    return f"node {progressing.nodes_done + 1} · {name}" if name else ""

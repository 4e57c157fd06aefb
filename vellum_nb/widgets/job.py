"""Runs side by side in threads, and one thread that reports how they get on. Knows no widget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.models import Cancellation, Run, RunRequest
from vellum_nb.rendering.format import visible_name
from vellum_nb.rendering.html import clipped
from vellum_nb.widgets.spec import Progressing

__all__ = ["Job", "Live", "Progress", "Stream", "answer", "live_facts", "live_texts"]

_TICK = 0.1
_HEARD = 0.5  # an interrupt that comes just as a wait begins is heard when that ends
_AT_ONCE = 16


@dataclass(frozen=True)
class Progress:
    """How the runs of a job get on.

    Attributes
    ----------
    outcomes : tuple
        One item a request, in their order: the run; the exception that `run` raised; or None
        while it is under way.
    elapsed : float
        Seconds since the start.
    cancelled : bool
        Whether the job was cancelled.
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
        found = (answer(outcome) for outcome in self.outcomes)
        return tuple(run for run in found if run is not None)


def answer(outcome: Run | BaseException | None) -> Run | None:
    """Return the run of an outcome; an error of the history brings the one it could not record."""
    run = outcome.run if isinstance(outcome, HistoryError) else outcome
    return run if isinstance(run, Run) else None


class Job:
    """Executes requests at once, each in a thread of its own.

    Parameters
    ----------
    run : callable
        Executes one request; ends soon when the cancellation says so.
    requests : sequence of RunRequest
        What is to be run.
    report : callable
        Called ten times a second with the progress, always from the same thread, the last time
        when all have ended.
    ended : callable
        Called from that thread after the last report, whatever happened.
    """

    def __init__(
        self,
        run: Callable[[RunRequest, Cancellation], Run],
        requests: Sequence[RunRequest],
        *,
        report: Callable[[Progress], None],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._run = run
        self._requests = tuple(requests)
        self._report = report
        self._when_ended = ended
        self._cancellation = Cancellation()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="vellum-nb-form", daemon=True)

    def start(self) -> None:
        """Start, and return at once."""
        self._thread.start()

    def cancel(self) -> None:
        """End what is under way; what has ended stays."""
        self._cancellation.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all have ended and were reported; return whether that is so.

        The reporting thread itself never waits: what it calls back may ask.
        """
        if threading.current_thread() is self._thread:
            return self._ended.is_set()
        until = float("inf") if timeout is None else time.monotonic() + timeout
        while not self._ended.is_set() and (left := until - time.monotonic()) > 0:
            self._ended.wait(min(left, _HEARD))
        return self._ended.is_set()

    def _work(self) -> None:
        began = time.monotonic()
        try:
            workers = min(_AT_ONCE, len(self._requests)) or 1
            with ThreadPoolExecutor(workers, thread_name_prefix="vellum-nb-run") as pool:
                futures = [pool.submit(self._run, r, self._cancellation) for r in self._requests]
                try:
                    self._watch(futures, began)
                except BaseException:
                    self.cancel()
                    raise
        finally:
            try:
                self._when_ended()
            finally:
                self._ended.set()

    def _watch(self, futures: Sequence[Future[Run]], began: float) -> None:
        while True:
            outcomes = tuple(_outcome(future) for future in futures)
            elapsed = time.monotonic() - began
            progress = Progress(outcomes, elapsed, self._cancellation.cancelled)
            self._report(progress)
            if progress.finished:
                return
            open_ = [f for f, outcome in zip(futures, outcomes, strict=True) if outcome is None]
            wait(open_, timeout=_TICK, return_when=FIRST_COMPLETED)


def _outcome(future: Future[Run]) -> Run | BaseException | None:
    if not future.done():
        return None
    return future.exception() or future.result()


Stream = Callable[[RunRequest, Cancellation, Callable[[Progressing], None]], Run]

_LONGEST_NODE = 60


class Live:
    """Runs requests as streams, and knows the newest word of each.

    Parameters
    ----------
    stream : callable
        Executes one request and calls back with how it gets on, from its own thread.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._latest: dict[str, Progressing] = {}

    def __call__(self, request: RunRequest, cancel: Cancellation) -> Run:
        """Execute one request."""
        return self._stream(request, cancel, partial(self._latest.__setitem__, request.release_tag))

    @property
    def latest(self) -> dict[str, Progressing]:
        """Release tag to what is known of its run."""
        return dict(self._latest)

    def node(self) -> str:
        """Return which node runs, where there is one run and it says so."""
        if len(self._latest) != 1:
            return ""
        (progressing,) = self.latest.values()
        if not progressing.node:
            return ""
        name = visible_name(progressing.node)
        name = name if len(name) <= _LONGEST_NODE else f"{name[:_LONGEST_NODE]}…"
        return f"node {progressing.nodes_done + 1} · {name}"


def live_facts(progressing: Progressing) -> str:
    """Return how a stream gets on, in words.

    Examples
    --------
    >>> live_facts(Progressing({"reply": "Thank you, I"}, first_s=0.62))
    'streaming · first words after 0.62 s · 3 words'
    """
    parts = ["streaming"]
    if progressing.first_s is not None:
        parts.append(f"first words after {progressing.first_s:.2f} s")
    words = sum(len(text.split()) for text in progressing.texts.values())
    if words:
        parts.append("1 word" if words == 1 else f"{words:,} words")
    return " · ".join(parts)


def live_texts(
    progressing: Progressing, names: Sequence[str], before: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the page shows of a run that streams: the text of each of `names`.

    `growing` is the place of the output that has grown since `before`, which was shown then.
    """
    texts = [_sound(progressing.texts.get(name, "")) for name in names]
    known = before.get("texts", [])
    grown = [at for at, text in enumerate(texts) if text and text not in known[at : at + 1]]
    growing = grown[-1] if grown else before.get("growing", -1)
    return {"facts": live_facts(progressing), "texts": texts, "growing": growing}


def _sound(text: str) -> str:
    """Return as much as is shown; a character that has come by half waits for its other half."""
    visible, rest = clipped(text)
    joined = visible.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return f"{joined}…" if rest else joined

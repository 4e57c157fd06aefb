"""The answers of a form: side by side, with when they came and whether they are still current."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

import ipywidgets as ipw

from vellum_nb.models import Run, RunRequest
from vellum_nb.widgets.bars import AnswerBars
from vellum_nb.widgets.field import note
from vellum_nb.widgets.icons import ALERT
from vellum_nb.widgets.job import Progress, answer
from vellum_nb.widgets.live import live_texts
from vellum_nb.widgets.outputs import legend_html, side_by_side_html
from vellum_nb.widgets.spec import Progressing

__all__ = ["Results", "alert_html"]

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


def alert_html(exc: BaseException, *, what: str = "") -> str:
    """Return an exception as a line that is read out; one that is not ours names its type.

    Examples
    --------
    >>> "ZeroDivisionError: division by zero" in alert_html(ZeroDivisionError("division by zero"))
    True
    """
    from vellum_nb.errors import VellumNBError

    known = isinstance(exc, VellumNBError)
    text = str(exc) if known else f"{_words(exc)} (a fault in the form, please report)"
    where = f"<b><code>{escape(what)}</code></b>: " if what else ""
    return f'<div role="alert" class="vnb-alert">{ALERT}<pre>{where}{escape(text)}</pre></div>'


def _words(exc: BaseException) -> str:
    try:
        return f"{type(exc).__name__}: {exc}"
    except Exception:  # noqa: BLE001 - an exception may fail to say what it is
        return type(exc).__name__

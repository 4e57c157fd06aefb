"""The answers of a form: side by side, with when they came and whether they are still current."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

import ipywidgets as ipw

from vellum_nb.models import Run, RunRequest
from vellum_nb.widgets.copying import CopyButtons, outputs_text
from vellum_nb.widgets.field import note
from vellum_nb.widgets.icons import ALERT
from vellum_nb.widgets.job import Progress, answer
from vellum_nb.widgets.outputs import legend_html, side_by_side_html

__all__ = ["Results", "alert_html"]


class Results:
    """Shows runs as they come. Only the form's one reporting thread calls `show`."""

    def __init__(self) -> None:
        self._runs: tuple[Run, ...] = ()
        self._when = ""
        self._drawn_for: object = None
        self._stale = False
        self._line = note("", "vnb-line")
        self._markdown = ipw.Checkbox(description="Markdown", indent=False)
        self._markdown.add_class("vnb-check")
        self._markdown.observe(self._drawn, "value")
        self._trouble = note("", "vnb-trouble")
        self._answers = note("", "vnb-answers")
        self._copy = CopyButtons()
        head = ipw.Box([self._line, self._markdown])
        head.add_class("vnb-results-head")
        self.widget = ipw.VBox([self._trouble, head, self._answers, self._copy])
        self.widget.add_class("vnb-results")
        self.widget.add_class("vnb-none")

    def show(self, requests: Sequence[RunRequest], progress: Progress) -> None:
        """Show what has come; a place is kept for what has not."""
        errors = [
            (request.release_tag, outcome)
            for request, outcome in zip(requests, progress.outcomes, strict=True)
            if isinstance(outcome, BaseException)
        ]
        self._trouble.value = "".join(alert_html(exc, what=tag) for tag, exc in errors)
        if self._drawn_for == (requests, progress.outcomes):
            return
        self._drawn_for = (requests, progress.outcomes)
        waiting = not progress.runs and not progress.finished
        if self._runs and waiting:
            return  # the old answers stay until there is a new one, so that nothing jumps
        self._runs = tuple(
            answer(outcome) or _placeholder(request, progress.runs)
            for request, outcome in zip(requests, progress.outcomes, strict=True)
            if answer(outcome) or outcome is None
        )
        self._when = datetime.now(UTC).astimezone().strftime("%H:%M:%S")
        self._drawn()
        if self._runs or errors:
            self.widget.remove_class("vnb-none")

    def compare_to(self, *, edited: bool) -> None:
        """Say whether the inputs were edited since the answers came."""
        if edited != self._stale:
            self._stale = edited
            self._line.value = self._line_html()

    def _drawn(self, _: object = None) -> None:
        self._line.value = self._line_html()
        self._copy.texts = [outputs_text(run) for run in self._runs]
        self._answers.value = (
            side_by_side_html(self._runs, markdown=self._markdown.value) if self._runs else ""
        )

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


def _placeholder(request: RunRequest, others: Sequence[Run]) -> Run:
    return Run(
        id="",
        deployment=request.deployment,
        release_tag=request.release_tag,
        timestamp=datetime.now(UTC),
        inputs={},
        case_id=others[0].case_id if others else "",
        not_sent=request.not_sent,
    )

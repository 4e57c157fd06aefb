"""One case in full under the grid: inputs, every release's answer, ratings, traces."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import ipywidgets as ipw

from vellum_nb.experiments import Comparison
from vellum_nb.experiments.cases import Case
from vellum_nb.experiments.wording import value_text
from vellum_nb.history.rows.rows import clean
from vellum_nb.models import Run
from vellum_nb.widgets.base import ErrorBoundary, note
from vellum_nb.widgets.form import FORM_STYLE
from vellum_nb.widgets.grid.hands import Hands
from vellum_nb.widgets.grid.shelf import inputs_of, label_text
from vellum_nb.widgets.markup import shown_name
from vellum_nb.widgets.outputs import side_by_side_html
from vellum_nb.widgets.results import AnswerActions, AnswerBars
from vellum_nb.widgets.values import clipped, value_html

__all__ = ["Detail"]

_INPUT = 20_000  # characters of an input that are shown at once


class Detail:
    """Shows one case at a time; nothing at first.

    Parameters
    ----------
    hands : Hands
        Rates and traces.
    judged : callable
        Called with a run that was rated, as it is now.
    """

    def __init__(self, hands: Hands, judged: Callable[[Run], None]) -> None:
        controls = [name for name in ("rate", "trace") if getattr(hands, name) is not None]
        self._bars = AnswerBars(controls)
        self._edge = ErrorBoundary()
        self._head = note("", "vnb-case-head")
        self._answers = note("", "vnb-answers")
        self._runs: tuple[Run, ...] = ()
        self._columns: tuple[str, ...] = ()
        self._told = judged
        self.actions = AnswerActions(
            self._bars,
            rate=hands.rate,
            trace=hands.trace,
            boundary=self._edge,
            changed=self._judged,
            go_on=lambda _run: None,
        )
        results = ipw.VBox([self._edge.widget, self._answers, self._bars])
        results.add_class("vnb-results")
        style = note(FORM_STYLE, "vnb-style")
        self.widget = ipw.VBox([style, self._head, results])
        self.widget.add_class("vnb").add_class("vnb-case").add_class("vnb-none")

    @property
    def run_ids(self) -> frozenset[str]:
        """The ids of the runs that are shown."""
        return frozenset(run.id for run in self._runs)

    def show(self, comparison: Comparison, case: Case) -> None:
        """Show `case` on every release that has a run of it, the baseline first."""
        columns = [each for each in (comparison.baseline, *comparison.others) if each in case.runs]
        # A column is known by its release, not by the tag alone, where a tag has moved.
        runs = [case.runs[each].model_copy(update={"release_tag": each}) for each in columns]
        self._runs, self._columns = tuple(runs), tuple(columns)
        missing = [each for each in comparison.releases if each not in case.runs]
        self._edge.clear()
        self._head.value = clean(_head(case, missing))
        self._draw()
        self.widget.remove_class("vnb-none")

    def replace(self, run: Run) -> None:
        """Show `run` in place of the one with its id, if that is shown."""
        if run.id in self.run_ids:
            self._runs = tuple(
                run.model_copy(update={"release_tag": old.release_tag}) if old.id == run.id else old
                for old in self._runs
            )
            self._bars.show(self._runs)

    def hide(self) -> None:
        """Show nothing any more."""
        self._runs = ()
        self._answers.value = self._head.value = ""
        self._bars.show(())
        self.widget.add_class("vnb-none")

    def _judged(self, run: Run) -> None:
        self.replace(run)
        self._told(run)

    def _draw(self) -> None:
        self._bars.show(self._runs)
        self._answers.value = clean(side_by_side_html(self._runs)) if self._runs else ""


def _head(case: Case, missing: list[str]) -> str:
    labels = "".join(
        f'<span class="vnb-source">{escape(shown_name(name))}: {escape(label_text(value))}</span> '
        for name, value in case.labels.items()
        if value is not None
    )
    inputs = inputs_of(case).items()
    rows = "".join(_row(name, value) for name, value in inputs if value is not None)
    expected = "".join(_row(f"{name} (expected)", value) for name, value in case.expected.items())
    lacks = ", ".join(f"<code>{escape(shown_name(each))}</code>" for each in missing)
    note_html = f'<p class="vnb-case-note">Not run on {lacks}: missing there.</p>' if lacks else ""
    return (
        f'<div class="vnb-head"><b class="vnb-title">Case {case.number:,}</b> {labels}</div>'
        f'<div class="vnb-out vnb-case-inputs"><dl class="vnb-case-rows">{rows}{expected}</dl>'
        f"</div>{note_html}"
    )


def _row(name: str, value: object) -> str:
    is_media = isinstance(value, dict) and isinstance(value.get("src"), str)
    if isinstance(value, str):
        html = value_html(value, "STRING")
        if len(value) > _INPUT:
            head = f'<pre class="vnb-text">{escape(clipped(value)[0][:_INPUT])}</pre>'
            html = f"{head}<details><summary>show all {len(value):,} characters</summary>{html}"
            html += "</details>"
    else:
        html = value_html(value, "IMAGE" if is_media else "JSON")
        text = value_text(value, "IMAGE" if is_media else "JSON")
        html = html if text else ""
    return f"<div><dt>{escape(shown_name(name))}</dt><dd>{html}</dd></div>"

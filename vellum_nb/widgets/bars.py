"""The bar under each answer, in the browser: thumbs, Correct, Copy, Continue, Trace.

The kernel says here what the bars show; `static/answers_*.js` draws them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import traitlets

from vellum_nb.models import Run
from vellum_nb.widgets.assets import asset
from vellum_nb.widgets.copying import outputs_text
from vellum_nb.widgets.late import LateWidget

__all__ = ["AnswerBars", "Mark"]


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


class AnswerBars(LateWidget):
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

"""Rating, correcting and tracing the answers of a form: what their bars ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.history import clean
from vellum_nb.models import NodeRun, Run
from vellum_nb.rendering.format import visible_name
from vellum_nb.rendering.values import same_value
from vellum_nb.widgets.bars import AnswerBars
from vellum_nb.widgets.edge import Edge
from vellum_nb.widgets.errands import Errands
from vellum_nb.widgets.field import UnreadableError
from vellum_nb.widgets.json_field import read_json, write_json
from vellum_nb.widgets.trace import trace_html

__all__ = ["Judging", "Rate", "Trace", "corrections"]

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
    edge : Edge
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
        edge: Edge,
        judged: Callable[[Run], None],
        go_on: Callable[[Run], None],
    ) -> None:
        self._bars = bars
        self._rate = rate
        self._trace = trace
        self._edge = edge
        self._judged = judged
        self._errands = Errands("vellum-nb-judging")
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
        longer = ", ".join(visible_name(name) for name in run.outputs if name not in shown)
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
            fields.append({"name": name, "label": label, "text": clean(text), "json": not is_text})
    return fields

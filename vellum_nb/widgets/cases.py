"""Running a deployment on a file of cases, from its form: file, tags, repeats, plan, sweep."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Never

import ipywidgets as ipw

from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.rendering.format import plural
from vellum_nb.sweep.cases import CaseFile
from vellum_nb.sweep.plan import SweepPlan
from vellum_nb.sweep.sweep import Sweep
from vellum_nb.widgets.case_file import FileChoice
from vellum_nb.widgets.case_plan import case_plan_html, problems_html
from vellum_nb.widgets.edge import Edge
from vellum_nb.widgets.errands import Errands
from vellum_nb.widgets.field import close_tree, note
from vellum_nb.widgets.fold import Fold
from vellum_nb.widgets.spec import TagChoice
from vellum_nb.widgets.sweep_told import ACTIVE
from vellum_nb.widgets.tags import TagBar

__all__ = ["CaseCalls", "CaseSection"]

File = CaseFile | str
_NUMBER = re.compile("[1-9][0-9]{0,5}")
_AGAIN = "Check again"


@dataclass(frozen=True)
class CaseCalls:
    """What a form is handed to run a file of cases; each is told file, release tags and repeats.

    Attributes
    ----------
    plan : callable
        Checks the cases and returns what there is to do; sends nothing.
    sweep : callable
        Starts it in the background, or goes on with it; returns the sweep.
    """

    plan: Callable[[File, Sequence[str], int], SweepPlan]
    sweep: Callable[[File, Sequence[str], int], Sweep]


def _cannot(*_: object) -> Never:
    msg = "This form was made without a way to run a file of cases"
    raise VellumNBError(msg)


_NOTHING = CaseCalls(_cannot, _cannot)


class _Asked(NamedTuple):
    """What is chosen."""

    file: File
    tags: tuple[str, ...]
    repeats: int


class CaseSection:
    """The folded part of a form where a file of cases is run.

    Files are read, and servers asked, in a thread.

    Parameters
    ----------
    calls : CaseCalls or None
        What plans and sweeps; without it nothing is shown.
    choices : sequence of TagChoice
        The release tags that there are.
    edge : Edge
        Where faults are shown.
    ended : callable
        Called, in a thread, when a sweep has come to an end.

    Attributes
    ----------
    widget : ipywidgets.Widget
        To be shown in the form.
    view : ipywidgets.Box
        To be shown under it: the live view of the sweep.
    sweep : Sweep or None
        The one that was started last.
    """

    def __init__(
        self,
        calls: CaseCalls | None,
        choices: Sequence[TagChoice],
        *,
        edge: Edge,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.sweep: Sweep | None = None
        self._calls = calls or _NOTHING
        self._edge = edge
        self._tell_ended = ended
        self._lock = threading.RLock()
        self._errands = Errands("vellum-nb-cases")
        self._asked: _Asked | None = None
        self._ready: _Asked | None = None  # what the plan that is shown is of
        self._ran: _Asked | None = None
        self._chosen_here = False
        self._unsubscribe: Callable[[], None] = lambda: None
        self._was_active = False
        self._file = FileChoice(edge.guarded(self._changed))
        self._tags = TagBar(
            choices if calls else (), edge.guarded(self._tags_clicked), css="vnb-case-tags"
        )
        self._repeats = ipw.Text("1", description="Repeats", continuous_update=False)
        self._repeats.add_class("vnb-case-repeats")
        self._repeats.observe(edge.guarded(self._changed), "value")
        self.view = ipw.Box()
        self.view.add_class("vnb-case-view")
        self._build()
        if calls is None:
            self.widget.add_class("vnb-none")

    def _build(self) -> None:
        self._plan = note("", "vnb-case-plan")
        self._run = ipw.Button(description="Run", disabled=True)
        self._run.add_class("vnb-case-run")
        self._run.on_click(self._edge.guarded(self._clicked))
        self._state = note("", "vnb-case-state")
        bar = ipw.Box([self._run, self._state])
        bar.add_class("vnb-runbar")
        parts = [self._file.widget, self._tags.widget, self._repeats, self._plan, bar]
        hint = "CSV, JSON lines, JSON or Parquet, a row a case"
        self._fold = Fold("Run on a file of cases", hint, parts, late=True)
        self.widget = self._fold.widget

    def follow(self, tags: Sequence[str]) -> None:
        """Tick the tags of the form, unless others were ticked here."""
        if not self._chosen_here:
            self._tags.ticked = tags
            self._changed()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the file is checked, or its sweep has begun; return whether that is so."""
        return self._errands.wait(timeout)

    def close(self) -> None:
        """Close every widget; a sweep that is under way goes on, and its view with it."""
        self._unsubscribe()
        with self._lock:
            self._asked = self._ready = None
        self._errands.wait(2)
        self.view.children = ()
        self._file.close()
        self._tags.close()
        close_tree(self.view)
        self._fold.close()

    def _tags_clicked(self) -> None:
        self._chosen_here = True
        self._changed()

    def _changed(self, *_: object) -> None:
        """Check what is chosen now, in a thread; Run waits for it."""
        with self._lock:
            self._ready = self._asked = None
            try:
                self._asked = self._chosen()
            except InputError as exc:
                self._show(problems_html(exc))
                return
            if self._asked is None:
                self._show("")
                return
            self._show(self._plan.value, state="Checking…")
            self._errands.do(partial(self._check, self._asked))

    def _chosen(self) -> _Asked | None:
        """Return what is chosen; None where there is no file yet."""
        file = self._file.value
        if file is None:
            return None
        typed = str(self._repeats.value).strip()
        if not _NUMBER.fullmatch(typed):
            msg = f"Repeats is “{typed}”; give a whole number from 1 on: how often each case is run"
            raise InputError(msg)
        if not self._tags.ticked:
            msg = "No release tag is chosen; choose one to run the cases on"
            raise InputError(msg)
        return _Asked(file, tuple(self._tags.ticked), int(typed))

    def _check(self, asked: _Asked) -> None:
        if asked is not self._asked:
            return  # something else is chosen by now
        shown, label = self._plan.value, _AGAIN
        try:
            with self._edge:
                plan, shown = _planned(partial(self._calls.plan, *asked))
                label = self._wording(plan, asked) if plan else _AGAIN
        finally:
            with self._lock:
                if asked is self._asked:
                    self._ready = None if label == _AGAIN else asked
                    self._show(shown, label)

    def _clicked(self, _: object) -> None:
        with self._lock:
            if self._is_active() or self._asked is None:
                return
            if self._ready is None:
                self._changed()
                return
            asked, self._ready = self._ready, None
            self._show(self._plan.value, state="Starting…")
            self._errands.do(partial(self._start, asked))

    def _start(self, asked: _Asked) -> None:
        shown = self._plan.value
        try:
            with self._edge:
                sweep, problem = _started(partial(self._calls.sweep, *asked))
                shown = problem or shown
                if sweep is not None:
                    self._take(sweep, asked)
        finally:
            with self._lock:
                self._show(shown, _AGAIN)
        self._followed()

    def _take(self, sweep: Sweep, asked: _Asked) -> None:
        self._unsubscribe()
        self.sweep, self._ran, self._was_active = sweep, asked, True
        self.view.children = (sweep.view(),)
        self._unsubscribe = sweep.subscribe(self._followed)

    def _followed(self) -> None:
        """Follow the sweep: while it is under way no other is started from here."""
        with self._lock:
            active = self._is_active()
            if active == self._was_active:
                return
            self._was_active = active
            if active:
                self._show(self._plan.value)
        if active:
            return
        self._tell_ended()
        self._changed()

    def _is_active(self) -> bool:
        return self.sweep is not None and self.sweep.state in ACTIVE

    def _show(self, plan_html: str, label: str = "", *, state: str = "") -> None:
        """Show the plan, or what is wrong with it; without a `label` Run waits."""
        active = self._is_active()
        self._plan.value = plan_html
        self._state.value = "" if active else state
        self._run.disabled = active or not label
        self._run.description = "Running…" if active else label or "Run"
        (self._run.remove_class if label == _AGAIN else self._run.add_class)("vnb-case-go")

    def _wording(self, plan: SweepPlan, asked: _Asked) -> str:
        calls = plural(plan.calls, "call")
        if plan.resumes:
            return f"Go on: {calls}"
        over = self.sweep is not None and self.sweep.state == "done" and self._ran == asked
        return f"Run {calls} again" if over else f"Run {calls}"


def _planned(plan: Callable[[], SweepPlan]) -> tuple[SweepPlan | None, str]:
    """Return the plan, or None, and how it is shown."""
    try:
        found = plan()
    except VellumNBError as exc:
        return None, problems_html(exc)
    return found, case_plan_html(found)


def _started(sweep: Callable[[], Sweep]) -> tuple[Sweep | None, str]:
    """Return the sweep, or None and why there is none."""
    try:
        return sweep(), ""
    except VellumNBError as exc:
        return None, problems_html(exc)

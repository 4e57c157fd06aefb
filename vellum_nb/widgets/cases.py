"""Running a deployment on a file of cases, from its form: file, tags, repeats, plan, sweep."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import NamedTuple, Never

import ipywidgets as ipw

from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.rendering.format import money, plural, visible_name
from vellum_nb.sweep.cases import SUFFIXES, CaseFile
from vellum_nb.sweep.plan import SweepPlan, TagPlan
from vellum_nb.sweep.sweep import Sweep
from vellum_nb.widgets.base import ErrorBoundary, SerialExecutor, close_tree, note
from vellum_nb.widgets.markup import ALERT, alert_html
from vellum_nb.widgets.media_field import Uploader, size_text
from vellum_nb.widgets.run_bar import Fold, TagBar
from vellum_nb.widgets.spec import TagChoice
from vellum_nb.widgets.sweep_view import ACTIVE

__all__ = ["CaseCalls", "CaseSection", "FileChoice", "case_plan_html", "problems_html"]

File = CaseFile | str
_NUMBER = re.compile("[1-9][0-9]{0,5}")
_AGAIN = "Check again"


@dataclass(frozen=True)
class CaseCalls:
    """How a form runs a file of cases: called with file, release tags, repeats and restart.

    Attributes
    ----------
    plan : callable
        Checks the cases and returns what there is to do; sends nothing.
    sweep : callable
        Starts it in the background, or goes on with it; returns the sweep.
    """

    plan: Callable[[File, Sequence[str], int, bool], SweepPlan]
    sweep: Callable[[File, Sequence[str], int, bool], Sweep]


def _cannot(*_: object) -> Never:
    msg = "This form was made without a way to run a file of cases"
    raise VellumNBError(msg)


_NOTHING = CaseCalls(_cannot, _cannot)


class _Choice(NamedTuple):
    """What is chosen."""

    file: File
    tags: tuple[str, ...]
    repeats: int
    restart: bool = False


class CaseSection:
    """The folded part of a form where a file of cases is run.

    Files are read, and servers asked, in a thread.

    Parameters
    ----------
    calls : CaseCalls or None
        What plans and sweeps; without it nothing is shown.
    choices : sequence of TagChoice
        The release tags that there are.
    boundary : ErrorBoundary
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
        boundary: ErrorBoundary,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.sweep: Sweep | None = None
        self._calls = calls or _NOTHING
        self._boundary = boundary
        self._tell_ended = ended
        self._lock = threading.RLock()
        self._executor = SerialExecutor("vellum-nb-cases")
        self._choice: _Choice | None = None
        self._ready: _Choice | None = None  # what the plan that is shown is of
        self._chosen_here = False
        self._unsubscribe: Callable[[], None] = lambda: None
        self._was_active = False
        self._file = FileChoice(boundary.guarded(self._changed))
        self._tags = TagBar(
            choices if calls else (), boundary.guarded(self._tags_clicked), css="vnb-case-tags"
        )
        self._repeats = ipw.Text("1", description="Repeats", continuous_update=False)
        self._repeats.add_class("vnb-case-repeats")
        self._repeats.observe(boundary.guarded(self._changed), "value")
        self.view = ipw.Box()
        self.view.add_class("vnb-case-view")
        self._build()
        if calls is None:
            self.widget.add_class("vnb-none")

    def _build(self) -> None:
        self._plan = note("", "vnb-case-plan")
        self._run = ipw.Button(description="Run", disabled=True)
        self._run.add_class("vnb-case-run")
        self._run.on_click(self._boundary.guarded(self._clicked))
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
        return self._executor.wait(timeout)

    def close(self) -> None:
        """Close every widget; a sweep that is under way goes on, and its view with it."""
        self._unsubscribe()
        with self._lock:
            self._choice = self._ready = None
        self._executor.wait(2)
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
            self._ready = self._choice = None
            try:
                self._choice = self._chosen()
            except InputError as exc:
                self._show(problems_html(exc))
                return
            if self._choice is None:
                self._show("")
                return
            self._show(self._plan.value, state="Checking…")
            self._executor.submit(partial(self._check, self._choice))

    def _chosen(self) -> _Choice | None:
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
        return _Choice(file, tuple(self._tags.ticked), int(typed))

    def _check(self, choice: _Choice) -> None:
        if choice is not self._choice:
            return  # something else is chosen by now
        html, label, ready = self._plan.value, _AGAIN, choice
        try:
            with self._boundary:
                plan, html = _planned(partial(self._calls.plan, *choice))
                if plan is not None and plan.ended is not None:  # all of it was run
                    ready = choice._replace(restart=True)
                    plan, html = _planned(partial(self._calls.plan, *ready))
                label = _run_label(plan, again=ready.restart) if plan else _AGAIN
        finally:
            with self._lock:
                if choice is self._choice:
                    self._ready = None if label == _AGAIN else ready
                    self._show(html, label)

    def _clicked(self, _: object) -> None:
        with self._lock:
            if self._is_active() or self._choice is None:
                return
            if self._ready is None:
                self._changed()
                return
            choice, self._ready = self._ready, None
            self._show(self._plan.value, state="Starting…")
            self._executor.submit(partial(self._start, choice))

    def _start(self, choice: _Choice) -> None:
        html = self._plan.value
        try:
            with self._boundary:
                sweep, problem = _started(partial(self._calls.sweep, *choice))
                html = problem or html
                if sweep is not None:
                    self._take(sweep)
        finally:
            with self._lock:
                self._show(html, _AGAIN)
        self._followed()

    def _take(self, sweep: Sweep) -> None:
        self._unsubscribe()
        self.sweep, self._was_active = sweep, True
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


def _run_label(plan: SweepPlan, *, again: bool) -> str:
    calls = plural(plan.calls, "call")
    if plan.resumes:
        return f"Go on: {calls}"
    return f"Run {calls} again" if again else f"Run {calls}"


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


class FileChoice:
    """Upload or path, whichever is chosen; what the other way holds is kept.

    Parameters
    ----------
    changed : callable
        Called after every change.

    Attributes
    ----------
    widget : ipywidgets.Widget
        To be shown.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._uploaded: CaseFile | None = None
        self._how = ipw.RadioButtons(options=["Upload", "Path"], description="File of cases")
        self._how.add_class("vnb-how")
        self._uploader = Uploader(
            self._received,
            accept=",".join(SUFFIXES),
            name="the cases",
            instead="Give its path, where the kernel runs, instead.",
        )
        self._path = ipw.Text(
            description="File of cases: path",
            placeholder="a file on the kernel's machine, e.g. data/cases.csv",
            continuous_update=False,
        )
        self._path.add_class("vnb-unlabelled")
        self._facts = note("", "vnb-facts")
        self._remove = ipw.Button(description="Remove", tooltip="Remove the file of cases")
        self._remove.add_class("vnb-plain")
        self._remove.on_click(self._removed)
        self._row = ipw.Box()
        self._row.add_class("vnb-media-row")
        self.widget = ipw.VBox([self._how, self._row])
        self.widget.add_class("vnb-case-file")
        self._how.observe(self._touched, "value")
        self._path.observe(self._touched, "value")
        self._arrange()

    @property
    def value(self) -> CaseFile | str | None:
        """The file, or its path; None where there is none yet."""
        if self._how.value == "Upload":
            return self._uploaded
        return str(self._path.value).strip() or None

    def close(self) -> None:
        """Close every widget, also those that are not shown."""
        for widget in (self._uploader, self._path, self._facts, self._remove):
            close_tree(widget)
        close_tree(self.widget)

    def _received(self, name: str, _mime: str, content: bytes) -> None:
        self._uploaded = CaseFile(name, content)
        self._touched()

    def _removed(self, _: object) -> None:
        self._uploaded = None
        self._touched()

    def _touched(self, *_: object) -> None:
        self._arrange()
        self._changed()

    def _arrange(self) -> None:
        if self._how.value == "Path":
            self._row.children = (self._path,)
        elif self._uploaded is None:
            self._row.children = (self._uploader,)
        else:
            name, size = visible_name(self._uploaded.name), len(self._uploaded.content)
            self._facts.value = f"<code>{escape(name)}</code> {size_text(size)}"
            self._row.children = (self._uploader, self._facts, self._remove)


_MOST = 50  # rows of the table of problems
_UNKNOWN = "—"


def case_plan_html(plan: SweepPlan) -> str:
    """Return what is going to be sent, how long that takes and what it costs.

    Examples
    --------
    >>> plan = SweepPlan("d", cases=4, repeats=1, tags=(TagPlan("v1", None, calls=4),))
    >>> "4 cases × 1 release tag = 4 calls; time and cost are not known yet" in case_plan_html(plan)
    True
    """  # noqa: RUF002  # the sign of a product
    unknown = _not_known(plan)
    line = f"{plan.headline}; {unknown}" if unknown else plan.headline
    notes = "".join(f"<li>{escape(visible_name(each))}</li>" for each in plan.notes)
    found, doubtful = plan.found > 0, any(tag.doubtful for tag in plan.tags)
    names = ["calls", "s a call", "$ a call"]
    names[1:1] = ["in the history"] * found + ["to be looked up"] * doubtful
    rows = "".join(_tag_row(tag, found=found, doubtful=doubtful) for tag in plan.tags)
    table = _table("vnb-plan-table", ["release tag", *names], rows)
    return f'<p class="vnb-plan">{escape(line)}</p>{table}{f"<ul>{notes}</ul>" if notes else ""}'


def problems_html(exc: VellumNBError) -> str:
    """Return why there is no plan: a sentence, and a table where rows do not fit."""
    problems = exc.problems if isinstance(exc, InputError) else ()
    if not any(each.row is not None for each in problems):
        return alert_html(exc)
    head = str(exc).partition("\n")[0]
    rows = "".join(
        f"<tr><td>{'' if each.row is None else f'{each.row:,}'}</td>"
        f"<td><code>{_cell(each.variable)}</code></td><td>{_cell(each.message)}</td></tr>"
        for each in problems[:_MOST]
    )
    more = len(problems) - _MOST
    rest = f'<p class="vnb-quiet">… and {more:,} more</p>' if more > 0 else ""
    table = _table("vnb-plan-table vnb-case-problems", ["row", "variable", "problem"], rows)
    alert = f'<div role="alert" class="vnb-alert">{ALERT}<span>{_cell(head)}</span></div>'
    return f"{alert}{table}{rest}"


def _table(css: str, names: Sequence[str], rows: str) -> str:
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f'<table class="{css}"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'


def _not_known(plan: SweepPlan) -> str:
    if plan.seconds is None:
        return "time and cost are not known yet" if plan.cost_usd is None else "time is not known"
    return "cost is not known" if plan.cost_usd is None else ""


def _tag_row(tag: TagPlan, *, found: bool, doubtful: bool) -> str:
    figures = [f"{tag.calls:,}"]
    figures += [f"{tag.found + tag.reused:,}"] * found + [f"{tag.doubtful:,}"] * doubtful
    figures.append(_UNKNOWN if tag.median_s is None else f"{tag.median_s:.2f}")
    figures.append(_UNKNOWN if tag.cost_usd is None else money(tag.cost_usd)[1:])
    cells = "".join(f"<td>{each}</td>" for each in figures)
    return f'<tr><th scope="row"><code>{_cell(tag.release_tag)}</code></th>{cells}</tr>'


def _cell(text: str) -> str:
    return escape(visible_name(text))

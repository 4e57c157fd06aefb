"""Section of the form that runs a deployment on a file of cases."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from html import escape
from typing import Any, NamedTuple

import ipywidgets as ipw

from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.models.checks import cut_list
from vellum_nb.rendering.format import between, duration, money, one_line, plural, visible_name
from vellum_nb.rendering.html import icon
from vellum_nb.sweep.cases import SUFFIXES, CaseColumn, CaseFile, columns_html
from vellum_nb.sweep.options import Existing
from vellum_nb.sweep.plan import SweepPlan, TagPlan
from vellum_nb.sweep.sweep import Sweep, control_of
from vellum_nb.widgets.base import (
    ErrorBoundary,
    SerialExecutor,
    button,
    close_tree,
    note,
    set_class,
    styled,
)
from vellum_nb.widgets.markup import ALERT, alert_html, name_html, page_safe, table_html
from vellum_nb.widgets.media_field import FileChoice
from vellum_nb.widgets.sweep_view import ACTIVE

_CHECK_LABEL = "Check again"
_MAX_PROBLEMS = 50  # rows of the table of problems
_MAX_COLUMNS = 10  # undecided columns with buttons
_MAX_BUTTONS = 4  # names that a column may be meant to have
_NAME_CHARS, _CODE_CHARS = 40, 200
_WHOLE = re.compile("[1-9][0-9]{0,5}")
_WARNING, _DECIDED = icon("FAILED"), icon("FULFILLED")


class _Choice(NamedTuple):
    file: CaseFile
    tags: tuple[str, ...]
    repeats: int
    existing: Existing = "resume"
    most_calls: int = 0  # it starts at once with at most so many

    @property
    def basis(self) -> tuple[CaseFile, tuple[str, ...], int]:
        """All of its file, the release tags and the repeats."""
        return replace(self.file, first=None), self.tags, self.repeats


class CaseSection:
    """Part of a form that runs a file of cases on its release tags; files are read in a thread.

    `sweep` plans and runs a sweep like `Workspace.sweep`, and is later the last sweep. `given` is
    called when a file is chosen, and `ended` in a thread when a sweep ends. `file` and `numbers`,
    the fields for cases and repeats, belong above and next to the release tags, `widget` with the
    plan and Run below them, and `view` is the live view of the sweep.
    """

    def __init__(
        self,
        sweep: Callable[..., Any],
        *,
        boundary: ErrorBoundary,
        given: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self.sweep: Sweep | None = None
        self._sweep = sweep
        self._boundary = boundary
        self._when_given, self._when_ended = given, ended
        self._lock = threading.RLock()
        self._executor = SerialExecutor("vellum-nb-cases")
        self._choice: _Choice | None = None
        self._ready: _Choice | None = None  # the selection of the displayed plan
        self._ran: object = None  # basis of the last sweep
        self._given: str | CaseFile | None = None
        self._existing: Existing = "resume"
        self._most_calls = 0
        self._tags: tuple[str, ...] = ()
        self._unsubscribe: Callable[[], None] = lambda: None
        self._was_active = False
        changed = boundary.guarded(self._changed)
        self._file = FileChoice(
            boundary.guarded(self._file_given),
            lambda name, _, content: CaseFile(name, content),
            label="File of cases",
            name="cases",
            ways=("Upload", "Path"),
            accept=",".join(SUFFIXES),
            example="cases.csv",
        )
        self._first = ipw.Text(description="Cases", placeholder="all", continuous_update=False)
        self._first.tooltip = "Run only the first cases of the file"
        self._repeats = ipw.Text("1", description="Repeats", continuous_update=False)
        self.numbers = [styled(each, "vnb-case-number") for each in (self._first, self._repeats)]
        for each in self.numbers:
            each.observe(changed, "value")
        self._plan = note("", "vnb-case-plan")
        self._run = button("Run", "vnb-case-run", boundary.guarded(self._clicked))
        self._run.disabled = True
        self._state = note("", "vnb-case-state")
        self._columns = _ColumnRows(boundary.guarded(self._column_decided))
        hint = note("CSV, JSON lines, JSON or Parquet, one row per case", "vnb-hint")
        file = styled(ipw.VBox([*self._file.widgets, hint]), "vnb-case-file")
        self.file = styled(ipw.VBox([file, self._columns.widget]), "vnb-fields")
        bar = styled(ipw.Box([self._run, self._state]), "vnb-runbar")
        self.widget = styled(ipw.VBox([self._plan, bar]), "vnb-cases")
        self.view = styled(ipw.Box(), "vnb-case-view")

    def follow(self, tags: Sequence[str]) -> None:
        """Run on the release tags of the form."""
        self._tags = tuple(tags)
        self._changed()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the file is checked or its sweep has started; return False on a timeout."""
        return self._executor.wait(timeout)

    def close(self) -> None:
        """Close every widget; a running sweep continues with its view."""
        self._unsubscribe()
        with self._lock:
            self._choice = self._ready = None
        self._executor.wait(2)
        for view in self.view.children:
            view.add_cases = None
        self.view.children = ()
        self._file.close()
        for widget in (self.view, self.file, *self.numbers, self.widget):
            close_tree(widget)

    def _add_cases(self, number: int) -> None:
        """Run `number` more cases of the file, or move to it if it has no more cases.

        If the selection has changed since the sweep, show its plan instead. The next sweep reuses
        the stored runs of cases that stay in the file.
        """
        if self.sweep is None or self._is_active():
            return
        with self._lock:
            plan = control_of(self.sweep).plan
            has_turns = plan is not None and plan.conversations > 0
            self._existing = "resume" if has_turns else "reuse"  # conversations are not reused
            is_same = self._choice is not None and self._choice.basis == self._ran
            if plan is not None and plan.omitted and is_same:
                runs = number * len(plan.tags) * plan.repeats
                self._most_calls = 0 if plan.conversations else runs
                self._first.value = "" if number >= plan.omitted else str(plan.cases + number)
            self._changed()
            if not self._most_calls:
                self._file.focus()
            self._most_calls = 0

    def _file_given(self) -> None:
        with self._lock:
            self._given = self._file.value
            self._columns.reset()
        self._changed()
        if self._given is not None:
            self._when_given()

    def _column_decided(self, column: str, decision: str | None) -> None:
        with self._lock:
            self._columns.decide(column, decision)
            self._changed()

    def _changed(self, *_: object) -> None:
        """Check the current selection in a thread; Run is disabled until then."""
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
            self._executor.submit(self._boundary.guarded(partial(self._check, self._choice)))

    def _chosen(self) -> _Choice | None:
        """Return the current selection; None without a file."""
        file, first, repeats = self._given, self._first.value.strip(), self._repeats.value.strip()
        if file is None:
            return None
        if first and not _WHOLE.fullmatch(first):
            msg = f"Cases is “{first}”; it must be a whole number from 1, or empty for all"
            raise InputError(msg)
        if not _WHOLE.fullmatch(repeats):
            msg = f"Repeats is “{repeats}”; it must be a whole number from 1: runs per case"
            raise InputError(msg)
        if not self._tags:
            msg = "No release tag is chosen; choose one to run the cases on"
            raise InputError(msg)
        given = (file, None) if isinstance(file, str) else (file.name, file.content)
        file = CaseFile(*given, dict(self._columns.renamed), int(first) if first else None)
        return _Choice(file, self._tags, int(repeats), self._existing, self._most_calls)

    def _check(self, choice: _Choice) -> None:
        if choice is not self._choice:
            return  # the selection has changed
        html, label, ready, state, is_meant = self._plan.value, _CHECK_LABEL, choice, "", False
        columns: Sequence[CaseColumn] = ()
        try:
            plan = self._call(choice, dry_run=True)
            is_meant = bool(choice.most_calls) and plan.calls <= choice.most_calls
            if plan.ended is not None and not (is_meant or plan.new_values):
                ready = choice._replace(existing="restart", most_calls=0)
                plan = self._call(ready, dry_run=True)
            label = _run_label(plan, again=ready.existing == "restart")
            html, columns = case_plan_html(plan), plan.columns
            reuse = "; reuses stored runs" if ready.existing == "reuse" else ""
            state = f'<span class="vnb-plan">{escape(plan.headline)}{reuse}</span>'
        except VellumNBError as exc:
            html, columns = problems_html(exc), getattr(exc, "columns", ())
            state = _to_correct_html([column for column in columns if column.problem])
        finally:
            with self._lock:
                if choice is self._choice:
                    self._ready = None if label == _CHECK_LABEL else ready
                    if columns:  # otherwise those of the last check stay
                        self._columns.show(columns)
                    self._show(html, label, state=state, is_next=ready.existing != "restart")
                    if is_meant:
                        self._clicked()

    def _call(self, choice: _Choice, **options: bool) -> Any:
        file, tags, repeats, existing, _ = choice
        return self._sweep(file, release_tags=tags, repeats=repeats, existing=existing, **options)

    def _clicked(self) -> None:
        with self._lock:
            if self._is_active() or self._choice is None:
                return
            if self._ready is None:
                self._changed()
                return
            choice, self._ready = self._ready, None
            self._show(self._plan.value, state="Starting…")
            self._executor.submit(self._boundary.guarded(partial(self._start, choice)))

    def _start(self, choice: _Choice) -> None:
        html = self._plan.value
        try:
            sweep = self._call(choice, progress=False, background=True)
            self._unsubscribe()
            self.sweep, self._was_active, self._existing = sweep, True, "resume"
            self._ran = choice.basis
            view = sweep.view()
            view.add_cases = self._boundary.guarded(self._add_cases)
            replaced, self.view.children = self.view.children, (view,)
            for old in replaced:
                if old is not view:
                    old.close()
            self._unsubscribe = control_of(sweep).subscribe(self._followed)
        except VellumNBError as exc:
            html = problems_html(exc)
        finally:
            with self._lock:
                self._show(html, _CHECK_LABEL)
        self._followed()

    def _followed(self) -> None:
        """Follow the sweep; no other sweep can be started while it runs."""
        with self._lock:
            active = self._is_active()
            if active == self._was_active:
                return
            self._was_active = active
            if active:
                self._show(self._plan.value)
        if not active:
            self._when_ended()
            self._changed()

    def _is_active(self) -> bool:
        return self.sweep is not None and self.sweep.state in ACTIVE

    def _show(
        self, plan_html: str, label: str = "", *, state: str = "", is_next: bool = True
    ) -> None:
        """Show the plan or its problems; Run is disabled without a `label`.

        Run has the accent if it is the next step: that of a finished sweep is Compare.
        """
        active = self._is_active()
        self._plan.value = plan_html
        self._state.value = "" if active else state
        self._run.disabled = active or not label
        self._run.description = "Running…" if active else label or "Run"
        is_next = is_next and label != _CHECK_LABEL
        set_class(self._run, "vnb-case-go", on=is_next)


class _ColumnRow:
    """An invalid or ambiguous column, and the choice of its use."""

    def __init__(self, column: CaseColumn, decided: Callable[[str, str | None], None]) -> None:
        self.column = column
        self._text = note(_question_html(column), "vnb-column-text")
        names = column.meant[:_MAX_BUTTONS]
        uses = [(f"Use {_shortened(name)}", name) for name in names]
        if names == (f"expected.{column.name}",):
            uses = [("Use as expected", *names)]
        keep = f"label.{column.name.removeprefix('label.')}"
        uses.append(("Ignore the column", "") if column.problem else ("Keep as label", keep))
        self._choice = styled(ipw.RadioButtons(options=uses, value=None), "vnb-how")
        self._choice.observe(lambda change: decided(column.name, change["new"] or None), "value")
        self.widget = styled(ipw.Box([self._text, self._choice]), "vnb-column")
        self._state = "vnb-column-bad" if column.problem else "vnb-notice"
        self.widget.add_class(self._state)

    def fits(self, column: CaseColumn) -> bool:
        return self.column == replace(column, meant=self.column.meant)

    def show(self, *, visible: bool) -> None:
        set_class(self.widget, "vnb-none", on=not visible)

    def decide(self, name: str | None) -> None:
        self.widget.remove_class(self._state)
        self._text.value = _decision_html(self.column.name, name)


class _ColumnRows:
    """Columns of a file by role, and a row for each invalid or ambiguous one.

    Rows stay in their places: a widget that Jupyter moves loses the focus. `renamed` are the
    decisions: the columns that are read under another name, or are ignored (None).
    """

    def __init__(self, decided: Callable[[str, str | None], None]) -> None:
        self.renamed: dict[str, str | None] = {}
        self._decided = decided
        self._rows: dict[str, _ColumnRow] = {}
        self._roles = note("", "vnb-column-roles")
        self._more = note("", "vnb-quiet")
        self._box = styled(ipw.VBox(), "vnb-column-rows")
        self.widget = styled(ipw.VBox([self._roles, self._box, self._more]), "vnb-case-columns")

    def show(self, columns: Sequence[CaseColumn]) -> None:
        """Show columns by role, and rows of the decided and the first undecided ones."""
        self._roles.value = columns_html(columns)
        doubtful = [column for column in columns if column.problem or column.notes]
        undecided = [column for column in doubtful if column.name not in self.renamed]
        for column in undecided[:_MAX_COLUMNS]:
            row = self._rows.get(column.name)
            if row is None or not row.fits(column):
                self._rows[column.name] = _ColumnRow(column, self._decided)
        names = {column.name for column in undecided[:_MAX_COLUMNS]} | self.renamed.keys()
        for name, row in self._rows.items():
            row.show(visible=name in names)
        self._box.children = [row.widget for row in self._rows.values()]
        more = len(undecided) - _MAX_COLUMNS
        self._more.value = f"… and {plural(more, 'more column')}" if more > 0 else ""

    def decide(self, column: str, name: str | None) -> None:
        """Read a column under another name, or ignore it; it can have been renamed before."""
        column = next((old for old, new in self.renamed.items() if new == column), column)
        self.renamed[column] = name
        self._rows[column].decide(name)

    def reset(self) -> None:
        """Forget the file."""
        self._roles.value = self._more.value = ""
        self._box.children = ()
        for row in self._rows.values():
            close_tree(row.widget)
        self.renamed, self._rows = {}, {}


def _shortened(name: str) -> str:
    return str(page_safe(visible_name(one_line(name, _NAME_CHARS))))


def _code(text: str) -> str:
    return f"<code>{name_html(one_line(text, _CODE_CHARS))}</code>"


def _question_html(column: CaseColumn) -> str:
    """Return the problem of a column, or the question that its notes raise, as an alert."""
    about, names = f"<b>Column {_code(column.name)}</b>", column.meant
    if column.problem:
        message = name_html(column.problem)
        return f'<div role="alert">{ALERT}<span>{about} {message}</span></div>'
    question = f"Did you mean {' or '.join(map(_code, names[:_MAX_BUTTONS]))}?"
    if names == (f"expected.{column.name}",):
        question = "It has the name of an output: use it as the expected value?"
    return f'<div role="status">{_WARNING}<span>{about} is used as a label. {question}</span></div>'


def _decision_html(column: str, name: str | None) -> str:
    """Return what a decision means, and the code that makes it."""
    result = "is ignored" if name is None else f"is read as {_code(name)}"
    call = f"drop(columns=[{column!r}])"
    if name is not None:
        call = f"rename(columns={{{column!r}: {name!r}}})"
    return (
        f'<div role="status">{_DECIDED}<span><b>Column {_code(column)}</b> {result}; the file is '
        f"not changed. For a DataFrame: {_code(f'cases.{call}')}</span></div>"
    )


def _run_label(plan: SweepPlan, *, again: bool) -> str:
    """Return the text of the button; a plan without calls shows stored runs."""
    if plan.new_values and not again:
        return "Update expected values"
    calls = between(plan.least_calls, plan.calls)
    text = f"{calls} {'call' if plan.calls == 1 else 'calls'}"
    if plan.resumes:
        return f"Resume: {text}"
    return f"Run {text}{' again' if again else ''}" if plan.calls else "Show stored runs"


def _to_correct_html(columns: Sequence[CaseColumn]) -> str:
    """Return the number of invalid columns and the first names, for the state next to Run."""
    if not columns:
        return ""
    names = cut_list(_code(column.name) for column in columns)
    return f"{ALERT} {plural(len(columns), 'column')} to correct: {names}"


def case_plan_html(plan: SweepPlan) -> str:
    """Return the number of calls on each release tag, their duration and their cost."""
    in_rows = {text for column in plan.columns for text in column.notes}
    notes = "".join(f"<li>{name_html(note)}</li>" for note in plan.notes if note not in in_rows)
    columns: dict[str, Callable[[TagPlan], str]] = {
        "calls": lambda tag: between(tag.least_calls, tag.calls)
    }
    if plan.found:
        columns["in the history"] = lambda tag: f"{tag.found + tag.reused:,}"
    if any(tag.doubtful for tag in plan.tags):
        columns["to be looked up"] = lambda tag: f"{tag.doubtful:,}"
    columns["est. time"] = lambda tag: duration(replace(plan, tags=(tag,)).seconds)
    columns["est. cost"] = lambda tag: money(replace(plan, tags=(tag,)).cost_usd)
    rows = "".join(
        f'<tr><th scope="row"><code>{name_html(tag.release_tag)}</code></th>'
        + "".join(f"<td>{figure(tag)}</td>" for figure in columns.values())
        + "</tr>"
        for tag in plan.tags
    )
    table = table_html("vnb-plan-table", ["release tag", *columns], rows)
    return table + (f"<ul>{notes}</ul>" if notes else "")


def problems_html(exc: VellumNBError) -> str:
    """Return the reason for a missing plan, with a table of invalid rows."""
    problems = exc.problems if isinstance(exc, InputError) else ()
    in_rows = {column.name for column in getattr(exc, "columns", ()) if column.problem}
    problems = tuple(p for p in problems if p.row is not None or p.variable not in in_rows)
    if in_rows and not problems:
        return ""
    if not any(problem.row is not None for problem in problems):
        return alert_html(exc)
    head = str(exc).partition("\n")[0]
    rows = "".join(
        f"<tr><td>{'' if problem.row is None else f'{problem.row:,}'}</td>"
        f"<td><code>{name_html(problem.variable)}</code></td>"
        f"<td>{name_html(problem.message)}</td></tr>"
        for problem in problems[:_MAX_PROBLEMS]
    )
    more = len(problems) - _MAX_PROBLEMS
    omitted = f'<p class="vnb-quiet">… and {more:,} more</p>' if more > 0 else ""
    table = table_html("vnb-plan-table vnb-case-problems", ["row", "variable", "problem"], rows)
    alert = f'<div role="alert" class="vnb-alert">{ALERT}<span>{name_html(head)}</span></div>'
    return f"{alert}{table}{omitted}"

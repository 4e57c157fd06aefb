"""The open run of a history table: inputs, outputs, trace, and a form to run it again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import ipywidgets as ipw

from vellum_nb.comparison.actions import Actions
from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.history import clean
from vellum_nb.models import Run
from vellum_nb.widgets.base import button, close_tree, note, styled
from vellum_nb.widgets.grid_case import Detail
from vellum_nb.widgets.markup import alert_html
from vellum_nb.widgets.outputs import side_by_side_html

if TYPE_CHECKING:
    from vellum_nb.widgets.form import RunForm

_MAX_FORMS = 8  # open forms; further ones close the oldest that is idle


class RunDetail(Detail):
    """One open run next to the table, with a form to run its inputs again.

    `make_form` returns the form of a deployment; None without a workspace. A form stays with its
    run: entered values and running requests survive the selection of another row.
    """

    SUBJECT = "run"
    CONTROLS = ("rate", "look up")

    def __init__(
        self,
        actions: Actions | None,
        make_form: Callable[[str], RunForm] | None,
        close: Callable[[], None],
    ) -> None:
        super().__init__(actions, self._on_changed, close)
        self._read.description = "Read the trace"
        self._make_form = make_form
        self._forms: dict[str, RunForm] = {}
        self._problems: dict[str, str] = {}  # of these forms, as HTML
        self._again = button("Run again…", "vnb-case-again", self._run_again)
        self._problem = note("", "vnb-trouble")
        self._place = styled(ipw.VBox([]), "vnb-case-form")
        style, head, *others = self.widget.children
        again = [] if make_form is None else [self._again, self._problem, self._place]
        self.widget.children = (style, head, *again, *others)

    @property
    def busy(self) -> bool:
        """True while a form executes runs."""
        return any(form.busy for form in list(self._forms.values()))

    def show_run(self, run: Run) -> None:
        """Show `run`, unless it is displayed."""
        if self._runs == (run,):
            return
        when = run.timestamp.astimezone().strftime("%d %b %Y %H:%M:%S")
        labels = {"sent": when} | ({"author": run.author} if run.author else {})
        desired = run.desired or {}
        title = f"{run.deployment} · {run.release_tag}"
        self._draw((run,), title=title, labels=labels, inputs=run.inputs, expected=desired)
        self._answers.value = clean(side_by_side_html([run]))
        self._show_traces((run,))
        self._show_form()

    def hide(self) -> None:
        """Clear the view; forms stay."""
        super().hide()
        self._place.children = ()

    def close(self) -> None:
        """Close all widgets, and cancel the runs in progress."""
        self._make_form = None
        for form in list(self._forms.values()):
            form.close()
        self._place.children = ()
        for widget in (self._again, self._problem, self._place, self.widget):
            close_tree(widget)

    def _on_changed(self, run: Run) -> None:
        if run.id in {shown.id for shown in self._runs}:
            self.show_run(run)

    def _run_again(self) -> None:
        """Show the form of the run, which is made in a thread, or hide it."""
        (run,) = self._runs
        if self._place.children:
            self._show_form(hide=True)
        elif run.id in self._forms and not self._forms[run.id].is_closed:
            self._show_form()
        else:
            self._again.disabled, self._again.description = True, "Reading the deployment…"
            self.bars.submit(partial(self._open_form, run))

    def _open_form(self, run: Run) -> None:
        """Make the form of a run, unless a second click did, or the table was closed."""
        make_form, former = self._make_form, self._forms.get(run.id)
        if make_form is not None and (former is None or former.is_closed):
            try:
                form = self._forms[run.id] = make_form(run.deployment)
                self._problems[run.id] = _fill(form, run)
            except VellumNBError as exc:
                self._problems[run.id] = alert_html(exc)
        if self._make_form is None:  # closed in the meantime
            self.close()
            return
        self._show_form()
        idle = [run_id for run_id, form in self._forms.items() if not form.busy]
        for run_id in idle[: max(0, len(self._forms) - _MAX_FORMS)]:
            if self._forms[run_id] not in self._place.children:
                self._forms.pop(run_id).close()

    def _show_form(self, *, hide: bool = False) -> None:
        """Show the form of the displayed run, if it has one."""
        run_id = "" if hide or not self._runs else self._runs[0].id
        form = self._forms.get(run_id)
        self._problem.value = self._problems.get(run_id, "")
        has_form = form is not None and not form.is_closed
        self._place.children = (form,) if has_form else ()
        self._again.disabled = False
        self._again.description = "Hide the form" if has_form else "Run again…"


def _fill(form: RunForm, run: Run) -> str:
    """Fill `form` with the request of `run`; return what does not fit as HTML."""
    problems, tags = "", form.release_tags
    form.take_options(run)
    try:
        form.release_tags = list(dict.fromkeys([*tags, run.release_tag]))  # with the inputs of both
        tags = [run.release_tag]
    except VellumNBError as exc:
        problems = alert_html(exc)
    try:
        form.value = dict(run.inputs)
    except InputError as exc:
        unknown = {problem.variable for problem in exc.problems}
        form.value = {name: v for name, v in run.inputs.items() if name not in unknown}
        problems += alert_html(exc)
    form.release_tags = tags
    return problems

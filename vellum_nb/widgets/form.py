"""`RunForm`: the form of a deployment, built from its input variables."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, Unpack

import anywidget
import ipywidgets as ipw
import traitlets

from vellum_nb.models import Run, VellumVariable, WorkflowDeploymentRelease
from vellum_nb.models.inputs import field_kind, plain
from vellum_nb.rendering.format import visible_name
from vellum_nb.rendering.values import value_text
from vellum_nb.sweep.sweep import Sweep
from vellum_nb.widgets.base import (
    ErrorBoundary,
    Readable,
    close_former,
    close_tree,
    keep_order,
    note,
)
from vellum_nb.widgets.cases import CaseCalls, CaseSection
from vellum_nb.widgets.fields import FieldSet, next_turn, warm_up
from vellum_nb.widgets.markup import WARN, asset, script
from vellum_nb.widgets.outputs import LEFT, side_by_side_html, trace_html
from vellum_nb.widgets.results import CallArguments, Calls, FormRuns, make_requests
from vellum_nb.widgets.run_bar import Options, ReleaseReader, RunBar, TagBar, show_problems
from vellum_nb.widgets.spec import FormSpec, Releases, differences_html, not_sent_html, union

__all__ = ["FORM_STYLE", "RunForm", "form_html", "header_html", "notices_html"]

FORM_STYLE = f"<style>{asset('colours.css', 'form.css')}</style>"
_LONGEST = 2_000
_MEDIA = {"image", "audio", "video", "document"}
_TYPES = {"bool": "BOOLEAN", "enum": "ENUM"}
_HEAD = "".join(f"<th{LEFT}>{name}</th>" for name in ("input", "type", "value"))


def form_html(
    spec: FormSpec,
    variables: Sequence[VellumVariable],
    values: Mapping[str, Any],
    *,
    tags: Sequence[str],
    runs: Sequence[Run],
) -> str:
    """Return the form as a table of its inputs, below it the answers and traces there are.

    The same form gives the same text; there is no time in it before a run.
    """
    rows = "".join(_row(variable, values) for variable in variables)
    about = "".join(f"<p>{escape(line)}</p>" for line in (spec.description, *spec.notes) if line)
    chosen = ", ".join(tags) or "no release tag"
    answers = side_by_side_html(runs) + "".join(map(_trace, runs)) if runs else ""
    return (
        f"<div><p><b>{escape(spec.label)}</b> · {escape(spec.source)} · "
        f"run on: {escape(chosen)}</p>{about}"
        f"<table><thead><tr>{_HEAD}</tr></thead><tbody>{rows}</tbody></table>{answers}</div>"
    )


def _row(variable: VellumVariable, values: Mapping[str, Any]) -> str:
    name = f"{variable.key} *" if variable.is_required else variable.key
    kind = _TYPES.get(field_kind(variable), variable.type)
    value = _text(variable, values[variable.key]) if variable.key in values else ""
    return (
        f"<tr><td{LEFT}>{escape(name)}</td><td{LEFT}>{escape(kind)}</td>"
        f"<td{LEFT}><pre>{escape(value)}</pre></td></tr>"
    )


def _trace(run: Run) -> str:
    if not run.nodes:
        return ""
    title = f"Trace of {run.release_tag}"
    table = trace_html(run.nodes, title=title)
    return f'<details class="vnb-out"><summary>{escape(title)}</summary>{table}</details>'


def _text(variable: VellumVariable, value: Any) -> str:
    if field_kind(variable) in _MEDIA:
        src = value.get("src", "") if isinstance(value, Mapping) else value
        text = str(src)
        return f"{text.partition(',')[0]},…" if text.startswith("data:") else text
    text = value_text(plain(value), variable.type)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def header_html(spec: FormSpec, *, count: int | None) -> str:
    """Return the form's title, where runs go, and how many there are."""
    releases = "1 release" if len(spec.tags) == 1 else f"{len(spec.tags)} releases"
    facts = [releases]
    if count is not None:
        facts.append("history: 1 run" if count == 1 else f"history: {count:,} runs")
    about = f'<p class="vnb-about">{escape(spec.description)}</p>' if spec.description else ""
    return (
        f'<div class="vnb-head"><b class="vnb-title">{escape(visible_name(spec.label))}</b>'
        f'<span class="vnb-source">{escape(spec.source)}</span>'
        f'<span class="vnb-count">{" · ".join(facts)}</span></div>{about}'
    )


def notices_html(
    spec: FormSpec,
    by_tag: Mapping[str, Sequence[VellumVariable]],
    *,
    unread: Sequence[str] = (),
) -> str:
    """Return a line for each thing that one should know before a run.

    For one release: how its inputs differ from LATEST. For several: what is not sent to which.
    """
    lines = [escape(text) for text in (*spec.notes, *unread)]
    if len(by_tag) == 1:
        ((tag, variables),) = by_tag.items()
        lines.append(differences_html(tag, variables, spec.variables))
    else:
        lines.append(not_sent_html(by_tag))
    return "".join(
        f'<div class="vnb-notice" role="status">{WARN}<span>{line}</span></div>'
        for line in lines
        if line
    )


class _Accessibility(anywidget.AnyWidget):
    """Shows nothing; keeps the focus inside the form and describes it to screen readers."""

    _esm = traitlets.Unicode(script("form.js")).tag(sync=True)


class RunForm(Readable, ipw.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """The form of a deployment, which `Workspace.form` makes: runs it on the chosen release tags.

    Parameters
    ----------
    spec : FormSpec
        The deployment.
    run, stream : callable
        Execute one `RunRequest`, and return a `Run` also where the API fails; `stream`, if there
        is one, calls back with the text so far.
    release : callable
        Retrieves the release that a tag points at.
    count : callable, optional
        Returns how many runs of the deployment the history holds; None where it cannot tell.
    rate, trace : callable, optional
        Rates a run by thumbs and desired outputs, and returns it so; returns the nodes of a run.
    cases : CaseCalls, optional
        Plans and runs a file of cases.

    Attributes
    ----------
    value : dict
        Input name to natural Python value, of all inputs that have a readable one. Set it to fill
        the form: inputs that are not named go back to their defaults.
    release_tags : list of str
        The tags to run on; set it to choose others.
    runs : tuple of Run
        The newest answers, one a release tag.
    busy, streaming : bool
        Whether runs are under way; whether they show their text while it grows: the Stream switch.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> form = vnb.connect("local", history=":memory:").form("ticket-triage")
    >>> form.value = {"ticket": "I was charged twice"}
    >>> form.submit()
    >>> [run.state for run in form.wait()]
    ['FULFILLED']
    """

    value = traitlets.Dict()
    release_tags = traitlets.List(traitlets.Unicode())
    runs = traitlets.Tuple()
    busy = traitlets.Bool(default_value=False)
    streaming = traitlets.Bool(default_value=False)

    def __init__(
        self,
        spec: FormSpec,
        *,
        release: Callable[[str], WorkflowDeploymentRelease],
        count: Callable[[], int | None] | None = None,
        cases: CaseCalls | None = None,
        **calls: Unpack[CallArguments],
    ) -> None:
        super().__init__()
        self._spec = spec
        self._count = count
        self._lock = threading.RLock()
        self._reads_fields = False  # `value` is being set to what is in the fields
        self._sent: dict[str, Any] | None = None
        self._tried = False
        self.cells: set[str] = set()
        self._make_parts(release)
        self._cases = CaseSection(cases, spec.tags, boundary=self._boundary, ended=self._show_head)
        self._runs = FormRuns(
            Calls(**calls),
            outputs=spec.outputs,
            bar=self._bar,
            boundary=self._boundary,
            answered=lambda runs: self.set_trait("runs", runs),
            ended=self._on_end,
            go_on=self.continue_from,
        )
        self._build()
        self._begin()

    def _make_parts(self, release: Callable[[str], WorkflowDeploymentRelease]) -> None:
        boundary = self._boundary = ErrorBoundary()
        self._releases = Releases(self._spec, release)
        self._fields = FieldSet(boundary.guarded(self._edited))
        self._tags = TagBar(self._spec.tags, boundary.guarded(self._tags_clicked))
        self._options = Options(boundary.guarded(self._edited))
        self._bar = RunBar(
            run=boundary.guarded(self.submit),
            cancel=boundary.guarded(self.cancel),
            fix=boundary.guarded(self._focus),
        )
        self._reader = ReleaseReader(
            self._tags,
            self._releases,
            boundary=boundary,
            lock=self._lock,
            reading=self._bar.reading,
            ticked=self._take_tags,
        )

    def _build(self) -> None:
        self._head = note("", "vnb-header")
        self._show_head()
        self._notice = note("", "vnb-notices")
        parts = (self._tags, self._bar, self._options, self._cases)
        actions = ipw.VBox([part.widget for part in parts])
        actions.add_class("vnb-actions")
        self.children = [
            note(FORM_STYLE, "vnb-style"),
            self._head,
            self._boundary.widget,
            self._fields.widget,
            self._notice,
            actions,
            self._runs.answers.widget,
            self._cases.view,
            _Accessibility(),
        ]
        keep_order(self.add_class("vnb").add_class("vnb-form"))

    def _begin(self) -> None:
        self.observe(self._tags_set, "release_tags")
        traitlets.link((self, "streaming"), (self._bar.stream, "value"))
        if self._spec.latest:
            self.release_tags = [self._spec.latest.tag]
        else:
            self._show_fields()
        warm_up()

    @property
    def errors(self) -> dict[str, str]:
        """What keeps the form from running, by the input's name."""
        return self._fields.problems()

    @property
    def sweep(self) -> Sweep | None:
        """The sweep that was started last, by Run on a file of cases."""
        return self._cases.sweep

    def submit(self) -> None:
        """Run on every chosen release tag, as the button does; returns at once.

        Nothing is sent while a field is wrong, no release tag is chosen, or runs are under way.
        """
        with self._lock:
            if self.busy or self._reader.postpone(self.submit):
                return
            if self._has_problems() or not self.release_tags:
                return
            by_tag = self._releases.by_tag(self.release_tags)
            values, options = self._fields.values, self._options.value
            requests = make_requests(self._spec.name, values, by_tag, options=options)
            self._sent = self._fields.typed
            self._runs.start(requests, streaming=self.streaming)
            self.busy = True

    def _has_problems(self) -> bool:
        """Show all problems and move the focus to the first; return whether there is one."""
        found = self._show_problems(trying=True)
        self._tried = bool(found)
        if found:
            self._focus(next(iter(found)))
        else:
            self._fields.hide_required()
        return bool(found)

    def _show_problems(self, *, trying: bool = False) -> Mapping[str, str]:
        bar, options = self._bar, self._options
        return show_problems(self._fields, options, bar, trying=trying, tried=self._tried)

    def _focus(self, name: str) -> None:
        if name in self._fields.names:
            self._fields[name].focus()
        else:
            self._options.focus(name)

    def cancel(self) -> None:
        """Cut off the runs that are under way; those that have ended stay."""
        self._runs.cancel()

    def wait(self, timeout: float | None = None) -> tuple[Run, ...]:
        """Wait until no run is under way, or `timeout` seconds; return `runs`.

        An interrupt (Ctrl-C, or the kernel's) cancels the runs.
        """
        self._runs.wait(timeout)
        return tuple(self.runs)

    def continue_from(self, run: Run) -> None:
        """Go on from the answer of `run`, as its Continue does; nothing is sent.

        Its execution becomes the previous one, its answer the next turn of the chat, if any.
        """
        with self._lock:
            if run.execution_id:
                self._options.go_on_from(run.execution_id)
            next_turn(run, self._fields)

    def close(self) -> None:
        """Cancel what is under way and close every widget of the form."""
        if not self.children:  # closed before, or never built
            super().close()
            return
        for part in (self._runs, self._cases, self._fields, self._tags, self._bar):
            part.close()
        children, self.children = self.children, []
        for part in (*children, self.layout):
            close_tree(part)
        super().close()

    def _on_end(self) -> None:
        with self._lock:
            try:
                self._show_head()
                self._compare_to_sent()
            finally:
                self.busy = False

    def _tags_clicked(self) -> None:
        self._reader.clicked()

    def _take_tags(self, tags: list[str] | None) -> None:
        self._tags.ticked = self.release_tags = self.release_tags if tags is None else tags
        self._edited()

    @traitlets.validate("release_tags")
    def _known_tags(self, proposal: Any) -> list[str]:
        tags = [self._spec.known(name) for name in proposal["value"]]
        return [choice.tag for choice in self._spec.tags if choice.tag in tags]

    def _tags_set(self, change: Any) -> None:
        self._tags.ticked = change["new"]
        self._cases.follow(change["new"])
        with self._lock:
            self._show_fields()
            self._edited()

    @traitlets.validate("value")
    def _filled(self, proposal: Any) -> Any:
        """Fill the fields; the trait becomes what they make of it."""
        if self._reads_fields:
            return proposal["value"]
        with self._lock:
            self._fields.set_values(proposal["value"], where=self._spec.name)
            self._refresh()
            return self._fields.values

    def _variables(self) -> dict[str, Sequence[VellumVariable]]:
        return self._releases.by_tag(self.release_tags) or {"LATEST": self._spec.variables}

    def _show_fields(self) -> None:
        by_tag = self._variables()
        unread = self._releases.unread(self.release_tags)
        self._notice.value = notices_html(self._spec, by_tag, unread=unread)
        self._fields.show(by_tag)

    def _edited(self) -> None:
        """Take up what was typed."""
        with self._lock:
            self._refresh()
            self._reads_fields = True
            try:
                self.value = self._fields.values
            finally:
                self._reads_fields = False

    def _refresh(self) -> None:
        self._show_problems()
        self._bar.ready(len(self.release_tags))
        self._compare_to_sent()

    def _compare_to_sent(self) -> None:
        edited = self._sent is not None and self._sent != self._fields.typed
        self._runs.answers.compare_to(edited=edited)

    def _show_head(self) -> None:
        count = None if self._count is None else self._count()
        self._head.value = header_html(self._spec, count=count)

    def __repr__(self) -> str:
        return f"RunForm({self._spec.name!r}, run on: {', '.join(self.release_tags) or 'nothing'})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        close_former(self)
        return super()._repr_mimebundle_(**kwargs)

    def _html(self) -> str:
        variables = union(list(self._variables().values()))
        values, tags = self._fields.values, self.release_tags
        return form_html(self._spec, variables, values, tags=tags, runs=self.runs)

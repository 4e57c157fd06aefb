"""`RunForm`: the form of a deployment, built from its input variables."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import ipywidgets as ipw
import traitlets

from vellum_nb.models import Run, VellumVariable, WorkflowDeploymentRelease
from vellum_nb.sweep.sweep import Sweep
from vellum_nb.widgets.cases import CaseCalls, CaseSection
from vellum_nb.widgets.continuing import next_turn
from vellum_nb.widgets.drift import union
from vellum_nb.widgets.edge import Edge
from vellum_nb.widgets.field import close_tree, note
from vellum_nb.widgets.fields import FieldSet, warm_up
from vellum_nb.widgets.form_html import form_html
from vellum_nb.widgets.launch import CallArguments, Calls, Launch, make_requests
from vellum_nb.widgets.manners import Manners
from vellum_nb.widgets.notices import header_html, notices_html
from vellum_nb.widgets.options import Options
from vellum_nb.widgets.order import keep_order
from vellum_nb.widgets.problems import Problems
from vellum_nb.widgets.readable import Readable
from vellum_nb.widgets.releases import Releases
from vellum_nb.widgets.run_bar import RunBar
from vellum_nb.widgets.spec import FormSpec
from vellum_nb.widgets.style import style_html
from vellum_nb.widgets.tags import TagBar
from vellum_nb.widgets.ticking import Ticking

__all__ = ["RunForm"]


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
        self._taking = False  # taking what is in the fields into `value`
        self._asked: dict[str, Any] | None = None
        self._make_parts(release)
        self._cases = CaseSection(cases, spec.tags, edge=self._edge, ended=self._show_head)
        self._launch = Launch(
            Calls(**calls),
            outputs=spec.outputs,
            bar=self._bar,
            edge=self._edge,
            answered=lambda runs: self.set_trait("runs", runs),
            ended=self._ended,
            go_on=self.continue_from,
        )
        self._build()
        self._begin()

    def _make_parts(self, release: Callable[[str], WorkflowDeploymentRelease]) -> None:
        self._edge = Edge()
        self._releases = Releases(self._spec, release)
        self._fields = FieldSet(self._edge.guarded(self._edited))
        self._tags = TagBar(self._spec.tags, self._edge.guarded(self._tags_clicked))
        self._options = Options(self._edge.guarded(self._edited))
        self._problems = Problems(self._fields, self._options)
        self._bar = self._problems.bar = RunBar(
            run=self._edge.guarded(self.submit),
            cancel=self._edge.guarded(self.cancel),
            mend=self._edge.guarded(self._problems.focus),
        )
        self._ticking = Ticking(
            self._tags,
            self._releases,
            edge=self._edge,
            lock=self._lock,
            reading=self._bar.reading,
            take=self._take_tags,
        )

    def _build(self) -> None:
        self._head = note("", "vnb-header")
        self._show_head()
        self._notice = note("", "vnb-notices")
        parts = (self._tags, self._bar, self._options, self._cases)
        actions = ipw.VBox([part.widget for part in parts])
        actions.add_class("vnb-actions")
        self.children = [
            note(style_html(), "vnb-style"),
            self._head,
            self._edge.widget,
            self._fields.widget,
            self._notice,
            actions,
            self._launch.results.widget,
            self._cases.view,
            Manners(),
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
            if self.busy or self._ticking.postpone(self.submit):
                return
            if self._problems.insist() or not self.release_tags:
                return
            by_tag = self._releases.by_tag(self.release_tags)
            values, options = self._fields.values, self._options.value
            requests = make_requests(self._spec.name, values, by_tag, options=options)
            self._asked = self._fields.typed
            self._launch.start(requests, streaming=self.streaming)
            self.busy = True

    def cancel(self) -> None:
        """Cut off the runs that are under way; those that have ended stay."""
        self._launch.cancel()

    def wait(self, timeout: float | None = None) -> tuple[Run, ...]:
        """Wait until no run is under way, or `timeout` seconds; return `runs`.

        An interrupt (Ctrl-C, or the kernel's) cancels the runs.
        """
        self._launch.wait(timeout)
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
        for made in (self._launch, self._cases, self._fields, self._tags, self._bar):
            made.close()
        children, self.children = self.children, []
        for part in (*children, self.layout):
            close_tree(part)
        super().close()

    def _ended(self) -> None:
        with self._lock:
            try:
                self._show_head()
                self._compare_to_asked()
            finally:
                self.busy = False

    def _tags_clicked(self) -> None:
        self._ticking.clicked()

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
        if self._taking:
            return proposal["value"]
        with self._lock:
            self._fields.set_values(proposal["value"], where=self._spec.name)
            self._refresh()
            return self._fields.values

    def _shown_variables(self) -> dict[str, Sequence[VellumVariable]]:
        return self._releases.by_tag(self.release_tags) or {"LATEST": self._spec.variables}

    def _show_fields(self) -> None:
        by_tag = self._shown_variables()
        unread = self._releases.unread(self.release_tags)
        self._notice.value = notices_html(self._spec, by_tag, unread=unread)
        self._fields.show(by_tag)

    def _edited(self) -> None:
        """Take up what was typed."""
        with self._lock:
            self._refresh()
            self._taking = True
            try:
                self.value = self._fields.values
            finally:
                self._taking = False

    def _refresh(self) -> None:
        self._problems.show()
        self._bar.ready(len(self.release_tags))
        self._compare_to_asked()

    def _compare_to_asked(self) -> None:
        edited = self._asked is not None and self._asked != self._fields.typed
        self._launch.results.compare_to(edited=edited)

    def _show_head(self) -> None:
        count = None if self._count is None else self._count()
        self._head.value = header_html(self._spec, count=count)

    def __repr__(self) -> str:
        return f"RunForm({self._spec.name!r}, run on: {', '.join(self.release_tags) or 'nothing'})"

    def _html(self) -> str:
        variables = union(list(self._shown_variables().values()))
        values, tags = self._fields.values, self.release_tags
        return form_html(self._spec, variables, values, tags=tags, runs=self.runs)

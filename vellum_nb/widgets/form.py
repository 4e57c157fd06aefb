"""`RunForm`: the form of a deployment, built from its input variables."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import ipywidgets as ipw
import traitlets

from vellum_nb.errors import InputError, InputProblem
from vellum_nb.models import (
    Cancellation,
    Run,
    RunRequest,
    VellumVariable,
    WorkflowDeploymentRelease,
)
from vellum_nb.widgets.drift import differences_html, not_sent, not_sent_html, union
from vellum_nb.widgets.edge import Edge
from vellum_nb.widgets.field import close_tree, note
from vellum_nb.widgets.fields import FieldSet
from vellum_nb.widgets.form_html import form_html
from vellum_nb.widgets.icons import WARN
from vellum_nb.widgets.job import Job, Progress
from vellum_nb.widgets.options import Options
from vellum_nb.widgets.releases import Releases
from vellum_nb.widgets.results import Results
from vellum_nb.widgets.run_bar import RunBar
from vellum_nb.widgets.spec import FormSpec
from vellum_nb.widgets.style import style_html
from vellum_nb.widgets.tags import TagBar

__all__ = ["RunForm"]


class RunForm(ipw.VBox):  # type: ignore[misc]  # no types are published for ipywidgets
    """A form that runs a deployment on the chosen release tags, side by side.

    `Workspace.form` makes it.

    Parameters
    ----------
    spec : FormSpec
        The deployment.
    run : callable
        Executes one `RunRequest`; returns a `Run` also where the API fails.
    release : callable
        Retrieves the release that a tag points at.
    count : callable, optional
        Returns how many runs of the deployment the history holds.

    Attributes
    ----------
    value : dict
        Input name to natural Python value, of all inputs that have a readable one. Set it to fill
        the form: inputs that are not named go back to their defaults.
    release_tags : list of str
        The tags to run on; set it to choose others.
    runs : tuple of Run
        The newest answers, one a release tag.
    busy : bool
        Whether runs are under way.

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

    def __init__(
        self,
        spec: FormSpec,
        *,
        run: Callable[[RunRequest, Cancellation], Run],
        release: Callable[[str], WorkflowDeploymentRelease],
        count: Callable[[], int] | None = None,
    ) -> None:
        super().__init__()
        self._spec = spec
        self._run = run
        self._count = count
        self._lock = threading.RLock()
        self._job: Job | None = None
        self._tried = False
        self._taking = False  # what is in the fields into `value`, not the other way
        self._asked: dict[str, Any] | None = None
        self._edge = Edge()
        self._releases = Releases(spec, release)
        self._fields = FieldSet(self._edge.guarded(self._edited))
        self._tags = TagBar(spec.tags, self._edge.guarded(self._tags_clicked))
        self._options = Options(self._edge.guarded(self._edited))
        self._bar = RunBar(
            run=self._edge.guarded(self.submit),
            cancel=self._edge.guarded(self.cancel),
            mend=self._edge.guarded(self._focus),
        )
        self._results = Results()
        self._head = note(self._head_html(), "vnb-header")
        self._notice = note("", "vnb-notices")
        self._build()
        self.observe(self._tags_set, "release_tags")
        self.observe(self._value_set, "value")
        self.release_tags = [spec.latest.tag] if spec.latest else []
        if not spec.latest:
            self._show_fields()

    def _build(self) -> None:
        actions = ipw.VBox([self._tags.widget, self._bar.widget, self._options.widget])
        actions.add_class("vnb-actions")
        style = note(style_html(), "vnb-style")
        self.children = [
            style,
            self._head,
            self._edge.widget,
            self._fields.widget,
            self._notice,
            actions,
            self._results.widget,
        ]
        self.add_class("vnb")
        self.add_class("vnb-form")

    @property
    def errors(self) -> dict[str, str]:
        """What keeps the form from running, by the input's name."""
        return self._fields.problems()

    def submit(self) -> None:
        """Run on every chosen release tag, as the button does; returns at once.

        Nothing is sent while a field is wrong, no release tag is chosen, or runs are under way.
        """
        with self._lock:
            if self.busy:
                return
            self._tried = True
            problems = self._fields.show_problems(insist=True) | self._options.problems()
            self._say_problems()
            if problems:
                self._focus(next(iter(problems)))
                return
            requests = self._requests()
            if not requests:
                return
            self._asked = self._fields.typed
            job = Job(
                self._run,
                requests,
                report=lambda progress: self._report(requests, progress),
                ended=self._edge.guarded(self._ended),
            )
            self._job = job
            self.busy = True
            self._bar.running()
            self._edge.clear()
        job.start()

    def cancel(self) -> None:
        """Cut off the runs that are under way."""
        with self._lock:
            if self.busy and self._job is not None:
                self._bar.cancelling()
                self._job.cancel()

    def wait(self, timeout: float | None = None) -> tuple[Run, ...]:
        """Wait until no run is under way, or `timeout` seconds; return `runs`.

        An interrupt (Ctrl-C, or the kernel's) cancels the runs.
        """
        job = self._job
        if job is not None:
            try:
                job.wait(timeout)
            except KeyboardInterrupt:
                self.cancel()
                raise
        return tuple(self.runs)

    def close(self) -> None:
        """Cancel what is under way and close every widget of the form."""
        self.cancel()
        self.wait(2)
        self._fields.close()
        self._tags.close()
        self._bar.close()
        close_tree(self._fields.widget)
        for child in self.children:
            close_tree(child)
        self.layout.close()
        super().close()

    def _requests(self) -> list[RunRequest]:
        values = self._fields.values
        options = self._options.value
        tags = list(self.release_tags)
        return [
            RunRequest(
                deployment=self._spec.name,
                inputs=values,
                release_tag=tag,
                not_sent=not_sent(values, variables),
                external_id=options.external_id_for(tag, count=len(tags)),
                metadata=options.metadata,
                previous_execution_id=options.previous_execution_id,
            )
            for tag, variables in self._releases.by_tag(tags).items()
        ]

    def _report(self, requests: Sequence[RunRequest], progress: Progress) -> None:
        """Show how the runs get on; called by the job's one reporting thread."""
        with self._edge:
            self._bar.progress(progress)
            self._results.show(requests, progress)
            if progress.finished:
                self.runs = progress.runs

    def _ended(self) -> None:
        with self._lock:
            try:
                self._bar.stopped()
                self._head.value = self._head_html()
                self._compare_to_asked()
            finally:
                self.busy = False

    def _tags_clicked(self) -> None:
        self.release_tags = self._tags.ticked

    def _tags_set(self, change: Any) -> None:
        tags = [self._known_tag(name) for name in change["new"]]
        ordered = [choice.tag for choice in self._spec.tags if choice.tag in tags]
        self._tags.ticked = ordered
        if ordered != change["new"]:
            self.release_tags = ordered
            return
        self._show_fields()
        self._edited()

    def _known_tag(self, name: str) -> str:
        choice = self._spec.choice(name)
        if choice is None:
            known = ", ".join(name for choice in self._spec.tags for name in choice.names)
            msg = f"{self._spec.name} has no such release tag:"
            raise InputError(msg, [InputProblem(name, f"is unknown; there are: {known}")])
        return choice.tag

    def _shown_variables(self) -> dict[str, Sequence[VellumVariable]]:
        by_tag: dict[str, Sequence[VellumVariable]] = {}
        by_tag.update(self._releases.by_tag(self.release_tags))
        return by_tag or {"LATEST": self._spec.variables}

    def _show_fields(self) -> None:
        by_tag = self._shown_variables()
        notices = [escape(text) for text in self._spec.notes]
        notices += [escape(text) for text in self._releases.unread(self.release_tags)]
        if len(by_tag) == 1:
            ((tag, variables),) = by_tag.items()
            notices.append(differences_html(tag, variables, self._spec.variables))
        else:
            notices.append(not_sent_html(by_tag))
        self._notice.value = "".join(
            f'<div class="vnb-notice" role="status">{WARN}<span>{text}</span></div>'
            for text in notices
            if text
        )
        self._fields.show(by_tag)

    def _value_set(self, change: Any) -> None:
        if not self._taking:
            self._fields.set_values(change["new"], where=self._spec.name)
            self._edited()

    def _edited(self) -> None:
        """Take up what was typed."""
        self._fields.show_problems()
        self._options.problems()
        self._say_problems()
        self._bar.ready(len(self.release_tags))
        self._taking = True
        try:
            self.value = self._fields.values
        finally:
            self._taking = False
        self._compare_to_asked()

    def _say_problems(self) -> None:
        problems = self._fields.problems()
        empty = {name: self._fields[name].is_empty for name in problems}
        more = self._options.problems()
        empty.update(dict.fromkeys(more, False))
        self._bar.mend(problems | more, empty=empty, tried=self._tried)

    def _compare_to_asked(self) -> None:
        edited = self._asked is not None and self._asked != self._fields.typed
        self._results.compare_to(edited=edited)

    def _focus(self, name: str) -> None:
        if name in self._fields.names:
            self._fields[name].focus()
        else:
            self._options.focus(name)

    def _head_html(self) -> str:
        spec = self._spec
        releases = "1 release" if len(spec.tags) == 1 else f"{len(spec.tags)} releases"
        facts = [releases]
        if self._count is not None:
            count = self._count()
            facts.append("history: 1 run" if count == 1 else f"history: {count:,} runs")
        about = f'<p class="vnb-about">{escape(spec.description)}</p>' if spec.description else ""
        return (
            f'<div class="vnb-head"><b class="vnb-title">{escape(spec.label)}</b>'
            f'<span class="vnb-source">{escape(spec.source)}</span>'
            f'<span class="vnb-count">{" · ".join(facts)}</span></div>{about}'
        )

    def __repr__(self) -> str:
        return f"RunForm({self._spec.name!r}, run on: {', '.join(self.release_tags) or 'nothing'})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if isinstance(data, dict):
            data["text/plain"] = repr(self)
            data["text/html"] = form_html(
                self._spec,
                union(list(self._shown_variables().values())),
                self._fields.values,
                tags=self.release_tags,
                runs=self.runs,
            )
        return bundle

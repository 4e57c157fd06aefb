"""`RunForm`: the form of a deployment, built from its input variables."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from html import escape
from itertools import chain
from typing import Any

import anywidget
import ipywidgets as ipw
import traitlets

from vellum_nb.comparison.actions import Actions
from vellum_nb.errors import HistoryError, VellumNBError
from vellum_nb.escaping import printed
from vellum_nb.models import Run, RunRequest, VellumVariable, WorkflowDeploymentRelease
from vellum_nb.models.checks import cut
from vellum_nb.models.inputs import field_kind, plain, schema_problem, type_name
from vellum_nb.rendering.format import plural, value_text, visible_name
from vellum_nb.rendering.html import asset, icon, script
from vellum_nb.sweep.conversations import Conversation, chat_inputs
from vellum_nb.sweep.sweep import Sweep
from vellum_nb.widgets import fields
from vellum_nb.widgets.base import (
    Debouncer,
    ErrorBoundary,
    Readable,
    SerialExecutor,
    button,
    close_tree,
    close_with_cell,
    keep_order,
    note,
    set_class,
    styled,
)
from vellum_nb.widgets.cases import CaseSection
from vellum_nb.widgets.chat import ChatSection
from vellum_nb.widgets.chat_field import ChatField, Continuation, next_turn
from vellum_nb.widgets.fields import Field, FieldSet, Fold, TagBar
from vellum_nb.widgets.markup import ALERT, name_html
from vellum_nb.widgets.media_field import MediaField
from vellum_nb.widgets.outputs import LEFT, side_by_side_html, trace_html
from vellum_nb.widgets.results import Execute, FormRuns, Progress, Stream
from vellum_nb.widgets.spec import (
    FormSpec,
    Releases,
    Variables,
    differences_html,
    not_sent,
    not_sent_html,
    union,
)

FIELDS: Mapping[str, Callable[[VellumVariable, Callable[[], None]], Field]] = {
    "text": fields.TextField,
    "number": fields.NumberField,
    "bool": fields.BoolField,
    "enum": fields.EnumField,
    "json": fields.JsonField,
    "chat": ChatField,
    **dict.fromkeys(("image", "audio", "video", "document"), MediaField),
}
FORM_STYLE = f"<style>{asset('form.css')}</style>"

_MAX_INPUT_CHARS = 2_000  # characters of an input in the static form
_MAX_NAMED = 4  # invalid fields named next to Run
_MIN_ELAPSED_S = 0.1  # seconds
_ONE_INPUT, _FILE, _CHAT = "One input", "File of cases", "Chat"
_OPTIONS = (
    (
        "external id",
        "STRING",
        "your own unique id; with several releases, -tag is added",
        {"x-multiline": False},
    ),
    ("metadata", "JSON", "a JSON object stored with the run", {"type": "object"}),
    ("previous execution", "STRING", "the execution to continue", {"x-multiline": False}),
)


def make_field(variable: VellumVariable, changed: Callable[[], None]) -> Field:
    """Return the field of `variable`."""
    return FIELDS[field_kind(variable)](variable, changed)


class _Accessibility(anywidget.AnyWidget):
    """Invisible widget that keeps the focus in the form and describes it to screen readers."""

    _esm = traitlets.Unicode(script("form.js")).tag(sync=True)


class RunForm(Readable, ipw.VBox):  # type: ignore[misc]  # ipywidgets is untyped
    """Form that runs a deployment on the selected release tags; created by `Workspace.form`.

    Parameters
    ----------
    spec : FormSpec
        The deployment.
    run, stream : callable
        Execute one `RunRequest` and return a `Run` even if the API fails; `stream`, if given, calls
        back with the partial text.
    release : callable
        Fetches the release that a tag points to.
    actions : Actions, optional
        Operations of a workspace: number of stored runs, ratings, traces, look-ups and case sets.
    cases : callable, optional
        `Workspace.sweep` of the deployment, for files of cases.
    conversation : Conversation, optional
        How the chat sends its turns. Without it, the names are inferred, and only deployments with
        a chat history or a text as the only input have a chat.

    Attributes
    ----------
    value : dict
        Natural Python values of all valid inputs. Set it to fill the form; other inputs are reset
        to their defaults.
    release_tags : list of str
        The selected release tags; can be set.
    runs : tuple of Run
        The newest answers, one per release tag.
    busy, streaming : bool
        True while runs are in progress; state of the Stream switch.

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
        run: Execute,
        release: Callable[[str], WorkflowDeploymentRelease],
        stream: Stream | None = None,
        actions: Actions | None = None,
        cases: Callable[..., Any] | None = None,
        conversation: Conversation | None = None,
    ) -> None:
        super().__init__()
        self._spec = spec
        self._history = None if actions is None else actions.history
        self._lock = threading.RLock()
        self._reads_fields = False  # while `value` is updated from the fields
        self._sent: dict[str, Any] | None = None
        self._continuation: Continuation | None = None
        self._tried = False  # to run with an invalid field
        self._reading = False  # whether selected releases are being fetched
        self._submit_then = False  # whether to submit once they are fetched
        self._last_sweep: Sweep | None = None  # of a closed form
        boundary = self._boundary = ErrorBoundary()
        self._releases = Releases(spec, release)
        self._reader = SerialExecutor("vellum-nb-release")
        edited = boundary.guarded(self._edited)
        self._fields = FieldSet(make_field, edited)
        self._options = FieldSet(make_field, edited)
        names = ", ".join(option[0] for option in _OPTIONS)
        options = {"": [_option(*option) for option in _OPTIONS]}
        self._more = Fold("More options", names, self._options, options)
        self._tags = TagBar(spec.tags, boundary.guarded(self._tags_clicked))
        self._bar = RunBar(
            run=boundary.guarded(self.submit),
            cancel=boundary.guarded(self.cancel),
            fix=boundary.guarded(self._focus),
            streams=stream is not None,
        )
        self._cases: CaseSection | None = None
        self._chat: ChatSection | None = None
        self._sections: dict[str, Callable[[], None]] = {}  # makers of modes not used yet
        if cases is not None:
            self._sections[_FILE] = partial(self._make_cases, cases)
        self._runs = FormRuns(
            run=run,
            stream=stream,
            actions=actions,
            outputs=spec.outputs,
            boundary=boundary,
            reported=self._bar.progress,
            answered=lambda runs: self.set_trait("runs", runs),
            ended=self._on_end,
            go_on=self.continue_from,
        )
        conversation = conversation or Conversation()
        if inputs := chat_inputs(spec.variables, conversation):
            self._sections[_CHAT] = partial(self._make_chat, conversation, inputs, release)
        self._build()
        self._counter = Debouncer(self._show_head, name="vellum-nb-form-count", delay=0.2)
        self._unsubscribe: Callable[[], None] = lambda: None
        if actions is not None:
            poke = self._counter.poke
            self._unsubscribe = actions.history.subscribe(None, on_bulk_change=poke)
        close_with_cell(self)

    def _build(self) -> None:
        self._mode = _ONE_INPUT
        self._stream_link = traitlets.link((self, "streaming"), (self._bar.stream, "value"))
        self._head = note("", "vnb-header")
        self._show_head()
        self._notice = note("", "vnb-notices")
        self._actions = styled(ipw.VBox(), "vnb-actions")
        self._run_on = styled(ipw.Box(), "vnb-run-on")
        self._top = [note(FORM_STYLE, "vnb-style"), self._head, self._boundary.widget]
        if self._sections:
            options = [_ONE_INPUT, *self._sections]
            mode = styled(ipw.RadioButtons(options=options, value=_ONE_INPUT), "vnb-how vnb-mode")
            mode.observe(self._boundary.guarded(self._mode_set), "value")
            self._top.append(mode)
        self._accessibility = _Accessibility()
        self._place_parts()
        keep_order(styled(self, "vnb vnb-form"))
        self.observe(self._tags_set, "release_tags")
        if self._spec.latest:
            self.release_tags = [self._spec.latest.tag]
        else:
            self._show_fields()
        self._tags_are_default = True
        if "jsonschema" not in sys.modules:  # otherwise the first typed key would wait for it
            args = (0, {"type": "integer"})
            threading.Thread(target=schema_problem, args=args, daemon=True).start()

    def _make_cases(self, sweep: Callable[..., Any]) -> None:
        given, ended = self._select_baseline, self._show_head
        self._cases = CaseSection(sweep, boundary=self._boundary, given=given, ended=ended)
        self._cases.follow(self.release_tags)

    def _make_chat(
        self,
        conversation: Conversation,
        inputs: Sequence[str],
        release: Callable[[str], WorkflowDeploymentRelease],
    ) -> None:
        self._chat = ChatSection(
            self._spec.name,
            conversation,
            inputs,
            self._runs,
            release=release,
            changed=self._boundary.guarded(self._refresh),
        )

    def _place_parts(self) -> None:
        """Place the parts of the form, with those of other modes from their first use on."""
        cases, chat = self._cases, self._chat
        above = [self._run_on] if chat is None else [self._run_on, chat.widget]
        below = [self._bar.widget] if cases is None else [self._bar.widget, cases.widget]
        self._run_on.children = (self._tags.widget, *([] if cases is None else cases.numbers))
        self._actions.children = (*above, *below, self._notice, self._more.widget)
        self.children = (
            *self._top,
            self._fields.widget,
            *([] if cases is None else [cases.file]),
            self._actions,
            self._runs.answers.widget,
            *([] if cases is None else [cases.view]),
            self._accessibility,
        )

    def _mode_set(self, change: Any) -> None:
        """Show the parts for one input, for a file of cases, or for a chat."""
        with self._lock:
            self._mode = change["new"]
            if make := self._sections.pop(self._mode, None):
                make()
                self._place_parts()
            typed = [self._fields.widget, self._bar.widget, self._notice]
            parts = {_ONE_INPUT: [*typed, self._more.widget, self._runs.answers.widget]}
            if (cases := self._cases) is not None:
                parts[_FILE] = [cases.file, *cases.numbers, cases.widget, cases.view]
            if self._chat is not None:
                parts[_CHAT] = [*typed, self._chat.widget]
            for part in chain(*parts.values()):
                set_class(part, "vnb-folded", on=part not in parts[self._mode])
            self._tried = False
            self._show_fields()
            self._refresh()

    @property
    def _open_chat(self) -> ChatSection | None:
        """The chat, if it is the current mode."""
        return self._chat if self._mode == _CHAT else None

    @property
    def errors(self) -> dict[str, str]:
        """The problems that prevent a run, by input name."""
        return {} if self.is_closed else self._fields.problems()

    @property
    def sweep(self) -> Sweep | None:
        """The last sweep started from a file of cases."""
        if self.is_closed:
            return self._last_sweep
        return None if self._cases is None else self._cases.sweep

    def submit(self) -> None:
        """Run on every selected release tag, like the button, without waiting.

        Nothing is sent if a field is invalid, no release tag is selected, or runs are in progress.
        """
        with self._lock:
            self._require_open()
            self._submit_then = self._reading
            if self.busy or self._reading:
                return
            for field in self._fields:
                field.look()
            problems = self._show_problems(trying=True)
            self._tried = bool(problems)
            if problems:
                self._focus(next(iter(problems)))
            if problems or not self.release_tags:
                return
            self.busy = True
            self._show_bar()
            if (chat := self._open_chat) is not None:
                values = self._fields.values
                chat.send(self.release_tags, values, streaming=self.streaming)
                return
            self._sent = self._fields.typed
            requests = self._requests()
            self._runs.start(lambda: requests, streaming=self.streaming)

    def _requests(self) -> list[RunRequest]:
        """Build one request per release: the same case, without the inputs it lacks."""
        by_tag = self._releases.by_tag(self.release_tags)
        inputs, options = self._fields.values, self._options.values
        external_id = options.get("external id")
        previous = options.get("previous execution")
        continued = self._continued(list(by_tag))
        runs = {} if continued is None else continued.runs
        return [
            RunRequest(
                deployment=self._spec.name,
                inputs=dict(inputs) if continued is None else continued.inputs(tag, inputs),
                release_tag=tag,
                not_sent=not_sent(list(inputs), variables),
                external_id=f"{external_id}-{tag}"  # must be unique
                if external_id and len(by_tag) > 1
                else external_id,
                metadata=options.get("metadata"),
                previous_execution_id=runs[tag].execution_id if tag in runs else previous,
            )
            for tag, variables in by_tag.items()
        ]

    def _continued(self, tags: Sequence[str]) -> Continuation | None:
        """Return the conversations of the next runs, unless the displayed one is the only one."""
        previous = self._options.values.get("previous execution")
        continued = self._continuation
        if continued is None or continued.run.execution_id != previous:
            return None
        return None if list(tags) == [continued.run.release_tag] else continued

    def _show_problems(self, *, trying: bool = False) -> Mapping[str, str]:
        """Show the problems next to the fields and next to Run; return them by input name."""
        problems = self._fields.show_problems(tried=trying or self._tried)
        is_unfinished = all(self._fields[name].is_unfinished for name in problems)
        more = self._options.show_problems(tried=True)
        if (chat := self._open_chat) is not None:
            is_missing = (trying or self._tried) and not chat.message.strip()
            more = {chat.inputs[0]: "is empty: write a message"} if is_missing else {}
        calm = is_unfinished and not more
        self._bar.show_problems([*problems, *more], only_empty=calm, tried=trying or self._tried)
        return problems | more

    def _focus(self, name: str) -> None:
        if name in self._fields.typed:
            self._fields[name].focus()
        elif self._open_chat is not None:
            self._open_chat.focus()
        else:
            self._more.open()
            self._options[name].focus()

    def cancel(self) -> None:
        """Cancel the runs in progress; finished ones are kept."""
        runs = () if self.is_closed else (self._runs, self._chat)
        if any(part.cancel() for part in runs if part is not None):
            self._bar.cancelling()

    def wait(self, timeout: float | None = None) -> tuple[Run, ...]:
        """Wait for the runs in progress, at most `timeout` seconds; return `runs`.

        An interrupt (Ctrl-C, or the kernel's) cancels the runs.
        """
        if not self.is_closed:
            self._runs.wait(timeout)
            if self._chat is not None:
                self._chat.wait(timeout)
        return tuple(self.runs)

    def continue_from(self, run: Run) -> None:
        """Continue from the answer of `run`, like its Continue button, without sending a request.

        Its execution becomes the previous one, and its answer the next turn of the chat, if any.
        With several releases, each continues its own run in `runs`, if it has one.
        """
        with self._lock:
            self._require_open()
            if run.execution_id:
                self._more.open()
                self._options["previous execution"].value = run.execution_id
            next_turn(run, self._fields)
            runs = self.runs if any(r.id == run.id for r in self.runs) else ()
            can_continue = run.execution_id is not None
            self._continuation = Continuation(run, runs, self._fields) if can_continue else None
            self._show_notices()

    def take_options(self, run: Run) -> None:
        """Enter metadata, such as mocks, and previous execution of `run` in More options."""
        options = {"metadata": run.metadata, "previous execution": run.previous_execution_id}
        for name, value in options.items():
            if value:
                self._more.open()
                self._options[name].value = value

    def close(self) -> None:
        """Cancel the runs in progress, close every widget of the form and free its memory.

        `value`, `release_tags`, `runs` and `sweep` are kept; no further runs can be started.
        """
        if self.children:  # unless it was closed before
            self._unsubscribe()
            self._counter.close()
            parts: tuple[Any, ...] = (self._runs, self._cases, self._chat)
            parts += (self._fields, self._options, self._tags, self._bar)
            for part in filter(None, parts):
                part.close()
            self._last_sweep = self.sweep
            with self._lock:
                children, self.children = self.children, ()
                self._stream_link.unlink()
                for child in (*children, self.layout):
                    close_tree(child)
                super().close()
                self._drop_parts()
        super().close()

    def _drop_parts(self) -> None:
        """Release the contents of a closed form, which `Out` or a variable may still reference."""
        del self._fields, self._options, self._more, self._tags, self._bar, self._cases, self._runs
        del self._head, self._notice, self._boundary, self._releases, self._reader
        del self._stream_link, self._history, self._counter, self._unsubscribe
        del self._actions, self._run_on, self._top, self._accessibility, self._chat, self._sections
        self._sent = self._continuation = None

    def _require_open(self) -> None:
        if self.is_closed:
            name = self._spec.name
            msg = f"The form of {name!r} is closed. Make another one with ws.form({name!r})."
            raise VellumNBError(msg)

    def _on_end(self) -> None:
        with self._lock:
            try:
                self._show_head()
            finally:
                self.busy = False
                if not self.is_closed:
                    self._refresh()

    def _select_baseline(self) -> None:
        """Select the baseline beside LATEST, unless the release tags have been changed."""
        baseline = self._spec.baseline
        if self._tags_are_default and baseline is not None:
            self._tags.ticked = [*self.release_tags, baseline.tag]
            self._tags_clicked()

    def _tags_clicked(self) -> None:
        """Apply the selected release tags. Unknown releases are fetched in a background thread."""
        with self._lock:
            if self._releases.knows(self._tags.ticked):
                self._take_tags(self._tags.ticked)
                return
            self._reading = True
            self._show_bar()
            self._reader.submit(self._boundary.guarded(self._read_releases))

    def _read_releases(self) -> None:
        with self._lock:
            if self.is_closed:
                return
            bar, releases = self._tags, self._releases
        ticked, tags = bar.ticked, self.release_tags
        try:
            releases.read(ticked)
            tags = ticked
        finally:
            with self._lock:
                if bar.ticked == ticked and not self.is_closed:  # unless it changed again
                    self._reading = False
                    self._take_tags(tags)
        if self._submit_then and not self._reading:
            self.submit()

    def _take_tags(self, tags: list[str]) -> None:
        self._tags.ticked = self.release_tags = tags
        self._edited()

    @traitlets.validate("release_tags")
    def _known_tags(self, proposal: Any) -> list[str]:
        self._require_open()
        self._tags_are_default = False
        tags = [self._spec.known(name) for name in proposal["value"]]
        return [choice.tag for choice in self._spec.tags if choice.tag in tags]

    def _tags_set(self, change: Any) -> None:
        self._tags.ticked = change["new"]
        if self._cases is not None:
            self._cases.follow(change["new"])
        with self._lock:
            self._show_fields()
            self._edited()

    @traitlets.validate("value")
    def _filled(self, proposal: Any) -> Any:
        """Fill the fields from the trait; update the trait with the accepted values."""
        if self._reads_fields:
            return proposal["value"]
        with self._lock:
            self._require_open()
            self._fields.set_values(proposal["value"], where=self._spec.name)
            self._refresh()
            return self._fields.values

    def _variables(self) -> dict[str, Variables]:
        return self._releases.by_tag(self.release_tags) or {"LATEST": self._spec.variables}

    def _show_fields(self) -> None:
        """Show the fields of the selected releases, and how their inputs differ."""
        self._show_notices()
        hidden = () if self._open_chat is None else self._open_chat.inputs
        by_tag = {
            tag: [variable for variable in variables if variable.key not in hidden]
            for tag, variables in self._variables().items()
        }
        self._fields.show(by_tag)

    def _show_notices(self) -> None:
        """Show the differences between releases, and the answers that the next runs continue."""
        by_tag = self._variables()
        unread = self._releases.unread(self.release_tags)
        lines = [escape(text) for text in (*self._spec.notes, *unread)]
        if len(by_tag) == 1:
            ((tag, variables),) = by_tag.items()
            lines.append(differences_html(tag, variables, self._spec.variables))
        else:
            lines.append(not_sent_html(by_tag))
        if (continued := self._continued(list(by_tag))) is not None:
            lines.append(_continuation_html(continued, list(by_tag)))
        self._notice.value = "".join(
            f'<div class="vnb-notice" role="status">{icon("FAILED")}<span>{line}</span></div>'
            for line in filter(None, lines)
        )

    def _edited(self) -> None:
        """Apply the entered values."""
        with self._lock:
            self._refresh()
            self._reads_fields = True
            try:
                self.value = self._fields.values
            finally:
                self._reads_fields = False

    def _refresh(self) -> None:
        if self._continuation is not None:
            self._show_notices()
        self._show_problems()
        self._show_bar()
        edited = self._sent is not None and self._sent != self._fields.typed
        self._runs.answers.compare_to(edited=edited)

    def _show_bar(self) -> None:
        doing = "Running…" if self.busy else "Reading…" if self._reading else ""
        tags, verb = self.release_tags, "Run on"
        if (chat := self._open_chat) is not None:
            tags, verb = chat.tags(tags), "Send to"
        self._bar.show(len(tags), verb=verb, doing=doing)
        self._tags.enable(enabled=chat is None or not chat.is_open)

    def _show_head(self) -> None:
        """Show the title, the server and the number of runs."""
        with self._lock:
            if self.is_closed:
                return
            spec, head, history = self._spec, self._head, self._history
        facts = [plural(len(spec.tags), "release")]
        if history is not None:
            with suppress(HistoryError):  # the next run reports it
                count = history.count(deployment=spec.name)
                facts.append(f"history: {plural(count, 'run')}")
        about = f'<p class="vnb-about">{escape(spec.description)}</p>' if spec.description else ""
        head.value = (
            f'<div class="vnb-head"><b class="vnb-title">{name_html(spec.label)}</b>'
            f'<span class="vnb-source">{escape(spec.source)}</span>'
            f'<span class="vnb-count">{" · ".join(facts)}</span></div>{about}'
        )

    @printed
    def __repr__(self) -> str:
        return f"RunForm({self._spec.name!r}, run on: {', '.join(self.release_tags) or 'nothing'})"

    def _display_(self) -> Any:
        name = self._spec.name
        return self._marimo_html(
            f"marimo cannot show this form. Run the deployment with ws.run({name!r}, {{...}}); "
            "ws.history.view() and the view of a comparison work here."
        )

    def _html(self) -> str:
        """Return a table of the inputs above the answers and traces."""
        spec, values = self._spec, self._fields.values
        head = "".join(f"<th{LEFT}>{name}</th>" for name in ("input", "type", "value"))
        rows = "".join(
            f"<tr><td{LEFT}>{escape(v.key)}{' *' if v.is_required else ''}</td>"
            f"<td{LEFT}>{escape(type_name(v))}</td>"
            f"<td{LEFT}><pre>{escape(_value_text(v, values.get(v.key)))}</pre></td></tr>"
            for v in union(list(self._variables().values()))
        )
        texts = filter(None, (spec.description, *spec.notes))
        about = "".join(f"<p>{escape(text)}</p>" for text in texts)
        traces = "".join(
            f'<details class="vnb-out"><summary>Trace of {escape(run.release_tag)}</summary>'
            f"{trace_html(run.nodes, title=f'Trace of {run.release_tag}')}</details>"
            for run in self.runs
            if run.nodes
        )
        answers = side_by_side_html(self.runs) + traces if self.runs else ""
        if self._open_chat is not None and self._open_chat.is_open:
            answers = self._open_chat.html()
        chosen = escape(", ".join(self.release_tags) or "no release tag")
        return (
            f"<div><p><b>{escape(spec.label)}</b> · {escape(spec.source)} · run on: {chosen}</p>"
            f"{about}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
            f"{answers}</div>"
        )


def _value_text(variable: VellumVariable, value: Any) -> str:
    if value is None:
        return ""
    if FIELDS[field_kind(variable)] is MediaField:
        src = str(value.get("src", "") if isinstance(value, Mapping) else value)
        return f"{src.partition(',')[0]},…" if src.startswith("data:") else src
    return cut(value_text(plain(value), variable.type), _MAX_INPUT_CHARS)


def _continuation_html(continued: Continuation, tags: Sequence[str]) -> str:
    """Describe the answer that each release continues."""
    shown = f"<code>{name_html(continued.run.release_tag)}</code>"
    if continued.is_edited:
        return "The conversation was edited: every release is sent the chat that the form shows."
    without = continued.without(tags)
    if len(without) == len(tags):
        return f"All releases continue the answer of {shown}."
    names = ", ".join(f"<code>{name_html(tag)}</code>" for tag in without)
    text = f"Each release continues its own answer; the form shows that of {shown}."
    return f"{text} Without an answer of their own, {names} continue it too." if names else text


def _option(key: str, kind: str, description: str, schema: Mapping[str, Any]) -> VellumVariable:
    about = {"description": description}
    fields = {"key": key, "type": kind, "required": False, "schema": schema, "extensions": about}
    return VellumVariable.model_validate(fields)


class RunBar:
    """Run, Cancel, progress, and the problems that prevent a run.

    `fix` is called with the name of the field to correct. `stream` is a check box, displayed if
    `streams` is true.
    """

    def __init__(
        self,
        *,
        run: Callable[[], None],
        cancel: Callable[[], None],
        fix: Callable[[str], None],
        streams: bool,
    ) -> None:
        self._run = button("Run", "vnb-run", run)
        self._cancel = button("Cancel", "vnb-cancel", cancel)
        self._cancel.disabled = True
        self._progress = note("", "vnb-progress")
        self._first = ""
        self._why = note("", "vnb-why")
        self._link = button("", "vnb-link", lambda: fix(self._first))
        self._others = note("", "vnb-why")
        self._problems = styled(ipw.Box(), "vnb-fix")
        self.stream = styled(
            ipw.Checkbox(description="Stream", indent=False), "vnb-check vnb-stream"
        )
        self.stream.tooltip = "Show the text of the answers as it arrives"
        parts = [self._run, self._cancel, self._progress, self._problems]
        self.widget = styled(ipw.Box([*parts, *([self.stream] * streams)]), "vnb-runbar")

    def show(self, count: int, *, verb: str = "Run on", doing: str = "") -> None:
        """Offer to run on `count` releases, or show the current activity."""
        running = doing == "Running…"
        if running:
            self._cancel.disabled = False  # first, because the focus moves to it
        self._run.disabled = bool(doing) or not count
        self._run.description = doing or (f"{verb} {count}" if count else verb.split(maxsplit=1)[0])
        if not running:
            self._cancel.disabled = True
            self._cancel.description = "Cancel"

    def cancelling(self) -> None:
        """Show that the runs are being cancelled."""
        self._cancel.description = "Cancelling…"

    def progress(self, progress: Progress, node: str = "") -> None:
        """Show the progress of the runs, and the running node if it is known."""
        ended, count = progress.done, len(progress.outcomes)
        share = round(100 * ended / count) if count else 100
        busy = "" if progress.finished else " vnb-busy"
        elapsed = f"{progress.elapsed:.1f} s" if progress.elapsed >= _MIN_ELAPSED_S else "<0.1 s"
        stage = node if node and not progress.finished else f"{ended} of {count}"
        words = f"{'cancelled · ' * progress.cancelled}{escape(stage)} · {escape(elapsed)}"
        self._progress.value = (
            f'<div class="vnb-bar{busy}" role="progressbar" aria-label="runs" aria-valuemin="0"'
            f' aria-valuemax="{count}" aria-valuenow="{ended}">'
            f'<div style="width:{share}%"></div></div><span>{words}</span>'
        )

    def show_problems(self, names: Sequence[str], *, only_empty: bool, tried: bool) -> None:
        """Show which fields prevent a run; in a neutral tone before the first attempt."""
        if not names:
            self._problems.children = ()
            return
        verb = "to fill" if only_empty else "to fix"
        calm = only_empty and not tried
        sign, tone, role = ("", "vnb-calm", "") if calm else (ALERT, "vnb-loud", ' role="alert"')
        fields = plural(len(names), "field")
        self._why.value = f'<span class="{tone}"{role}>{sign}{fields} {verb}:</span>'
        self._first = names[0]
        self._link.description = visible_name(names[0])
        more = "".join(f", {name_html(name)}" for name in names[1:_MAX_NAMED])
        self._others.value = f"{more}{' …' if len(names) > _MAX_NAMED else ''}"
        if not self._problems.children:
            self._problems.children = (self._why, self._link, self._others)

    def close(self) -> None:
        """Close the widgets that can be hidden."""
        for widget in (self._why, self._link, self._others, self.stream):
            close_tree(widget)

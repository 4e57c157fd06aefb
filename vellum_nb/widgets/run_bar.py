"""What stands under the fields of a form: release tags, Run, Cancel, options, problems."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as ipw

from vellum_nb.models import VellumVariable
from vellum_nb.rendering.format import visible_name
from vellum_nb.widgets.base import ErrorBoundary, button, close_tree, note
from vellum_nb.widgets.field import Field, JsonField, TextField, UnreadableError
from vellum_nb.widgets.fields import FieldSet
from vellum_nb.widgets.job import Progress
from vellum_nb.widgets.markup import ALERT
from vellum_nb.widgets.spec import Releases, TagChoice

__all__ = ["Fold", "Options", "ReleaseReader", "RunBar", "RunOptions", "TagBar", "show_problems"]

_CHIPS = 12
_SHORTEST = 0.1  # seconds
_NAMED = 4  # problems that are named


class Fold:
    """A heading that opens and closes what is under it; closed at first.

    With `late` the page gets the parts only when it is opened first.

    Examples
    --------
    >>> fold = Fold("More options", "metadata", [])
    >>> fold.open()
    >>> fold.is_open
    True
    """

    def __init__(self, title: str, hint: str, parts: Sequence[Any], *, late: bool = False) -> None:
        self._parts = tuple(parts)
        self._toggle = ipw.ToggleButton(description=title)
        self._toggle.add_class("vnb-fold")
        head = ipw.Box([self._toggle, note(escape(hint), "vnb-hint")])
        head.add_class("vnb-fold-head")
        self._body = ipw.Box(() if late else self._parts)
        self._body.add_class("vnb-fields").add_class("vnb-folded")
        self._toggle.observe(self._turned, "value")
        self.widget = ipw.VBox([head, self._body])
        self.widget.add_class("vnb-options")

    @property
    def is_open(self) -> bool:
        """Whether it is unfolded."""
        return bool(self._toggle.value)

    def open(self) -> None:
        """Unfold it."""
        self._toggle.value = True

    def close(self) -> None:
        """Close its widgets and all parts."""
        for widget in (self.widget, *self._parts):
            close_tree(widget)

    def _turned(self, change: Any) -> None:
        if change["new"]:
            self._body.children = self._parts
            self._body.remove_class("vnb-folded")
            self._toggle.add_class("vnb-open")
        else:
            self._body.add_class("vnb-folded")
            self._toggle.remove_class("vnb-open")


class TagBar:
    """The release tags to run on: a chip with a check box for each release, oldest first.

    `changed` is called after each change by hand; `css` is the class of the whole bar.
    """

    def __init__(
        self, choices: Sequence[TagChoice], changed: Callable[[], None], *, css: str = "vnb-tags"
    ) -> None:
        self._changed = changed
        self._silent = False
        self._boxes = {choice.tag: _check_box(choice.tag) for choice in choices}
        self._chips = [_chip(self._boxes[choice.tag], choice) for choice in choices]
        for box in self._boxes.values():
            box.observe(self._clicked, "value")
        hidden = len(choices) - _CHIPS
        self._more = button(f"{hidden} older…", "vnb-link", self._unfold)
        label = note('<span class="vnb-label">Run on</span>')
        more = [self._more] if hidden > 0 else []
        self.widget = ipw.Box([label, *self._chips[-_CHIPS:], *more])
        self.widget.add_class(css)

    @property
    def ticked(self) -> list[str]:
        """The tags of the ticked chips, oldest first."""
        return [tag for tag, box in self._boxes.items() if box.value]

    @ticked.setter
    def ticked(self, tags: Sequence[str]) -> None:
        self._silent = True
        try:
            for tag, box in self._boxes.items():
                box.value = tag in tags
        finally:
            self._silent = False
        if any(tag in tags for tag in list(self._boxes)[:-_CHIPS]):
            self._unfold()

    def _clicked(self, _: object) -> None:
        if not self._silent:
            self._changed()

    def _unfold(self) -> None:
        self.widget.children = (self.widget.children[0], *self._chips)

    def close(self) -> None:
        """Close what the bar made, also chips that are not shown."""
        for widget in (*self._chips, self._more):
            if widget not in self.widget.children:
                close_tree(widget)


def _check_box(tag: str) -> ipw.Checkbox:
    box = ipw.Checkbox(description=visible_name(tag), indent=False)
    box.add_class("vnb-check")
    return box


def _chip(box: ipw.Checkbox, choice: TagChoice) -> ipw.Box:
    others = "".join(f" = {escape(visible_name(name))}" for name in choice.names[1:])
    chip = ipw.Box([box, note(others, "vnb-others")] if others else [box])
    chip.add_class("vnb-chip")
    return chip


class ReleaseReader:
    """Takes up ticked release tags at once, or reads unknown releases in a thread first.

    `lock` is held while the form changes; `reading` is called when a thread starts to read, and
    `ticked` with the tags when all their releases were read, or with None when that failed.
    """

    def __init__(
        self,
        tags: TagBar,
        releases: Releases,
        *,
        boundary: ErrorBoundary,
        lock: threading.RLock,
        reading: Callable[[], None],
        ticked: Callable[[list[str] | None], None],
    ) -> None:
        self._tags = tags
        self._releases = releases
        self._boundary = boundary
        self._lock = lock
        self._reading = reading
        self._ticked = ticked
        self._is_reading = False
        self._then: Callable[[], None] | None = None

    def clicked(self) -> None:
        """Take up the ticks."""
        with self._lock:
            if self._is_reading:
                return  # the thread sees the new ticks
            if self._releases.knows(self._tags.ticked):
                self._ticked(self._tags.ticked)
                return
            self._is_reading = True
            self._reading()
            read = self._boundary.guarded(self._read)
            threading.Thread(target=read, name="vellum-nb-release", daemon=True).start()

    def postpone(self, call: Callable[[], None]) -> bool:
        """Have `call` called when the reading is over; return False when there is none."""
        with self._lock:
            if self._is_reading:
                self._then = call
            return self._is_reading

    def _read(self) -> None:
        ticked: list[str] | None = None
        try:
            while ticked != self._tags.ticked:  # the user may go on ticking
                ticked = self._tags.ticked
                self._releases.read(ticked)
        except BaseException:
            self._finish(None)
            raise
        then = self._finish(ticked)
        if then is not None:
            then()

    def _finish(self, ticked: list[str] | None) -> Callable[[], None] | None:
        with self._lock:
            self._is_reading = False
            then, self._then = self._then, None
            self._ticked(ticked)
            return then if ticked is not None else None


@dataclass(frozen=True)
class RunOptions:
    """What is sent with a run beside its inputs."""

    external_id: str | None = None
    metadata: dict[str, Any] | None = None
    previous_execution_id: str | None = None

    def external_id_for(self, tag: str, *, count: int) -> str | None:
        """Return the external id of the run on `tag`: it must be unique, so several get a suffix.

        Examples
        --------
        >>> RunOptions(external_id="case-7").external_id_for("v2", count=2)
        'case-7-v2'
        """
        if self.external_id is None or count == 1:
            return self.external_id
        return f"{self.external_id}-{tag}"


class Options:
    """The folded part of a form: external id, metadata, previous execution."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._fields: dict[str, Field] = {
            "external_id": TextField(
                _variable("external id", "yours, unique; several releases get -tag"), changed
            ),
            "metadata": MetadataField(
                _variable("metadata", "a JSON object kept with the run", type_="JSON"), changed
            ),
            "previous_execution_id": TextField(
                _variable("previous execution", "the id of the execution to go on from"), changed
            ),
        }
        fields = [field.widget for field in self._fields.values()]
        hint = "external id, metadata, previous execution"
        self._fold = Fold("More options", hint, fields)
        self.widget = self._fold.widget

    @property
    def value(self) -> RunOptions:
        """What is typed; what cannot be read is None, and is among the `problems`."""
        return RunOptions(**{name: field.value for name, field in self._fields.items()})

    def go_on_from(self, execution_id: str) -> None:
        """Set the previous execution, and unfold so that it is seen."""
        self._fields["previous_execution_id"].value = execution_id
        self._fold.open()

    def problems(self) -> dict[str, str]:
        """Return what is wrong, by label, and show it beside the fields."""
        found = {}
        for field in self._fields.values():
            problem = field.problem()
            field.show(problem)
            if problem:
                found[field.name] = problem
        return found

    def focus(self, label: str) -> None:
        """Unfold and move the focus to the field called `label`."""
        for field in self._fields.values():
            if field.name == label:
                self._fold.open()
                field.focus()


class MetadataField(JsonField):
    """JSON that must be an object."""

    def _parse(self) -> Any:
        value = super()._parse()
        if value is not None and not isinstance(value, dict):
            msg = 'Metadata is a JSON object, such as {"reviewer": "ann"}.'
            raise UnreadableError(msg)
        return value


def _variable(label: str, description: str, *, type_: str = "STRING") -> VellumVariable:
    schema = {"x-multiline": False} if type_ == "STRING" else None
    about = {"description": description}
    return VellumVariable.model_validate(
        {"key": label, "type": type_, "required": False, "schema": schema, "extensions": about}
    )


class RunBar:
    """Run, Cancel, progress, and why nothing can be sent.

    `fix` is called with the name of the field that the user wants to correct. `stream` is the
    switch, a check box.
    """

    def __init__(
        self, *, run: Callable[[], None], cancel: Callable[[], None], fix: Callable[[str], None]
    ) -> None:
        self._run = button("Run", "vnb-run", run)
        self._cancel = button("Cancel", "vnb-cancel", cancel)
        self._cancel.disabled = True
        self._count = 0
        self._is_running = False
        self._first = ""
        self._progress = note("", "vnb-progress")
        self._why = note("", "vnb-why")
        self._link = button("", "vnb-link", lambda: fix(self._first))
        self._others = note("", "vnb-why")
        self._problems = ipw.Box([])
        self._problems.add_class("vnb-mend")
        self.stream = ipw.Checkbox(description="Stream", indent=False)
        self.stream.tooltip = "Show the text of the answers while it grows"
        self.stream.add_class("vnb-check").add_class("vnb-stream")
        self.widget = ipw.Box([self._run, self._cancel, self._progress, self._problems])
        self.widget.add_class("vnb-runbar")

    def offer_stream(self) -> None:
        """Show the Stream switch."""
        self.widget.children = (*self.widget.children, self.stream)

    def ready(self, count: int) -> None:
        """Offer to run on `count` releases, unless runs are under way."""
        self._count = count
        if not self._is_running:
            self._run.description = f"Run on {count}" if count else "Run"
            self._run.disabled = not count

    def reading(self) -> None:
        """Show that the inputs of a release are being read."""
        self._run.disabled = True
        self._run.description = "Reading…"

    def running(self) -> None:
        """Show that runs are under way."""
        self._is_running = True
        self._cancel.disabled = False  # first, so that the focus has somewhere to go
        self._run.disabled = True
        self._run.description = "Running…"

    def cancelling(self) -> None:
        """Show that the runs are being cancelled."""
        self._cancel.description = "Cancelling…"

    def stopped(self) -> None:
        """Show that nothing is under way any more."""
        self._is_running = False
        self.ready(self._count)
        self._cancel.disabled = True
        self._cancel.description = "Cancel"

    def progress(self, progress: Progress, node: str = "") -> None:
        """Show how far the runs are, and which node runs if that is known."""
        done, count = progress.done, len(progress.outcomes)
        share = round(100 * done / count) if count else 100
        busy = "" if progress.finished else " vnb-busy"
        elapsed = f"{progress.elapsed:.1f} s" if progress.elapsed >= _SHORTEST else "<0.1 s"
        far = node if node and not progress.finished else f"{done} of {count}"
        words = f"{escape(far)} · {escape(elapsed)}"
        if progress.cancelled:
            words = f"cancelled · {words}"
        self._progress.value = (
            f'<div class="vnb-bar{busy}" role="progressbar" aria-label="runs" aria-valuemin="0"'
            f' aria-valuemax="{count}" aria-valuenow="{done}">'
            f'<div style="width:{share}%"></div></div><span>{words}</span>'
        )

    def show_problems(self, names: Sequence[str], *, only_empty: bool, tried: bool) -> None:
        """Show which fields keep Run from sending anything; calmly before a try to run."""
        if not names:
            if self._problems.children:
                self._problems.children = ()
            return
        verb = "to fill" if only_empty else "to mend"
        fields = "1 field" if len(names) == 1 else f"{len(names)} fields"
        calm = only_empty and not tried
        icon, tone, role = ("", "vnb-calm", "") if calm else (ALERT, "vnb-loud", ' role="alert"')
        self._why.value = f'<span class="{tone}"{role}>{icon}{fields} {verb}:</span>'
        self._first = names[0]
        self._link.description = visible_name(names[0])
        more = "".join(f", {escape(visible_name(name))}" for name in names[1:_NAMED])
        self._others.value = f"{more}{' …' if len(names) > _NAMED else ''}"
        if not self._problems.children:
            self._problems.children = (self._why, self._link, self._others)

    def close(self) -> None:
        """Close what is not shown at the moment."""
        if not self._problems.children:
            for widget in (self._why, self._link, self._others):
                close_tree(widget)
        if self.stream not in self.widget.children:
            close_tree(self.stream)


def show_problems(
    fields: FieldSet, options: Options, bar: RunBar, *, trying: bool, tried: bool
) -> Mapping[str, str]:
    """Show what is wrong beside each field and beside Run; return it by name.

    What is only empty is shown when the user tries to run, not before.
    """
    found = fields.show_problems(required=trying)
    empty = all(fields[name].is_unfinished for name in found)
    more = options.problems()
    names = [*found, *more]
    bar.show_problems(names, only_empty=empty and not more, tried=tried or (trying and bool(names)))
    return found | more

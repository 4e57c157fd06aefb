"""What stands under the fields of a form: release tags, Run, Cancel, options, problems."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as ipw

from vellum_nb.models import VellumVariable
from vellum_nb.widgets.base import ErrorBoundary, close_tree, note
from vellum_nb.widgets.field import Field, JsonField, TextField, UnreadableError
from vellum_nb.widgets.fields import FieldSet
from vellum_nb.widgets.job import Progress
from vellum_nb.widgets.markup import ALERT, shown_name
from vellum_nb.widgets.spec import Releases, TagChoice

__all__ = ["Fold", "Options", "Problems", "RunBar", "RunOptions", "TagBar", "Ticking"]


class Fold:
    """A heading that opens and closes what is under it; closed at first.

    Parameters
    ----------
    title, hint : str
        The heading, and what stands beside it.
    parts : sequence of widgets
        What is folded away.
    late : bool
        Whether the page gets them only when it is opened first.

    Attributes
    ----------
    widget : ipywidgets.Widget
        To be shown.

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
        self._body.add_class("vnb-fields")
        self._body.add_class("vnb-folded")
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


_CHIPS = 12


class TagBar:
    """One chip a release; all tags on it stand in the chip.

    Parameters
    ----------
    choices : sequence of TagChoice
        Oldest first.
    changed : callable
        Called after each change by hand.
    css : str
        The class of the whole bar.
    """

    def __init__(
        self, choices: Sequence[TagChoice], changed: Callable[[], None], *, css: str = "vnb-tags"
    ) -> None:
        self._changed = changed
        self._quiet = False
        self._boxes = {choice.tag: _box(choice.tag) for choice in choices}
        self._chips = [_chip(self._boxes[choice.tag], choice) for choice in choices]
        for box in self._boxes.values():
            box.observe(self._clicked, "value")
        self._more = ipw.Button()
        self._more.add_class("vnb-link")
        self._more.on_click(self._unfold)
        label = note('<span class="vnb-label">Run on</span>')
        hidden = len(choices) - _CHIPS
        self._more.description = f"{hidden} older…"
        shown = self._chips[-_CHIPS:]
        self.widget = ipw.Box([label, *shown, *([self._more] if hidden > 0 else [])])
        self.widget.add_class(css)

    @property
    def ticked(self) -> list[str]:
        """The tags of the ticked chips, oldest first."""
        return [tag for tag, box in self._boxes.items() if box.value]

    @ticked.setter
    def ticked(self, tags: Sequence[str]) -> None:
        self._quiet = True
        try:
            for tag, box in self._boxes.items():
                box.value = tag in tags
        finally:
            self._quiet = False
        if any(tag in tags for tag in list(self._boxes)[:-_CHIPS]):
            self._unfold()

    def _clicked(self, _: object) -> None:
        if not self._quiet:
            self._changed()

    def _unfold(self, _: object = None) -> None:
        self.widget.children = (self.widget.children[0], *self._chips)

    def close(self) -> None:
        """Close what the bar made, also chips that are not shown."""
        for widget in (*self._chips, self._more):
            if widget not in self.widget.children:
                close_tree(widget)


def _box(tag: str) -> ipw.Checkbox:
    box = ipw.Checkbox(description=shown_name(tag), indent=False)
    box.add_class("vnb-check")
    return box


def _chip(box: ipw.Checkbox, choice: TagChoice) -> ipw.Box:
    others = "".join(f" = {escape(shown_name(name))}" for name in choice.names[1:])
    parts = [box, note(others, "vnb-others")] if others else [box]
    chip = ipw.Box(parts)
    chip.add_class("vnb-chip")
    return chip


_ONE_LINE = {"x-multiline": False}


@dataclass(frozen=True)
class RunOptions:
    """What goes with a run beside its inputs."""

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
    """The folded part of a form.

    Parameters
    ----------
    changed : callable
        Called after every change.
    """

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
        """What is typed; what cannot be read is None, and `problems` says so."""
        return RunOptions(**{name: field.value for name, field in self._fields.items()})

    def go_on_from(self, execution_id: str) -> None:
        """Set the previous execution, and unfold so that it is seen."""
        self._fields["previous_execution_id"].value = execution_id
        self._fold.open()

    def problems(self) -> dict[str, str]:
        """Return what is wrong, by label, and show it; unfold so that it is seen."""
        found = {}
        for field in self._fields.values():
            problem = field.problem()
            field.show(problem)
            if problem:
                found[field.name] = problem
        return found

    def focus(self, label: str) -> bool:
        """Unfold and move the focus to the field called `label`; return whether there is one."""
        field = next((f for f in self._fields.values() if f.name == label), None)
        if field is None:
            return False
        self._fold.open()
        field.focus()
        return True


class MetadataField(JsonField):
    """JSON that must be an object."""

    def _parse(self) -> Any:
        value = super()._parse()
        if value is not None and not isinstance(value, dict):
            msg = 'Metadata is a JSON object, such as {"reviewer": "ann"}.'
            raise UnreadableError(msg)
        return value


def _variable(label: str, description: str, *, type_: str = "STRING") -> VellumVariable:
    return VellumVariable.model_validate(
        {
            "key": label,
            "type": type_,
            "required": False,
            "schema": _ONE_LINE if type_ == "STRING" else None,
            "extensions": {"description": description},
        }
    )


_SHORTEST = 0.1  # seconds


class RunBar:
    """The buttons of a form and what they are doing.

    Parameters
    ----------
    run, cancel : callable
        Called on a click.
    mend : callable
        Called with the name of the field that the user wants to mend.

    Attributes
    ----------
    stream : ipywidgets.Checkbox
        The switch.
    """

    def __init__(
        self,
        *,
        run: Callable[[], None],
        cancel: Callable[[], None],
        mend: Callable[[str], None],
    ) -> None:
        self._run = _button("Run", "vnb-run", run)
        self._cancel = _button("Cancel", "vnb-cancel", cancel)
        self._cancel.disabled = True
        self._count = 0
        self._is_running = False
        self._first = ""
        self._progress = note("", "vnb-progress")
        self._why = note("", "vnb-why")
        self._link = _button("", "vnb-link", lambda: mend(self._first))
        self._others = note("", "vnb-why")
        self._mend = ipw.Box([])
        self._mend.add_class("vnb-mend")
        self.stream = ipw.Checkbox(description="Stream", indent=False)
        self.stream.tooltip = "Show the text of the answers while it grows"
        self.stream.add_class("vnb-check")
        self.stream.add_class("vnb-stream")
        self.widget = ipw.Box([self._run, self._cancel, self._progress, self._mend])
        self.widget.add_class("vnb-runbar")

    def offer_stream(self) -> None:
        """Show the Stream switch."""
        self.widget.children = (*self.widget.children, self.stream)

    def ready(self, count: int) -> None:
        """Stand ready to run on `count` releases."""
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
        """Show that a cancel was heard."""
        self._cancel.description = "Cancelling…"

    def stopped(self) -> None:
        """Show that nothing is under way any more."""
        self._is_running = False
        self.ready(self._count)
        self._cancel.disabled = True
        self._cancel.description = "Cancel"

    def progress(self, progress: Progress, node: str = "") -> None:
        """Show how far the runs are, and which node is at work if that is known."""
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

    def mend(self, problems: Mapping[str, str], *, empty: Mapping[str, bool], tried: bool) -> None:
        """Say which fields keep Run from sending anything."""
        if not problems:
            if self._mend.children:
                self._mend.children = ()
            return
        names = list(problems)
        only_empty = all(empty[name] for name in names)
        verb = "to fill" if only_empty else "to mend"
        fields = "1 field" if len(names) == 1 else f"{len(names)} fields"
        calm = only_empty and not tried
        icon = "" if calm else ALERT
        tone = "vnb-calm" if calm else "vnb-loud"
        role = "" if calm else ' role="alert"'
        self._why.value = f'<span class="{tone}"{role}>{icon}{fields} {verb}:</span>'
        self._first = names[0]
        self._link.description = shown_name(names[0])
        more = "".join(f", {escape(shown_name(name))}" for name in names[1:4])
        self._others.value = f"{more}{' …' if len(names) > 4 else ''}"  # noqa: PLR2004
        if not self._mend.children:
            self._mend.children = (self._why, self._link, self._others)

    def close(self) -> None:
        """Close what is not shown at the moment."""
        if not self._mend.children:
            for widget in (self._why, self._link, self._others):
                close_tree(widget)
        if self.stream not in self.widget.children:
            close_tree(self.stream)


def _button(text: str, name: str, clicked: Callable[[], None]) -> ipw.Button:
    button = ipw.Button(description=text)
    button.add_class(name)
    button.on_click(lambda _: clicked())
    return button


class Problems:
    """Tells what is wrong with the fields and the options of a form.

    Parameters
    ----------
    fields, options : FieldSet, Options
        Where it is wrong.

    Attributes
    ----------
    bar : RunBar
        Where it is told; to be set before anything is.
    """

    bar: RunBar

    def __init__(self, fields: FieldSet, options: Options) -> None:
        self._fields = fields
        self._options = options
        self._tried = False

    def show(self) -> None:
        """Tell what is wrong; what is only empty not before a try to run."""
        self._fields.show_problems()
        self._say()

    def insist(self) -> bool:
        """Tell everything, lead to the first; return whether something is wrong."""
        found = self._fields.show_problems(insist=True) | self._options.problems()
        self._tried = bool(found)
        self._say()
        if found:
            self.focus(next(iter(found)))
        else:
            self._fields.relent()
        return bool(found)

    def focus(self, name: str) -> None:
        """Move the focus to the field or option called `name`."""
        if name in self._fields.names:
            self._fields[name].focus()
        else:
            self._options.focus(name)

    def _say(self) -> None:
        found = self._fields.problems()
        empty = {name: self._fields[name].is_unfinished for name in found}
        more = self._options.problems()
        empty.update(dict.fromkeys(more, False))
        self.bar.mend(found | more, empty=empty, tried=self._tried)


class Ticking:
    """Takes up ticks at once, or, where a release is not known yet, reads it in a thread first.

    Parameters
    ----------
    tags, releases, edge : TagBar, Releases, ErrorBoundary
        The chips, what is known, and where faults are shown.
    lock : lock
        Held while the form changes.
    reading : callable
        Called when a thread starts to read.
    take : callable
        Called with the ticked tags when all their releases were read, or with None when that
        went wrong.
    """

    def __init__(
        self,
        tags: TagBar,
        releases: Releases,
        *,
        edge: ErrorBoundary,
        lock: threading.RLock,
        reading: Callable[[], None],
        take: Callable[[list[str] | None], None],
    ) -> None:
        self._tags = tags
        self._releases = releases
        self._edge = edge
        self._lock = lock
        self._reading = reading
        self._take = take
        self._is_reading = False
        self._then: Callable[[], None] | None = None

    def clicked(self) -> None:
        """Take up the ticks."""
        with self._lock:
            if self._is_reading:
                return  # the thread sees the new ticks
            if self._releases.knows(self._tags.ticked):
                self._take(self._tags.ticked)
                return
            self._is_reading = True
            self._reading()
            read = self._edge.guarded(self._read)
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
            while ticked != self._tags.ticked:  # one may go on ticking meanwhile
                ticked = self._tags.ticked
                self._releases.read(ticked)
        except BaseException:
            self._settle(None)
            raise
        then = self._settle(ticked)
        if then is not None:
            then()

    def _settle(self, ticked: list[str] | None) -> Callable[[], None] | None:
        with self._lock:
            self._is_reading = False
            then, self._then = self._then, None
            self._take(ticked)
            return then if ticked is not None else None

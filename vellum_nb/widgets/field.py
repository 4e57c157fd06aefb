"""One input variable as a labelled control: what every field shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any, ClassVar

import ipywidgets as ipw

from vellum_nb.errors import InputError
from vellum_nb.models import VellumVariable
from vellum_nb.models.inputs import default_of, value_problem
from vellum_nb.rendering.format import visible_name
from vellum_nb.widgets.icons import ALERT

__all__ = ["Expectation", "Field", "UnreadableError", "close_tree", "note"]

Expectation = tuple[str, VellumVariable]


class UnreadableError(ValueError):
    """What was typed is no value; the message says why, for people."""


class Field:
    """One input variable: its control, label, type, description, and what is wrong with it.

    A subclass builds its control and says how what is typed becomes a value and back. Typed text
    stays as it was typed, right or wrong.

    Parameters
    ----------
    variable : VellumVariable
        What is asked for.
    changed : callable
        Called after every change, by hand or by code.

    Attributes
    ----------
    widget : ipywidgets.Widget
        To be shown.
    expects : sequence of (release tag, VellumVariable)
        What each release wants; the tag is empty when there is only one.
    """

    LONG: ClassVar[bool] = False

    def __init__(self, variable: VellumVariable, changed: Callable[[], None]) -> None:
        self.variable = variable
        self.expects: Sequence[Expectation] = (("", variable),)
        self.insists = False
        self._control: Any = None
        self._judged: tuple[Any, str | None] | None = None
        self._changed: Callable[[], None] = _nothing
        self._message = ipw.HTML()
        self._message.add_class("vnb-problem")
        self._help = note(escape(variable.description), "vnb-help")
        caption = note(escape(self._caption()), "vnb-type")
        parts = [*self._build(), self._help, caption, self._message]
        self.widget = ipw.VBox(parts)
        for name in ("vnb-field", "vnb-long" if self.LONG else "vnb-short", *self._classes()):
            self.widget.add_class(name)
        self._changed = changed

    def _build(self) -> list[Any]:
        """Return the controls; the first one carries the label."""
        raise NotImplementedError

    def _get_typed(self) -> Any:
        raise NotImplementedError

    def _set_typed(self, typed: Any) -> None:
        raise NotImplementedError

    def _parse(self) -> Any:
        """Return what is typed as a natural value, None for nothing; raise `UnreadableError`."""
        raise NotImplementedError

    def _fill(self, value: Any) -> None:
        """Show `value`; None empties the control."""
        raise NotImplementedError

    def reset(self) -> None:
        """Show the default; nothing where it is no value of this kind, as nobody here mends it."""
        try:
            self._fill(default_of(self.variable))
        except InputError:
            self._fill(None)

    def focus(self) -> None:
        """Move the keyboard's focus to the control."""
        self._control.focus()

    def _caption(self) -> str:
        return self.variable.type

    def _classes(self) -> tuple[str, ...]:
        return ()

    def _is_empty(self) -> bool:
        try:
            return self._parse() is None
        except UnreadableError:
            return False

    def _check(self, value: Any, variable: VellumVariable) -> str | None:
        """Return what is wrong with a value that could be read."""
        if value is None and variable.is_required:
            return "A value is required."
        if variable.json_schema and value == default_of(variable):
            return None  # the server made it, and checking a schema costs an import of 0.4 s
        return value_problem(value, variable)

    def _wording(self, problem: str) -> str:
        """Return `problem` as HTML."""
        return escape(problem)

    @property
    def typed(self) -> Any:
        """What stands in the control, as it was typed."""
        return self._get_typed()

    @typed.setter
    def typed(self, typed: Any) -> None:
        self._set_typed(typed)

    @property
    def name(self) -> str:
        """The variable's name."""
        return self.variable.key

    @property
    def label(self) -> str:
        """The name, with a mark where a value must be given."""
        name = visible_name(self.name)
        return f"{name} *" if self.is_required else name

    @property
    def is_required(self) -> bool:
        """Whether a value must be given."""
        return self.variable.is_required

    @property
    def value(self) -> Any:
        """The natural value; None when nothing, or nothing readable, is typed."""
        try:
            return self._parse()
        except UnreadableError:
            return None

    @value.setter
    def value(self, value: Any) -> None:
        self._fill(value)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is typed."""
        return self._is_empty()

    @property
    def is_unfinished(self) -> bool:
        """Whether what is wrong, if anything, is only that something is still to be typed."""
        return self.is_empty

    def problem(self) -> str | None:
        """Return why no run can start with what is typed, or None."""
        state = (self._state(), self.expects)
        if self._judged is None or self._judged[0] != state:
            self._judged = (state, self._problem())
        return self._judged[1]

    def _state(self) -> Any:
        """Return what the verdict depends on."""
        return self.typed

    def _problem(self) -> str | None:
        try:
            value = self._parse()
        except UnreadableError as exc:
            return str(exc)
        for tag, variable in self.expects:
            found = self._check(value, variable)
            if found:
                return f"{tag}: {found}" if tag else found
        return None

    def show(self, problem: str | None) -> None:
        """Show `problem` beside the control, or take it away."""
        text = f'<div role="alert">{ALERT}<span>{self._wording(problem or "")}</span></div>'
        wanted = text if problem else ""
        if self._message.value != wanted:
            self._message.value = wanted
            (self.widget.add_class if problem else self.widget.remove_class)("vnb-bad")

    def touched(self, *_: object) -> None:
        """Tell the form that something was typed."""
        self._changed()

    def close(self) -> None:
        """Close every widget of the field."""
        close_tree(self.widget)


def _nothing() -> None:
    """Hear nothing while a field is being built."""


def note(html: str, *classes: str) -> Any:
    """Return `html` as a widget; the caller has escaped it."""
    widget = ipw.HTML(html)
    for name in classes:
        widget.add_class(name)
    return widget


def close_tree(widget: Any) -> None:
    """Close a widget with its children, layouts and styles: ipywidgets leaves those open."""
    for child in getattr(widget, "children", ()):
        close_tree(child)
    for part in (getattr(widget, "style", None), getattr(widget, "layout", None)):
        if isinstance(part, ipw.Widget):
            part.close()
    widget.close()

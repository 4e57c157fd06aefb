"""Controls of a form: fields, folds and release tags."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any, ClassVar, NoReturn

import ipywidgets as ipw

from vellum_nb.errors import InputError, InputProblem
from vellum_nb.models import VellumVariable
from vellum_nb.models.checks import available
from vellum_nb.models.inputs import default_of, plain, type_name, value_problem
from vellum_nb.rendering.format import visible_name
from vellum_nb.widgets.base import button, close_tree, note, set_class, styled
from vellum_nb.widgets.markup import ALERT, name_html, page_safe
from vellum_nb.widgets.spec import TagChoice, Variables, expectations, union

_MAX_LINE_CHARS = 200  # characters; longer texts get a multi-line control
_MAX_JSON_LINE_CHARS = 80
_MAX_CHIPS = 12


class Field:
    """One input variable: control, label, type, description and problem.

    A subclass builds the control and converts its text to a value and back. Invalid text is kept.
    `changed` is called after every change by the user or by code. `expects` holds the variable of
    each release tag; the tag is empty if there is only one.
    """

    CLASSES: ClassVar[str] = "vnb-short"

    def __init__(self, variable: VellumVariable, changed: Callable[[], None]) -> None:
        self.variable = variable
        self.name = variable.key
        self.label = visible_name(self.name) + (" *" if variable.is_required else "")
        self.expects: Sequence[tuple[str, VellumVariable]] = (("", variable),)
        self._control: Any = None
        self._judged: tuple[Any, str | None] = (None, None)
        self._changed: Callable[[], None] = lambda: None  # during construction
        self._message = note("", "vnb-problem")
        about = note(escape(variable.description), "vnb-help")
        caption = note(escape(self._caption()), "vnb-type")
        parts = [*self._build(), about, caption, self._message]
        self.widget = styled(ipw.VBox(parts), f"vnb-field {self.CLASSES}")
        self._changed = changed

    def _build(self) -> list[Any]:
        """Return the controls; the first one has the label."""
        raise NotImplementedError

    def _labelled(self, kind: Any, **options: Any) -> list[Any]:
        """Build a single control with the label and the default."""
        self._control = styled(kind(description=self.label, **options), "vnb-control")
        self.reset()
        self._control.observe(self.touched, "value")
        return [self._control]

    def _parse(self) -> Any:
        """Return the natural value, or None if the control is empty; raise `InputError`."""
        raise NotImplementedError

    def _fill(self, value: Any) -> None:
        """Show `value`; None empties the control."""
        raise NotImplementedError

    def reset(self) -> None:
        """Show the default; a default of another type is ignored."""
        try:
            self._fill(default_of(self.variable))
        except InputError:
            self._fill(None)

    def focus(self) -> None:
        """Move the keyboard focus to the control."""
        self._control.focus()

    def _caption(self) -> str:
        return type_name(self.variable)

    def _check(self, value: Any, variable: VellumVariable) -> str | None:
        """Return the problem of a value, or None."""
        if value is None and variable.is_required:
            return "A value is required."
        if variable.json_schema and value == default_of(variable):
            return None  # the server created it, and importing the schema check takes 0.4 s
        return value_problem(value, variable)

    @property
    def typed(self) -> Any:
        """The raw content of the control."""
        return self._control.value

    @typed.setter
    def typed(self, typed: Any) -> None:
        self._control.value = typed

    @property
    def value(self) -> Any:
        """The natural value; None if the control is empty or invalid."""
        return self._read()[0]

    @value.setter
    def value(self, value: Any) -> None:
        self._fill(value)

    @property
    def is_empty(self) -> bool:
        """True if the control is empty."""
        value, problem = self._read()
        return value is None and problem is None

    @property
    def is_unfinished(self) -> bool:
        """True if the only errors are missing values."""
        return self.is_empty

    def _read(self) -> tuple[Any, str | None]:
        try:
            return self._parse(), None
        except InputError as exc:
            return None, str(exc)

    def problem(self) -> str | None:
        """Return the problem that prevents a run, or None."""
        state = (self.typed, self.expects)
        if self._judged[0] != state:
            self._judged = (state, self._problem())
        return self._judged[1]

    def _problem(self) -> str | None:
        value, unreadable = self._read()
        if unreadable is not None:
            return unreadable
        for tag, variable in self.expects:
            if problem := self._check(value, variable):
                return f"{tag}: {problem}" if tag else problem
        return None

    def show(self, problem: str | None) -> None:
        """Show `problem` next to the control, or remove it."""
        self._message.value = problem_html(problem) if problem else ""
        set_class(self.widget, "vnb-bad", on=bool(problem))

    def look(self) -> None:
        """Read the file that the value refers to, if any, before a run."""

    def touched(self, *_: object) -> None:
        """Notify the form of a change."""
        self._changed()

    def close(self) -> None:
        """Close every widget of the field."""
        close_tree(self.widget)


class TextField(Field):
    """STRING field, on one line if the schema limits the length."""

    CLASSES = "vnb-long"

    def _build(self) -> list[Any]:
        schema = self.variable.json_schema or {}
        longest, several = schema.get("maxLength"), schema.get("x-multiline")
        if not isinstance(several, bool):
            several = not (isinstance(longest, int) and longest <= _MAX_LINE_CHARS)
        return self._labelled(ipw.Textarea, rows=3) if several else self._labelled(ipw.Text)

    def _parse(self) -> str | None:
        return self.typed or None

    def _fill(self, value: Any) -> None:
        self._control.value = "" if value is None else page_safe(str(value))


class NumberField(Field):
    """NUMBER field with the bounds of its schema; invalid text is kept."""

    CLASSES = "vnb-short vnb-number"

    def _build(self) -> list[Any]:
        return self._labelled(ipw.Text)

    def _caption(self) -> str:
        schema = self.variable.json_schema or {}
        low, high = schema.get("minimum"), schema.get("maximum")
        if low is not None and high is not None:
            return f"NUMBER {low}–{high}"  # noqa: RUF001  # the dash of a range
        bounds = [f"{sign} {end}" for sign, end in (("≥", low), ("≤", high)) if end is not None]
        return " ".join(["NUMBER", *bounds])

    def _parse(self) -> float | None:
        text = self.typed.strip()
        if not text:
            return None
        try:
            number = int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
            if math.isfinite(number):
                return number
        except (ValueError, OverflowError):
            pass
        msg = f"“{text}” is not a number."
        raise InputError(msg)

    def _fill(self, value: Any) -> None:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        self._control.value = "" if value is None else str(value)


class BoolField(Field):
    """Yes or no."""

    CLASSES = "vnb-short vnb-bool"

    def _build(self) -> list[Any]:
        return self._labelled(ipw.Checkbox, indent=False)

    def _check(self, value: Any, variable: VellumVariable) -> str | None:
        return None if variable.type == "JSON" else super()._check(value, variable)

    def _parse(self) -> bool:
        return bool(self._control.value)

    def _fill(self, value: Any) -> None:
        self._control.value = value is True


class EnumField(Field):
    """Choice of one of the schema's enum values."""

    def _build(self) -> list[Any]:
        none = "choose…" if self.variable.is_required else "none"
        self._values = [None, *(self.variable.json_schema or {}).get("enum", ())]
        labels = [none, *(page_safe(str(value)) for value in self._values[1:])]
        options = [(label, place) for place, label in enumerate(labels)]
        return self._labelled(ipw.Dropdown, options=options, value=0)

    def _check(self, value: Any, variable: VellumVariable) -> str | None:
        allowed = (variable.json_schema or {}).get("enum", ())
        return None if value in allowed else super()._check(value, variable)

    @property
    def typed(self) -> Any:
        """The selected value."""
        return self._values[self._control.value]

    @typed.setter
    def typed(self, value: Any) -> None:
        if value not in self._values:  # shown with its problem, like invalid text
            self._values.append(value)
            label = (page_safe(str(value)), len(self._values) - 1)
            self._control.options = (*self._control.options, label)
        self._control.value = self._values.index(value)

    def _parse(self) -> Any:
        return self.typed

    def _fill(self, value: Any) -> None:
        self.typed = value


class JsonField(Field):
    """JSON field; errors state line and column, and the text is kept."""

    CLASSES = "vnb-long vnb-json"

    def _build(self) -> list[Any]:
        return self._labelled(ipw.Textarea, rows=2)

    @property
    def is_empty(self) -> bool:
        """True if the text is empty; null is a value."""
        return not self.typed.strip()

    def _parse(self) -> Any:
        return None if self.is_empty else read_json(self.typed)

    def _fill(self, value: Any) -> None:
        self._control.value = "" if value is None else page_safe(write_json(value))

    def _check(self, value: Any, variable: VellumVariable) -> str | None:
        if self.is_empty:
            return "A value is required." if variable.is_required else None
        return super()._check(value, variable)


class FieldSet:
    """The fields of the selected releases.

    `make` creates the field of a variable; `changed` is called after every change of a field.
    """

    def __init__(
        self,
        make: Callable[[VellumVariable, Callable[[], None]], Field],
        changed: Callable[[], None],
    ) -> None:
        self.widget = styled(ipw.Box(), "vnb-fields")
        self._make = make
        self._changed = changed
        self._silent = False
        self._visible: dict[str, Field] = {}
        self._fields: dict[str, Field] = {}  # including those of deselected releases

    def show(self, by_tag: Mapping[str, Variables]) -> None:
        """Show one field per input variable of the selected releases. Entered values are kept."""
        replaced: list[Field] = []
        self._visible = {}
        with self._silently():
            for variable in union(list(by_tag.values())):
                field = self._field(variable, replaced)
                field.expects = expectations(variable.key, by_tag)
                self._visible[variable.key] = field
        children = tuple(field.widget for field in self._visible.values())
        if self.widget.children != children:
            self.widget.children = children
        for field in replaced:
            field.close()

    def _field(self, variable: VellumVariable, replaced: list[Field]) -> Field:
        old = self._fields.get(variable.key)
        if old is not None and old.variable == variable:
            return old
        field = self._fields[variable.key] = self._make(variable, self._notify)
        if old is not None:
            is_readable = old.value is not None or old.is_empty
            is_default = is_readable and bool(old.value == default_of(old.variable))
            texts = isinstance(old.typed, str) and isinstance(field.typed, str)
            if not is_default and (texts or type(old) is type(field)):
                field.typed = old.typed
            replaced.append(old)
        return field

    def _notify(self) -> None:
        if not self._silent:
            self._changed()

    @contextmanager
    def _silently(self) -> Iterator[None]:
        """Change several fields with a single notification by the caller."""
        self._silent = True
        try:
            yield
        finally:
            self._silent = False

    def __iter__(self) -> Iterator[Field]:
        return iter(self._visible.values())

    def __getitem__(self, name: str) -> Field:
        return self._visible[name]

    @property
    def values(self) -> dict[str, Any]:
        """Natural values of all inputs with a valid one."""
        return {
            field.name: field.value
            for field in self
            if not field.is_empty and (field.value is not None or field.problem() is None)
        }

    @property
    def typed(self) -> dict[str, Any]:
        """The raw content of each field, valid or not."""
        return {field.name: field.typed for field in self}

    def set_values(self, values: Mapping[str, Any], *, where: str) -> None:
        """Show `values` and reset all other inputs to their defaults.

        Raises
        ------
        InputError
            A name is unknown. The fields are unchanged.
        """
        unknown = [str(name) for name in values if name not in self._visible]
        if unknown:
            words = f"is not an input of the form{available(self._visible)}"
            msg = f"These values do not fit the form of {where}:"
            raise InputError(msg, [InputProblem(name, words) for name in unknown])
        with self._silently():
            for field in self:
                if field.name in values:
                    field.value = values[field.name]
                else:
                    field.reset()

    def problems(self) -> dict[str, str]:
        """Return the problems by input name, in the order of the fields."""
        return {field.name: problem for field in self if (problem := field.problem())}

    def show_problems(self, *, tried: bool) -> dict[str, str]:
        """Show each problem next to its field, and return them; empty fields only if `tried`."""
        problems = self.problems()
        for field in self:
            field.show(problems.get(field.name) if tried or not field.is_unfinished else None)
        return problems

    def close(self) -> None:
        """Close every field, including hidden ones."""
        self.widget.children = ()
        for field in self._fields.values():
            field.close()
        close_tree(self.widget)


class Fold:
    """Heading that expands fields; collapsed at first, and without widgets until it is opened."""

    def __init__(
        self, title: str, hint: str, fields: FieldSet, variables: Mapping[str, Variables]
    ) -> None:
        self._fields, self._variables = fields, variables
        self._toggle = styled(ipw.ToggleButton(description=title), "vnb-fold")
        self._toggle.observe(self._turned, "value")
        head = styled(ipw.Box([self._toggle, note(escape(hint), "vnb-hint")]), "vnb-fold-head")
        parts = [head, styled(fields.widget, "vnb-folded")]
        self.widget = styled(ipw.VBox(parts), "vnb-options")

    def open(self) -> None:
        """Unfold it."""
        self._toggle.value = True

    def _turned(self, change: Any) -> None:
        self._fields.show(self._variables)
        set_class(self._fields.widget, "vnb-folded", on=not change["new"])
        set_class(self._toggle, "vnb-open", on=change["new"])


class TagBar:
    """Release tags to run on: one chip with a check box per release, oldest first.

    `changed` is called after each change by the user.
    """

    def __init__(self, choices: Sequence[TagChoice], changed: Callable[[], None]) -> None:
        self._changed = changed
        self._silent = False
        self._boxes: dict[str, Any] = {}
        self._chips = []
        for choice in choices:
            box = ipw.Checkbox(description=visible_name(choice.tag), indent=False)
            styled(box, "vnb-check").observe(self._clicked, "value")
            aliases = "".join(f" = {name_html(name)}" for name in choice.names[1:])
            parts = [box, note(aliases, "vnb-others")] if aliases else [box]
            self._boxes[choice.tag] = box
            self._chips.append(styled(ipw.Box(parts), "vnb-chip"))
        hidden = len(choices) - _MAX_CHIPS
        self._more = button(f"{hidden} older…", "vnb-link", self._unfold)
        label = note('<span class="vnb-label">Run on</span>')
        more = [self._more] if hidden > 0 else []
        self.widget = styled(ipw.Box([label, *self._chips[-_MAX_CHIPS:], *more]), "vnb-tags")

    @property
    def ticked(self) -> list[str]:
        """The selected tags, oldest first."""
        return [tag for tag, box in self._boxes.items() if box.value]

    @ticked.setter
    def ticked(self, tags: Sequence[str]) -> None:
        self._silent = True
        try:
            for tag, box in self._boxes.items():
                box.value = tag in tags
        finally:
            self._silent = False
        if any(tag in tags for tag in list(self._boxes)[:-_MAX_CHIPS]):
            self._unfold()

    def enable(self, *, enabled: bool) -> None:
        """Allow or prevent changes by the user."""
        for box in self._boxes.values():
            box.disabled = not enabled

    def _clicked(self, _: object) -> None:
        if not self._silent:
            self._changed()

    def _unfold(self) -> None:
        self.widget.children = (self.widget.children[0], *self._chips)

    def close(self) -> None:
        """Close all widgets, including hidden chips."""
        for widget in (*self._chips, self._more):
            close_tree(widget)


def problem_html(problem: object) -> str:
    """Return a problem as HTML that screen readers announce."""
    return f'<div role="alert">{ALERT}<span>{escape(str(problem))}</span></div>'


def read_json(text: str) -> Any:
    """Parse `text` as JSON; raise an `InputError` that explains the problem."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as exc:
        msg = _json_problem(text, exc)
        raise InputError(msg) from None
    except InputError:
        raise
    except ValueError:
        msg = "Not valid JSON that can be sent: it has an integer of more than 4,000 digits."
        raise InputError(msg) from None
    except RecursionError:
        msg = "Not valid JSON that can be sent: it is nested too deeply."
        raise InputError(msg) from None


def _json_problem(text: str, exc: json.JSONDecodeError) -> str:
    """Describe the position and cause of invalid JSON, and recognize Python literals."""
    at, why = exc.pos, exc.msg[:1].lower() + exc.msg[1:]
    before, remaining = text[:at].rstrip(), text[at:].lstrip()
    word = re.match("True|False|None|'", remaining)
    if before.endswith(",") and remaining[:1] in {"]", "}"}:
        at, why = len(before) - 1, f"a comma before the closing {remaining[0]}"
    elif word:
        why = f"{word[0]} is Python; JSON has true, false, null and double quotes"
    elif not remaining:
        at, why = len(text), "the end is missing"
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return (
        f"Not valid JSON, line {line}, column {column}: {why}. Nothing is sent until it is fixed."
    )


def _finite(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else _refuse_constant(text)


def _refuse_constant(word: str) -> NoReturn:
    msg = f"Not valid JSON: {word} is not a JSON number."
    raise InputError(msg)


def write_json(value: Any) -> str:
    """Return `value` as JSON, on one line if it is short."""
    short = json.dumps(plain(value), ensure_ascii=False)
    if len(short) <= _MAX_JSON_LINE_CHARS:
        return short
    return json.dumps(plain(value), ensure_ascii=False, indent=2)

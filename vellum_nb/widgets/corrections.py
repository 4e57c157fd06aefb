"""The form for corrected outputs: one field per value, with a control for its type."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from vellum_nb.errors import InputError
from vellum_nb.models import Run
from vellum_nb.rendering.format import same_value, visible_name
from vellum_nb.widgets.fields import read_json, write_json

_MAX_CHARS = 20_000  # of a value; longer values cannot be corrected in the page
_MAX_FIELDS = 50  # of an output; one with more values is corrected as JSON
_MAX_DEPTH = 4
_LINE_END = re.compile("\r\n?")  # the text area of a page returns "\n"

Path = tuple[str, ...]


def correction_fields(run: Run) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the fields of a run's outputs, and the labels of values too long for the page.

    A JSON object has one field per value. `name` is the path of the value, and `kind` its control:
    "text", "number", "boolean", or "json" for lists and for null.
    """
    fields, too_long = [], []
    for path, value in _values(run).items():
        kind, label, text = _kind(value), ".".join(map(visible_name, path)), _text(value)
        if len(text) > _MAX_CHARS:
            too_long.append(label)
        else:
            fields.append({"name": json.dumps(path), "label": label, "text": text, "kind": kind})
    return fields, too_long


def corrected_outputs(run: Run, texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outputs of `run` that `texts`, by name of the field, change.

    Unknown fields are ignored. The text fields of a browser end lines with a line feed.

    Raises
    ------
    InputError
        If a text is not valid for its field, or nothing was changed.
    """
    changed = {}
    for path, value in _values(run).items():
        text, old = texts.get(json.dumps(path)), _text(value)
        if isinstance(text, str) and text != _LINE_END.sub("\n", old):
            ending = "\r\n" if "\r\n" in old else "\n"
            new = _parsed(_LINE_END.sub("\n", text).replace("\n", ending), path, _kind(value))
            if not same_value(new, value):
                changed[path] = new
    if not changed:
        msg = "Nothing was changed: edit a value, then save."
        raise InputError(msg)
    desired: dict[str, Any] = {}
    now = run.outputs | (run.desired or {})
    for path, new in changed.items():
        name = path[0]
        desired[name] = _with(desired.get(name, now[name]), path[1:], new)
    return desired


def _values(run: Run) -> dict[Path, Any]:
    """Return the values of the outputs that were executed, with earlier corrections."""
    values: dict[Path, Any] = {}
    for name, output in run.outputs.items():
        value = (run.desired or {}).get(name, output)
        parts = dict(_leaves((name,), value))
        values |= parts if len(parts) <= _MAX_FIELDS else {(name,): value}
    return values


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value and len(path) < _MAX_DEPTH:
        for key, part in value.items():
            yield from _leaves((*path, key), part)
    else:
        yield path, value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else write_json(value)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "text"
    return "number" if isinstance(value, int | float) else "json"


def _parsed(text: str, path: Path, kind: str) -> Any:
    """Return the value of a text, or raise an `InputError` that names the field."""
    if kind == "text":
        return text
    label = ".".join(map(visible_name, path))
    try:
        new = read_json(text)
    except InputError as exc:
        problem = f"{text!r:.60} is not a number" if kind == "number" else str(exc)
        msg = f"{label}: {problem}"
        raise InputError(msg) from None
    if kind != "json" and _kind(new) != kind:
        msg = f"{label}: {text!r:.60} is not a {kind}"
        raise InputError(msg)
    return new


def _with(value: Any, path: Path, new: Any) -> Any:
    """Return `value` with `new` at `path`."""
    return {**value, path[0]: _with(value[path[0]], path[1:], new)} if path else new

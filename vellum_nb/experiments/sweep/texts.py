"""Cells of a table as natural values: what a text stands for follows from the variable's type."""

from __future__ import annotations

import json
from typing import Any

from vellum_nb.errors import InputError
from vellum_nb.experiments.sweep.reading import Bare, Table
from vellum_nb.history.exporting.csv_text import typed
from vellum_nb.models import VellumVariable
from vellum_nb.models.inputs import field_kind
from vellum_nb.models.plain import shown

__all__ = ["natural", "untyped"]

_STRUCTURED = ("{", "[")
_NEVER_TEXT = frozenset({"CHAT_HISTORY", "ARRAY", "SEARCH_RESULTS", "FUNCTION_CALL"})
_MEDIA = frozenset({"image", "audio", "video", "document"})


def natural(value: Any, variable: VellumVariable, table: Table) -> Any:
    """Return what `value` of `table` is for `variable`.

    Raises
    ------
    InputError
        It looks like JSON and is none.
    """
    kind = field_kind(variable)
    if not isinstance(value, str):
        return _whole(value, variable) if table.form == "frame" else value
    if kind == "text" or (kind == "enum" and variable.type == "STRING"):
        return str(value)
    if variable.type in _NEVER_TEXT or (kind in _MEDIA and value.startswith("{")):
        return _parsed(value)
    if kind in _MEDIA or table.form == "dicts":
        return str(value)
    if table.form == "csv" and not (table.stored and not isinstance(value, Bare)):
        return _of_csv(value, kind, variable)
    return _of_frame(value)


def untyped(value: Any, table: Table) -> Any:
    """Return what `value` is where no variable tells: CSV cells without quotes may be numbers."""
    if not isinstance(value, str) or table.form == "dicts":
        return value
    found = _of_frame(value)
    return typed(found) if isinstance(found, Bare) else found


def _of_frame(text: str) -> Any:
    """Return structured JSON as itself; all other text is text."""
    if not text.startswith(_STRUCTURED):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _of_csv(text: str, kind: str, variable: VellumVariable) -> Any:
    if kind == "enum" and text in (variable.json_schema or {}).get("enum", ()):
        return str(text)
    if kind == "bool":
        return {"true": True, "false": False}.get(text.strip().lower(), str(text))
    if kind == "number":
        return typed(text.strip())
    if text.startswith(_STRUCTURED):
        return _parsed(text)
    try:
        return json.loads(text)
    except ValueError:
        return typed(text)


def _parsed(text: str) -> Any:
    """Return the JSON that `text` is; what does not look like any stays text."""
    if not text.lstrip().startswith(_STRUCTURED):
        return str(text)
    try:
        return json.loads(text)
    except RecursionError:
        msg = "is JSON that is nested too deep"
        raise InputError(msg) from None
    except ValueError as exc:
        hint = "; json.dumps writes it" if "'" in text else ""
        msg = f"{shown(str(text))} is no JSON: {exc}{hint}"
        raise InputError(msg) from exc


def _whole(value: Any, variable: VellumVariable) -> Any:
    """Return whole numbers as such: pandas makes floats of them where some are missing."""
    wanted = (variable.json_schema or {}).get("type")
    if wanted == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value

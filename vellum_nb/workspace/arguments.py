"""``name=value`` arguments of the command line as natural Python values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from vellum_nb.errors import InputError, InputProblem
from vellum_nb.models import VellumVariable
from vellum_nb.models.inputs import field_kind

__all__ = ["parse_arguments"]

_MEDIA = {"image", "audio", "video", "document"}
_WANTED = {"number": "not a number", "bool": "neither true nor false"}


def parse_arguments(
    pairs: Sequence[str], variables: Sequence[VellumVariable] | None
) -> dict[str, object]:
    """Return the values of ``name=value`` pairs, typed by `variables`.

    Text stays text; other variables are read as JSON. ``@path`` reads a file (for images, audio,
    video and documents the file itself is the value).

    Raises
    ------
    InputError
        A pair has no ``=``, or a value is not the JSON that its variable wants.
    """
    kinds = {v.key: field_kind(v) for v in variables or ()}
    values: dict[str, object] = {}
    problems = []
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            problems.append(InputProblem(pair, "is not name=value"))
            continue
        try:
            values[name] = _value(text, kinds.get(name, "text"))
        except OSError as exc:
            problems.append(InputProblem(name, f"{text!r} cannot be read: {exc.strerror or exc}"))
        except ValueError as exc:
            problems.append(InputProblem(name, f"{text!r} cannot be read: {exc}"))
        except RecursionError:
            problems.append(InputProblem(name, "cannot be read: it is nested too deep"))
    if problems:
        msg = "The inputs cannot be read; nothing was sent:"
        raise InputError(msg, problems)
    return values


def _value(text: str, kind: str) -> object:
    if kind in _MEDIA:
        return Path(text.removeprefix("@")) if text.startswith("@") else text
    if text.startswith("@"):
        text = Path(text[1:]).read_text(encoding="utf-8")
    if kind == "text":
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as exc:
        if kind == "enum":
            return text
        where = f"line {exc.lineno}, column {exc.colno}"
        msg = _WANTED.get(kind, f"not JSON ({where}; text in it stands in double quotes)")
        raise ValueError(msg) from exc

"""What a form is made from: the deployment, or what is known where it cannot be read; arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vellum_nb.errors import AuthenticationError, HistoryError, InputError, InputProblem
from vellum_nb.history import History
from vellum_nb.models import Run, VellumVariable, WorkflowReleaseTagRead
from vellum_nb.models.inputs import field_kind, format_value, infer_type
from vellum_nb.widgets.spec import FormSpec, TagChoice
from vellum_nb.workspace.lookup import Lookup

_MEDIA = {"image", "audio", "video", "document"}
_EXPECTED = {"number": "not a number", "bool": "neither true nor false"}


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
        msg = _EXPECTED.get(kind, f"not JSON ({where}; text in it stands in double quotes)")
        raise ValueError(msg) from exc


Variables = Sequence[VellumVariable | Mapping[str, Any]]


def form_spec(
    name: str,
    *,
    lookup: Lookup,
    history: History,
    source: str,
    variables: Variables | None = None,
) -> FormSpec:
    """Return what the form of `name` shows.

    Raises
    ------
    AuthenticationError
        The deployment cannot be read, no `variables` are given and no run is recorded.
    NotFoundError
        There is no such deployment.
    InputError
        One of `variables` is none.
    """
    given = None if variables is None else tuple(_variable(item) for item in variables)
    try:
        deployment = lookup.deployment(name)
        tags = lookup.tags(name)
    except AuthenticationError as exc:
        return _unread(name, exc, given=given, history=history, source=source)
    choices = _choices(tags)
    return FormSpec(
        name=name,
        label=deployment.label or name,
        description=deployment.description or "",
        source=source,
        variables=deployment.input_variables if given is None else given,
        latest_release_id=_latest(tags),
        tags=choices,
        outputs=tuple(variable.key for variable in deployment.output_variables),
    )


def run_count(history: History, deployment: str) -> int | None:
    """Return how many runs there are, or None where that cannot be read: a run will say why."""
    try:
        return history.count(deployment=deployment)
    except HistoryError:
        return None


def _unread(
    name: str,
    exc: AuthenticationError,
    *,
    given: tuple[VellumVariable, ...] | None,
    history: History,
    source: str,
) -> FormSpec:
    why = f"This API key may not read the deployment ({exc.status_code})"
    if given is not None:
        variables, note = given, f"{why}: the form is made from the variables you gave."
    else:
        runs = history.runs(deployment=name, limit=1)
        if not runs:
            exc.add_note(
                f"To have a form all the same, name its inputs: "
                f'ws.form({name!r}, variables=[{{"key": "...", "type": "STRING"}}])'
            )
            raise exc
        variables = _recorded(runs[0])
        note = f"{why}: the form is made from the inputs of the last recorded run."
    return FormSpec(
        name=name,
        label=name,
        description="",
        source=source,
        variables=variables,
        latest_release_id=None,
        tags=(TagChoice(release_id="", names=("LATEST",)),),
        notes=(note,),
    )


def _recorded(run: Run) -> tuple[VellumVariable, ...]:
    return tuple(
        VellumVariable(key=name, type=infer_type(value), required=False)
        for name, value in run.inputs.items()
    )


def _variable(item: VellumVariable | Mapping[str, Any]) -> VellumVariable:
    try:
        return VellumVariable.model_validate(item)
    except ValidationError as exc:
        msg = (
            f"variables has {format_value(item)}, which is no input variable; "
            'write one like {"key": "ticket", "type": "STRING", "required": True}'
        )
        raise InputError(msg) from exc


def _choices(tags: Sequence[WorkflowReleaseTagRead]) -> tuple[TagChoice, ...]:
    """Return one choice a release, oldest first; the tag that stays with it stands first."""
    by_release: dict[str, list[WorkflowReleaseTagRead]] = {}
    for tag in sorted(tags, key=_age):
        by_release.setdefault(tag.release_id or "", []).append(tag)
    return tuple(
        TagChoice(release_id=release_id, names=tuple(tag.name for tag in sorted(own, key=_rank)))
        for release_id, own in by_release.items()
    )


def _age(tag: WorkflowReleaseTagRead) -> tuple[float, str]:
    ref = tag.release or tag.history_item
    return (ref.timestamp.timestamp() if ref and ref.timestamp else 0.0, tag.name)


def _rank(tag: WorkflowReleaseTagRead) -> tuple[bool, bool, bool, str]:
    """Return the order of tags on one release: "v2" names it, "production" moves on."""
    moves = not any(sign.isdigit() for sign in tag.name)
    return (tag.name == "LATEST", tag.source != "USER", moves, tag.name)


def _latest(tags: Sequence[WorkflowReleaseTagRead]) -> str | None:
    for tag in tags:
        if tag.name == "LATEST":
            return tag.release_id
    return None

"""What a form is made from: the deployment, or what is known where it cannot be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from vellum_nb.errors import AuthenticationError, HistoryError, InputError
from vellum_nb.history import History
from vellum_nb.models import Run, VellumVariable, WorkflowReleaseTagRead
from vellum_nb.models.inputs import infer_type
from vellum_nb.models.plain import shown
from vellum_nb.widgets.spec import FormSpec, TagChoice
from vellum_nb.workspace.lookup import Lookup

__all__ = ["form_spec", "run_count"]

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
    """Return how many runs are kept, or None where that cannot be read: a run will say why."""
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
            f"variables has {shown(item)}, which is no input variable; "
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

"""The specification of a form, and typed inputs of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vellum_nb.errors import AuthenticationError, InputError, InputProblem
from vellum_nb.history import History
from vellum_nb.models import VellumVariable, WorkflowReleaseTagRead
from vellum_nb.models.checks import check_list, check_texts
from vellum_nb.models.inputs import field_kind, format_value, infer_type
from vellum_nb.sweep.cases import MEDIA, Table, checked_cases
from vellum_nb.widgets.spec import FormSpec, TagChoice
from vellum_nb.workspace.lookup import Lookup

Variables = Sequence[VellumVariable | Mapping[str, Any]]


def read_inputs(
    lookup: Lookup, deployment: str, pairs: Sequence[str], *, release_tag: str = "LATEST"
) -> dict[str, Any]:
    """Return the inputs of ``name=value`` texts, typed and checked like the cells of a CSV.

    ``@path`` is the text of a file, or the file itself if the input is an image, audio, a video or
    a document.
    """
    release = lookup.readable_release(deployment, release_tag)
    variables = release.workflow_version.input_variables if release else ()
    files = {v.key for v in variables if field_kind(v) in MEDIA}
    row: dict[str, str | Path] = {}
    problems = []
    for pair in check_texts("pairs", pairs):
        name, separator, text = pair.partition("=")
        value: str | Path = text
        try:
            if text.startswith("@"):
                path = Path(text[1:])
                value = path if name in files else path.read_text(encoding="utf-8")
            row[f"input.{name}"] = value
        except (OSError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or exc
            problems.append(InputProblem(name, f"{text!r} cannot be read: {reason}"))
        if not separator:
            problems.append(InputProblem(pair, "is not name=value"))
    table = Table([row], tuple(row), "csv", "the inputs")
    try:
        if not problems:
            checked = checked_cases(table, {release_tag: release}, deployment)
            return dict(checked.cases[0].inputs)
    except InputError as exc:
        for problem in exc.problems:
            name = problem.variable.removeprefix("input.")
            hint = f"; {name}=@FILE reads a file" if name in files else ""
            problems.append(InputProblem(name, problem.message + hint))
    msg = f"The inputs do not fit {deployment} {release_tag}; nothing was sent:"
    raise InputError(msg, problems)


def form_spec(
    name: str, lookup: Lookup, history: History, *, source: str, variables: Variables | None = None
) -> FormSpec:
    """Return the specification of the form of a deployment; raises as `Workspace.form`."""
    inputs = None
    if variables is not None:
        inputs = tuple(map(_variable, check_list("variables", variables, "a list of variables")))
    try:
        deployment, tags = lookup.deployment(name), lookup.tags(name)
    except AuthenticationError as exc:
        basis = "the variables you gave"
        if inputs is None:
            basis = "the inputs of the last recorded run"
            inputs = _recorded(name, history, exc)
        why = f"This API key may not read the deployment ({exc.status_code})"
        return FormSpec(
            name=name,
            label=name,
            description="",
            source=source,
            variables=inputs,
            latest_release_id=None,
            tags=(TagChoice(release_id="", names=("LATEST",)),),
            notes=(f"{why}: the form is made from {basis}.",),
        )
    return FormSpec(
        name=name,
        label=f"{deployment.label} ({name})" if deployment.label not in {"", name} else name,
        description=deployment.description or "",
        source=source,
        variables=deployment.input_variables if inputs is None else inputs,
        latest_release_id=next((tag.release_id for tag in tags if tag.name == "LATEST"), None),
        tags=_choices(tags),
        outputs=tuple(variable.key for variable in deployment.output_variables),
    )


def _recorded(name: str, history: History, exc: AuthenticationError) -> tuple[VellumVariable, ...]:
    for run in history.runs(deployment=name, limit=1):
        return tuple(
            VellumVariable(key=key, type=infer_type(value), required=False)
            for key, value in run.inputs.items()
        )
    exc.add_note(
        f"For a form without it, name the inputs: "
        f'ws.form({name!r}, variables=[{{"key": "...", "type": "STRING"}}])'
    )
    raise exc


def _variable(item: VellumVariable | Mapping[str, Any]) -> VellumVariable:
    try:
        return VellumVariable.model_validate(item)
    except ValidationError as exc:
        msg = (
            f"variables has {format_value(item)}, which is not an input variable; "
            'write one like {"key": "ticket", "type": "STRING", "required": True}'
        )
        raise InputError(msg) from exc


def _choices(tags: Sequence[WorkflowReleaseTagRead]) -> tuple[TagChoice, ...]:
    """Return one choice per release, oldest first, its most stable tag first."""

    def rank(tag: WorkflowReleaseTagRead) -> tuple[bool, bool, bool, str]:
        moves = not any(sign.isdigit() for sign in tag.name)  # "v2" is stable, "production" is not
        return (tag.name == "LATEST", tag.source != "USER", moves, tag.name)

    aged = []
    for tag in tags:
        made = tag.release or tag.history_item
        aged.append((made.timestamp.timestamp() if made and made.timestamp else 0.0, tag.name, tag))
    by_release: dict[str, list[WorkflowReleaseTagRead]] = {}
    for *_, tag in sorted(aged):
        by_release.setdefault(tag.release_id or "", []).append(tag)
    return tuple(
        TagChoice(release_id=release_id, names=tuple(tag.name for tag in sorted(group, key=rank)))
        for release_id, group in by_release.items()
    )

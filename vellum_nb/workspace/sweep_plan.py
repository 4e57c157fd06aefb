"""From rows of a table to the checked cases of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vellum_nb.errors import InputError, InputProblem
from vellum_nb.experiments.sweep.reading import Row, sorted_out
from vellum_nb.models import WorkflowDeploymentRelease, case_id
from vellum_nb.models.inputs import plain, to_wire
from vellum_nb.models.sweeps import SweepCase

__all__ = ["checked_cases"]

Releases = Mapping[str, WorkflowDeploymentRelease | None]


def checked_cases(
    rows: Sequence[Mapping[str, Any]], releases: Releases, deployment: str
) -> list[SweepCase]:
    """Return the cases of `rows`, checked on every release.

    Raises
    ------
    InputError
        Lists every problem, with the number of its row.
    """
    names = _variables(releases)
    problems: list[InputProblem] = []
    cases = []
    for position, row in enumerate(rows):
        found = sorted_out(row, names if names is not None else list(row))
        try:
            cases.append(_case(position, found, releases, deployment))
        except InputError as exc:
            problems += [
                InputProblem(f"row {position + 1}, {each.variable}", each.message)
                for each in exc.problems
            ]
    if problems:
        msg = f"{len(problems)} inputs do not fit {deployment}; nothing was sent:"
        raise InputError(msg, problems)
    return cases


def _variables(releases: Releases) -> list[str] | None:
    """Return the input variables of all releases; None where they cannot be read."""
    known = [r.workflow_version.input_variables for r in releases.values() if r is not None]
    if not known:
        return None
    return list(dict.fromkeys(v.key for variables in known for v in variables))


def _case(position: int, row: Row, releases: Releases, deployment: str) -> SweepCase:
    inputs: dict[str, Any] = {}
    for tag, release in releases.items():
        variables = release.workflow_version.input_variables if release else None
        known = None if variables is None else {v.key for v in variables}
        sent = {k: v for k, v in row.inputs.items() if known is None or k in known}
        wire = to_wire(sent, variables, where=f"{deployment} {tag}")
        inputs = {item.name: item.value for item in wire} | inputs
    inputs = {name: inputs[name] for name in row.inputs if name in inputs}
    return SweepCase(position, case_id(inputs), inputs, plain(row.expected), plain(row.labels))

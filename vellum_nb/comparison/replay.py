"""Which cases are run once more, as rows of a table of stored runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from vellum_nb.comparison.cases import Case
from vellum_nb.errors import InputError
from vellum_nb.models import Run
from vellum_nb.models.inputs import format_value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Chosen", "replay_rows"]

Chosen: TypeAlias = "pd.DataFrame | str | Case | Run | Iterable[str | Case | Run]"

_LABEL = "replay_of"


def replay_rows(
    deployment: str, cases: Sequence[Case], releases: Sequence[str], chosen: Chosen | None
) -> list[dict[str, Any]]:
    """Return the cases that are chosen as rows, each with the label ``replay_of``.

    Raises
    ------
    InputError
        One of them is not a case.
    """
    known = {case.case_id: case for case in cases}
    found = cases if chosen is None else [_one(known, each) for each in _listed(chosen)]
    unique = {case.case_id: case for case in found}
    return [_row(deployment, releases, case) for case in unique.values()]


def _listed(cases: Any) -> Iterable[Any]:
    if isinstance(cases, str | Case | Run):
        return [cases]
    if hasattr(cases, "columns") and hasattr(cases, "iloc"):
        if "case_id" not in cases.columns:
            msg = "the DataFrame has no column case_id; rows of frame() or regressions() have"
            raise InputError(msg)
        ids: list[Any] = cases["case_id"].tolist()
        return ids
    if hasattr(cases, "iloc") and "case_id" in cases.index:  # one row of a frame
        return [cases["case_id"]]
    if isinstance(cases, Iterable) and not isinstance(cases, Mapping):
        return cases
    msg = f"{format_value(cases)} is no case: give rows of frame(), a case_id, cases or runs"
    raise InputError(msg)


def _one(known: Mapping[str, Case], given: Any) -> Case | Run:
    if isinstance(given, Case | Run):
        return given
    found = known.get(given) if isinstance(given, str) else None
    if found is None:
        msg = f"{format_value(given)} is no case of this comparison; frame() has each case_id"
        raise InputError(msg)
    return found


def _row(deployment: str, releases: Sequence[str], case: Case | Run) -> dict[str, Any]:
    if isinstance(case, Run):
        expected: Mapping[str, Any] | None = case.desired
        labels: dict[str, Any] = {}
        replay_of = case.id
    else:
        expected, labels = case.expected, dict(case.labels)
        runs = (found for each in releases if (found := case.counting(each)) is not None)
        replay_of = next((found.id for found in runs), "")
    return {
        "id": replay_of,
        "deployment": deployment,
        "case_id": case.case_id,
        "state": "",
        "inputs": dict(case.inputs),
        "desired": dict(expected or {}),
        "labels": {**labels, _LABEL: replay_of} if replay_of else labels,
    }

"""Which cases are run once more, and what tells afterwards which run each of them replays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vellum_nb.errors import InputError
from vellum_nb.experiments.cases import Case
from vellum_nb.experiments.comparison.base import BaseComparison
from vellum_nb.experiments.comparison.tools import Tools
from vellum_nb.models import Run
from vellum_nb.models.plain import shown

__all__ = ["replayed"]

_LABEL = "replay_of"


def replayed(
    comparison: BaseComparison, tools: Tools, cases: Any, options: Mapping[str, Any]
) -> Any:
    """Run `cases` as a sweep, each with the label ``replay_of``.

    Raises
    ------
    InputError
        One of `cases` is none, or there is nothing that could run them.
    """
    if tools.sweep is None:
        msg = (
            "this comparison knows no workspace, so it can run nothing: make it with "
            "ws.compare(...) or sweep.compare(), or hand its cases to ws.sweep(...)"
        )
        raise InputError(msg)
    rows = [_row(comparison, each) for each in _chosen(comparison, cases)]
    if not rows:
        msg = "there is no case to replay: none was given, or none is in this comparison"
        raise InputError(msg)
    return tools.sweep(comparison.deployment, rows, options)


def _chosen(comparison: BaseComparison, cases: Any) -> list[Case | Run]:
    if cases is None:
        return list(comparison.cases)
    known = {case.case_id: case for case in comparison.cases}
    found = {_key(each): each for each in (_one(known, each) for each in _listed(cases))}
    return list(found.values())


def _key(case: Case | Run) -> str:
    return case.case_id


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
    msg = f"{shown(cases)} is no case: give rows of frame(), a case_id, cases or runs"
    raise InputError(msg)


def _one(known: Mapping[str, Case], given: Any) -> Case | Run:
    if isinstance(given, Case | Run):
        return given
    found = known.get(given) if isinstance(given, str) else None
    if found is None:
        msg = f"{shown(given)} is no case of this comparison; frame() has each case_id"
        raise InputError(msg)
    return found


def _row(comparison: BaseComparison, case: Case | Run) -> dict[str, Any]:
    """Return the case as a row of a table of stored runs."""
    if isinstance(case, Run):
        expected, labels, replay_of = case.desired, {}, case.id
    else:
        expected, labels = case.expected, dict(case.labels)
        order = (case.baseline, *comparison.others)
        runs = (found for each in order if (found := case.counting(each)) is not None)
        replay_of = next((found.id for found in runs), "")
    if replay_of:
        labels = {**labels, _LABEL: replay_of}
    return {
        "id": replay_of,
        "deployment": comparison.deployment,
        "case_id": case.case_id,
        "state": "",
        "inputs": dict(case.inputs),
        "desired": dict(expected or {}),
        "labels": labels,
    }

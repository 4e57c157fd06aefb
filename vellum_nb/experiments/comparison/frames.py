"""A comparison as DataFrames: one row a case, one row a run, one row a release."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vellum_nb.experiments.cases import Case, in_turn
from vellum_nb.experiments.comparison.base import BaseComparison
from vellum_nb.experiments.comparison.verdicts import VERDICTS, Verdict
from vellum_nb.history.reading.records import Record
from vellum_nb.history.reading.records import in_turn as in_turn_of_records
from vellum_nb.history.rows.cells import cell
from vellum_nb.history.rows.frames import frame_of_cells
from vellum_nb.history.rows.rows import clean

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["case_frame", "changed", "error_frame", "run_frame"]

_MISSING = "missing"


def case_frame(comparison: BaseComparison) -> pd.DataFrame:
    """Return one row a case."""
    return _frame(_case_cells(comparison))


def _case_cells(comparison: BaseComparison) -> dict[str, list[Any]]:
    cases, releases = comparison.cases, comparison.releases
    status = comparison.statuses
    cells: dict[str, list[Any]] = {
        "case_id": [case.case_id for case in cases],
        "changed": changed(comparison, status.values()),
    }
    inputs, outputs = _said(comparison)
    cells |= inputs
    for prefix, rows in (
        ("expected.", [case.expected for case in cases]),
        ("label.", [case.labels for case in cases]),
    ):
        cells |= _spread(prefix, dict.fromkeys(name for row in rows for name in row), rows)
    counting = {each: [case.counting(each) for case in cases] for each in releases}
    cells |= outputs
    for each in releases:
        states = [found.state if found else _MISSING for found in counting[each]]
        cells[f"state@{each}"] = states
    for each in releases:
        cells[f"answers@{each}"] = [len(case.answers(each)) for case in cases]
    for each in comparison.others:
        cells[f"changed@{each}"] = [_CHANGED[found] for found in status[each]]
    return cells | _metric_cells(comparison)


def _said(comparison: BaseComparison) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return the cells of inputs and of outputs, each run read once."""
    inputs: dict[str, list[Any]] = {}
    names, releases = comparison.output_names, comparison.releases
    outputs: dict[str, list[Any]] = {f"output.{n}@{each}": [] for n in names for each in releases}
    columns = [[outputs[f"output.{name}@{each}"].append for name in names] for each in releases]
    for at, case in enumerate(in_turn(comparison.cases)):
        for name, value in case.inputs.items():
            key = f"input.{name}"
            if key not in inputs:
                inputs[key] = [None] * len(comparison.cases)
            inputs[key][at] = cell(value)
        for each, adds in zip(releases, columns, strict=True):
            found = case.counting(each)
            said = found.outputs if found else {}
            for name, add in zip(names, adds, strict=True):
                add(cell(said.get(name)))
    return inputs, outputs


_CHANGED = {"differs": True, "same": False, "missing": None}


def _metric_cells(comparison: BaseComparison) -> dict[str, list[Any]]:
    cells: dict[str, list[Any]] = {}
    for metric in comparison.metrics:
        mean = comparison.answers.scored(metric).mean
        for at, each in enumerate(comparison.releases):
            cells[f"metric.{metric.name}@{each}"] = _numbers(mean[:, at])
        for each in comparison.others:
            found = comparison.against(each, metric.name)
            cells[f"delta.{metric.name}@{each}"] = _numbers(found.delta)
    for each in comparison.others if comparison.metrics else ():
        codes = comparison.against(each).codes.tolist()
        cells[f"verdict@{each}"] = [VERDICTS[code] for code in codes]
    return cells


def changed(comparison: BaseComparison, status: Iterable[Sequence[str]]) -> list[bool | None]:
    """Return of each case whether an answer differs; None where that cannot be told."""
    rows = list(zip(*status, strict=True)) or [()] * len(comparison.cases)
    return [True if "differs" in found else None if _MISSING in found else False for found in rows]


def run_frame(comparison: BaseComparison) -> pd.DataFrame:
    """Return one row a run."""
    rows = [
        (case, release, number, record)
        for case in comparison.cases
        for release in comparison.releases
        for number, record in enumerate(case.tries.get(release, ()))
    ]
    records = [record for *_, record in rows]
    cells: dict[str, list[Any]] = {
        "case_id": [case.case_id for case, *_ in rows],
        "release": [release for _, release, *_ in rows],
        "release_tag": [record.release_tag for record in records],
        "release_id": [record.release_id for record in records],
        "environment": [record.environment for record in records],
        "repeat": [number for _, _, number, _ in rows],
        "state": [record.state for record in records],
        "timestamp": [record.micros for record in records],
        "latency_s": [record.latency_s for record in records],
        "cost_usd": [record.cost_usd for record in records],
    }
    names = dict.fromkeys(name for record in records for name in record.output_names)
    cells |= {f"output.{name}": [] for name in names}
    for record in in_turn_of_records(records):
        for name in names:
            cells[f"output.{name}"].append(cell(record.outputs.get(name)))
    cells |= _scores_of_runs(comparison, records)
    cells["error"] = [cell(": ".join(r.error)) if r.error else None for r in records]
    cells["id"] = [record.id for record in records]
    return _frame(cells)


def _scores_of_runs(comparison: BaseComparison, records: Sequence[Record]) -> dict[str, list[Any]]:
    at = {id(record): number for number, record in enumerate(comparison.answers.records)}
    places = [at.get(id(record)) for record in records]
    cells: dict[str, list[Any]] = {}
    for metric in comparison.metrics:
        scored = comparison.answers.scored(metric)
        values = _numbers(scored.values)
        cells[f"metric.{metric.name}"] = [None if p is None else values[p] for p in places]
        if scored.errors:
            errors = [None if p is None else cell(scored.errors.get(p)) for p in places]
            cells[f"metric_error.{metric.name}"] = errors
    return cells


def error_frame(comparison: BaseComparison) -> pd.DataFrame:
    """Return one row for each run that a metric raised on."""
    answers = comparison.answers
    cells: dict[str, list[Any]] = {
        name: [] for name in ("metric", "case_id", "release", "message", "id")
    }
    for metric in comparison.metrics:
        for at, message in answers.scored(metric).errors.items():
            record = answers.records[at]
            row = (metric.name, record.case_id, record.group, cell(message), record.id)
            for name, value in zip(cells, row, strict=True):
                cells[name].append(value)
    return _frame(cells)


def _frame(cells: dict[str, list[Any]]) -> pd.DataFrame:
    # Names are told by models and files, too.
    return frame_of_cells({clean(name): values for name, values in cells.items()})


def _spread(prefix: str, names: Iterable[str], rows: Sequence[Any]) -> dict[str, list[Any]]:
    return {prefix + name: [cell(row.get(name)) for row in rows] for name in names}


def _numbers(values: NDArray[Any]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]


def cases_by(
    comparison: BaseComparison, releases: Sequence[str], verdict: Verdict, metric: str | None
) -> list[Case]:
    """Return the cases with this verdict on any of the releases, the largest difference first."""
    code = VERDICTS.index(verdict)
    size: dict[int, float] = {}
    for each in releases:
        found = comparison.against(each, metric)
        for row in (found.codes == code).nonzero()[0].tolist():
            by = abs(float(found.delta[row]))
            size[row] = max(size.get(row, 0.0), math.inf if math.isnan(by) else by)
    rows = sorted(size, key=lambda row: (-size[row], row))
    return [comparison.cases[row] for row in rows]

"""A comparison as DataFrames: one row a case, one row a run, one row a release. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vellum_nb.comparison.cases import Case, Status, error_text
from vellum_nb.comparison.figures import VERDICTS, Against, Finding, Scored, estimate, noise_floor
from vellum_nb.history import cell, clean, frame_of_cells, micros
from vellum_nb.models import Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["case_cells", "error_frame", "frame_of", "metric_cells", "run_frame", "summary_frame"]

_MISSING = "missing"
_CHANGED = {"differs": True, "same": False, "missing": None}
_TEXTS = ("release", "release_tag", "release_id", "environment", "finding")

Cells = dict[str, list[Any]]


def frame_of(cells: Mapping[str, list[Any]]) -> pd.DataFrame:
    """Return a frame of columns of plain values; names of columns come from models and files."""
    return frame_of_cells({clean(name): values for name, values in cells.items()})


def case_cells(
    cases: Sequence[Case],
    releases: Sequence[str],
    output_names: Sequence[str],
    statuses: Mapping[str, Sequence[Status]],
) -> Cells:
    """Return the columns of the frame of cases, without metrics."""
    rows = list(zip(*statuses.values(), strict=True)) or [()] * len(cases)
    changed = [True if "differs" in r else None if _MISSING in r else False for r in rows]
    cells: Cells = {"case_id": [case.case_id for case in cases], "changed": changed}
    inputs, outputs = _payload_cells(cases, releases, output_names)
    cells |= inputs
    for prefix, dicts in (
        ("expected.", [case.expected for case in cases]),
        ("label.", [case.labels for case in cases]),
    ):
        for name in dict.fromkeys(name for values in dicts for name in values):
            cells[prefix + name] = [cell(values.get(name)) for values in dicts]
    cells |= outputs
    for each in releases:
        counting = [case.counting(each) for case in cases]
        cells[f"state@{each}"] = [run.state if run else _MISSING for run in counting]
    for each in releases:
        cells[f"answers@{each}"] = [len(case.answers(each)) for case in cases]
    for each, status in statuses.items():
        cells[f"changed@{each}"] = [_CHANGED[one] for one in status]
    return cells


def _payload_cells(
    cases: Sequence[Case], releases: Sequence[str], names: Sequence[str]
) -> tuple[Cells, Cells]:
    """Return the cells of inputs and of outputs, each run read once."""
    inputs: Cells = {}
    outputs: Cells = {f"output.{name}@{each}": [] for name in names for each in releases}
    for at, case in enumerate(cases):
        for name, value in case.inputs.items():
            inputs.setdefault(f"input.{name}", [None] * len(cases))[at] = cell(value)
        for each in releases:
            run = case.counting(each)
            values = run.outputs if run else {}
            for name in names:
                outputs[f"output.{name}@{each}"].append(cell(values.get(name)))
    return inputs, outputs


def metric_cells(
    scores: Sequence[Scored], against: Mapping[tuple[str, str], Against], releases: Sequence[str]
) -> Cells:
    """Return the columns of metrics in the frame of cases; the first metric gives the verdicts."""
    cells: Cells = {}
    for each in scores:
        name = each.metric.name
        for at, release in enumerate(releases):
            cells[f"metric.{name}@{release}"] = _numbers(each.mean[:, at].tolist())
        for release in releases:
            if (release, name) in against:
                delta = against[release, name].delta
                cells[f"delta.{name}@{release}"] = _numbers(delta.tolist())
    for release in releases if scores else ():
        if found := against.get((release, scores[0].metric.name)):
            cells[f"verdict@{release}"] = [VERDICTS[code] for code in found.codes.tolist()]
    return cells


def run_frame(
    table: pd.DataFrame, cases: Sequence[Case], releases: Sequence[str], metrics: Sequence[str]
) -> pd.DataFrame:
    """Return one row a run."""
    runs: list[Run] = table["run"].tolist()
    cells: Cells = {
        "case_id": [cases[at].case_id for at in table["case"].tolist()],
        "release": [releases[at] for at in table["release"].tolist()],
        "release_tag": [run.release_tag for run in runs],
        "release_id": [run.release_id for run in runs],
        "environment": [run.environment for run in runs],
        "repeat": table["repeat"].tolist(),
        "state": [run.state for run in runs],
        "timestamp": [micros(run.timestamp) for run in runs],
        "latency_s": [run.latency_s for run in runs],
        "cost_usd": [run.cost_usd for run in runs],
    }
    names = dict.fromkeys(name for run in runs for name in run.outputs)
    cells |= {f"output.{name}": [] for name in names}
    for run in runs:
        outputs = run.outputs
        for name in names:
            cells[f"output.{name}"].append(cell(outputs.get(name)))
    for name in metrics:
        cells[f"metric.{name}"] = _numbers(table[f"metric.{name}"].tolist())
        errors = table[f"metric_error.{name}"].tolist()
        if any(isinstance(error, str) for error in errors):
            cells[f"metric_error.{name}"] = [
                cell(error) if isinstance(error, str) else None for error in errors
            ]
    cells["error"] = [cell(error_text(run) or None) for run in runs]
    cells["id"] = [run.id for run in runs]
    return frame_of(cells)


def error_frame(
    table: pd.DataFrame, releases: Sequence[str], metrics: Sequence[str]
) -> pd.DataFrame:
    """Return one row for each run that a metric raised on."""
    cells: Cells = {name: [] for name in ("metric", "case_id", "release", "message", "id")}
    for metric in metrics:
        rows = table[table[f"metric_error.{metric}"].notna()]
        columns = (rows["run"], rows["release"], rows[f"metric_error.{metric}"])
        for run, release, message in zip(*columns, strict=True):
            row = (metric, run.case_id, releases[release], cell(message), run.id)
            for name, value in zip(cells, row, strict=True):
                cells[name].append(value)
    return frame_of(cells)


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]


def summary_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row a release, of the rows that `release_row` makes."""
    import pandas as pd

    frame = pd.DataFrame(list(rows))
    texts = [name for name in _TEXTS if name in frame.columns]
    empty = [name for name in frame.columns if frame[name].isna().all() and name not in texts]
    return frame.astype(dict.fromkeys(empty, "float64") | dict.fromkeys(texts, "str"))


def release_row(
    table: pd.DataFrame, release: str, column: int, cases: int, status: Sequence[Status] | None
) -> dict[str, Any]:
    """Return the counts of one release; `status` is missing for the baseline."""
    own = table[table["release"] == column]
    runs: list[Run] = own["run"].tolist()
    answers = own[own["is_answer"]]
    run, answered = own["case"].nunique(), answers["case"].nunique()
    newest = answers.groupby("case")["state"].last()
    changed = None
    if status is not None and (known := len(status) - status.count("missing")):
        changed = 100 * status.count("differs") / known
    return {
        "release": release,
        "release_tag": _joined(run.release_tag for run in runs),
        "release_id": _joined(run.release_id for run in runs),
        "environment": _joined(run.environment for run in runs),
        "cases": cases,
        "n": answered,
        "missing": cases - run,
        "failed": run - answered,
        "rejected": int((newest == "REJECTED").sum()),
        "runs": len(own),
        "changed_pct": changed,
    }


def _joined(values: Iterable[str | None]) -> str | None:
    return ", ".join(each for each in dict.fromkeys(values) if each is not None) or None


def metric_row(
    figures: Scored, column: int, found: Against | None, p: float | None, *, seed: int
) -> dict[str, Any]:
    """Return the figures of one metric on one release; `found` is missing for the baseline."""
    own = estimate(figures, column, seed=seed)
    head = f"metric.{figures.metric.name}"
    row = {
        head: own.mean,
        f"{head}.low": own.low,
        f"{head}.high": own.high,
        f"{head}.n": int((figures.count[:, column] > 0).sum()),
        f"{head}.errors": int(figures.failed[:, column].sum()),
    }
    change = (math.nan,) * 3
    if found is not None:
        change = (found.change.mean, found.change.low, found.change.high)
    band = None if found is None else found.band
    names = ("delta", "delta_low", "delta_high", "p", "noise")
    values = (*change, math.nan if p is None else p, math.nan if band is None else band)
    return row | {f"{head}.{name}": value for name, value in zip(names, values, strict=True)}


def verdict_row(
    figures: Scored, column: int, found: Against | None, p: float | None, finding: Finding | None
) -> dict[str, Any]:
    """Return wins and losses by the first metric; `found` is missing for the baseline."""
    floor = noise_floor(figures, [column]) if found is None else found.noise_floor
    counts: Mapping[Any, int] = found.counts if found else {}
    return {
        "wins": counts.get("better"),
        "ties": counts["same"] + counts["noise"] if found else None,
        "losses": counts.get("worse"),
        "unscored": counts.get("unscored"),
        "errors": counts.get("error"),
        "p": p,
        "noise_floor_pct": None if floor is None else 100 * floor,
        "finding": finding or "baseline",
    }


def cost_row(table: pd.DataFrame, column: int) -> dict[str, Any]:
    """Return the latency and the mean cost of the answers of a release."""
    own = table[(table["release"] == column) & table["is_answer"]]
    seconds = own["latency_s"].dropna()
    return {
        "latency_p50": float(seconds.quantile(0.5)),
        "latency_p95": float(seconds.quantile(0.95)),
        "cost_usd": float(own["cost_usd"].mean()),
    }

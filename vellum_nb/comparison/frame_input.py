"""A comparison of the rows of a DataFrame, for `vellum_nb.compare`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vellum_nb.comparison.comparison import Comparison, Services
from vellum_nb.comparison.metrics import Metrics
from vellum_nb.errors import InputError
from vellum_nb.history import from_micros
from vellum_nb.models import Run, RunError, case_id
from vellum_nb.models.inputs import plain
from vellum_nb.models.sweeps import SweepCase

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare_rows"]

_JSON = (str, bool, int, float, dict, list)
_SAME = ("release_id", "environment", "sweep_id", "latency_s", "cost_usd", "quality")


def compare_rows(
    frame: pd.DataFrame,
    by: str = "release_tag",
    *,
    baseline: str | None = None,
    metrics: Metrics | None = None,
    deployment: str | None = None,
    services: Services | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Comparison:
    """Return the comparison that `vellum_nb.compare` documents."""
    if not hasattr(frame, "columns") or not hasattr(frame, "iloc"):
        msg = f"compare: frame={frame!r:.60} does not fit: give a DataFrame"
        raise InputError(msg)
    name = _deployment(frame, deployment)
    if "deployment" in frame.columns:
        frame = frame[frame["deployment"] == name]
    _check(frame, by)
    rows = _rows(frame)
    rows = [row for row in rows if by in row]
    runs = [_run(row, at, name, by) for at, row in enumerate(rows)]
    groups = [_text(row[by]) for row in rows]
    first = sorted(range(len(runs)), key=lambda at: runs[at].timestamp)
    return Comparison(
        runs,
        deployment=name,
        release_tags=list(dict.fromkeys(groups[at] for at in first)),
        groups=None if by == "release_tag" else groups,
        baseline=None if baseline is None else str(baseline),
        metrics=metrics,
        cases=_cases([(runs[at], rows[at]) for at in first]),
        services=services,
        by=by,
        alpha=alpha,
        seed=seed,
    )


def _deployment(frame: pd.DataFrame, name: str | None) -> str:
    if "deployment" not in frame.columns:
        return name or "runs"
    known = [str(each) for each in frame["deployment"].dropna().unique()]
    if name is None and len(known) == 1:
        return known[0]
    if name in known:
        return str(name)
    listed = ", ".join(known) or "none"
    if name is None:
        msg = f"the frame has runs of {listed}: give deployment=... for one of them"
    else:
        msg = f"the frame has no runs of {name!r}; it has: {listed}"
    raise InputError(msg)


def _check(frame: pd.DataFrame, by: str) -> None:
    names = [str(name) for name in frame.columns]
    if by not in names:
        msg = f"the frame has no column {by!r} to compare by; it has: {', '.join(names)}"
        raise InputError(msg)
    if "case_id" not in names and not any(name.startswith("input.") for name in names):
        msg = "cases are not known: the frame has neither case_id nor input.<name> columns"
        raise InputError(msg)
    if not frame[by].notna().any():
        msg = f"the column {by!r} has no value, so there is nothing to compare"
        raise InputError(msg)


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as plain values; what is missing is left out."""
    names = [str(name) for name in frame.columns]
    columns = []
    for at, name in enumerate(names):
        column = frame.iloc[:, at]
        if name == "timestamp":
            column = _micros(column)
        columns.append(zip(column.tolist(), column.isna().tolist(), strict=True))
    return [
        {name: value for name, (value, missing) in zip(names, cells, strict=True) if not missing}
        for cells in zip(*columns, strict=True)
    ]


def _micros(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return times as microseconds since 1970; what is no time is missing."""
    import pandas as pd

    times = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    return times.astype("datetime64[us, UTC]").astype("int64").where(times.notna())


def _run(row: Mapping[str, Any], at: int, deployment: str, by: str) -> Run:
    """Return a row as a run; without a time it is as old as its place in the frame."""
    inputs = _side(row, "input.")
    micros, code = row.get("timestamp"), row.get("error_code")
    error = None
    if code is not None:
        error = RunError(code=str(code), message=str(row.get("error_message", "")))
    try:
        return Run(
            **{name: row.get(name) for name in _SAME},
            id=str(row.get("id") or at),
            deployment=deployment,
            release_tag=str(row.get("release_tag", row.get(by))),
            timestamp=from_micros(int(micros) if isinstance(micros, int | float) else at),
            state=str(row.get("state", "FULFILLED")),
            inputs=inputs,
            outputs=_side(row, "output."),
            error=error,
            case_id=str(row.get("case_id") or case_id(inputs)),
            desired=_side(row, "desired.") or None,
        )
    except ValidationError as exc:
        first = exc.errors()[0]
        field = ".".join(map(str, first["loc"]))
        msg = f"row {at + 1} of the frame: {field}={first['input']!r:.60}: {first['msg']}"
        raise InputError(msg) from exc


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _side(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): _value(name, value)
        for name, value in row.items()
        if name.startswith(prefix)
    }


def _value(name: str, value: Any) -> Any:
    """Return the value that a cell shows: a frame has structured ones as JSON text."""
    if not isinstance(value, _JSON):
        try:
            return plain(value)
        except InputError as exc:
            msg = f"the column {name!r} of the frame: {exc}"
            raise InputError(msg) from None
    if isinstance(value, str) and value[:1] in {"{", "["}:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _cases(rows: Sequence[tuple[Run, Mapping[str, Any]]]) -> list[SweepCase]:
    """Return the cases as they were first run, with their expected outputs and labels."""
    found: dict[str, SweepCase] = {}
    for run, row in rows:
        if run.case_id not in found:
            expected, labels = _side(row, "expected."), _side(row, "label.")
            at, inputs = len(found), run.inputs
            found[run.case_id] = SweepCase(at, run.case_id, inputs, expected, labels)
    return list(found.values())

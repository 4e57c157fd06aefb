"""A comparison of the rows of a DataFrame, for `vellum_nb.compare`.

Scores in columns ``metric.<name>`` become metrics: each run has those of its row in its metadata.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import ValidationError

from vellum_nb.clock import from_micros
from vellum_nb.comparison.cases import expected_problem, label_note
from vellum_nb.comparison.compare import compare_runs
from vellum_nb.comparison.comparison import Comparison
from vellum_nb.comparison.conversations import own_inputs
from vellum_nb.comparison.metrics import Metric, Metrics
from vellum_nb.errors import InputError
from vellum_nb.history import COLUMN_KINDS, refuse_short_view
from vellum_nb.lazy import pd
from vellum_nb.models import Run, case_id
from vellum_nb.models.checks import available, check_text, refuse
from vellum_nb.models.inputs import plain
from vellum_nb.models.sweeps import SweepCase

_METRIC = "metric."
_OF_A_RELEASE = ("output.", "metric.", "state@")
_SAME = ("release_id", "environment", "sweep_id", "latency_s", "cost_usd", "quality")


def compare_rows(
    frame: pd.DataFrame,
    by: str,
    *,
    deployment: str | None = None,
    baseline: object = None,
    **options: Any,
) -> Comparison:
    """Return the comparison documented in `vellum_nb.compare`."""
    if not hasattr(frame, "columns") or not hasattr(frame, "iloc"):
        refuse("frame", frame, "a DataFrame")
    refuse_short_view(frame.columns, "the frame")
    name = _deployment(frame, deployment)
    if "deployment" in frame.columns:
        frame = frame[frame["deployment"] == name]
    if by not in frame.columns:
        frame = _long(frame, by)
    _check(frame, by)
    notes = _column_notes(frame, by)
    rows = [row for row in _rows(frame) if by in row]
    runs = [(_run(row, at, name, by), row) for at, row in enumerate(rows)]
    runs.sort(key=lambda pair: pair[0].timestamp)
    runs = _with_scripts(runs)
    groups = [_text(row[by]) for _, row in runs]
    options["metrics"] = _with_stored(options.get("metrics"), _stored_metrics(frame))
    if options["metrics"] is None and not any(_has_result(run) for run, _ in runs):
        msg = "the frame has no output.<name> columns, so there is nothing to compare"
        raise InputError(msg)
    cases: dict[str, dict[int, SweepCase]] = {}  # by turn, 0 for a case without turns
    for run, row in runs:
        sides = _side(row, "expected."), _side(row, "label.")
        previous, turn = run.previous_execution_id, run.turn or 0
        case = SweepCase(len(cases), run.case_id, own_inputs(run), *sides, previous, turn)
        cases.setdefault(run.case_id, {}).setdefault(turn, case)
    return compare_runs(
        [run for run, _ in runs],
        deployment=name,
        release_tags=list(dict.fromkeys(groups)),
        groups=None if by == "release_tag" else groups,
        baseline=None if baseline is None else str(baseline),
        cases=[turns[turn] for turns in cases.values() for turn in sorted(turns)],
        by=by,
        notes=notes,
        **options,
    )


def _stored_metrics(frame: pd.DataFrame) -> dict[str, Metric]:
    """Return a metric for each column of scores, with bounds if all are between 0 and 1."""
    metrics: dict[str, Metric] = {}
    for at, column in enumerate(map(str, frame.columns)):
        scores = pd.to_numeric(frame.iloc[:, at], errors="coerce") if _METRIC in column else None
        if scores is None or not column.startswith(_METRIC) or not scores.notna().any():
            continue
        name = column.removeprefix(_METRIC)
        bounds = (0.0, 1.0) if scores.dropna().between(0, 1).all() else None
        metrics[name] = Metric(partial(_stored_score, name), name=name, bounds=bounds)
    return metrics


def _stored_score(name: str, run: Run) -> Any:
    return (run.metadata or {}).get(_METRIC + name)


def _with_stored(metrics: Metrics | None, stored: Mapping[str, Metric]) -> Metrics | None:
    """Return `metrics` with the names of stored ones replaced; default: all stored ones."""
    if metrics is None:
        return list(stored.values()) or None
    if isinstance(metrics, str):
        return stored.get(metrics, metrics)
    if not isinstance(metrics, list | tuple):
        return metrics
    return [stored.get(one, one) if isinstance(one, str) else one for one in metrics]


def _long(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return a frame with columns ``output.<name>@<release>`` as one row per case and release."""
    names = [str(name) for name in frame.columns]
    sides = {n: n.partition("@") for n in names if "@" in n and n.startswith(_OF_A_RELEASE)}
    parts = []
    for release in dict.fromkeys(release for _, _, release in sides.values()):
        others = {name: column for name, (column, _, r) in sides.items() if r == release}
        kept = [name for name in names if name in others or name not in sides]
        part = frame.set_axis(names, axis=1)[kept].rename(columns=others).assign(**{by: release})
        parts.append(part[part[list(others.values())].notna().any(axis=1)])
    return pd.concat(parts, ignore_index=True) if parts else frame


def _has_result(run: Run) -> bool:
    return bool(run.outputs) or run.state != "FULFILLED" or run.quality is not None


def _deployment(frame: pd.DataFrame, name: str | None) -> str:
    check_text("deployment", name, optional=True)
    if "deployment" not in frame.columns:
        return name or "runs"
    names = [str(value) for value in frame["deployment"].dropna().unique()]
    if name in names or (name is None and len(names) == 1):
        return name or names[0]
    if name is None:
        listed = ", ".join(names) or "no deployment"
        msg = f"the frame has runs of {listed}: give deployment=... for one of them"
    else:
        msg = f"the frame has no runs of {name!r}{available(names)}"
    raise InputError(msg)


def _check(frame: pd.DataFrame, by: str) -> None:
    names = [str(name) for name in frame.columns]
    if by not in names:
        msg = f"the frame has no column {by!r} to compare by{available(names)}"
        raise InputError(msg)
    if "case_id" not in names and not any(name.startswith("input.") for name in names):
        msg = "the frame has no cases: it needs a case_id column or input.<name> columns"
        raise InputError(msg)
    if not frame[by].notna().any():
        msg = f"the column {by!r} has no value to compare by"
        raise InputError(msg)


def _column_notes(frame: pd.DataFrame, by: str) -> list[str]:
    """Return notes on columns named like an output; raise for expected values of no output."""
    names = [str(name) for name in frame.columns]
    outputs = [name.removeprefix("output.") for name in names if name.startswith("output.")]
    expected = [name for name in names if name.startswith("expected.")]
    role = "an output of the frame"
    if problems := list(filter(None, (expected_problem(n, outputs, role) for n in expected))):
        msg = "The expected values of the frame do not fit its outputs:"
        raise InputError(msg, problems)
    used, prefixes = (*COLUMN_KINDS, by), ("expected.", "desired.", _METRIC)
    unused = [n for n in names if n not in used and not n.startswith(prefixes)]
    return list(filter(None, (label_note(name, outputs) for name in unused)))


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as plain values without missing ones; times are µs since the epoch."""
    rows: list[dict[str, Any]] = [{} for _ in range(len(frame))]
    for at, name in enumerate(map(str, frame.columns)):
        column = frame.iloc[:, at]
        if name == "timestamp":
            times = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
            micros = times.astype("datetime64[us, UTC]").astype("int64")
            column = micros.where(times.notna())
        for row, value, missing in zip(rows, column.tolist(), column.isna().tolist(), strict=True):
            if not missing:
                row[name] = value
    return rows


def _run(row: Mapping[str, Any], at: int, deployment: str, by: str) -> Run:
    """Return a row as a run; without a time, its position in the frame serves as its time."""
    inputs, tags = _side(row, "input."), _side(row, "tags").get("")
    previous = row.get("previous_execution_id")
    error = None
    if "error_code" in row:
        error = {"code": str(row["error_code"]), "message": str(row.get("error_message", ""))}
    try:
        return Run.model_validate(
            {name: row.get(name) for name in _SAME}
            | {
                "id": str(row.get("id") or at),
                "deployment": deployment,
                "release_tag": _text(row.get("release_tag", row[by])),
                "timestamp": from_micros(int(row.get("timestamp", at))),
                "state": str(row.get("state", "FULFILLED")),
                "inputs": inputs,
                **_turn_of(row),
                "outputs": _side(row, "output."),
                "error": error,
                "case_id": _case_id(row.get("case_id"), inputs, previous),
                "previous_execution_id": previous,
                "desired": _side(row, "desired.") or None,
                "metadata": {k: v for k, v in row.items() if k.startswith(_METRIC)} or None,
                "tags": tags if isinstance(tags, list) else (),
            }
        )
    except ValidationError as exc:
        first = exc.errors()[0]
        field = ".".join(map(str, first["loc"]))
        msg = f"row {at + 1} of the frame: {field}={first['input']!r:.60}: {first['msg']}"
        raise InputError(msg) from exc


def _turn_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return conversation and turn of a row; a column `turn` alone has another meaning."""
    number, name = row.get("turn"), row.get("conversation_id")
    if not name or not isinstance(number, int | float) or not 1 <= number < math.inf:
        return {}
    return {"conversation_id": str(name), "turn": int(number)}


def _with_scripts(
    runs: Sequence[tuple[Run, dict[str, Any]]],
) -> list[tuple[Run, dict[str, Any]]]:
    """Return the runs with the id of what the user says for conversations without a stored id."""
    scripts: dict[str, dict[int, Any]] = {}
    for run, row in runs:
        if run.turn and run.conversation_id and not row.get("case_id"):
            scripts.setdefault(run.conversation_id, {})[run.turn] = own_inputs(run)
    ids = {
        name: case_id({"turns": [turns[number] for number in sorted(turns)]})
        for name, turns in scripts.items()
    }
    return [
        (run.model_copy(update={"case_id": ids.get(run.conversation_id or "", run.case_id)}), row)
        for run, row in runs
    ]


def _case_id(stored: Any, inputs: Mapping[str, Any], previous: str | None) -> str:
    """Return the stored id of a case, unless it is missing or ignores its conversation."""
    if stored and not (previous and stored == case_id(inputs)):
        return str(stored)
    return case_id(inputs, previous)


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _side(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the columns with a prefix by name, with JSON text parsed."""
    side: dict[str, Any] = {}
    for name, value in row.items():
        if not name.startswith(prefix):
            continue
        try:
            parsed = plain(value)
        except InputError as exc:
            msg = f"the column {name!r} of the frame: {exc}"
            raise InputError(msg) from None
        if isinstance(parsed, str) and parsed[:1] in {"{", "["}:
            try:
                parsed = json.loads(parsed)
            except (ValueError, RecursionError):
                parsed = value
        side[name.removeprefix(prefix)] = parsed
    return side

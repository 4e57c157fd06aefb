"""Conversion of sweeps and their cases to rows and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from vellum_nb.clock import from_micros, micros
from vellum_nb.history.rows import damaged, encoded
from vellum_nb.models.sweeps import MOST_RUNS, SweepCase, SweepRecord, most_rounds

SWEEP = (
    *("id", "deployment", "environment", "workspace", "release_tags", "repeats", "cases"),
    *("signature", "created", "round", "ended", "why", "releases", "options"),
    *("generation", "case_order", "checked", "judge", "notes"),
)
_JSON = frozenset({"release_tags", "releases", "options", "case_order", "checked", "notes"})
CASE = ("position", "case_id", "previous_execution_id", "inputs", "expected", "labels", "large")
REUSED = ("position", "release_tag", "repeat", "run")


def column_value(value: Any) -> Any:
    """Return the value of a field of a sweep as stored in its column."""
    if isinstance(value, datetime):
        return micros(value)
    if isinstance(value, dict) and any(isinstance(item, datetime) for item in value.values()):
        value = {name: micros(time) for name, time in value.items()}
    return json.dumps(value) if isinstance(value, dict | tuple) else value


def sweep_of(row: Sequence[Any]) -> SweepRecord:
    """Return the sweep of a row of `SWEEP`; raise a `HistoryError` if it is damaged."""
    fields = {name: value for name, value in zip(SWEEP, row, strict=True) if value is not None}
    with damaged(f"Sweep {row[0]!r:.100}"):
        fields |= {name: json.loads(fields[name]) for name in fields.keys() & _JSON}
        checked = fields.get("checked", {}).items()
        fields["checked"] = {tag: from_micros(at) for tag, at in checked}
        fields |= {name: from_micros(fields[name]) for name in fields.keys() & {"created", "ended"}}
        sweep = SweepRecord(**fields)
        _check_numbers(sweep)
    return sweep


def _check_numbers(sweep: SweepRecord) -> None:
    """Raise a ValueError for impossible numbers, which could cause very long loops."""
    fits = sweep.cases >= 0 and sweep.repeats > 0
    fits = fits and 0 <= sweep.round <= most_rounds(sweep.planned)
    order = sweep.case_order
    if not fits or sweep.planned > MOST_RUNS:
        msg = f"{sweep.cases} cases, {sweep.repeats} repeats, round {sweep.round}"
        raise ValueError(msg)
    if order is not None and sorted(order) != [*range(sweep.cases)]:
        msg = "case_order is not an order of its cases"
        raise ValueError(msg)


def cases_of(rows: Sequence[Sequence[Any]], sweep_id: str, planned: int) -> list[SweepCase]:
    """Return the cases of rows of `CASE` without `large`; raise a `HistoryError` if damaged."""
    cases = []
    with damaged(f"Sweep {sweep_id!r:.100}"):
        if len(rows) != planned:
            msg = f"it has {planned} cases, and {len(rows)} are stored"
            raise ValueError(msg)
        for number, (position, case_id, previous, *texts) in enumerate(rows):
            inputs, expected, labels = (dict[str, Any](json.loads(text)) for text in texts)
            if position != number or not isinstance(case_id, str):
                msg = f"case {number}: {position}, {case_id!r:.60}"
                raise ValueError(msg)
            cases.append(SweepCase(position, case_id, inputs, expected, labels, previous))
    return cases


def case_row(case: SweepCase) -> dict[str, Any]:
    """Return the row of a case, without its sweep."""
    names, where = CASE[3:-1], f"case {case.position}"
    texts = {name: encoded(dict(getattr(case, name)), name, where) for name in names}
    return {**{name: getattr(case, name) for name in CASE[:3]}, **texts}

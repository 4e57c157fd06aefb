"""A sweep and its cases as rows, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.rows import encoded, from_micros, micros
from vellum_nb.models.sweeps import SweepCase, SweepRecord

SWEEP = (
    *("id", "deployment", "environment", "workspace", "release_tags", "repeats", "cases"),
    *("signature", "created", "round", "ended", "why", "releases", "options"),
    *("generation", "case_order", "checked", "judge", "notes"),
)
CASE = ("position", "case_id", "previous_execution_id", "inputs", "expected", "labels", "large")
REUSED = ("position", "release_tag", "repeat", "run")


def column_value(value: Any) -> Any:
    """Return a field of a sweep as its column holds it."""
    if isinstance(value, datetime):
        return micros(value)
    if isinstance(value, dict) and any(isinstance(each, datetime) for each in value.values()):
        value = {name: micros(each) for name, each in value.items()}
    return json.dumps(value) if isinstance(value, dict | tuple) else value


def sweep_of(row: Sequence[Any]) -> SweepRecord:
    """Return the sweep of a row of `SWEEP`."""
    found = dict(zip(SWEEP, row, strict=True))
    try:
        for name in ("release_tags", "releases", "options"):
            found[name] = json.loads(found[name])
        order, checked = found["case_order"], json.loads(found["checked"] or "{}")
        found["case_order"] = None if order is None else tuple(json.loads(order))
        found["notes"] = tuple(json.loads(found["notes"] or "[]"))
        found["checked"] = {tag: from_micros(at) for tag, at in checked.items()}
        found["created"] = from_micros(found["created"])
        found["ended"] = None if found["ended"] is None else from_micros(found["ended"])
        return SweepRecord(**found | {"release_tags": tuple(found["release_tags"])})
    except (ValueError, TypeError, OverflowError) as exc:
        msg = f"Sweep {row[0]!r:.100} in the history is damaged; put a backup in its place"
        raise HistoryError(msg) from exc


def case_row(case: SweepCase) -> dict[str, Any]:
    """Return the row of a case, without its sweep."""
    names, where = CASE[3:-1], f"case {case.position}"
    texts = {name: encoded(dict(getattr(case, name)), name, where) for name in names}
    return {**{name: getattr(case, name) for name in CASE[:3]}, **texts}

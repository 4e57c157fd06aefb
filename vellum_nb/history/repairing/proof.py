"""Whether what stands in the two rows of a run can be read, and which column cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vellum_nb.history.rows.rows import PAYLOADS, SCALARS, run_of

__all__ = ["EMPTY", "faults", "is_json"]

EMPTY = {"inputs": "{}", "outputs": "{}", "output_types": "{}", "not_sent": "[]"}
"""What stands in the columns of `payloads` that must have a value, where there is none."""

_NAMES = (*SCALARS, *PAYLOADS)
_SOUND = dict.fromkeys(_NAMES) | {
    "id": "x",
    "deployment": "x",
    "release_tag": "x",
    "timestamp": 0,
    "state": "FAILED",
    "case_id": "x",
    "repeat": 0,
    "tag_moved": 0,
    **EMPTY,
}
_UNREADABLE = (ValueError, TypeError, OverflowError, RecursionError, AttributeError, KeyError)


def faults(row: Mapping[str, Any]) -> list[str]:
    """Return the columns that no run can be made of; none where the row is sound.

    Examples
    --------
    >>> faults({"inputs": "{", "state": "ASLEEP", "note": "fine"})
    ['state', 'inputs']
    """
    if _reads(_SOUND | {name: row[name] for name in _NAMES if name in row}):
        return _large_faults(row.get("large"))
    found = [name for name in _NAMES if name in row and not _reads(_SOUND | {name: row[name]})]
    return [*(found or ["id"]), *_large_faults(row.get("large"))]


def is_json(text: str | None, kind: type) -> bool:
    """Whether `text` is the JSON of a value of this kind, or None."""
    if text is None:
        return True
    try:
        return isinstance(json.loads(text), kind)
    except (ValueError, RecursionError):
        return False


def _reads(row: dict[str, Any]) -> bool:
    try:
        run_of([row[name] for name in _NAMES])
    except _UNREADABLE:
        return False
    return True


def _large_faults(text: str | None) -> list[str]:
    if text is None:
        return []
    try:
        ok = all(isinstance(path, list) for _, path, _ in json.loads(text))
    except _UNREADABLE:
        ok = False
    return [] if ok else ["large"]

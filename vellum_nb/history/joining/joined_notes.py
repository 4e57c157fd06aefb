"""What two people wrote about one run, put together so that neither is lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vellum_nb.history.rows.rows import encoded, tags_text

__all__ = ["outvoted", "read_by_people"]


def read_by_people(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    r"""Return quality, note, tags and desired outputs of both rows; ours where they differ.

    Notes are joined by lines. What ours outvotes becomes a line of the note.

    Examples
    --------
    >>> bare = {"quality": None, "note": None, "tags": None, "desired": None}
    >>> both = read_by_people(bare | {"quality": 1.0}, bare | {"quality": 0.5, "note": "rude"})
    >>> both["quality"], both["note"]
    (1.0, 'rude\nmerged: quality 0.5')
    """
    quality = ours["quality"] if ours["quality"] is not None else theirs["quality"]
    desired = _object(theirs) | _object(ours)
    lines = [line for _, line in outvoted(ours, theirs)]
    note = _lines(ours["note"], theirs["note"])
    return {
        "quality": quality,
        "note": _lines(note, "\n".join(lines) or None),
        "tags": _tags(ours["tags"], theirs["tags"]),
        "desired": _desired(ours["desired"], theirs["desired"], desired),
    }


def outvoted(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what theirs says otherwise than ours: the field, and a line for the note."""
    found = []
    if None not in (ours["quality"], theirs["quality"]) and ours["quality"] != theirs["quality"]:
        found.append(("quality", f"merged: quality {theirs['quality']}"))
    mine = _object(ours)
    for name, value in _object(theirs).items():
        if name in mine and _text(mine[name]) != _text(value):
            found.append(("desired", f"merged: desired.{_text(name)} {_text(value)}"))
    return found


def _lines(ours: str | None, theirs: str | None) -> str | None:
    if ours is None or theirs is None:
        return theirs if ours is None else ours
    if not ours or not theirs:
        return ours or theirs
    mine, others = ours.splitlines(), theirs.splitlines()
    if set(mine) <= set(others):
        return theirs
    return "\n".join([ours, *(line for line in others if line not in mine)])


def _tags(ours: str | None, theirs: str | None) -> str | None:
    if not theirs or ours == theirs:
        return ours
    return tags_text(list(dict.fromkeys([*json.loads(ours or "[]"), *json.loads(theirs)])))


def _desired(ours: str | None, theirs: str | None, both: dict[str, Any]) -> str | None:
    if ours is None or theirs is None:
        return theirs if ours is None else ours
    if json.loads(ours).keys() == both.keys():
        return ours
    return encoded(both, "desired", "")


def _object(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row["desired"] or "{}")
    return found


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)

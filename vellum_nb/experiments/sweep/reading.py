"""Cases from tables: DataFrames, lists of dicts, CSV and JSONL files. Pure, but for the files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vellum_nb.errors import InputError
from vellum_nb.history import read_csv

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Row", "read_rows", "sorted_out"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, its columns sorted into what they are for."""

    inputs: dict[str, Any] = field(default_factory=dict)
    expected: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)


def read_rows(
    cases: pd.DataFrame | Sequence[Mapping[str, Any]] | str | Path,
) -> list[dict[str, Any]]:
    """Return the rows of `cases`; a missing value of a table is left out.

    Raises
    ------
    InputError
        The file cannot be read, or `cases` is no table.
    """
    if isinstance(cases, str | Path):
        return _file(Path(cases))
    if hasattr(cases, "to_dict"):
        return _frame(cases)
    return [dict(case) for case in cases]


def sorted_out(row: Mapping[str, Any], variables: Sequence[str]) -> Row:
    """Return `row` with its columns sorted: ``input.x`` or a variable's name, ``expected.x``, else
    a label.
    """
    found = Row()
    for name, value in row.items():
        room, _, rest = name.partition(".")
        if room == "input" and rest:
            found.inputs[rest] = value
        elif room == "expected" and rest:
            found.expected[rest] = value
        elif name in variables:
            found.inputs[name] = value
        else:
            found.labels[name] = value
    return found


def _file(path: Path) -> list[dict[str, Any]]:
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        return list(_lines(path))
    return _frame(read_csv(path))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except ValueError as exc:
                msg = f"{path}, line {number}: {exc}; each line must be a JSON object"
                raise InputError(msg) from exc
            if not isinstance(found, dict):
                msg = f"{path}, line {number}: each line must be a JSON object"
                raise InputError(msg)
            yield found


def _frame(frame: Any) -> list[dict[str, Any]]:
    rows = frame.to_dict("records")
    return [{str(k): v for k, v in row.items() if not _is_missing(v)} for row in rows]


def _is_missing(value: object) -> bool:
    import pandas as pd

    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))

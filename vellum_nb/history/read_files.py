"""Exported files back to frames: equal to the one that was written, values and dtypes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vellum_nb.errors import Converting, HistoryError
from vellum_nb.history.csv_text import csv_table, typed, unguarded, values_of
from vellum_nb.history.export import JSON_COLUMNS, pyarrow
from vellum_nb.history.frames import KINDS, column, frame_of_cells, frame_of_rows
from vellum_nb.history.rows import FRAMED, cell, micros, payload_row, scalar_row, tags_text
from vellum_nb.models import Run

if TYPE_CHECKING:
    import pandas as pd

_LINES = "JSON lines of a history"


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read a CSV of a history: the frame is equal to the one that was written.

    Columns, dtypes and values are the same; text stays distinct from numbers, ``""`` from missing.
    The apostrophe that `History.to_csv` puts before text like ``=1+1`` is removed. A file that a
    spreadsheet saved again is read too, as far as it preserved the types: also one whose cells are
    separated by semicolons or tabs, with decimal commas.

    Raises
    ------
    HistoryError
        The file cannot be read, or is not such a CSV; the row is named.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> with vnb.History(":memory:") as history:
    ...     path = history.to_csv("runs.csv")
    >>> len(vnb.read_csv(path))
    0
    """
    with _errors(path, "a CSV of a history"):
        separator, names, rows = csv_table(Path(path).read_bytes())
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            msg = f"several columns are called {', '.join(sorted(repeated))}"
            raise ValueError(msg)
        cells: dict[str, list[Any]] = {name: [] for name in names}
        for number, row in enumerate(rows, 2):
            for name, (text, was_quoted) in zip(names, row, strict=True):
                try:
                    value = _value(text, KINDS.get(name), was_quoted, has_commas=separator != ",")
                except (ValueError, OverflowError) as exc:
                    msg = f"row {number}, {name}: {text!r} does not belong there ({exc})"
                    raise ValueError(msg) from exc
                cells[name].append(value)
        return frame_of_cells(cells)


def _value(text: str, kind: str | None, was_quoted: bool, *, has_commas: bool) -> Any:  # noqa: FBT001
    if not text and not was_quoted:
        return None
    if kind is None and not was_quoted:
        return typed(text, decimal_comma=has_commas)
    if kind == "time":
        return micros(datetime.fromisoformat(text))
    if kind == "float":
        return float(text.replace(",", ".") if has_commas else text)
    return int(text) if kind in {"int", "count"} else unguarded(text)


def read_jsonl(path: str | Path) -> pd.DataFrame:
    """Read JSON lines of a history: the frame is equal to the one that was exported.

    The lines are whole runs, or the columns that were chosen. A file without a line has the
    columns that every frame has. Errors are those of `read_csv`.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> with vnb.History(":memory:") as history:
    ...     path = history.to_jsonl("runs.jsonl")
    >>> len(vnb.read_jsonl(path))
    0
    """
    with _errors(path, _LINES):
        lines = list(_objects(Path(path)))
        if not lines or "inputs" in lines[0]:
            runs = [_run(line, number) for number, line in enumerate(lines, 1)]
            return frame_of_rows(
                [(*scalar_row(r).values(), *payload_row(r, FRAMED).values()) for r in runs]
            )
        cells: dict[str, list[Any]] = {name: [] for name in lines[0]}
        for number, line in enumerate(lines, 1):
            if line.keys() != cells.keys():
                msg = f"line {number} has other names than the first: {', '.join(line)}"
                raise ValueError(msg)
            for name, value in line.items():
                is_time = value is not None and KINDS.get(name) == "time"
                read = micros(datetime.fromisoformat(value)) if is_time else cell(value)
                cells[name].append(tags_text(value) if name == "tags" and value else read)
        return frame_of_cells(cells)


def runs_of_jsonl(path: Path) -> Iterator[Run]:
    """Yield the runs of a file that `History.to_jsonl` wrote, one line at a time."""
    with _errors(path, _LINES):
        for number, line in enumerate(_objects(path), 1):
            yield _run(line, number)


def _errors(path: str | Path, what: str) -> Converting:
    def convert(exc: Exception) -> HistoryError | None:
        if isinstance(exc, OSError):
            return HistoryError(f"{path} cannot be read: {exc.strerror}")
        if isinstance(exc, UnicodeDecodeError):
            advice = "save it as 'CSV UTF-8' and try again"
            return HistoryError(f"{path} is not UTF-8 at byte {exc.start}; {advice}")
        if isinstance(exc, ValueError | KeyError | OverflowError):  # pyarrow's are one of them
            return HistoryError(f"{path} is not {what}: {exc}")
        return None

    return Converting(convert)


def read_parquet(path: str | Path) -> pd.DataFrame:
    """Read a Parquet file of a history: the frame is equal to the one that was exported.

    It is what ``pandas.read_parquet`` reads, but for columns of mixed types, which are JSON text
    in the file and the values themselves here. Needs pyarrow, from the extra ``parquet``. Errors
    are those of `read_csv`.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> with vnb.History(":memory:") as history:
    ...     path = history.to_parquet("runs.parquet")
    >>> len(vnb.read_parquet(path))
    0
    """
    pa = pyarrow("read_parquet")
    with _errors(path, "a Parquet file of a history"), Path(path).open("rb") as file:
        table = pa.parquet.ParquetFile(file).read()
        frame: pd.DataFrame = table.to_pandas()
        for name in json.loads((table.schema.metadata or {}).get(JSON_COLUMNS, b"[]")):
            values = [None if text is None else json.loads(text) for text in values_of(frame[name])]
            frame[name] = column(values, None).astype("object")
        for name in frame.columns if frame.empty else ():
            if KINDS.get(name) in {"tag", "state"}:  # without rows Arrow keeps no categories
                frame[name] = column([], KINDS[name])
    return frame


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        yield from json_objects(file)


def json_objects(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the object of each line but empty ones; raise a `ValueError` for another value."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as exc:
            msg = f"line {number}: {exc}"
            raise ValueError(msg) from exc
        if not isinstance(found, dict):
            msg = f"line {number} is not a JSON object"
            raise ValueError(msg)  # noqa: TRY004  (a wrong file, not a wrong argument)
        yield found


def _run(line: dict[str, Any], number: int) -> Run:
    try:
        return Run.model_validate(line)
    except ValidationError as exc:
        problem = exc.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        msg = f"line {number} is not a run: {where}: {problem['msg']}"
        raise ValueError(msg) from exc

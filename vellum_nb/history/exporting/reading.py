"""Exported files back to frames: equal to the one that was written, values and dtypes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vellum_nb.errors import HistoryError
from vellum_nb.history.exporting.csv_text import split, typed, unguarded
from vellum_nb.history.exporting.parquet import AS_JSON, arrow
from vellum_nb.history.rows.cells import cell
from vellum_nb.history.rows.frames import KINDS, column, frame_of_cells, frame_of_rows
from vellum_nb.history.rows.rows import FRAMED, micros, payload_row, scalar_row, tags_text
from vellum_nb.models import Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_csv", "read_jsonl", "read_parquet"]


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read a CSV of a history: the frame is equal to the one that was written.

    Columns, dtypes and values are the same; text keeps apart from numbers, ``""`` from missing.
    The apostrophe that `History.to_csv` puts before text like ``=1+1`` is taken off. A file that
    a spreadsheet saved again is read too, as far as it kept the types.

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
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            head, *rows = [*split(file.read())] or [[]]
        names = [unguarded(text) for text, _ in head]
        _check_shape(names, rows)
        columns = {name: _column(name, [row[i] for row in rows]) for i, name in enumerate(names)}
    except OSError as exc:
        msg = f"{path} cannot be read: {exc.strerror}"
        raise HistoryError(msg) from exc
    except ValueError as exc:
        msg = f"{path} is not a CSV of a history: {exc}"
        raise HistoryError(msg) from exc
    return frame_of_cells(columns)


def read_jsonl(path: str | Path) -> pd.DataFrame:
    """Read JSON lines of a history: the frame is equal to the one that was exported.

    The lines are whole runs, or the columns that were chosen. A file without a line has the
    columns that every frame has.

    Raises
    ------
    HistoryError
        The file cannot be read, or is no such file; the line is named.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> with vnb.History(":memory:") as history:
    ...     path = history.to_jsonl("runs.jsonl")
    >>> len(vnb.read_jsonl(path))
    0
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="\n") as file:
            found = list(_objects(file))
        if found and "inputs" not in found[0]:
            return frame_of_cells(_chosen(found))
        return frame_of_rows([_row(each, at) for at, each in enumerate(found, 1)])
    except OSError as exc:
        msg = f"{path} cannot be read: {exc.strerror}"
        raise HistoryError(msg) from exc
    except ValueError as exc:
        msg = f"{path} is no JSON lines of a history: {exc}"
        raise HistoryError(msg) from exc


def read_parquet(path: str | Path) -> pd.DataFrame:
    """Read a Parquet file of a history: the frame is equal to the one that was exported.

    It is what ``pandas.read_parquet`` reads, but for columns of mixed types, which are JSON text
    in the file and the values themselves here. Needs pyarrow, from the extra ``fast``.

    Raises
    ------
    HistoryError
        The file cannot be read, or pyarrow is not installed.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> with vnb.History(":memory:") as history:
    ...     path = history.to_parquet("runs.parquet")
    >>> len(vnb.read_parquet(path))
    0
    """
    pa = arrow("read_parquet")
    try:
        with Path(path).open("rb") as file:
            table = pa.parquet.ParquetFile(file).read()
        noted = (table.schema.metadata or {}).get(AS_JSON, b"[]")
        frame: pd.DataFrame = table.to_pandas()
        for name in json.loads(noted):
            texts = [text if isinstance(text, str) else None for text in frame[name].tolist()]
            values = [None if text is None else json.loads(text) for text in texts]
            frame[name] = column(values, None).astype("object")
        for name in frame.columns if frame.empty else ():
            if KINDS.get(name) in {"tag", "state"}:  # without rows Arrow keeps no categories
                frame[name] = column([], KINDS[name])
    except (OSError, ValueError, KeyError) as exc:  # pyarrow's own errors are one of them
        msg = f"{path} cannot be read: {getattr(exc, 'strerror', None) or exc}"
        raise HistoryError(msg) from exc
    return frame


def _check_shape(names: Sequence[str], rows: Sequence[Sequence[tuple[str, bool]]]) -> None:
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        msg = f"several columns are called {', '.join(sorted(repeated))}"
        raise ValueError(msg)
    for number, row in enumerate(rows, 2):
        if len(row) != len(names):
            msg = f"row {number} has {len(row)} cells, the header has {len(names)}"
            raise ValueError(msg)


def _column(name: str, cells: Sequence[tuple[str, bool]]) -> list[Any]:
    kind = KINDS.get(name)
    values = []
    for number, (text, was_quoted) in enumerate(cells, 2):
        try:
            values.append(_value(text, kind, was_quoted=was_quoted))
        except ValueError as exc:
            msg = f"row {number}, {name}: {text!r} does not belong there ({exc})"
            raise ValueError(msg) from exc
    return values


def _value(text: str, kind: str | None, *, was_quoted: bool) -> Any:
    if not text and not was_quoted:
        return None
    if kind is None:
        return unguarded(text) if was_quoted else typed(text)
    if kind == "time":
        return micros(datetime.fromisoformat(text))
    if kind == "float":
        return float(text)
    if kind in {"int", "count"}:
        return int(text)
    return unguarded(text)


def _objects(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as exc:
            msg = f"line {number}: {exc}"
            raise ValueError(msg) from exc
        if not isinstance(found, dict):
            msg = f"line {number} is no JSON object"
            raise ValueError(msg)  # noqa: TRY004  (a wrong file, not a wrong argument)
        yield found


def _row(line: dict[str, Any], number: int) -> tuple[Any, ...]:
    """Return the row of the database for a run."""
    try:
        run = Run.model_validate(line)
    except ValidationError as exc:
        problem = exc.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        msg = f"line {number} is no run: {where}: {problem['msg']}"
        raise ValueError(msg) from exc
    return (*scalar_row(run).values(), *payload_row(run, FRAMED).values())


def _chosen(lines: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the columns of lines that all have the same names."""
    names = list(lines[0])
    for number, line in enumerate(lines, 1):
        if line.keys() != lines[0].keys():
            msg = f"line {number} has other names than the first: {', '.join(line)}"
            raise ValueError(msg)
    return {name: [_cell_of_json(name, line[name]) for line in lines] for name in names}


def _cell_of_json(name: str, value: Any) -> Any:
    if value is None:
        return None
    if KINDS.get(name) == "time":
        return micros(datetime.fromisoformat(value))
    return tags_text(value) if name == "tags" and isinstance(value, list) else cell(value)

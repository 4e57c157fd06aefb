"""Exported files back to frames: equal to the one that was written, values and dtypes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vellum_nb.errors import HistoryError
from vellum_nb.history.csv_text import separator_of, split, typed, unguarded
from vellum_nb.history.export import JSON_COLUMNS, pyarrow
from vellum_nb.history.frames import KINDS, column, frame_of_cells, frame_of_rows
from vellum_nb.history.rows import FRAMED, cell, micros, payload_row, scalar_row, tags_text
from vellum_nb.models import Run

if TYPE_CHECKING:
    import pandas as pd

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_Cell = tuple[str, bool]


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read a CSV of a history: the frame is equal to the one that was written.

    Columns, dtypes and values are the same; text keeps apart from numbers, ``""`` from missing.
    The apostrophe that `History.to_csv` puts before text like ``=1+1`` is removed. A file that a
    spreadsheet saved again is read too, as far as it kept the types: also one whose cells are
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
        content = Path(path).read_bytes()
        text = content.decode("utf-16" if content.startswith(_UTF16_MARKS) else "utf-8-sig")
        separator = separator_of(text)
        head, *rows = [*split(text, separator)] or [[]]
        names = [unguarded(text) for text, _ in head]
        _check_shape(names, rows)
        cells = {name: [row[at] for row in rows] for at, name in enumerate(names)}
        has_commas = separator != ","
        return frame_of_cells({name: _column(name, cells[name], has_commas) for name in names})


def read_jsonl(path: str | Path) -> pd.DataFrame:
    """Read JSON lines of a history: the frame is equal to the one that was exported.

    The lines are whole runs, or the columns that were chosen. A file without a line has the
    columns that every frame has.

    Raises
    ------
    HistoryError
        The file cannot be read, or is not such a file; the line is named.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> with vnb.History(":memory:") as history:
    ...     path = history.to_jsonl("runs.jsonl")
    >>> len(vnb.read_jsonl(path))
    0
    """
    with _errors(path, "JSON lines of a history"):
        with Path(path).open(encoding="utf-8-sig", newline="\n") as file:
            lines = list(_objects(file))
        if lines and "inputs" not in lines[0]:
            return frame_of_cells(_chosen_columns(lines))
        runs = [_run(line, number) for number, line in enumerate(lines, 1)]
        return frame_of_rows(
            [(*scalar_row(r).values(), *payload_row(r, FRAMED).values()) for r in runs]
        )


def runs_of_jsonl(path: Path) -> Iterator[Run]:
    """Yield the runs of a file that `History.to_jsonl` wrote, one line at a time.

    Raises
    ------
    HistoryError
        The file cannot be read, or a line is not a run; the line is named.
    """
    with (
        _errors(path, "JSON lines of a history"),
        path.open(encoding="utf-8-sig", newline="\n") as file,
    ):
        for number, line in enumerate(_objects(file), 1):
            yield _run(line, number)


@contextmanager
def _errors(path: str | Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        msg = f"{path} cannot be read: {exc.strerror}"
        raise HistoryError(msg) from exc
    except UnicodeDecodeError as exc:
        msg = f"{path} is not UTF-8 at byte {exc.start}; save it as 'CSV UTF-8' and try again"
        raise HistoryError(msg) from exc
    except (ValueError, OverflowError) as exc:
        msg = f"{path} is not {what}: {exc}"
        raise HistoryError(msg) from exc


def read_parquet(path: str | Path) -> pd.DataFrame:
    """Read a Parquet file of a history: the frame is equal to the one that was exported.

    It is what ``pandas.read_parquet`` reads, but for columns of mixed types, which are JSON text
    in the file and the values themselves here. Needs pyarrow, from the extra ``parquet``.

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
    pa = pyarrow("read_parquet")
    try:
        with Path(path).open("rb") as file:
            table = pa.parquet.ParquetFile(file).read()
        noted = (table.schema.metadata or {}).get(JSON_COLUMNS, b"[]")
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


def _check_shape(names: Sequence[str], rows: Sequence[Sequence[_Cell]]) -> None:
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        msg = f"several columns are called {', '.join(sorted(repeated))}"
        raise ValueError(msg)
    for number, row in enumerate(rows, 2):
        if len(row) != len(names):
            msg = f"row {number} has {len(row)} cells, the header has {len(names)}"
            raise ValueError(msg)


def _column(name: str, cells: Sequence[_Cell], has_commas: bool) -> list[Any]:  # noqa: FBT001
    kind = KINDS.get(name)
    values = []
    for number, (text, was_quoted) in enumerate(cells, 2):
        try:
            values.append(_value(text, kind, was_quoted=was_quoted, has_commas=has_commas))
        except (ValueError, OverflowError) as exc:
            msg = f"row {number}, {name}: {text!r} does not belong there ({exc})"
            raise ValueError(msg) from exc
    return values


def _value(text: str, kind: str | None, *, was_quoted: bool, has_commas: bool) -> Any:
    if not text and not was_quoted:
        return None
    if kind is None:
        return unguarded(text) if was_quoted else typed(text, decimal_comma=has_commas)
    if kind == "time":
        return micros(datetime.fromisoformat(text))
    if kind == "float":
        return float(text.replace(",", ".") if has_commas else text)
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


def _chosen_columns(lines: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
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

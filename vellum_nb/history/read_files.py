"""Readers of exported files, which restore DataFrames with identical values and dtypes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from pydantic import ValidationError

from vellum_nb.clock import micros
from vellum_nb.errors import HistoryError, VellumNBError
from vellum_nb.history.backends import parse_location
from vellum_nb.history.export import JSON_COLUMNS, pyarrow
from vellum_nb.history.frames import (
    check_width,
    column,
    frame_of_cells,
    frame_of_rows,
    unguarded,
    values_of,
)
from vellum_nb.history.rows import cell, payload_row, scalar_row, tags_text
from vellum_nb.history.schema import COLUMN_KINDS, FRAMED, second_version_of
from vellum_nb.history.store import DatabaseUrl, not_a_file
from vellum_nb.lazy import pd
from vellum_nb.models import Run, case_id
from vellum_nb.sqlite import Converting

_LINES = "JSON lines of a history"
_MAX_PARQUET_CELLS = 100_000_000  # compressed files can be very small
_MAX_CSV_CELLS = 10_000_000  # larger files take minutes and gigabytes
_MAX_CSV_ROWS = 1_048_576  # limit of spreadsheets
Cell: TypeAlias = tuple[str, bool]  # text, whether it was quoted
Separator: TypeAlias = Literal[",", ";", "\t"]  # semicolons with decimal commas
_CELLS = {
    mark: re.compile(rf'(?:"((?:[^"]++|"")*+)"|([^{mark}\r\n"]*+))({mark}|\r\n|\r|\n|\Z)')
    for mark in get_args(Separator)
}
_LINE_ENDS = re.compile(r"[\r\n]+")
_UNQUOTED_LINE = re.compile(r'([^"\r\n]*+)(?:\r\n|\r|\n|\Z)')
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z|-?inf\Z")
_BOOLS = {"True": True, "False": False, "TRUE": True, "FALSE": False}


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read a CSV written by `History.to_csv` into an identical DataFrame.

    Columns, dtypes and values are restored, including the difference between text and numbers and
    between ``""`` and missing values. The apostrophe in front of text like ``=1+1`` is removed.
    Files saved by a spreadsheet can be read if it preserved the types, also with semicolons or
    tabs as separators and with decimal commas. The limit is 10,000,000 cells or 1,048,576 rows; use
    Parquet for larger tables.

    Raises
    ------
    HistoryError
        The file cannot be read, is too large, or has a different format. The message contains the
        row.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> with vnb.History(":memory:") as history:
    ...     path = history.to_csv("runs.csv")
    >>> len(vnb.read_csv(path))
    0
    """
    path = parse_location(path)  # hides the password of a URL from tracebacks
    with _errors(path, "a CSV of a history"):
        separator, names, rows = csv_table(Path(path).read_bytes())
        repeated = {name for name, count in Counter(names).items() if count > 1}
        if repeated:
            msg = f"several columns are called {', '.join(sorted(repeated))}"
            raise ValueError(msg)
        check_width(names)
        cells: dict[str, list[Any]] = {name: [] for name in names}
        for number, row in enumerate(rows, 2):
            for name, (text, was_quoted) in zip(names, row, strict=True):
                try:
                    value = _value(
                        text, COLUMN_KINDS.get(name), was_quoted, has_commas=separator != ","
                    )
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


def typed(text: str, *, decimal_comma: bool = False) -> Any:
    """Return the value of a cell without quotes, as saved by a spreadsheet."""
    if text in _BOOLS:
        return _BOOLS[text]
    if _INTEGER.match(text):
        return int(text)
    number = text.replace(",", ".") if decimal_comma else text
    return float(number) if _DECIMAL.match(number) else unguarded(text)


def csv_table(content: bytes) -> tuple[Separator, list[str], Iterator[list[Cell]]]:
    """Return the separator, the column names, and the rows of cells of a CSV."""
    text = content.decode(
        "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    )
    separator = _separator_of(text)
    header = next(split(text, separator), (1, []))[1]
    # the only cell of a row can be missing: the line is empty then
    rows = islice(split(text, separator, keeps_empty=len(header) == 1), 1, None)
    return separator, [unguarded(name) for name, _ in header], _full_rows(rows, len(header))


def _full_rows(lines: Iterable[tuple[int, list[Cell]]], width: int) -> Iterator[list[Cell]]:
    """Yield rows; raise a `ValueError` for a wrong number of cells, or too many rows or cells."""
    for count, (number, row) in enumerate(lines, 1):
        if len(row) != width:
            msg = f"row {number} has {len(row)} cells, the header has {width}"
            raise ValueError(msg)
        if count > _MAX_CSV_ROWS or count * width > _MAX_CSV_CELLS:
            size = f"{_MAX_CSV_ROWS:,} rows or {_MAX_CSV_CELLS:,} cells"
            msg = f"it has more than {size}; split it, or use Parquet"
            raise ValueError(msg)
        yield row


def _separator_of(text: str) -> Separator:
    """Return the separator with which the first line has the most cells."""
    counts: dict[Separator, int] = {}
    for mark in _CELLS:
        with suppress(ValueError):  # wrong separator between quoted cells
            counts[mark] = len(next(split(text, mark), (1, []))[1])
    return max(counts, key=counts.__getitem__, default=",")


def split(
    text: str, separator: Separator = ",", *, keeps_empty: bool = False
) -> Iterator[tuple[int, list[Cell]]]:
    """Yield the number and the cells of each row; raise a `ValueError` for invalid quotes.

    Empty lines are skipped, but counted; with `keeps_empty`, only those before the first row.
    """
    pattern = _CELLS[separator]
    row: list[Cell] = []
    at, number = 0, 1
    while at < len(text) or row:
        if not row and not (keeps_empty and at):
            empty = _LINE_ENDS.match(text, at)
            if empty is not None:
                at, number = empty.end(), number + len(empty[0].splitlines())
        line = None if row else _UNQUOTED_LINE.match(text, at)
        if line is not None:  # fast path without quotes
            if at < len(text):
                yield number, [(cell, False) for cell in line[1].split(separator)]
            at, number = line.end(), number + 1
            continue
        match = pattern.match(text, at)
        if match is None:
            msg = f"row {number}: cell {len(row) + 1} has unbalanced quotes"
            raise ValueError(msg)
        quoted, plain, end = match.groups()
        row.append((plain, False) if quoted is None else (quoted.replace('""', '"'), True))
        at = match.end()
        if end != separator:
            yield number, row
            row, number = [], number + 1


def read_jsonl(path: str | Path) -> pd.DataFrame:
    """Read JSON lines written by `History.to_jsonl` into an identical DataFrame.

    Lines contain complete runs or selected columns. An empty file returns an empty frame with the
    standard columns. Errors are those of `read_csv`.
    """
    path = parse_location(path)
    with _errors(path, _LINES):
        lines = list(_objects(Path(path)))
        if not lines or "inputs" in lines[0]:
            runs = [_run(line, number) for number, line in enumerate(lines, 1)]
            return frame_of_rows(
                [(*scalar_row(r).values(), *payload_row(r, FRAMED).values()) for r in runs]
            )
        check_width(lines[0])
        cells: dict[str, list[Any]] = {name: [] for name in lines[0]}
        for number, line in enumerate(lines, 1):
            if line.keys() != cells.keys():
                msg = f"line {number} has other names than the first: {', '.join(line)}"
                raise ValueError(msg)
            for name, value in line.items():
                is_time = value is not None and COLUMN_KINDS.get(name) == "time"
                read = micros(datetime.fromisoformat(value)) if is_time else cell(value)
                cells[name].append(tags_text(value) if name == "tags" and value else read)
        return frame_of_cells(cells)


def runs_of_jsonl(path: Path) -> Iterator[Run]:
    """Yield the runs of a file written by `History.to_jsonl`."""
    with _errors(path, _LINES):
        for number, line in enumerate(_objects(path), 1):
            yield _run(line, number)


def _errors(path: str | Path | DatabaseUrl, file_format: str) -> Converting:
    if isinstance(path, DatabaseUrl):
        raise not_a_file(path)

    def convert(exc: Exception) -> HistoryError | None:
        if isinstance(exc, VellumNBError):
            return None
        if isinstance(exc, OSError):
            return HistoryError(f"{path} cannot be read: {exc.strerror or exc}")
        if isinstance(exc, UnicodeDecodeError):
            advice = "save it as 'CSV UTF-8' and try again"
            return HistoryError(f"{path} is not UTF-8 at byte {exc.start}; {advice}")
        return HistoryError(f"{path} is not {file_format}: {exc!s:.300}")

    return Converting(convert)


def read_parquet(path: str | Path) -> pd.DataFrame:
    """Read a Parquet file written by `History.to_parquet` into an identical DataFrame.

    Unlike ``pandas.read_parquet``, this function converts columns of mixed types, stored as JSON
    text, back to values. Needs pyarrow, from the extra ``parquet``. Errors are those of `read_csv`.
    """
    path = parse_location(path)
    pa = pyarrow("read_parquet")
    with _errors(path, "a Parquet file of a history"), Path(path).open("rb") as file:
        parquet = pa.parquet.ParquetFile(file)
        if (cells := parquet.metadata.num_rows * parquet.metadata.num_columns) > _MAX_PARQUET_CELLS:
            msg = f"it has {cells:,} cells, too many for memory; read it with DuckDB or pyarrow"
            raise ValueError(msg)
        check_width(parquet.schema_arrow.names)
        table = parquet.read()
        frame: pd.DataFrame = table.to_pandas()
        for name in json.loads((table.schema.metadata or {}).get(JSON_COLUMNS, b"[]")):
            values = [None if text is None else json.loads(text) for text in values_of(frame[name])]
            frame[name] = column(values, None).astype("object")
        for name in frame.columns if frame.empty else ():
            if COLUMN_KINDS.get(name) in {"tag", "state"}:  # Arrow drops empty categories
                frame[name] = column([], COLUMN_KINDS[name])
    return frame


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        yield from json_objects(file)


def json_objects(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the JSON object of each non-empty line; raise a `ValueError` for other values."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as exc:
            msg = f"line {number}: {exc}"
            raise ValueError(msg) from exc
        if not isinstance(value, dict):
            msg = f"line {number} is not a JSON object"
            raise ValueError(msg)  # noqa: TRY004  (a wrong file, not a wrong argument)
        yield value


def _run(line: dict[str, Any], number: int) -> Run:
    try:
        run = Run.model_validate(line)
        with suppress(ValueError):  # the inputs contain NaN
            if (previous := run.previous_execution_id) and run.case_id == case_id(run.inputs):
                # written before version 3 of the schema
                run = run.model_copy(update={"case_id": case_id(run.inputs, previous)})
        if "doubt" in line:
            return run
        code, text = (run.error.code, run.error.message) if run.error else (None, None)
        state, doubt = second_version_of(run.state, code, text)
        return run.model_copy(update={"state": state, "doubt": doubt})
    except ValidationError as exc:
        problem = exc.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        msg = f"line {number} is not a run: {where}: {problem['msg']}"
        raise ValueError(msg) from exc

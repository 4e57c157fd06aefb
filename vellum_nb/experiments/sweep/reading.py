"""Tables of cases: DataFrames, lists of dicts, stored runs, CSV, JSON and JSON lines files.

Nothing is interpreted here: what columns mean, and what text stands for, is told by the release.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vellum_nb.errors import InputError
from vellum_nb.history.exporting.csv_text import SEPARATORS, Separator, split, unguarded
from vellum_nb.models import Run
from vellum_nb.models.plain import shown

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OF_A_FRAME", "SUFFIXES", "Bare", "CaseFile", "Cases", "Table", "read_table"]

Cases: TypeAlias = "pd.DataFrame | Iterable[Mapping[str, Any] | Run] | str | Path | CaseFile"
"""What a sweep takes as its cases."""

_OF_A_HISTORY = frozenset({"execution_id", "release_tag", "timestamp", "deployment", "case_id"})
_OF_A_RUN = frozenset({"id", "inputs", "deployment", "case_id", "state"})
OF_A_FRAME = "the DataFrame"
_IN_QUOTES = re.compile(r'"[^"]*"')
_LONGEST_HEAD = 100_000
_LARGEST = 500_000_000  # bytes of a file
_MOST_COLUMNS = 2_000
_LARGEST_UNPACKED = 1_000_000_000  # bytes of the values of a Parquet file
SUFFIXES = (".csv", ".jsonl", ".ndjson", ".json", ".parquet")
"""How the name of a file of cases may end."""


@dataclass(frozen=True, slots=True)
class CaseFile:
    r"""A file of cases that is in memory; its name tells the format.

    Attributes
    ----------
    name : str
        Its name, or path.
    content : bytes
        All of it.

    Examples
    --------
    >>> read_table(CaseFile("cases.csv", b"ticket\nlost my card\n")).rows
    [{'ticket': 'lost my card'}]
    """

    name: str
    content: bytes = field(repr=False)


class Bare(str):
    """A cell of a CSV that stood without quotes."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as they were given.

    Attributes
    ----------
    rows : list of dict
        Column to value; what is missing is left out.
    columns : tuple of str
        All columns, in their order.
    form : {"csv", "frame", "dicts"}
        ``csv``: every value is text. ``frame``: structured values may be JSON text. ``dicts``:
        values are as they are meant.
    stored : bool
        Whether these are runs of a history, with its columns.
    name : str
        What messages call it.
    """

    rows: list[dict[str, Any]]
    columns: tuple[str, ...]
    form: Literal["csv", "frame", "dicts"]
    stored: bool
    name: str


def read_table(cases: Cases) -> Table:
    """Return the table that `cases` is.

    Raises
    ------
    InputError
        The file cannot be read, `cases` is no table, or it has no rows.
    """
    if isinstance(cases, str | Path):
        table = _of_file(_loaded(Path(cases)))
    elif isinstance(cases, CaseFile):
        table = _of_file(cases)
    elif hasattr(cases, "to_dict") and hasattr(cases, "columns"):
        table = _of_frame(cases, OF_A_FRAME)
    else:
        table = _of_dicts(_listed(cases), "the list")
    if not table.rows:
        msg = f"{table.name} has no rows: a sweep needs at least one case"
        raise InputError(msg)
    return table


def _listed(cases: object) -> list[Any]:
    if isinstance(cases, Run):
        return [cases]
    if isinstance(cases, Mapping) or not isinstance(cases, Iterable):
        msg = (
            f"{shown(cases)} is no table of cases; give a DataFrame, a list of dicts "
            "([{'ticket': '...'}, ...]), runs, or the path of a file"
        )
        raise InputError(msg)
    return list(cases)


def _of_dicts(cases: Sequence[Any], name: str) -> Table:
    rows: list[dict[str, Any]] = []
    stored = False
    for number, case in enumerate(cases, start=1):
        if isinstance(case, Run):
            case = vars(case)  # noqa: PLW2901
        if not isinstance(case, Mapping):
            msg = f"Case {number} of {name} is {shown(case)}; each must be a dict of inputs"
            raise InputError(msg)
        if set(case) >= _OF_A_RUN:
            stored = True
            rows.append(_row_of_run(case))
        else:
            rows.append({str(key): value for key, value in case.items()})
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    stored = stored or columns_of_history(columns)
    return Table(rows, columns, "frame" if columns_of_history(columns) else "dicts", stored, name)


def columns_of_history(columns: Iterable[str]) -> bool:
    """Return whether these are the columns of a history's frame."""
    return set(columns) >= _OF_A_HISTORY


def _row_of_run(run: Mapping[str, Any]) -> dict[str, Any]:
    row = {f"input.{name}": value for name, value in run["inputs"].items()}
    row |= {f"expected.{name}": value for name, value in (run.get("desired") or {}).items()}
    row |= {f"label.{name}": value for name, value in (run.get("labels") or {}).items()}
    row["deployment"] = run["deployment"]
    if run.get("execution_id"):
        row["execution_id"] = run["execution_id"]
    return row


def _of_frame(frame: Any, name: str) -> Table:
    names = [str(column).strip() for column in frame.columns]
    _refuse_repeated(names, name)
    columns = []
    for at in range(len(names)):
        column = frame.iloc[:, at]
        columns.append(zip(column.tolist(), column.isna().tolist(), strict=True))
    rows = [
        {names[at]: value for at, (value, gone) in enumerate(cells) if not gone}
        for cells in zip(*columns, strict=True)
    ]
    return Table(rows, tuple(names), "frame", columns_of_history(names), name)


def _loaded(path: Path) -> CaseFile:
    _reader(str(path))
    try:
        path = path.expanduser()
        if path.exists() and not path.is_file():
            msg = f"{path} is no regular file, so it cannot be read as cases"
            raise InputError(msg)
        if path.stat().st_size > _LARGEST:
            msg = (
                f"{path} has {path.stat().st_size / 1e6:,.0f} MB; at most {_LARGEST // 10**6:,} MB"
            )
            msg = f"{msg} are read as cases: split it, or give a DataFrame"
            raise InputError(msg)
        return CaseFile(str(path), path.read_bytes())
    except (OSError, RuntimeError, ValueError) as exc:  # no home; a path with a zero byte
        msg = f"{path} cannot be read: {getattr(exc, 'strerror', None) or exc}"
        raise InputError(msg) from exc


def _reader(name: str) -> Callable[[CaseFile], Table]:
    readers = {
        ".csv": _of_csv,
        ".jsonl": _of_json_lines,
        ".ndjson": _of_json_lines,
        ".json": _of_json,
        ".parquet": _of_parquet,
    }
    read = readers.get(PurePath(name).suffix.lower())
    if read is None:
        msg = f"Cannot tell the format of {name}: its name must end in one of {', '.join(SUFFIXES)}"
        raise InputError(msg)
    return read


def _of_file(file: CaseFile) -> Table:
    try:
        return _reader(file.name)(file)
    except UnicodeDecodeError as exc:
        msg = f"{file.name} is not UTF-8 ({exc.reason} at byte {exc.start}): save it as UTF-8"
        raise InputError(msg) from exc


def _text(file: CaseFile) -> str:
    return file.content.decode("utf-8-sig")


def _short(file: CaseFile) -> str:
    return PurePath(file.name).name


def _of_csv(file: CaseFile) -> Table:
    head, *rows = _rows_of_csv(file) or [[]]
    names = [unguarded(cell).strip() for cell, _ in head]
    _refuse_many_columns(len(names), _short(file))
    _refuse_repeated(names, _short(file))
    places = (f"{file.name}, row {number}" for number in range(1, len(rows) + 1))
    found = [_csv_row(names, row, where) for row, where in zip(rows, places, strict=True)]
    return Table(found, tuple(names), "csv", columns_of_history(names), _short(file))


def _rows_of_csv(file: CaseFile) -> list[list[tuple[str, bool]]]:
    """Return header and rows without empty lines; messages count as the table of problems does."""
    text = _text(file)
    found: list[list[tuple[str, bool]]] = []
    try:
        for row in split(text, _separator(text)):
            if row != [("", False)] or not found:
                found.append(row)
    except ValueError as exc:
        where = f"row {len(found)}" if found else "the header"
        msg = f"{file.name} is no CSV: {where}: {str(exc).partition(': ')[2]}"
        raise InputError(msg) from exc
    return found


def _separator(text: str) -> Separator:
    """Return what separates the columns: spreadsheets write semicolons where 1,5 is a number."""
    head = re.split(r"[\r\n]", _IN_QUOTES.sub("", text[:_LONGEST_HEAD]), maxsplit=1)[0]
    return next((mark for mark in SEPARATORS if mark in head), SEPARATORS[0])


def _csv_row(names: Sequence[str], row: Sequence[tuple[str, bool]], where: str) -> dict[str, Any]:
    if len(row) != len(names):
        msg = f"{where} has {len(row)} cells, the header has {len(names)}"
        raise InputError(msg)
    return {
        name: unguarded(text) if was_quoted else Bare(unguarded(text))
        for name, (text, was_quoted) in zip(names, row, strict=True)
        if text or was_quoted
    }


def _of_json(file: CaseFile) -> Table:
    try:
        found = json.loads(_text(file))
    except (json.JSONDecodeError, RecursionError) as exc:
        msg = f"{file.name} is no JSON: {exc}"
        raise InputError(msg) from exc
    if not isinstance(found, list):
        msg = f"{file.name} holds {shown(found)}; a list of objects is expected"
        raise InputError(msg)
    return _of_dicts(found, _short(file))


def _of_json_lines(file: CaseFile) -> Table:
    return _of_dicts(list(_json_lines(file)), _short(file))


def _json_lines(file: CaseFile) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(StringIO(_text(file), newline=None), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as exc:
            msg = f"{file.name}, line {number}: {exc}; each line must be a JSON object"
            raise InputError(msg) from exc
        if not isinstance(found, dict):
            msg = f"{file.name}, line {number} holds {shown(found)}; it must be a JSON object"
            raise InputError(msg)
        yield found


def _of_parquet(file: CaseFile) -> Table:
    import pandas as pd

    try:
        _refuse_large_parquet(file)
        return _of_frame(pd.read_parquet(BytesIO(file.content)), _short(file))
    except (ImportError, ValueError, OSError) as exc:  # pyarrow's own errors are one of them
        msg = f"{file.name} cannot be read as Parquet: {exc}"
        raise InputError(msg) from exc


def _refuse_large_parquet(file: CaseFile) -> None:
    """Refuse a file that unpacks to much more than it is: its footer says how much of what."""
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(BytesIO(file.content))
    _refuse_many_columns(len(parquet.schema_arrow.names), _short(file))
    size = 0
    for batch in parquet.iter_batches(batch_size=10_000):
        for column in batch.columns:
            plain = column.dictionary_decode() if hasattr(column, "dictionary_decode") else column
            size += plain.nbytes
        if size > _LARGEST_UNPACKED:
            limit = f"{_LARGEST_UNPACKED // 10**6:,} MB"
            msg = (
                f"The {parquet.metadata.num_rows:,} rows of {_short(file)} unpack to over {limit}: "
                "split the file, or give a DataFrame"
            )
            raise InputError(msg)


def _refuse_many_columns(count: int, name: str) -> None:
    if count > _MOST_COLUMNS:
        msg = f"{name} has {count:,} columns; a table of cases has at most {_MOST_COLUMNS:,}"
        raise InputError(msg)


def _refuse_repeated(names: Sequence[str], where: str) -> None:
    counts = Counter(names)
    repeated = [name for name, count in counts.items() if name and count > 1]
    if repeated:
        msg = f"Several columns of {where} are called {', '.join(repeated)}; rename all but one"
        raise InputError(msg)

"""Histories as files: CSV that reads back to the same frame, JSON lines, Parquet.

A file is written under another name first, so that an export that fails leaves the old one.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from vellum_nb.errors import HistoryError
from vellum_nb.history.csv_text import bare, quoted, split, typed, unguarded
from vellum_nb.history.frames import KINDS, frame_of_cells
from vellum_nb.history.rows import clean, micros
from vellum_nb.models import Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_csv", "replacing", "write_bytes", "write_csv", "write_jsonl", "write_parquet"]


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


def write_bytes(content: bytes, path: Path) -> None:
    """Write `content` to a file; the old one stays if that fails."""
    with _temporary(path) as temporary:
        temporary.write_bytes(content)


def write_csv(frame: pd.DataFrame, file: TextIO) -> None:
    """Write `frame` to an open file."""
    file.write(",".join(quoted(str(name)) for name in frame.columns) + "\n")
    columns = [_cells(frame[name]) for name in frame.columns]
    file.writelines(",".join(row) + "\n" for row in zip(*columns, strict=True))


def write_jsonl(runs: Sequence[Run], file: TextIO) -> None:
    """Write one run a line to an open file."""
    for run in runs:
        line = json.dumps(run.model_dump(), ensure_ascii=False, default=_iso)
        file.write(clean(line) + "\n")


def write_parquet(frame: pd.DataFrame, path: Path) -> Path:
    """Write `frame` to `path`; columns of mixed types as JSON text."""
    mixed = [name for name in frame.columns if _is_mixed(frame[name])]
    frame = frame.assign(**{name: frame[name].map(_json_text) for name in mixed})
    with _temporary(path) as temporary:
        try:
            frame.to_parquet(temporary, engine="pyarrow", compression="zstd")
        except ImportError as exc:
            msg = "to_parquet needs pyarrow: pip install 'vellum-nb[fast]'"
            raise HistoryError(msg) from exc
    return path


@contextmanager
def replacing(path: str | Path) -> Iterator[TextIO]:
    """Open a file that takes the place of `path` when the block ends well."""
    with (
        _temporary(Path(path)) as temporary,
        temporary.open("x", encoding="utf-8", newline="") as file,
    ):
        yield file


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as exc:
        msg = f"{path} cannot be written: {exc.strerror or exc}"
        raise HistoryError(msg) from exc
    finally:
        temporary.unlink(missing_ok=True)


def _cells(column: pd.Series[Any]) -> list[str]:
    missing = column.isna().tolist()
    return [
        "" if gone else bare(value) for value, gone in zip(column.tolist(), missing, strict=True)
    ]


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


def _is_mixed(column: pd.Series[Any]) -> bool:
    """Return whether Arrow has no type for the column; pandas 2 holds plain text as objects."""
    return column.dtype == object and not all(isinstance(v, str) for v in column.dropna())


def _json_text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _iso(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    msg = f"{type(value).__name__} is not plain JSON"
    raise TypeError(msg)

"""Frames, and the runs of a history, as CSV and as JSON lines.

A frame is at hand as a whole. Of a `Stream` only a batch is, and the text is the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from vellum_nb.history.exporting.csv_cells import lines
from vellum_nb.history.exporting.csv_text import quoted
from vellum_nb.history.rows.rows import clean
from vellum_nb.models import Run

if TYPE_CHECKING:
    import pandas as pd

    from vellum_nb.history.exporting.batches import Column
    from vellum_nb.history.exporting.streams import Stream

__all__ = ["csv_of_stream", "jsonl_of_stream", "write_csv", "write_jsonl"]

_AT_ONCE = 2000


def write_csv(frame: pd.DataFrame, file: TextIO) -> None:
    """Write `frame` to an open file."""
    file.write(_head(frame.columns))
    for start in range(0, len(frame), _AT_ONCE):
        some = frame.iloc[start : start + _AT_ONCE]
        columns = [(_values(some.iloc[:, at]), None) for at in range(len(some.columns))]
        file.writelines(lines(columns, len(some)))


def csv_of_stream(stream: Stream, file: TextIO, *, anew: bool) -> None:
    """Write `stream` to an open file as the text that `write_csv` makes of the whole frame.

    `anew`: the file is empty, and what is in it may be taken back. Then one reading is enough
    where the newest runs have the columns of all, which most histories have.
    """
    if anew and stream.chosen is None:
        if _is_csv_of_first_reading(stream, file):
            stream.skip_second()
            return
        file.seek(0)
        file.truncate()
    columns = stream.columns
    file.write(_head(column.name for column in columns))
    for batch in stream.batches():
        file.writelines(_csv_lines(columns, batch))


def _is_csv_of_first_reading(stream: Stream, file: TextIO) -> bool:
    """Write rows while their columns are being found; return whether no column changed thereby."""
    begun: list[tuple[str, str, bool]] | None = None
    is_right = True
    for columns, batch in stream.guesses():
        written = [(column.name, column.key, column.kind == "float") for column in columns]
        if begun is None:
            begun = written
            file.write(_head(column.name for column in columns))
        is_right = is_right and written == begun
        if is_right:
            file.writelines(_csv_lines(columns, batch()))
    return is_right and begun is not None


def _csv_lines(columns: Sequence[Column], batch: Sequence[Sequence[Any]]) -> Iterator[str]:
    kinds = [column.kind for column in columns]
    return lines(list(zip(batch, kinds, strict=True)), len(batch[0]))


def write_jsonl(runs: Iterable[Run], file: TextIO) -> None:
    """Write one run a line to an open file."""
    file.writelines(map(_run_line, runs))


def jsonl_of_stream(stream: Stream, write: Callable[[str], object]) -> None:
    """Hand `stream` to `write`, one JSON object a line: the runs, or the columns chosen of them."""
    if stream.chosen is None:
        for run in stream.runs():
            write(_run_line(run))
        return
    names = [column.name for column in stream.columns]
    for batch in stream.batches(raw=True):
        for values in zip(*batch, strict=True):
            write(_line(dict(zip(names, values, strict=True))))


def _head(names: Iterable[Any]) -> str:
    return ",".join(quoted(str(name)) for name in names) + "\n"


def _values(column: pd.Series[Any]) -> list[Any]:
    """Return the values of a column, None where one is missing."""
    values: list[Any] = column.astype("object").where(column.notna(), None).tolist()
    return values


def _run_line(run: Run) -> str:
    return _line(run.model_dump())


def _line(values: dict[str, Any]) -> str:
    return clean(_encode(values)) + "\n"


def _iso(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    msg = f"{type(value).__name__} is not plain JSON"
    raise TypeError(msg)


_encode = json.JSONEncoder(ensure_ascii=False, default=_iso).encode

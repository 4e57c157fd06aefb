"""Exports: CSV, JSON lines and Parquet of one state of the history, in bounded memory.

CSV and Parquet write the frames of `scan_frames`. A `_Shape` merges the columns and kinds of one
frame after the other into those of the whole. A CSV is written in the first reading, and once
more only where older runs bring other columns than the newest.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, TypedDict, Unpack

from vellum_nb.errors import HistoryError
from vellum_nb.files import refuse_other_ending, replacing, replacing_bytes
from vellum_nb.history import query
from vellum_nb.history.csv_text import csv_lines, header_line
from vellum_nb.history.frames import (
    EXACT,
    KINDS,
    OPTIONAL_COLUMNS,
    PAYLOAD_PREFIXES,
    SHOWN,
    column,
    frame_of_cells,
    frame_of_rows,
)
from vellum_nb.history.progress import progress_line
from vellum_nb.history.rows import SCALARS, WHOLE, clean
from vellum_nb.models import Run

if TYPE_CHECKING:
    import pandas as pd

    from vellum_nb.history.query import Filters, Selection
    from vellum_nb.history.store import Row, Snapshot, Store

JSON_COLUMNS = b"vellum_nb.json"
"""Where a Parquet file lists its columns that hold JSON text in place of mixed types."""

_ROWS, _TEXT = 2_000, 8_000_000  # of a frame: rows, and characters of payloads
_GROUP_ROWS, _GROUP_BYTES = 50_000, 16_000_000
_NAMED = ("deployment", "release_tag", "author")
_HEAD = tuple(KINDS)[: tuple(KINDS).index("latency_s") + 1]  # inputs and outputs stand behind it


class _Options(TypedDict, total=False):
    columns: str | Sequence[str] | None
    progress: bool | None


Target = str | Path | TextIO


def to_csv(
    store: Store, target: Target, filters: Filters, **options: Unpack[_Options]
) -> Path | None:
    """Write a CSV; see `vellum_nb.History.to_csv`."""
    with _export(store, target, "to_csv", filters, options) as (file, source):
        if source.columns is not None or not isinstance(target, str | Path) or not file.seekable():
            _write_csv(source.frames(), source.shape().kinds, file)
        elif (kinds := _write_first_reading(source, file)) is not None:
            file.seek(0)
            file.truncate()
            _write_csv(source.frames(), kinds, file)
        else:
            source.tick(source.total)  # no second reading
    return _path(target)


def to_jsonl(
    store: Store, target: Target, filters: Filters, **options: Unpack[_Options]
) -> Path | None:
    """Write JSON lines; see `vellum_nb.History.to_jsonl`."""
    with _export(store, target, "to_jsonl", filters, options) as (file, source):
        names = source.shape().kinds if source.columns is not None else None
        for run in source.runs():
            values = run.model_dump()
            if names is not None:
                values = {name: _member(values, name) for name in names}
            file.write(clean(_encode(values)) + "\n")
        if names is None:
            source.tick(source.total)
    return _path(target)


def to_parquet(
    store: Store, path: str | Path, filters: Filters, **options: Unpack[_Options]
) -> Path:
    """Write Parquet; see `vellum_nb.History.to_parquet`."""
    pyarrow("to_parquet")
    with _export(store, path, "to_parquet", filters, options) as (file, source):
        shape = source.shape(with_tags=True)
        empty = frame_of_cells({name: [] for name in shape.kinds})
        _write_parquet(source.frames(), empty, shape, file)
    return Path(path)


def write_csv_frame(frame: pd.DataFrame, file: TextIO) -> None:
    """Write any frame to an open file as `to_csv` writes that of a history."""
    parts = (frame.iloc[start : start + _ROWS] for start in range(0, len(frame), _ROWS))
    _write_csv(parts, _Shape().merged(frame).kinds, file)


def write_parquet_frame(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write any frame as Parquet as `to_parquet` writes that of a history."""
    pyarrow("to_parquet")
    with replacing_bytes(path) as file:
        _write_parquet([frame], frame.iloc[:0], _Shape().merged(frame), file)
    return Path(path)


def pyarrow(caller: str) -> Any:
    """Return pyarrow.

    Raises
    ------
    HistoryError
        It is not installed; `caller` is named as what needs it.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as exc:
        msg = f"{caller} needs pyarrow: pip install 'vellum-nb[parquet]'"
        raise HistoryError(msg) from exc
    return pa


# ---------------------------------------------------------------- what is exported


@dataclass(frozen=True, slots=True)
class _Source:
    """The runs of an export in one state of the history; may be read several times."""

    snapshot: Snapshot
    selection: Selection
    columns: list[str] | None
    total: int
    tick: Callable[[int], Any]

    def frames(self) -> Iterator[pd.DataFrame]:
        skips = self.selection.skip_damaged
        for rows in self._chunks():
            yield frame_of_rows(rows, skip_damaged=skips)
            self.tick(len(rows))

    def _chunks(self) -> Iterator[list[Row]]:
        """Yield rows for one frame: many short ones, few with large values."""
        chunk: list[Row] = []
        size = 0
        for rows in query.stream_rows(self.snapshot, self.selection, SHOWN):
            chunk += rows
            size += sum(len(text) for row in rows for text in row[len(SCALARS) :] if text)
            if len(chunk) >= _ROWS or size >= _TEXT:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def runs(self) -> Iterator[Run]:
        skips = self.selection.skip_damaged
        for rows in query.stream_rows(self.snapshot, self.selection, WHOLE):
            yield from query.runs_of(rows, skip_damaged=skips)
            self.tick(len(rows))

    def shape(self, *, with_tags: bool = False) -> _Shape:
        """Return the shape of the whole; `with_tags`: also which release tags there are."""
        shape, names = _Shape(), set(self.columns or ())
        if names and KINDS.keys() >= names and not (with_tags and "release_tag" in names):
            self.tick(self.total)
        else:
            for frame in self.frames():
                shape = shape.merged(frame)
        return shape.chosen(self.columns)


@contextmanager
def _export(
    store: Store, target: Target, writer: str, filters: Filters, options: _Options
) -> Iterator[tuple[Any, _Source]]:
    """Yield the open file and the runs of an export, which may be read twice."""
    chosen = _checked_columns(options.get("columns"))
    path = _path(target)
    if path is not None:
        refuse_other_ending(path, writer)
    elif writer == "to_parquet" or not hasattr(target, "write"):
        msg = f"path={target!r:.100} is not a path or an open text file"
        raise HistoryError(msg)
    title = "export" if path is None else path.name
    selection = query.select(filters, store)
    with ExitStack() as stack:
        opened = replacing_bytes if writer == "to_parquet" else replacing
        file = target if path is None else stack.enter_context(opened(path))
        snapshot = stack.enter_context(store.snapshot())
        total = query.count(snapshot, selection)
        if not total:
            _warn_of_unknown_names(snapshot, filters, title)
        show = options.get("progress")
        line = stack.enter_context(progress_line(title, 2 * total, show=show))
        yield file, _Source(snapshot, selection, chosen, total, line.update)


def _path(target: object) -> Path | None:
    return Path(target) if isinstance(target, str | Path) else None


def _checked_columns(columns: str | Sequence[str] | None) -> list[str] | None:
    """Return the names of `columns`; refuse those that cannot be columns.

    Raises
    ------
    HistoryError
        There is no such column, one is named twice, or none is named.
    """
    if columns is None:
        return None
    given: object = columns
    if not isinstance(given, Iterable):
        msg = f"columns={columns!r}: give a list of names, or leave it out for all"
        raise HistoryError(msg)
    names = [columns] if isinstance(columns, str) else list(columns)
    for name in names:
        prefix, dot, _ = str(name).partition(".")
        if name not in KINDS and not (prefix in PAYLOAD_PREFIXES and dot):
            known = ", ".join((*KINDS, *(f"{each}.<name>" for each in PAYLOAD_PREFIXES)))
            msg = f"columns: there is no column {name!r}; there are: {known}"
            raise HistoryError(msg)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not names:
        problem = f"{', '.join(repeated)} is named twice" if repeated else "none is named"
        msg = f"columns={names}: {problem}; name each column once, or leave it out for all"
        raise HistoryError(msg)
    return names


def _warn_of_unknown_names(snapshot: Snapshot, filters: Filters, title: str) -> None:
    """Warn where no run is exported because none has a name that `filters` choose by."""
    for name in _NAMED:
        value: Any = filters.get(name)
        names = [value] if isinstance(value, str) else [*(value or ())]
        sql = f"SELECT DISTINCT {name} FROM runs r WHERE deletion IS NULL AND {name} IS NOT NULL"
        known = sorted(text for (text,) in snapshot.read(sql)) if names else []
        if names and set(known).isdisjoint(names):
            more = f" and {len(known) - 20} more" if len(known) > 20 else ""  # noqa: PLR2004
            there_are = f"; there are: {', '.join(known[:20])}{more}" if known else ""
            msg = f"{title} has no run: none has {name}={value!r}{there_are}"
            warnings.warn(msg, UserWarning, stacklevel=2)


# ---------------------------------------------------------------- columns and kinds


@dataclass(frozen=True, slots=True)
class _Shape:
    """Columns of a frame in their order, each with its kind, and what is known of the values.

    Kinds are those of `frames.KINDS`, or ``bool``, ``mixed``, or ``empty`` where no value is known.
    """

    kinds: dict[str, str] = field(default_factory=dict)
    inexact: frozenset[str] = frozenset()  # columns with integers that no float holds
    tags: frozenset[str] = frozenset()
    rows: int = 0

    def merged(self, older: pd.DataFrame) -> _Shape:
        """Return the shape of these rows followed by `older` ones."""
        inexact, tags = set(self.inexact), set(self.tags)
        kinds: dict[str, str] = {}
        for name in map(str, older):
            kind = _kind_of(older[name])
            if kind in {"int", "count"} and not _is_exact(older[name]):
                inexact.add(name)
            if kind == "tag":
                tags.update(older[name].cat.categories)
            known = self.kinds.get(name) or ("empty" if self.rows else kind)
            kinds[name] = _merged_kind(known, kind, is_exact=name not in inexact)
        for name in self.kinds.keys() - kinds.keys():
            kinds[name] = _merged_kind(self.kinds[name], "empty", is_exact=True)
        names = [*map(str, older), *(name for name in self.kinds if name not in older)]
        ordered = {name: kinds[name] for name in names}
        return _Shape(ordered, frozenset(inexact), frozenset(tags), self.rows + len(older))

    def chosen(self, columns: list[str] | None) -> _Shape:
        """Return the shape of `columns` of a history, of all where None.

        Raises
        ------
        HistoryError
            No run that is exported has one of them.
        """
        optional = OPTIONAL_COLUMNS - self.kinds.keys() - set(columns or ())
        kinds = {name: kind for name, kind in KINDS.items() if name not in optional} | self.kinds
        missing = [name for name in columns or () if name not in kinds]
        if missing:
            brought = ", ".join(name for name in self.kinds if name not in KINDS) or "none"
            msg = f"columns: no run that is exported has {missing[0]!r}; their columns: {brought}"
            raise HistoryError(msg)
        return replace(self, kinds={name: kinds[name] for name in columns or _ordered(kinds)})


def _ordered(names: Iterable[str]) -> list[str]:
    """Return columns in the order of a history's frame; those of one payload stay as they are."""
    prefixes, known = list(PAYLOAD_PREFIXES), list(KINDS)

    def rank(name: str) -> tuple[int, int]:
        if name in KINDS:
            return (0 if name in _HEAD else 2), known.index(name)
        return 1, prefixes.index(name.partition(".")[0])

    return sorted(names, key=rank)


def _layout(kinds: Mapping[str, str]) -> list[tuple[str, bool]]:
    """Return what the text of a CSV depends on: names, and which are written as floats."""
    return [(name, kind == "float") for name, kind in kinds.items()]


_DTYPES: Mapping[str, Any] = {
    "float": "float64",
    "int": "int64",
    "count": "Int64",
    "bool": "boolean",
}
_KIND_OF_DTYPE = {dtype: kind for kind, dtype in _DTYPES.items()}
_KIND_OF_DTYPE |= {"bool": "bool", "datetime64[us, UTC]": "time"}


def _kind_of(values: pd.Series[Any]) -> str:
    dtype = str(values.dtype)
    if dtype == "category":
        return "tag" if values.name == "release_tag" else "state"
    if dtype in _KIND_OF_DTYPE:
        return _KIND_OF_DTYPE[dtype]
    if values.isna().all():
        return "empty"
    if dtype == "str":
        return "text"
    return "text" if all(isinstance(value, str) for value in values.dropna()) else "mixed"


def _merged_kind(newer: str, older: str, *, is_exact: bool) -> str:
    kinds = {newer, older}
    if kinds in ({"int", "empty"}, {"int", "count"}, {"count", "empty"}):
        return "count"
    kinds.discard("empty")
    if len(kinds) <= 1:
        return kinds.pop() if kinds else "empty"
    return "float" if kinds <= {"int", "count", "float"} and is_exact else "mixed"


def _is_exact(values: pd.Series[Any]) -> bool:
    present = values.dropna()
    return present.empty or (int(present.min()) in EXACT and int(present.max()) in EXACT)


# ---------------------------------------------------------------- the three formats


def _write_first_reading(source: _Source, file: TextIO) -> dict[str, str] | None:
    """Write rows while their columns are being found; return the right ones if these were not."""
    shape, layout, is_right = _Shape(), list[tuple[str, bool]](), True
    for frame in source.frames():
        shape = shape.merged(frame)
        kinds = {name: shape.kinds[name] for name in _ordered(shape.kinds)}
        if not layout:
            layout = _layout(kinds)
            file.write(header_line(kinds))
        is_right = is_right and _layout(kinds) == layout
        if is_right:
            file.writelines(_frame_lines(frame, kinds))
    kinds = shape.chosen(None).kinds
    return None if is_right and _layout(kinds) == layout else kinds


def _write_csv(frames: Iterable[pd.DataFrame], kinds: Mapping[str, str], file: TextIO) -> None:
    file.write(header_line(kinds))
    for frame in frames:
        file.writelines(_frame_lines(frame, kinds))


def _frame_lines(frame: pd.DataFrame, kinds: Mapping[str, str]) -> Iterator[str]:
    rows = len(frame)
    columns = [
        (_values(frame[name], kind) if name in frame else [None] * rows, kind)
        for name, kind in kinds.items()
    ]
    return csv_lines(columns, rows)


def _values(series: pd.Series[Any], kind: str) -> list[Any]:
    """Return the values of a column, None where one is missing, times in microseconds."""
    if kind == "time":
        missing = series.isna().to_numpy()
        micros = series.dt.tz_convert(None).astype("datetime64[us]").astype("int64").tolist()
        return [None if gap else each for gap, each in zip(missing, micros, strict=True)]
    if kind == "empty":
        return [None] * len(series)
    if series.hasnans:
        series = series.astype("object").where(series.notna(), None)
    return list(series.tolist())


def _member(values: Mapping[str, Any], name: str) -> Any:
    """Return what a run has for a column of the frame, structured values as they are."""
    prefix, _, key = name.partition(".")
    if prefix in PAYLOAD_PREFIXES:
        payload = values[PAYLOAD_PREFIXES[prefix]] or {}
        if key in payload:
            return payload[key]
        return next((value for known, value in payload.items() if clean(known) == key), None)
    if name in {"error_code", "error_message"}:
        return (values["error"] or {}).get(name.removeprefix("error_"))
    return (values[name] or None) if name == "tags" else values[name]


def _iso(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    msg = f"{type(value).__name__} is not plain JSON"
    raise TypeError(msg)


_encode = json.JSONEncoder(ensure_ascii=False, default=_iso).encode


def _write_parquet(
    frames: Iterable[pd.DataFrame], empty: pd.DataFrame, shape: _Shape, file: BinaryIO
) -> None:
    """Write frames, some in a row group; columns of mixed types as JSON text."""
    pa = pyarrow("to_parquet")
    found = pa.Schema.from_pandas(_conformed(empty, shape), preserve_index=False)
    # pandas 2 holds text as objects, and Arrow knows no type of none.
    fields = [f.with_type(pa.string()) if pa.types.is_null(f.type) else f for f in found]
    mixed = [name for name, kind in shape.kinds.items() if kind == "mixed"]
    schema = pa.schema(fields, {**found.metadata, JSON_COLUMNS: json.dumps(mixed).encode()})
    with pa.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        group: list[Any] = []
        for frame in frames:
            table = pa.Table.from_pandas(_conformed(frame, shape), schema, preserve_index=False)
            group.append(table)
            rows, size = sum(t.num_rows for t in group), sum(t.nbytes for t in group)
            if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
                writer.write_table(pa.concat_tables(group))
                group = []
        if group:
            writer.write_table(pa.concat_tables(group))


def _conformed(frame: pd.DataFrame, shape: _Shape) -> pd.DataFrame:
    """Return a part of a frame with the columns and dtypes that the whole has."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name, kind in shape.kinds.items():
        values = frame[name] if name in frame else column([None] * len(frame), "text")
        if kind == "tag":
            values = values.astype("object").astype(pd.CategoricalDtype(sorted(shape.tags)))
        elif kind in _DTYPES:
            values = values.astype("object").where(values.notna(), None).astype(_DTYPES[kind])
        elif kind == "mixed":
            values = column([_json_text(value) for value in _values(values, kind)], "text")
        elif kind in {"text", "empty"}:
            values = column(_values(values, kind), "text")
        columns[name] = values
    return pd.DataFrame(columns)


def _json_text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)

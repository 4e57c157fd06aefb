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
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from vellum_nb.errors import HistoryError
from vellum_nb.history import query
from vellum_nb.history.csv_text import csv_lines, header_line
from vellum_nb.history.files import refuse_other_ending, replacing, replacing_bytes
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

__all__ = [
    "JSON_COLUMNS",
    "pyarrow",
    "to_csv",
    "to_jsonl",
    "to_parquet",
    "write_csv_frame",
    "write_parquet_frame",
]

JSON_COLUMNS = b"vellum_nb.json"
"""Where a Parquet file lists its columns that hold JSON text in place of mixed types."""

_ROWS, _TEXT = 2_000, 8_000_000  # of a frame: rows, and characters of payloads
_GROUP_ROWS, _GROUP_BYTES = 50_000, 16_000_000
_NAMED = ("deployment", "release_tag", "author")
_HEAD = tuple(KINDS)[: tuple(KINDS).index("latency_s") + 1]  # inputs and outputs stand behind it


def to_csv(
    store: Store,
    target: str | Path | TextIO,
    filters: Filters,
    *,
    columns: str | Sequence[str] | None = None,
    progress: bool | None = None,
) -> Path | None:
    """Write a CSV; see `vellum_nb.History.to_csv`."""
    with (
        _open(store, target, "to_csv") as file,
        _source(store, target, filters, columns, progress=progress) as source,
    ):
        if source.columns is None and isinstance(target, str | Path) and file.seekable():
            shape = _write_first_reading(source, file)
            if shape is None:
                source.tick(source.total)
                return Path(target)
            file.seek(0)
            file.truncate()
        else:
            shape = source.shape()
        _write_csv(source, file, shape)
    return Path(target) if isinstance(target, str | Path) else None


def write_csv_frame(frame: pd.DataFrame, file: TextIO) -> None:
    """Write any frame to an open file as `to_csv` writes that of a history."""
    import pandas as pd

    is_time = pd.api.types.is_datetime64_any_dtype
    file.write(header_line(frame.columns))
    for start in range(0, len(frame), _ROWS):
        part = frame.iloc[start : start + _ROWS]
        kinds = {str(n): "time" if is_time(part[n]) else _kind_of(part[n]) for n in part}
        file.writelines(_frame_lines(part, kinds))


def to_jsonl(
    store: Store,
    target: str | Path | TextIO,
    filters: Filters,
    *,
    columns: str | Sequence[str] | None = None,
    progress: bool | None = None,
) -> Path | None:
    """Write JSON lines; see `vellum_nb.History.to_jsonl`."""
    readings = 1 if columns is None else 2
    with (
        _open(store, target, "to_jsonl") as file,
        _source(store, target, filters, columns, progress=progress, readings=readings) as source,
    ):
        if source.columns is not None:
            source.shape()  # refuses a column that no run has
        for run in source.runs():
            values = run.model_dump()
            if source.columns is not None:
                values = {name: _member(values, name) for name in source.columns}
            file.write(clean(_encode(values)) + "\n")
    return Path(target) if isinstance(target, str | Path) else None


def to_parquet(
    store: Store,
    path: str | Path,
    filters: Filters,
    *,
    columns: str | Sequence[str] | None = None,
    progress: bool | None = None,
) -> Path:
    """Write Parquet; see `vellum_nb.History.to_parquet`."""
    pa = pyarrow("to_parquet")
    if not isinstance(path, str | Path):
        msg = f"path={path!r:.100} is not a path"
        raise HistoryError(msg)
    refuse_other_ending(path, "to_parquet")
    _refuse_own_file(store, path)
    with (
        replacing_bytes(path) as file,
        _source(store, path, filters, columns, progress=progress) as source,
    ):
        shape = source.shape(with_tags=True)
        _write_parquet(pa, shape, source.frames(), file)
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
def _source(
    store: Store,
    target: object,
    filters: Filters,
    columns: str | Sequence[str] | None,
    *,
    progress: bool | None,
    readings: int = 2,
) -> Iterator[_Source]:
    chosen = _checked_columns(columns)
    title = Path(target).name if isinstance(target, str | Path) else "export"
    selection = query.select(filters, store)
    with ExitStack() as stack:
        snapshot = stack.enter_context(store.snapshot())
        total = query.count(snapshot, selection)
        if not total:
            _warn_of_unknown_names(snapshot, filters, title)
        tick = stack.enter_context(progress_line(title, total * readings, show=progress))
        yield _Source(snapshot, selection, chosen, total, tick)


@contextmanager
def _open(store: Store, target: str | Path | TextIO, writer: str) -> Iterator[TextIO]:
    if not isinstance(target, str | Path):
        if not hasattr(target, "write"):
            msg = f"path={target!r:.100} is not a path or an open text file"
            raise HistoryError(msg)
        yield target
        return
    refuse_other_ending(target, writer)
    _refuse_own_file(store, target)
    with replacing(target) as file:
        yield file


def _refuse_own_file(store: Store, path: str | Path) -> None:
    if (
        "\0" not in str(path)
        and isinstance(store.path, Path)
        and Path(path).resolve() == store.path.resolve()
    ):
        msg = f"{path} is this history itself and stays; name another file"
        raise HistoryError(msg)


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
        wanted = [value] if isinstance(value, str) else [*(value or ())]
        sql = f"SELECT DISTINCT {name} FROM runs r WHERE deletion IS NULL AND {name} IS NOT NULL"
        known = sorted(text for (text,) in snapshot.read(sql)) if wanted else []
        if wanted and set(known).isdisjoint(wanted):
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
        inexact = set(self.inexact)
        kinds: dict[str, str] = {}
        for name in older:
            kind = KINDS.get(name) or _kind_of(older[name])
            if kind in {"int", "count"} and name not in KINDS and not _is_exact(older[name]):
                inexact.add(name)
            known = self.kinds.get(name) or ("empty" if self.rows else kind)
            kinds[name] = _merged_kind(known, kind, is_exact=name not in inexact)
        for name, kind in self.kinds.items():
            if name not in kinds:
                kinds[name] = _merged_kind(kind, "empty", is_exact=True)
        tags = self.tags
        if "release_tag" in older:
            tags |= set(older["release_tag"].cat.categories)
        return _Shape(_ordered(kinds), frozenset(inexact), tags, self.rows + len(older))

    def chosen(self, columns: list[str] | None) -> _Shape:
        """Return the shape of `columns`, of all where None.

        Raises
        ------
        HistoryError
            No run that is exported has one of them.
        """
        names = columns or [
            name for name in KINDS if name not in OPTIONAL_COLUMNS or name in self.kinds
        ]
        kinds = {name: KINDS[name] for name in names if name in KINDS} | self.kinds
        missing = [name for name in columns or () if name not in kinds]
        if missing:
            brought = ", ".join(name for name in self.kinds if name not in KINDS) or "none"
            msg = f"columns: no run that is exported has {missing[0]!r}; their columns: {brought}"
            raise HistoryError(msg)
        ordered = {name: kinds[name] for name in columns} if columns else _ordered(kinds)
        return _Shape(ordered, self.inexact, self.tags, self.rows)

    def layout(self) -> list[tuple[str, bool]]:
        """Return what the text of a CSV depends on: names, and which are written as floats."""
        return [(name, kind == "float") for name, kind in self.kinds.items()]


def _ordered(kinds: Mapping[str, str]) -> dict[str, str]:
    """Return columns in the order of a frame; those of one payload stay as they are."""
    brought = (n for n in kinds if n not in KINDS)
    prefixes = list(PAYLOAD_PREFIXES)
    names = [
        *(n for n in _HEAD if n in kinds),
        *sorted(brought, key=lambda name: prefixes.index(name.partition(".")[0])),
        *(n for n in KINDS if n in kinds),
    ]
    return {name: kinds[name] for name in names}


def _kind_of(values: pd.Series[Any]) -> str:
    dtype = str(values.dtype)
    kinds = {"boolean": "bool", "int64": "int", "Int64": "count", "float64": "float"}
    if dtype in kinds:
        return kinds[dtype]
    present = values.dropna()
    if present.empty:
        return "empty"
    return "text" if dtype == "str" or all(isinstance(v, str) for v in present) else "mixed"


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


def _write_first_reading(source: _Source, file: TextIO) -> _Shape | None:
    """Write rows while their columns are being found; return the right shape if it was another."""
    shape, layout, is_right = _Shape(), list[tuple[str, bool]](), True
    for frame in source.frames():
        shape = shape.merged(frame)
        if not layout:
            layout = shape.layout()
            file.write(header_line(shape.kinds))
        is_right = is_right and shape.layout() == layout
        if is_right:
            file.writelines(_frame_lines(frame, shape.kinds))
    shape = shape.chosen(None)
    return None if is_right and shape.layout() == layout else shape


def _write_csv(source: _Source, file: TextIO, shape: _Shape) -> None:
    file.write(header_line(shape.kinds))
    for frame in source.frames():
        file.writelines(_frame_lines(frame, shape.kinds))


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


def write_parquet_frame(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write any frame as Parquet; columns of mixed types as JSON text."""
    pa = pyarrow("to_parquet")
    kinds = {str(name): _kind_of(frame[name]) for name in frame if frame[name].dtype == object}
    mixed = [name for name, kind in kinds.items() if kind == "mixed"]
    texts = frame.assign(**{name: frame[name].map(_json_text) for name in mixed})
    table = pa.Table.from_pandas(texts)
    notes = {**table.schema.metadata, JSON_COLUMNS: json.dumps(mixed).encode()}
    with replacing_bytes(path) as file:
        pa.parquet.write_table(table.replace_schema_metadata(notes), file, compression="zstd")
    return Path(path)


def _write_parquet(pa: Any, shape: _Shape, frames: Iterator[pd.DataFrame], file: BinaryIO) -> None:
    """Write frames, some in a row group."""
    empty = frame_of_cells({name: [] for name in shape.kinds})
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

    dtypes = {"float": "float64", "int": "int64", "count": "Int64", "bool": "boolean"}
    columns: dict[str, Any] = {}
    for name, kind in shape.kinds.items():
        values = frame[name] if name in frame else column([None] * len(frame), "text")
        if kind == "tag":
            values = values.astype("object").astype(pd.CategoricalDtype(sorted(shape.tags)))
        elif kind in dtypes:
            values = values.astype("object").where(values.notna(), None).astype(dtypes[kind])
        elif kind == "mixed":
            values = column([_json_text(value) for value in _values(values, kind)], "text")
        elif kind in {"text", "empty"}:
            values = column(_values(values, kind), "text")
        columns[name] = values
    return pd.DataFrame(columns)


def _json_text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)

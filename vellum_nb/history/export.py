"""Exports of a consistent state of the history to CSV, JSON lines and Parquet."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from vellum_nb.errors import HistoryError
from vellum_nb.escaping import warn
from vellum_nb.files import refuse_other_ending, replace_file, replace_text
from vellum_nb.history import query
from vellum_nb.history.backends import Snapshot, Store
from vellum_nb.history.frames import (
    NOT_SHOWN,
    PAYLOAD_PREFIXES,
    SHOWN,
    check_width,
    column,
    csv_lines,
    frame_of_rows,
    header_line,
    values_of,
)
from vellum_nb.history.progress import progress_line
from vellum_nb.history.query import Filters, Selection
from vellum_nb.history.rows import DamagedRunError, clean, damaged, run_of
from vellum_nb.history.schema import COLUMN_KINDS, HEAD, OPTIONAL_COLUMNS, SCALARS, WHOLE
from vellum_nb.history.store import DatabaseUrl, Row, not_a_file
from vellum_nb.lazy import pd
from vellum_nb.models import Run
from vellum_nb.models.checks import available

JSON_COLUMNS = b"vellum_nb.json"
"""Metadata key of a Parquet file for the columns of mixed types, stored as JSON text."""

_CHUNK_ROWS, _CHUNK_CHARACTERS = 4_000, 8_000_000
_CHECKED_FILTERS = ("deployment", "release_tag", "author")
_LISTED_NAMES = 20
_ONLY_IN_JSON_LINES = ("output_types", "not_sent", "nodes")

Target = str | Path | TextIO


def to_csv(store: Store, target: Target, filters: Filters, **options: Any) -> Path | None:
    """Write a CSV; see `vellum_nb.History.to_csv`.

    A file is written while the runs are read, and rewritten if older runs have additional columns.
    For a stream, the runs are read twice.
    """

    def write(file: Any, source: _Source) -> None:
        is_file = isinstance(target, str | Path) and file.seekable()
        present: list[str] = []
        head = source.columns if is_file else None
        for frame in source.frames():
            is_first, present = not present, _ordered([*frame, *present])
            if is_first and is_file:
                head = head or present
                file.write(header_line(head))
            if head is not None and head in (present, source.columns):
                file.writelines(csv_lines(frame, head))
        names = source.names(present)
        if names != head or not present:
            if is_file:
                file.seek(0)
                file.truncate()
            file.write(header_line(names))
            for frame in source.frames(is_second=True):
                file.writelines(csv_lines(frame, names))

    return _export(store, target, "to_csv", filters, write, **options)


def to_jsonl(store: Store, target: Target, filters: Filters, **options: Any) -> Path | None:
    """Write JSON lines; see `vellum_nb.History.to_jsonl`."""

    def write(file: Any, source: _Source) -> None:
        present: dict[str, Any] = {}
        if not (isinstance(target, str | Path) and file.seekable()):
            source.check()  # output to a stream cannot be undone
        for run in source.runs():
            with damaged(f"Run {run.id!r:.100}"):  # nested too deeply for JSON
                values = run.model_dump()
                if source.columns is not None:
                    flat = _flat(values)
                    present |= dict.fromkeys(flat)
                    values = {name: flat.get(name) for name in source.columns}
                text = json.dumps(values, ensure_ascii=False, default=datetime.isoformat)
            file.write(clean(text) + "\n")
        source.names(present)

    return _export(store, target, "to_jsonl", filters, write, **options)


def to_parquet(store: Store, path: str | Path, filters: Filters, **options: Any) -> Path:
    """Write Parquet; see `vellum_nb.History.to_parquet`."""
    pyarrow("to_parquet")

    def write(file: BinaryIO, source: _Source) -> None:
        samples = _samples(source.frames())
        names = source.names(samples)
        dtypes = {name: column(samples.get(name, []), COLUMN_KINDS.get(name)) for name in names}
        mixed = [name for name, sample in dtypes.items() if _is_mixed(sample)]
        parts = (_conformed(frame, dtypes) for frame in source.frames(is_second=True))
        _write_parquet(parts, _conformed(frame_of_rows([]), dtypes), mixed, file)

    _export(store, path, "to_parquet", filters, write, **options)
    return Path(path)


def write_parquet_frame(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write any DataFrame in the format of `History.to_parquet`."""
    refuse_other_ending(path, "to_parquet")
    mixed = [str(name) for name in frame if _is_mixed(frame[name])]
    replace_file(path, partial(_write_parquet, [frame], frame.iloc[:0], mixed))
    return Path(path)


def pyarrow(caller: str) -> Any:
    """Import pyarrow; raise a `HistoryError` that names `caller` if it is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as exc:
        msg = f"{caller} needs pyarrow: pip install 'vellum-nb[parquet]'"
        raise HistoryError(msg) from exc
    return pa


@dataclass(frozen=True, slots=True)
class _Source:
    """Runs of an export in a consistent state of the history, for repeated reads."""

    snapshot: Snapshot
    selection: Selection
    columns: list[str] | None
    progress: Any
    finds_key: Callable[[str], bool]

    def frames(self, *, is_second: bool = False) -> Iterator[pd.DataFrame]:
        """Yield frames with a limited number of rows and characters."""
        chunk: list[Row] = []
        size = 0
        self.progress.total *= 1 + is_second
        for rows in chain(query.stream_rows(self.snapshot, self.selection, SHOWN), ([],)):
            if not is_second:
                self._refuse_key(rows)
            chunk += rows
            size += sum(len(text) for row in rows for text in row[len(SCALARS) :] if text)
            if chunk and (not rows or len(chunk) >= _CHUNK_ROWS or size >= _CHUNK_CHARACTERS):
                yield frame_of_rows(chunk, skip_damaged=self.selection.skip_damaged)
                self.progress.update(len(chunk))
                chunk, size = [], 0

    def runs(self) -> Iterator[Run]:
        for rows in query.stream_rows(self.snapshot, self.selection, WHOLE):
            self._refuse_key(rows)
            yield from query.runs_of(rows, skip_damaged=self.selection.skip_damaged)
            self.progress.update(len(rows))

    def check(self) -> None:
        """Raise a `HistoryError` if the export would contain the API key."""
        for rows in query.stream_rows(self.snapshot, self.selection, WHOLE):
            self._refuse_key(rows)

    def _refuse_key(self, rows: Sequence[Row]) -> None:
        """Raise a `HistoryError` if one of `rows`, of `WHOLE` or `SHOWN`, contains the API key."""
        texts = [text for row in rows for text in row if isinstance(text, str)]
        if not self.finds_key("\n".join(texts)):
            return
        for row in rows:
            for name, value in self._values_of(row).items():
                text = json.dumps(value, ensure_ascii=False, default=str)
                if self.finds_key(f"{name} {text}"):
                    raise self._leak(name, row[0])

    def _values_of(self, row: Row) -> dict[str, Any]:
        """Return the exported values of a row of `WHOLE` or `SHOWN` by column."""
        is_whole = len(row) == len(WHOLE)
        try:
            run = run_of((*row, *NOT_SHOWN)[: len(WHOLE)])
        except DamagedRunError:  # a frame can contain most values
            return dict(zip(WHOLE, row, strict=False))
        values = _flat(run.model_dump())
        if self.columns is not None:
            return {name: values.get(name) for name in self.columns}
        return values | (
            {name: getattr(run, name) for name in _ONLY_IN_JSON_LINES} if is_whole else {}
        )

    def _leak(self, name: str, run_id: str) -> HistoryError:
        column = "the name of a value" if self.finds_key(name) else name
        subject = "a run" if self.finds_key(run_id) else f"run {run_id}"
        return HistoryError(
            f"Nothing was exported: it would contain the API key, in {column} of {subject}. Delete "
            "the run with history.delete(...) and use another key, or export other columns with "
            "columns=[...]"
        )

    def names(self, present: Iterable[str]) -> list[str]:
        """Return the columns to write; `present` are those of the runs."""
        present = list(present)
        check_width(present)
        required = [name for name in COLUMN_KINDS if name not in OPTIONAL_COLUMNS]
        columns = _ordered([*required, *present])
        valid = {*columns, *COLUMN_KINDS}
        if missing := [name for name in self.columns or () if name not in valid]:
            payloads = [name for name in columns if name not in COLUMN_KINDS]
            msg = f"Column {missing[0]!r} does not exist in this export{available(payloads)}"
            raise HistoryError(msg)
        return columns if self.columns is None else self.columns


def _export(
    store: Store,
    target: Target,
    writer: str,
    filters: Filters,
    write: Callable[[Any, _Source], None],
    *,
    columns: str | Sequence[str] | None = None,
    progress: bool | None = None,
    finds_key: Callable[[str], bool],
) -> Path | None:
    """Call `write` with the open file and the runs of an export; return the file's path."""
    chosen = _checked_columns(columns)
    if isinstance(target, DatabaseUrl):
        raise not_a_file(target)
    path = Path(target) if isinstance(target, str | Path) else None
    if path is not None:
        refuse_other_ending(path, writer)
    elif writer == "to_parquet" or not hasattr(target, "write"):
        msg = f"path={target!r:.100} is not a path or an open text file"
        raise HistoryError(msg)
    title = "export" if path is None else path.name
    selection = query.select(filters, store)

    def export(file: Any) -> None:
        with store.snapshot() as snapshot:
            total = query.count(snapshot, selection)
            if not total:
                _warn_of_unknown_names(snapshot, filters, title)
            with progress_line(title, total, show=progress) as line:
                write(file, _Source(snapshot, selection, chosen, line, finds_key))

    if path is None:
        export(target)
    else:
        (replace_file if writer == "to_parquet" else replace_text)(path, export)
    return path


def _checked_columns(columns: object) -> list[str] | None:
    if columns is None:
        return None
    if not isinstance(columns, Iterable):
        msg = f"columns={columns!r}: give a list of names, or leave it out for all"
        raise HistoryError(msg)
    names = [columns] if isinstance(columns, str) else list(columns)
    for name in names:
        prefix, dot, _ = str(name).partition(".")
        if name not in COLUMN_KINDS and not (prefix in PAYLOAD_PREFIXES and dot):
            names = [*COLUMN_KINDS, *(f"{prefix}.<name>" for prefix in PAYLOAD_PREFIXES)]
            msg = f"Unknown column {name!r}{available(names)}"
            raise HistoryError(msg)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not names:
        problem = f"{', '.join(repeated)} is named twice" if repeated else "none is named"
        msg = f"columns={names}: {problem}; name each column once, or leave it out for all"
        raise HistoryError(msg)
    return names


def _warn_of_unknown_names(snapshot: Snapshot, filters: Filters, title: str) -> None:
    """Warn if the export is empty because of an unknown name in `filters`."""
    for name in _CHECKED_FILTERS:
        value: Any = filters.get(name)
        names = [value] if isinstance(value, str) else [*(value or ())]
        sql = f"SELECT DISTINCT {name} FROM runs r WHERE deletion IS NULL AND {name} IS NOT NULL"
        existing = sorted(text for (text,) in snapshot.read(sql)) if names else []
        if names and set(existing).isdisjoint(names):
            listed = available(existing, _LISTED_NAMES) if existing else ""
            msg = f"{title} contains no runs: no run has {name}={value!r}{listed}"
            warn(msg, stacklevel=2)


def _ordered(names: Iterable[Any]) -> list[str]:
    """Return columns in the order of a frame; the order within a payload is preserved."""
    prefixes, fixed = list(PAYLOAD_PREFIXES), list(COLUMN_KINDS)

    def rank(name: str) -> tuple[int, int]:
        if name in COLUMN_KINDS:
            return 0 if name in HEAD else 2, fixed.index(name)
        return 1, prefixes.index(name.partition(".")[0])

    return sorted(dict.fromkeys(names), key=rank)


def _flat(run: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a run by column of the frame, without encoding structured values."""
    error = run["error"] or {}
    flat = {name: run.get(name) for name in COLUMN_KINDS}
    flat |= {f"error_{name}": error.get(name) for name in ("code", "message")}
    flat["tags"] = run["tags"] or None
    for prefix, payload in PAYLOAD_PREFIXES.items():
        flat |= {clean(f"{prefix}.{key}"): value for key, value in (run[payload] or {}).items()}
    return flat


def _samples(frames: Iterable[pd.DataFrame]) -> dict[str, list[Any]]:
    """Return values of each column that determine the same dtype as all values."""
    samples: dict[str, list[Any]] = {}
    rows, rows_with = 0, Counter[str]()
    for frame in frames:
        rows += len(frame)
        updated = {str(name): samples.pop(str(name), []) for name in frame}
        for name, sample in updated.items():
            rows_with[name] += len(frame)
            if COLUMN_KINDS.get(name) == "tag":
                updated[name] = list({*sample, *frame[name].cat.categories})
            elif name not in COLUMN_KINDS:
                values = [*sample, *values_of(frame[name])]
                integers = sorted(value for value in values if type(value) is int)
                of_each_type = dict(zip(map(type, values), values, strict=True)).values()
                updated[name] = [*of_each_type, *integers[:1], *integers[-1:]]
        samples = updated | samples
    return {n: values if rows_with[n] == rows else [*values, None] for n, values in samples.items()}


def _is_mixed(values: pd.Series[Any]) -> bool:
    is_object = str(values.dtype) == "object"
    return is_object and not all(isinstance(value, str) for value in values.dropna())


def _conformed(frame: pd.DataFrame, dtypes: dict[str, pd.Series[Any]]) -> pd.DataFrame:
    """Return a part of a frame with the columns and dtypes of the export."""
    columns: dict[str, Any] = {}
    for name, sample in dtypes.items():
        values = frame[name] if name in frame else column([None] * len(frame), "text")
        if values.dtype != sample.dtype:
            values = pd.Series(values_of(values), dtype=sample.dtype)
        columns[name] = values
    return pd.DataFrame(columns)


def _write_parquet(
    frames: Iterable[pd.DataFrame], empty: pd.DataFrame, mixed: Sequence[str], file: BinaryIO
) -> None:
    """Write each frame as a row group; columns of mixed types are converted to JSON text."""
    pa = pyarrow("to_parquet")
    texts = {name: column([], "text") for name in mixed}
    inferred = pa.Schema.from_pandas(empty.assign(**texts), preserve_index=False)
    # Arrow infers the type null for empty columns of dtype object, which are text in pandas 2.
    fields = [f.with_type(pa.string()) if pa.types.is_null(f.type) else f for f in inferred]
    schema = pa.schema(fields, {**inferred.metadata, JSON_COLUMNS: json.dumps(mixed).encode()})
    with pa.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for frame in frames:
            part = frame.reset_index(drop=True)
            for name in mixed:
                values = values_of(part[name])
                cells = [v if v is None else json.dumps(v, ensure_ascii=False) for v in values]
                part[name] = column(cells, "text")
            writer.write_table(pa.Table.from_pandas(part, schema, preserve_index=False))

"""Conversion of rows to DataFrames with documented dtypes, and of DataFrames to CSV.

NaN counts as a missing value. Lone surrogates are replaced by U+FFFD, except in `History.runs`.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, compress, repeat
from pathlib import Path
from typing import Any, get_args

from vellum_nb.clock import micros
from vellum_nb.errors import HistoryError
from vellum_nb.files import refuse_other_ending, replace_text
from vellum_nb.history.rows import DAMAGE, DamagedRunError, cell, clean, damaged, run_of
from vellum_nb.history.schema import (
    COLUMN_KINDS,
    COLUMNS,
    FRAMED,
    HEAD,
    OPTIONAL_COLUMNS,
    SCALARS,
    FrameView,
)
from vellum_nb.lazy import np, pd
from vellum_nb.models import NodeRun, RunState

PAYLOAD_PREFIXES = {"input": "inputs", "output": "outputs", "desired": "desired"}
"""Payload columns by the prefix of their columns in a frame."""
SHOWN = (*SCALARS, *FRAMED)
NOT_SHOWN = ("{}", "[]", None)
"""Values for the columns of `WHOLE` after those of `SHOWN`."""

INT64 = range(-(2**63), 2**63)
EXACT = range(-(2**53), 2**53 + 1)
NO_TIME = -(2**63)  # NaT in numpy and pandas
_STATES = get_args(RunState)
TIMES = range(-62_135_596_800_000_000, 253_402_300_800_000_000)  # years 1 to 9999
_LAST_PANDAS_WITH_OBJECT_TEXT = 2
_MAX_NAMES = 5_000
_TEXTS_PER_PARSE = 2000
_STRUCTURED = frozenset({dict, list})
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SEPARATOR = "\0"
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_SEPARATOR_JSON = f",{_encode(_SEPARATOR)},"


def frame_of_rows(rows: Sequence[Sequence[Any]], *, skip_damaged: bool = False) -> pd.DataFrame:
    """Build the frame of rows of `SHOWN`; damaged rows raise an error or are skipped."""
    try:
        return _frame(rows)
    except DAMAGE:
        valid_rows = _valid_rows(rows, skip_damaged=skip_damaged)
    with damaged("A run"):
        return _frame(valid_rows)


def _valid_rows(rows: Sequence[Sequence[Any]], *, skip_damaged: bool) -> Sequence[Sequence[Any]]:
    """Return the rows without the damaged ones, which bisection finds among very many."""
    try:
        if len(rows) == 1:
            _check_row(rows[0])
        else:
            _frame(rows)
    except DamagedRunError as exc:
        if skip_damaged:
            return []
        raise exc from None
    except DAMAGE:
        middle = len(rows) // 2
        halves = (rows[:middle], rows[middle:])
        return [row for half in halves for row in _valid_rows(half, skip_damaged=skip_damaged)]
    return rows


def _check_row(row: Sequence[Any]) -> None:
    """Raise a `DamagedRunError` if a row of `SHOWN` cannot be converted."""
    run_of((*row, *NOT_SHOWN))
    try:
        _frame([row])
    except DAMAGE as exc:
        raise DamagedRunError(row[0], f"{exc!s:.100}") from exc


def _frame(rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    values = zip(*rows, strict=True) if rows else ((),) * len(SHOWN)
    values_by_name = dict(zip(SHOWN, values, strict=False))
    for name in (name for name, kind in COLUMN_KINDS.items() if kind == "time"):
        if not _all_in(TIMES, _present(values_by_name[name])):
            raise ValueError(name)
    if not set(values_by_name["state"]) <= set(_STATES):
        raise ValueError(_STATES)
    columns = {
        name: column(values_by_name.pop(name), kind)
        for name, kind in COLUMN_KINDS.items()
        if name != "metadata"
    }
    columns["metadata"] = _series(_cells(values_by_name.pop("metadata")), "str")
    ordered = {name: columns[name] for name in HEAD}
    for prefix, name in PAYLOAD_PREFIXES.items():
        for key, cells in _members(values_by_name.pop(name)).items():
            ordered[clean(f"{prefix}.{key}")] = column(cells, None)
    empty = {name for name in OPTIONAL_COLUMNS if columns[name].isna().all()}
    ordered |= {name: columns[name] for name in COLUMN_KINDS if name not in {*HEAD, *empty}}
    return _data_frame(ordered, len(rows))


def short_view(frame: pd.DataFrame, columns: FrameView) -> pd.DataFrame:
    """Return the columns of a view of a frame of runs."""
    if columns == "all":
        return frame
    names = map(str, frame)
    return frame[[name for name in names if name not in COLUMNS or COLUMNS[name].is_short]]


def frame_of_cells(
    values: Mapping[str, list[Any]], kinds: Mapping[str, str | None] = COLUMN_KINDS
) -> pd.DataFrame:
    """Build a DataFrame from columns of plain values; timestamps are in microseconds."""
    rows = len(next(iter(values.values()), []))
    columns = {name: column(cells, kinds.get(name)) for name, cells in values.items()}
    return _data_frame(columns, rows)


def frame_of_records(
    kinds: Mapping[str, str | None], rows: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """Build a DataFrame from `rows`; cast each column to its kind; None infers it."""
    return frame_of_cells({name: [row[name] for row in rows] for name in kinds}, kinds)


def _data_frame(columns: Mapping[str, Any], rows: int) -> pd.DataFrame:
    # Aligning Series is slow. Columns of objects are Series, which preserve the dtype.
    arrays = {name: c if c.dtype == "object" else c.array for name, c in columns.items()}
    return pd.DataFrame(arrays, index=pd.RangeIndex(rows))


def is_time(value: object) -> bool:
    """Return True for microseconds since the epoch that `datetime` can represent."""
    return isinstance(value, int) and value in TIMES  # the lookup is slow for other types


def column(values: Sequence[Any], kind: str | None) -> Any:
    """Return a Series of this kind; None infers the dtype from the values."""
    return _MAKERS[kind](values) if kind else _inferred(values)


def _series(values: Sequence[Any], dtype: str) -> Any:
    if dtype == "str":
        is_modern = int(pd.__version__.split(".", 1)[0]) > _LAST_PANDAS_WITH_OBJECT_TEXT
        dtype = "str" if is_modern else "object"
        with suppress(ImportError):
            if is_modern:
                import pyarrow as pa  # two to four times as fast

                return pd.Series(pa.array(values, pa.large_string()), dtype=dtype)
        if values.count(None) == len(values):  # faster
            return pd.Series(None, index=pd.RangeIndex(len(values)), dtype=dtype)
    return pd.Series(values, dtype=dtype)


def _category(values: Sequence[Any], first: Sequence[str]) -> Any:
    categories = [*first, *sorted(set(_present(values)) - set(first))]
    codes = {value: code for code, value in enumerate(categories)} | {None: -1}
    coded = [codes[value] for value in values]
    return pd.Series(pd.Categorical.from_codes(coded, _series(categories, "str")))


def _times(values: Sequence[Any]) -> Any:
    moments = _series([NO_TIME if value is None else value for value in values], "int64")
    return pd.Series(pd.DatetimeIndex(moments.to_numpy().view("datetime64[us]"), tz="UTC"))


def _inferred(values: Sequence[Any]) -> Any:
    present = _present(values)
    kinds = set(map(type, present))
    if kinds <= {str}:
        return _series(values, "str")
    if kinds == {bool}:
        return _series(values, "boolean")
    integers = list(compress(present, map(partial(operator.is_, int), map(type, present))))
    if kinds == {int} and _all_in(INT64, integers):
        return _series(values, "int64" if len(present) == len(values) else "Int64")
    if kinds <= {int, float} and float in kinds and _all_in(EXACT, integers):
        return _series(values, "float64")
    return _series(values, "object")


def _all_in(limits: range, numbers: Sequence[int]) -> bool:
    return not numbers or (min(numbers) in limits and max(numbers) in limits)


_MAKERS: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    "text": partial(_series, dtype="str"),
    "time": _times,
    "float": partial(_series, dtype="float64"),
    "int": lambda values: _series([v or 0 for v in values], "int64"),
    "count": partial(_series, dtype="Int64"),
    "tag": partial(_category, first=()),
    "state": partial(_category, first=_STATES),
}


def _present(values: Iterable[Any]) -> list[Any]:
    return list(filter(partial(operator.is_not, None), values))


# JSON in bulk: texts are joined to an array, which is parsed once and split into columns.


def _cells(texts: Sequence[str | None]) -> list[Any]:
    cells: list[Any] = []
    for first in range(0, len(texts), _TEXTS_PER_PARSE):
        values, has_surrogates = _parse(texts[first : first + _TEXTS_PER_PARSE], "null")
        cells += _frame_values(values, has_surrogates=has_surrogates)
    return cells


def _members(texts: Sequence[str | None]) -> dict[str, list[Any]]:
    """Return the cells of JSON objects, given newest first, by name.

    Names are in the order of the oldest objects.
    """
    chunks: list[tuple[dict[str, list[Any]], int]] = []
    for first in range(0, len(texts), _TEXTS_PER_PARSE):
        objects, has_surrogates = _parse(texts[first : first + _TEXTS_PER_PARSE], "{}")
        objects = [{} if value is None else value for value in objects]  # of desired outputs
        names = dict.fromkeys(chain.from_iterable(reversed(objects)))
        check_width(names)
        members = {name: list(map(dict.get, objects, repeat(name))) for name in names}
        cells = {n: _frame_values(v, has_surrogates=has_surrogates) for n, v in members.items()}
        chunks.append((cells, len(objects)))
    columns: dict[str, list[Any]] = {}
    for name in dict.fromkeys(chain.from_iterable(cells for cells, _ in reversed(chunks))):
        columns[name] = []
        for cells, size in chunks:
            columns[name] += cells.pop(name) if name in cells else [None] * size
    return columns


def check_width(names: Collection[str]) -> None:
    """Raise an error for more names than a frame can reasonably have as columns."""
    if len(names) > _MAX_NAMES:
        msg = (
            f"These runs have more than {_MAX_NAMES:,} different names of inputs or outputs, too "
            "many for the columns of a frame; select fewer runs, or read them with history.runs()"
        )
        raise HistoryError(msg)


def _parse(texts: Sequence[str | None], missing: str) -> tuple[list[Any], bool]:
    """Return the values and whether they can contain lone surrogates."""
    present = [text or missing for text in texts] if None in texts else texts
    joined = f"[{','.join(present)}]"  # type: ignore[arg-type]
    values = json.loads(joined)
    if len(values) != len(present):  # damaged texts can combine to a valid value
        values = list(map(json.loads, present))  # type: ignore[arg-type]
    return values, "\\u" in joined and bool(_SURROGATE.search(joined))


def _frame_values(values: list[Any], *, has_surrogates: bool) -> list[Any]:
    kinds = set(map(type, values))
    if has_surrogates or (float in kinds and any(map(operator.ne, values, values))):  # NaN
        return list(map(cell, values))
    if kinds.isdisjoint(_STRUCTURED):
        return values
    structured = list(map(_STRUCTURED.__contains__, map(type, values)))
    sources: dict[bool, Iterator[Any]] = {
        True: iter(_texts(list(compress(values, structured)))),
        False: compress(values, map(operator.not_, structured)),
    }
    return list(map(next, map(sources.__getitem__, structured)))


def _texts(values: list[Any]) -> list[str]:
    """Encode values as JSON, as one list that is split at separators."""
    both = [_SEPARATOR] * (2 * len(values) - 1)
    both[::2] = values
    texts = _encode(both)[1:-1].split(_SEPARATOR_JSON)
    return texts if len(texts) == len(values) else list(map(cell, values))


_TRACE = {
    **dict.fromkeys(("name", "state"), "text"),
    "start": "time",
    "duration_s": "float",
    **dict.fromkeys(("error", "kind", "model"), "text"),
    **dict.fromkeys(("tokens_in", "tokens_out"), "count"),
    "cost_usd": "float",
    "depth": "int",
}


def trace_frame(nodes: Sequence[NodeRun]) -> pd.DataFrame:
    """Build the frame of `Workspace.trace`: one row per node, in the order of their starts."""
    parents = {node.span_id: node.parent_span_id for node in nodes if node.span_id}
    rows = []
    for node in nodes:
        around: set[str] = set()
        parent = node.parent_span_id
        while parent is not None and parent in parents and parent not in around:
            around.add(parent)
            parent = parents[parent]
        values = {name: getattr(node, name, None) for name in _TRACE}
        row = {n: clean(value) if isinstance(value, str) else value for n, value in values.items()}
        start = None if node.start is None else micros(node.start)
        rows.append(row | {"start": start, "depth": len(around)})
    rows.sort(key=lambda row: (row["start"] is None, row["start"] or 0))
    return frame_of_records(_TRACE, rows)


# CSV that preserves types and contains no formulas: text is quoted, missing values are empty, and
# numbers and bools are not quoted. An apostrophe is put in front of text that a spreadsheet would
# execute, and of text that starts with an apostrophe.

_GUARD = "'"
_WIDE = "\uff1d\uff0b\uff0d\uff20"  # full-width = + - @
_DANGEROUS = frozenset({*"=+-@", *_WIDE, "\t", "\r", "\n", _GUARD})
_JOINED_PARTS = 8
_NUMBERS = frozenset({int, float, bool})


def write_csv_frame(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write any DataFrame in the format of `History.to_csv`."""
    refuse_other_ending(path, "to_csv")
    lines = chain([header_line(frame)], csv_lines(frame, [*map(str, frame)]))
    replace_text(path, lambda file: file.writelines(lines))
    return Path(path)


def header_line(names: Iterable[Any]) -> str:
    """Return the header of a CSV."""
    return ",".join(_quoted(str(name)) for name in names) + "\n"


def csv_lines(frame: pd.DataFrame, names: Sequence[str]) -> Iterator[str]:
    """Yield groups of CSV lines; missing columns are empty."""
    rows = len(frame)
    parts = [_pattern(frame[name]) if name in frame else ("", ()) for name in names]
    line = ",".join([pattern for pattern, _ in parts]) + "\n"
    filled = [values for pattern, values in parts if pattern]
    lines = list(map(line.__mod__, zip(*filled, strict=True) if filled else repeat((), rows)))
    step = rows // _JOINED_PARTS + 1  # less memory than a single text
    for start in range(0, rows, step):
        yield "".join(lines[start : start + step])


def values_of(series: pd.Series[Any]) -> list[Any]:
    """Return the values of a column; missing values are None."""
    if series.hasnans:
        series = series.astype("object").where(series.notna(), None)
    return list(series.tolist())


def _pattern(series: pd.Series[Any]) -> tuple[str, Sequence[Any]]:
    """Return the format of a column in a CSV line, and the values to format."""
    if str(series.dtype).startswith("datetime64"):
        texts = np.datetime_as_string(series.dt.tz_convert(None).to_numpy(), unit="us").tolist()
        if not series.hasnans:
            return "%s+00:00", texts
        return "%s", ["" if text == "NaT" else f"{text}+00:00" for text in texts]
    values = values_of(series)
    kinds = set(map(type, values))
    has_gaps = type(None) in kinds
    kinds.discard(type(None))
    if not kinds:
        return "", ()
    if kinds == {str}:
        return _text_pattern(values, has_gaps=has_gaps)
    if not kinds <= _NUMBERS:
        return "%s", [_cell(value) for value in values]
    return "%s", ["" if value is None else value for value in values] if has_gaps else values


def _text_pattern(values: Sequence[Any], *, has_gaps: bool) -> tuple[str, Sequence[Any]]:
    texts = [value for value in values if value is not None] if has_gaps else values
    if not _DANGEROUS.isdisjoint([text[:1] for text in texts]):
        return "%s", [_cell(value) for value in values]
    if '"' in "".join(texts):
        values = [value and value.replace('"', '""') for value in values]
    if has_gaps:
        return "%s", ["" if value is None else f'"{value}"' for value in values]
    return '"%s"', values


def _quoted(text: str) -> str:
    """Return `text` as a quoted cell, with an apostrophe if a spreadsheet would execute it."""
    guard = _GUARD if text[:1] in _DANGEROUS else ""
    return f'"{guard}{text.replace(chr(34), chr(34) * 2)}"'


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    return "" if value is None else str(value)


def unguarded(text: str) -> str:
    """Return the text of a cell without the protective apostrophe."""
    return text[1:] if text[:1] == _GUARD and text[1:2] in _DANGEROUS else text

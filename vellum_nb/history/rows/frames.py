"""Cells to pandas columns: the order of the frame, and one dtype a column.

The same two functions make a frame from the database and from a CSV, so that both are equal.

=====================================  ==========================================================
columns                                dtype
=====================================  ==========================================================
text, tags, metadata, `id` and so on   ``str`` (pandas 2: object)
``timestamp``, ``finished_at``         ``datetime64[us, UTC]``
``latency_s quality cost_usd``         ``float64``
``tokens_in``, ``tokens_out``          ``Int64``
``repeat``                             ``int64``
``state``, ``release_tag``             category; `state` has all five states
``input.…``, ``output.…``,             text ``str``; bools ``boolean``; integers ``int64``, with
``desired.…`` (where runs were rated)  gaps ``Int64``; other numbers ``float64``; mixed types, and
                                       integers that fit no such column, object
=====================================  ==========================================================

NaN is a missing value. Half a surrogate pair becomes U+FFFD; `History.runs` keeps it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any, get_args

from vellum_nb.history.rows.cells import cells, given, members
from vellum_nb.history.rows.rows import FRAMED, SCALARS, clean
from vellum_nb.models import RunState

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "EXACT",
    "INT64",
    "KINDS",
    "NO_TIME",
    "PLAIN",
    "RARE",
    "ROOMS",
    "assembled",
    "categories",
    "column",
    "frame_of_cells",
    "frame_of_rows",
    "text_column",
    "time_column",
]

_HEAD = {
    "execution_id": "text",
    "release_tag": "tag",
    "timestamp": "time",
    "deployment": "text",
    "state": "state",
    "latency_s": "float",
}
_TAIL = {
    "error_code": "text",
    "error_message": "text",
    "quality": "float",
    "note": "text",
    "tags": "text",
    "case_id": "text",
    "sweep_id": "text",
    "repeat": "int",
    "external_id": "text",
    "release_id": "text",
    "environment": "text",
    "finished_at": "time",
    "metadata": "text",
    "previous_execution_id": "text",
    "cost_usd": "float",
    "tokens_in": "count",
    "tokens_out": "count",
    "model": "text",
    "author": "text",
    "id": "text",
}
KINDS: Mapping[str, str] = {**_HEAD, **_TAIL}
"""The columns of every frame, in their order but for inputs and outputs, and their kind."""
RARE = frozenset({"author"})
"""Those of them that are left out where no run has a value."""

ROOMS = {"input": "inputs", "output": "outputs", "desired": "desired"}
"""The prefixes of the columns between those, and the payloads that they come from."""
PLAIN = tuple(name for name in KINDS if name != "metadata")
"""Those that are in the frame as they are in the table of runs."""

INT64 = range(-(2**63), 2**63)
EXACT = range(-(2**53), 2**53 + 1)
NO_TIME = -(2**63)  # is NaT in numpy and pandas
_PANDAS_OF_OBJECT_TEXT = 2


def frame_of_rows(rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Return the frame of rows of the database, as `reads.rows_of` fetches them."""
    names = (*SCALARS, *FRAMED)
    found = {name: list(map(operator.itemgetter(at), rows)) for at, name in enumerate(names)}
    number = len(rows)
    del rows  # of very many, half of the memory
    columns = {name: column(found.pop(name), KINDS[name]) for name in PLAIN}
    columns["metadata"] = text_column(cells(found.pop("metadata")))
    spreads: dict[str, Any] = {}
    for room, name in ROOMS.items():
        for key, values in members(found.pop(name)).items():
            spreads[clean(f"{room}.{key}")] = column(values, None)
    return assembled(columns, spreads, number)


def assembled(columns: Mapping[str, Any], spreads: Mapping[str, Any], rows: int) -> pd.DataFrame:
    """Return the frame of columns that are made, each in its place."""
    import pandas as pd

    ordered = {name: columns[name] for name in _HEAD}
    ordered |= spreads
    empty = {name for name in RARE if columns[name].isna().all()}
    ordered |= {name: columns[name] for name in _TAIL if name not in empty}
    return pd.DataFrame(ordered, index=pd.RangeIndex(rows))


def frame_of_cells(values: Mapping[str, list[Any]]) -> pd.DataFrame:
    """Return a frame of columns of plain values, None where one is missing, times in µs."""
    import pandas as pd

    rows = len(next(iter(values.values()), []))
    columns = {name: column(each, KINDS.get(name)) for name, each in values.items()}
    return pd.DataFrame(columns, index=pd.RangeIndex(rows))


def column(values: list[Any], kind: str | None) -> Any:
    """Return a column of this kind; None finds the dtype that fits the values."""
    return _MAKERS[kind](values) if kind else _inferred(values)


def _times(values: Sequence[int | None]) -> Any:
    return time_column([NO_TIME if value is None else value for value in values])


def time_column(micros: Any) -> Any:
    """Return the column of times in µs since 1970; `NO_TIME` is missing."""
    import pandas as pd

    return pd.Series(micros, dtype="int64").astype("datetime64[us]").dt.tz_localize("UTC")


def _series(values: Sequence[Any], dtype: str) -> Any:
    import pandas as pd

    return pd.Series(values, dtype=dtype)


def _category(values: list[Any], kind: str) -> Any:
    import pandas as pd

    known = text_column(categories(values, kind))
    return pd.Series(pd.Categorical(values, categories=known))


def categories(values: Iterable[str | None], kind: str) -> list[str]:
    """Return the states in their order for "state"; then what else there is, sorted."""
    known = get_args(RunState) if kind == "state" else ()
    return [*known, *sorted({value for value in values if value is not None} - set(known))]


def _inferred(values: list[Any]) -> Any:
    there = given(values)
    kinds = set(map(type, there))
    if kinds <= {str}:
        return text_column(values)
    if kinds == {bool}:
        return _series(values, "boolean")
    integers = list(compress(there, map(partial(operator.is_, int), map(type, there))))
    if kinds == {int} and _all_in(INT64, integers):
        return _series(values, "int64" if len(there) == len(values) else "Int64")
    if kinds <= {int, float} and float in kinds and _all_in(EXACT, integers):
        return _series(values, "float64")
    return _series(values, "object")


def _all_in(limits: range, numbers: Sequence[int]) -> bool:
    return not numbers or (min(numbers) in limits and max(numbers) in limits)


def text_column(values: Sequence[Any]) -> Any:
    """Return the column of texts; None is missing."""
    import pandas as pd

    modern = int(pd.__version__.split(".", 1)[0]) > _PANDAS_OF_OBJECT_TEXT
    return pd.Series(values, dtype="str" if modern else "object")


_MAKERS: Mapping[str, Callable[[list[Any]], Any]] = {
    "text": text_column,
    "time": _times,
    "float": partial(_series, dtype="float64"),
    "int": lambda values: _series([v or 0 for v in values], "int64"),
    "count": partial(_series, dtype="Int64"),
    "tag": partial(_category, kind="tag"),
    "state": partial(_category, kind="state"),
}

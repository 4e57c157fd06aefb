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

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from vellum_nb.history.rows import FRAMED, SCALARS, clean
from vellum_nb.models import RunState, canonical_json

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KINDS", "cell", "column", "frame_of_cells", "frame_of_rows"]

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
    "id": "text",
}
KINDS: Mapping[str, str] = {**_HEAD, **_TAIL}
"""The columns that every frame has, in their order but for inputs and outputs, and their kind."""

_INT64 = range(-(2**63), 2**63)
_EXACT = range(-(2**53), 2**53 + 1)
_NO_TIME = -(2**63)  # is NaT in numpy and pandas
_PANDAS_OF_OBJECT_TEXT = 2


def frame_of_rows(rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Return the frame of rows of the database, as `reads.framed` fetches them."""
    names = (*SCALARS, *FRAMED)
    width = range(len(names))
    found = {names[i]: [row[i] for row in rows] for i in width}
    metadata = [None if text is None else cell(json.loads(text)) for text in found["metadata"]]
    cells: dict[str, list[Any]] = {name: found[name] for name in _HEAD}
    for room in ("input", "output"):
        cells |= _spread(f"{room}.", [json.loads(text) for text in found[f"{room}s"]])
    if any(found["desired"]):
        cells |= _spread("desired.", [json.loads(text or "{}") for text in found["desired"]])
    cells |= {name: found[name] for name in _TAIL if name != "metadata"} | {"metadata": metadata}
    cells |= {name: cells.pop(name) for name in _TAIL}
    return frame_of_cells(cells)


def frame_of_cells(cells: Mapping[str, list[Any]]) -> pd.DataFrame:
    """Return a frame of columns of plain values, None where one is missing, times in µs."""
    import pandas as pd

    rows = len(next(iter(cells.values()), []))
    columns = {name: column(values, KINDS.get(name)) for name, values in cells.items()}
    return pd.DataFrame(columns, index=pd.RangeIndex(rows))


def cell(value: Any) -> Any:
    """Return what a frame shows of a JSON value: scalars as they are, the rest as JSON text."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if value is None or isinstance(value, bool | int):
        return value
    try:
        return clean(canonical_json(value))
    except ValueError:  # NaN or an infinity within
        return clean(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def _spread(prefix: str, values: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return one list a name; names in the order in which the oldest runs brought them."""
    names = dict.fromkeys(name for value in reversed(values) for name in value)
    return {clean(prefix + name): [cell(value.get(name)) for value in values] for name in names}


def column(values: list[Any], kind: str | None) -> Any:
    """Return a column of this kind; None finds the dtype that fits the values."""
    return _MAKERS[kind](values) if kind else _inferred(values)


def _times(values: list[Any]) -> Any:
    import pandas as pd

    counts = pd.Series([_NO_TIME if v is None else v for v in values], dtype="int64")
    return counts.astype("datetime64[us]").dt.tz_localize("UTC")


def _series(values: Sequence[Any], dtype: str) -> Any:
    import pandas as pd

    return pd.Series(values, dtype=dtype)


def _category(values: list[Any], known: Iterable[str]) -> Any:
    """Return a categorical with the `known` categories first, then what else there is, sorted."""
    import pandas as pd

    others = sorted({v for v in values if v is not None} - set(known))
    return pd.Series(pd.Categorical(values, categories=_text([*known, *others])))


def _inferred(values: list[Any]) -> Any:
    given = [v for v in values if v is not None]
    kinds = {type(v) for v in given}
    if kinds <= {str}:
        return _text(values)
    if kinds == {bool}:
        return _series(values, "boolean")
    if kinds == {int} and all(v in _INT64 for v in given):
        return _series(values, "int64" if len(given) == len(values) else "Int64")
    if kinds <= {int, float} and float in kinds and all(_is_exact(v) for v in given):
        return _series(values, "float64")
    return _series(values, "object")


def _is_exact(number: int | float) -> bool:  # noqa: PYI041  (the two types are told apart)
    """Return whether a float64 column keeps this number as it is."""
    return type(number) is float or number in _EXACT


def _text(values: Sequence[Any]) -> Any:
    import pandas as pd

    modern = int(pd.__version__.split(".", 1)[0]) > _PANDAS_OF_OBJECT_TEXT
    return pd.Series(values, dtype="str" if modern else "object")


_MAKERS: Mapping[str, Callable[[list[Any]], Any]] = {
    "text": _text,
    "time": _times,
    "float": partial(_series, dtype="float64"),
    "int": lambda values: _series([v or 0 for v in values], "int64"),
    "count": partial(_series, dtype="Int64"),
    "tag": partial(_category, known=()),
    "state": partial(_category, known=get_args(RunState)),
}

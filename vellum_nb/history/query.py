"""Filters and sorting as SQL; selected runs as rows, `Run` objects and frames."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, TypeAlias, TypedDict, Union, get_args

from vellum_nb.clock import micros
from vellum_nb.errors import HistoryError
from vellum_nb.history import search
from vellum_nb.history.backends import Dialect, Reader, Snapshot, Store
from vellum_nb.history.frames import PAYLOAD_PREFIXES, SHOWN, frame_of_rows
from vellum_nb.history.rows import DamagedRunError, clean, columns, restore_large, run_of
from vellum_nb.history.schema import SCALARS, WHOLE
from vellum_nb.history.store import Row
from vellum_nb.lazy import pd
from vellum_nb.models import Run, RunState
from vellum_nb.models.checks import available, check_integer, check_text, check_texts

NEWEST_FIRST = "r.timestamp DESC, r.seq DESC"
JOINED = "FROM runs r JOIN payloads p ON p.seq = r.seq"

Ids: TypeAlias = Union[str, Run, Iterable[str], Iterable[Run], "pd.DataFrame"]
"""Ids, runs, or a frame with the column `id`."""


class Filters(TypedDict, total=False):
    """Conditions that all apply; None means no condition. See `History.runs`."""

    deployment: str | Sequence[str] | None
    release_tag: str | Sequence[str] | None
    state: str | Sequence[str] | None
    since: datetime | date | str | None
    until: datetime | date | str | None
    case_id: str | Sequence[str] | None
    sweep_id: str | Sequence[str] | None
    conversation_id: str | Sequence[str] | None
    execution_id: str | Sequence[str] | None
    external_id: str | Sequence[str] | None
    author: str | Sequence[str] | None
    rating: str | Sequence[str] | None
    ids: Ids | None
    search: str | None
    skip_damaged: bool
    limit: int | None


RATINGS = {
    "rated": "r.quality IS NOT NULL",
    "unrated": "r.quality IS NULL",
    "good": "r.quality > 0.5",
    "bad": "r.quality < 0.5",
}
"""SQL conditions of the filter `rating`; a blind rating of 0.5 is a tie."""
_CHOICES = {"state": get_args(RunState), "rating": tuple(RATINGS)}
_ROWS_PER_BATCH = 200
_LARGE_ROWS_PER_BATCH = 8


@dataclass(frozen=True, slots=True)
class Selection:
    """A WHERE clause on ``runs r`` with parameters, and the maximum number of newest runs."""

    where: str
    parameters: dict[str, Any]
    limit: int | None = None
    skip_damaged: bool = False

    def sql(self, terms: str, source: str = "FROM runs r") -> str:
        """Return a query for `terms` of these runs, newest first."""
        limit = "" if self.limit is None else f" LIMIT {self.limit}"
        return f"SELECT {terms} {source} WHERE {self.where} ORDER BY {NEWEST_FIRST}{limit}"


def select(filters: Filters, store: Store) -> Selection:
    """Return the selection of `filters`; raise a TypeError for an unknown filter."""
    unknown = sorted(set(filters) - set(Filters.__annotations__))
    if unknown:
        msg = f"Unknown filter {', '.join(unknown)}{available(Filters.__annotations__)}"
        raise TypeError(msg)
    terms = ["r.deletion IS NULL"]
    bound: dict[str, Any] = {}
    for name, value in filters.items():
        if value is not None and name not in {"limit", "search", "skip_damaged"}:
            terms.append(_condition(store, name, value, bound))
    if (words := filters.get("search")) is not None:
        check_text("search", words, optional=True, error=HistoryError)
        if words.strip():
            term, more = search.condition(store, words)
            terms.append(term)
            bound |= more
    if (limit := filters.get("limit")) is not None:
        check_integer("limit", limit, optional=True, error=HistoryError)
        limit = min(int(limit), 2**63 - 1)
    return Selection(" AND ".join(terms), bound, limit, bool(filters.get("skip_damaged")))


def _condition(store: Store, name: str, value: Any, bound: dict[str, Any]) -> str:
    """Return the condition of one filter, and add its parameters to `bound`."""
    if name in {"since", "until"}:
        bound[name] = moment(name, value)
        return f"r.timestamp {'>=' if name == 'since' else '<'} :{name}"
    values, column = _names(name, value), "r.id" if name == "ids" else f"r.{name}"
    if name == "rating":
        return f"({' OR '.join(RATINGS[rating] for rating in values) or '1 = 0'})"
    if len(values) == 1:
        bound[name] = values[0]
        return f"{column} = :{name}"
    bound[name] = store.dialect.listed(values)
    return store.dialect.one_of(column, name)


def ids_of(value: Any) -> Any:
    """Return the ids of runs given as a frame, a list, a run or an id."""
    names = getattr(value, "columns", None)
    if names is not None:
        if "id" not in names:
            msg = f"ids= is a frame without the column id; it has {', '.join(map(str, names))}"
            raise HistoryError(msg)
        return value["id"].tolist()
    if isinstance(value, Run):
        return [value.id]
    if isinstance(value, str) or not isinstance(value, Iterable):
        return value
    return [item.id if isinstance(item, Run) else item for item in value]


def _names(name: str, value: Any) -> list[str]:
    value = ids_of(value) if name == "ids" else value
    is_list = isinstance(value, Iterable) and not isinstance(value, str)
    is_list = is_list and getattr(value, "ndim", 1) == 1  # iterating a table yields its columns
    values = check_texts(name, value if is_list else [value], error=HistoryError)
    choices = _CHOICES.get(name, values)
    if unknown := [text for text in values if text not in choices]:
        msg = f"Unknown {name} {unknown[0]!r:.100}{available(choices)}"
        raise HistoryError(msg)
    return [clean(text) for text in values]


def moment(name: str, value: datetime | date | str) -> int:
    """Convert the argument `name` to microseconds since the epoch."""
    if isinstance(value, datetime) and value == value:  # noqa: PLR0124  (NaT is not itself)
        return micros(value)
    try:
        return micros(datetime.fromisoformat(str(value)))
    except ValueError as exc:
        msg = f"{name}={value!r:.100} is not a time; write it like '2026-07-01T09:30Z'"
        raise HistoryError(msg) from exc


def read_rows(
    reader: Reader,
    selection: Selection,
    names: Sequence[str] = WHOLE,
    *,
    missing: Literal["raise", "mark"] = "raise",
) -> list[Row]:
    """Return the columns `names` of the selected runs, newest first."""
    rows = reader.read(selection.sql(columns((*names, "large")), JOINED), selection.parameters)
    return restore_large(reader, rows, names, missing)


def stream_rows(
    snapshot: Snapshot, selection: Selection, names: Sequence[str]
) -> Iterator[list[Row]]:
    """Yield rows in batches, smaller ones if they have large values."""
    sql = selection.sql(columns((*names, "large")), JOINED)
    for rows in snapshot.stream(sql, selection.parameters, rows=_ROWS_PER_BATCH):
        step = _LARGE_ROWS_PER_BATCH if any(row[-1] for row in rows) else len(rows)
        for first in range(0, len(rows), step):
            yield restore_large(snapshot, rows[first : first + step], names, "mark")


@contextmanager
def collection_paused() -> Iterator[None]:
    """Disable garbage collection while many objects are allocated."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@collection_paused()
def read_runs(reader: Reader, selection: Selection) -> list[Run]:
    """Return the selected runs, newest first."""
    return runs_of(read_rows(reader, selection), skip_damaged=selection.skip_damaged)


def runs_with_ids(reader: Reader, run_ids: Iterable[str]) -> list[Run]:
    """Return the runs with these ids, including deleted runs."""
    dialect = reader.dialect
    values = {"ids": dialect.listed(run_ids)}
    return read_runs(reader, Selection(dialect.one_of("r.id", "ids"), values))


def runs_of(rows: Iterable[Row], *, skip_damaged: bool) -> list[Run]:
    """Return the runs of rows of `WHOLE`; damaged rows raise an error or are skipped."""
    runs: list[Run] = []
    for row in rows:
        try:
            runs.append(run_of(row))
        except DamagedRunError:
            if not skip_damaged:
                raise
    return runs


@collection_paused()
def read_frame(reader: Reader, selection: Selection) -> pd.DataFrame:
    """Return the frame of the selected runs, newest first."""
    rows = read_rows(reader, selection, SHOWN, missing="mark")
    return frame_of_rows(rows, skip_damaged=selection.skip_damaged)


def scan_frames(reader: Reader, selection: Selection, rows: int) -> Iterator[pd.DataFrame]:
    """Yield frames of at most `rows` rows of the runs selected at the start, without a lock."""
    check_integer("chunk_rows", rows, least=1, error=HistoryError)
    numbers = array("q", ordered_numbers(reader, selection, "timestamp", descending=True))
    for first in range(0, len(numbers), rows):
        chunk = rows_at(reader, numbers[first : first + rows], SHOWN, whole=True)
        if chunk:
            yield frame_of_rows(chunk, skip_damaged=selection.skip_damaged)


def count(reader: Reader, selection: Selection) -> int:
    """Return the number of the selected runs."""
    limit = "" if selection.limit is None else f" LIMIT {selection.limit}"
    sql = f"SELECT count(*) FROM (SELECT 1 FROM runs r WHERE {selection.where}{limit}) AS selected"
    return int(reader.read(sql, selection.parameters)[0][0])


def ordered_numbers(
    reader: Reader, selection: Selection, order_by: str, *, descending: bool
) -> list[int]:
    """Return the row numbers of the selected runs, sorted, with missing values last."""
    terms, source, key = _order(order_by, reader.dialect, descending=descending)
    sql = f"SELECT r.seq {source} WHERE {selection.where} ORDER BY {terms}"
    if selection.limit is not None:
        sql += f" LIMIT {selection.limit}"
    return [seq for (seq,) in reader.read(sql, selection.parameters | key)]


def rows_at(
    reader: Reader, numbers: Sequence[int], names: Sequence[str] = WHOLE, *, whole: bool
) -> list[Row]:
    """Return the columns `names` of rows in the order of `numbers`, without deleted runs.

    Large values are cut unless `whole`.
    """
    dialect = reader.dialect
    sql = (
        f"SELECT r.seq, {columns((*names, 'large'))} {JOINED} "
        f"WHERE r.deletion IS NULL AND {dialect.one_of('r.seq', 'seqs')}"
    )
    by_seq = {seq: row for seq, *row in reader.read(sql, {"seqs": dialect.listed(numbers)})}
    rows = [tuple(by_seq[seq]) for seq in numbers if seq in by_seq]
    return restore_large(reader, rows, names, "mark") if whole else [row[:-1] for row in rows]


class OrderedRuns:
    """Runs sorted once, for fast reads of any range.

    Runs recorded or deleted after sorting are missing.
    """

    def __init__(self, reader: Reader, numbers: Iterable[int], *, whole: bool) -> None:
        self._reader = reader
        self._numbers = array("q", numbers)
        self._whole = whole

    def __len__(self) -> int:
        return len(self._numbers)

    def runs(self, *, offset: int, limit: int) -> list[Run]:
        """Return up to `limit` runs from `offset`, without damaged ones."""
        numbers = self._numbers[max(0, offset) : max(0, offset) + limit]
        return runs_of(rows_at(self._reader, numbers, whole=self._whole), skip_damaged=True)


def _order(order_by: str, dialect: Dialect, *, descending: bool) -> tuple[str, str, dict[str, str]]:
    """Return ORDER BY terms, the FROM clause, and parameters."""
    direction = "DESC" if descending else "ASC"
    if order_by == "timestamp":
        return f"r.timestamp {direction}, r.seq {direction}", "FROM runs r", {}
    if order_by in (*SCALARS, "metadata"):
        source = "FROM runs r" if order_by in SCALARS else JOINED
        return f"{columns((order_by,))} {direction} NULLS LAST, {NEWEST_FIRST}", source, {}
    prefix, _, name = clean(str(order_by)).partition(".")
    if prefix not in PAYLOAD_PREFIXES or not name:
        names = (*SCALARS, "metadata", *(f"{prefix}.<name>" for prefix in PAYLOAD_PREFIXES))
        msg = f"Unknown column {order_by!r:.100} to sort by{available(names)}"
        raise HistoryError(msg)
    key = dialect.member(f"p.{PAYLOAD_PREFIXES[prefix]}", "sort_key")
    return f"{key} {direction} NULLS LAST, {NEWEST_FIRST}", JOINED, {"sort_key": name}

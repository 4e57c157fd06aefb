"""Runs in short, for comparisons of very many: scalars at hand, payloads read when asked for.

The payloads of few runs are read at once: then the history may be closed. Of many the last ones
that were asked for stay in memory.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from sys import intern
from typing import Any, get_args

from vellum_nb.errors import HistoryError
from vellum_nb.history import large, query
from vellum_nb.history.query import Filters
from vellum_nb.history.rows import (
    FRAMED,
    SCALARS,
    DamagedRunError,
    columns,
    from_micros,
    micros,
    run_of,
)
from vellum_nb.history.store import Row, Store
from vellum_nb.models import Run, RunState

_AT_ONCE = 100  # rows that are read at once
_FEW, _MEMORY = 10_000, 8_000_000  # runs, and characters of payloads
_NAMES = (*SCALARS, *FRAMED)
_AT = {name: at for at, name in enumerate(_NAMES)}
_ANSWERS = frozenset({"FULFILLED", "REJECTED"})
_SCALARS = (
    *("id", "deployment", "release_tag", "release_id", "environment", "case_id", "sweep_id"),
    *("state", "latency_s", "cost_usd", "quality", "tag_moved"),
)
_MORE = ("timestamp", "error_code", "error_message", "outputs", "desired")
_SUMMARY = (*_SCALARS, *_MORE)


class MissingRunError(HistoryError):
    """A run was removed from the history since it was summarised."""


class _Payloads:
    """Whole rows by their number: those that were asked for last, within `_MEMORY`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._size = 0
        self._last: tuple[Row, str, Any] = ((), "", None)

    def row(self, number: int) -> Row:
        """Return one row."""
        found = self._rows.get(number) or self.fetch([number]).get(number)
        if found is None:
            msg = (
                "A run of this comparison was removed from the history, so its inputs and outputs "
                "cannot be shown; compare again"
            )
            raise MissingRunError(msg)
        return found

    def fetch(self, numbers: Sequence[int]) -> Mapping[int, Row]:
        """Read rows at once, a hundred or so."""
        found = self._read([number for number in numbers if number not in self._rows])
        with self._lock:
            for number, row in found.items():
                self._size += _size(row)
                self._rows[number] = row
            while self._size > _MEMORY and len(self._rows) > len(found):
                self._size -= _size(self._rows.popitem(last=False)[1])
        return found

    def _read(self, numbers: Sequence[int]) -> dict[int, Row]:
        if not numbers:
            return {}
        terms, dialect = columns((*_NAMES, "large")), self._store.dialect
        sql = f"SELECT {terms}, r.seq {query.JOINED} WHERE {dialect.one_of('r.seq', 'seqs')}"
        rows = self._store.read(sql, {"seqs": dialect.listed(numbers)})
        whole = large.restore(self._store, [row[:-1] for row in rows], _NAMES, missing="mark")
        return {row[-1]: each for row, each in zip(rows, whole, strict=True)}

    def read_ahead(self, numbers: Sequence[int]) -> None:
        """Read the rows of few runs while their payloads are little."""
        size = 0
        for start in range(0, len(numbers), _AT_ONCE):
            size += sum(map(_size, self.fetch(numbers[start : start + _AT_ONCE]).values()))
            if size > _MEMORY:
                return

    def value(self, number: int, name: str) -> Any:
        """Return a payload as a value; not to be changed."""
        row = self.row(number)
        last, known, value = self._last
        if last is not row or known != name:
            try:
                value = json.loads(row[_AT[name]] or "{}")
            except ValueError as exc:
                raise DamagedRunError(row[0], name) from exc
            self._last = row, name, value
        return value


@dataclass(slots=True, eq=False)
class RunSummary:
    """A run as a comparison handles it; has the attributes of a `Run` that metrics read.

    Attributes
    ----------
    micros : int
        Its timestamp in µs since 1970.
    error : tuple of str or None
        Code and message.
    output_names : tuple of str
        The names of its outputs.
    group : str
        What it is counted under, at first its release tag.
    is_answer : bool
        Whether an answer came, be it FULFILLED or REJECTED.
    """

    id: str
    deployment: str
    release_tag: str
    release_id: str | None
    environment: str | None
    case_id: str
    sweep_id: str | None
    micros: int
    state: str
    latency_s: float | None
    cost_usd: float | None
    quality: float | None
    tag_moved: bool
    error: tuple[str, str] | None
    output_names: tuple[str, ...]
    _desired: Any
    _mark: int | None
    _source: Run | tuple[_Payloads, int]
    group: str = field(init=False)
    is_answer: bool = field(init=False)

    def __post_init__(self) -> None:
        for name in ("deployment", "release_tag", "release_id", "environment", "state"):
            value = getattr(self, name)
            setattr(self, name, value and intern(value))
        self.group, self.is_answer = self.release_tag, self.state in _ANSWERS

    @classmethod
    def of_run(cls, run: Run) -> RunSummary:
        """Return the summary of `run`, which it holds."""
        error = None if run.error is None else (run.error.code, run.error.message)
        scalars = {name: getattr(run, name) for name in _SCALARS}
        return cls(
            **scalars,
            micros=micros(run.timestamp),
            error=error,
            output_names=tuple(run.outputs),
            _desired=run.desired,
            _mark=None,
            _source=run,
        )

    @classmethod
    def _of_row(cls, row: Sequence[Any], payloads: _Payloads, number: int) -> RunSummary:
        found = dict(zip(_SUMMARY, row, strict=True))
        code, message = found.pop("error_code"), found.pop("error_message")
        mark, names = _mark_of(found.pop("outputs") or "{}")
        return cls(
            micros=found.pop("timestamp"),
            error=None if code is None else (code, message or ""),
            output_names=names,
            tag_moved=bool(found.pop("tag_moved")),
            _desired=found.pop("desired") or None,
            _mark=mark,
            _source=(payloads, number),
            **found,
        )

    @property
    def inputs(self) -> dict[str, Any]:
        """The inputs, as plain JSON values."""
        return self._value("inputs")

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs, likewise."""
        return self._value("outputs")

    @property
    def output_types(self) -> dict[str, str]:
        """The outputs' types, as far as they are known."""
        return self._value("output_types")

    def _value(self, name: str) -> dict[str, Any]:
        found: dict[str, Any]
        if isinstance(self._source, Run):
            found = getattr(self._source, name)
        else:
            payloads, number = self._source
            found = payloads.value(number, name)
        return found

    @property
    def desired(self) -> dict[str, Any] | None:
        """What the outputs should have been, where a reader corrected them."""
        if isinstance(self._desired, str):
            self._desired = json.loads(self._desired)
        found: dict[str, Any] | None = self._desired
        return found

    @property
    def mark(self) -> int:
        """A number that runs with the same outputs share, in this process: 1 is 1.0, not true."""
        if self._mark is None:
            self._mark = _mark_of(json.dumps(self.outputs))[0]
        return self._mark

    @property
    def text(self) -> str:
        """The outputs as JSON text, for a search."""
        if isinstance(self._source, Run):
            return json.dumps(self.outputs, ensure_ascii=False)
        payloads, number = self._source
        return payloads.row(number)[_AT["outputs"]] or "{}"

    @property
    def run(self) -> Run:
        """The whole run, without its trace; where the history has it, it is read each time."""
        if isinstance(self._source, Run):
            return self._source
        payloads, number = self._source
        run = run_of((*payloads.row(number), None))
        if run.release_tag != self.release_tag:  # reused by a sweep
            run = run.model_copy(update={"release_tag": self.release_tag})
        return run


def read_summaries(store: Store, filters: Filters) -> list[RunSummary]:
    """Return the summaries of the runs that `filters` choose, newest first."""
    selection = query.select(filters, store)
    payloads = _Payloads(store)
    sql = selection.sql(f"{columns((*_SUMMARY, 'large'))}, r.seq", query.JOINED)
    found, numbers = [], []
    with store.snapshot() as snapshot:
        for rows in snapshot.stream(sql, selection.parameters):
            for *row, number in rows:  # outputs and corrections may be cut short in it
                whole: Sequence[Any] = row[:-1]
                if row[-1]:
                    whole = large.restore(snapshot, [tuple(row)], _SUMMARY, "mark")[0]
                try:
                    found.append(_summary(whole, payloads, number))
                except DamagedRunError:
                    if not selection.skip_damaged:
                        raise
                    continue
                numbers.append(number)
        if len(found) <= _FEW:
            payloads.read_ahead(numbers)
    return found


def _summary(row: Sequence[Any], payloads: _Payloads, number: int) -> RunSummary:
    try:
        found = RunSummary._of_row(row, payloads, number)  # noqa: SLF001
        from_micros(found.micros)
    except (ValueError, TypeError, OverflowError) as exc:
        raise DamagedRunError(row[0], f"{exc!s:.100}") from exc
    if found.state not in get_args(RunState):
        raise DamagedRunError(row[0], "state")
    return found


def in_turn(summaries: Iterable[RunSummary]) -> Iterator[RunSummary]:
    """Yield `summaries`, the payloads of many read at once."""
    todo = iter(summaries)
    while some := list(islice(todo, _AT_ONCE)):
        fetch(some)
        yield from some


def fetch(summaries: Iterable[RunSummary]) -> None:
    """Read the payloads of some runs at once, as they are going to be asked for."""
    numbers_by_payloads: dict[_Payloads, list[int]] = {}
    for each in summaries:
        if not isinstance(each._source, Run):  # noqa: SLF001  (of this module)
            payloads, number = each._source  # noqa: SLF001
            numbers_by_payloads.setdefault(payloads, []).append(number)
    for payloads, numbers in numbers_by_payloads.items():
        payloads.fetch(numbers)


def _size(row: Row) -> int:
    return sum(map(len, filter(None, row[len(SCALARS) :])))


def _number_of(text: str) -> float:
    """Return a number with a point; a whole one is the same as without."""
    value = float(text)
    return int(value) if value.is_integer() else value


_decode = json.JSONDecoder(parse_float=_number_of).decode
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _mark_of(text: str) -> tuple[int, tuple[str, ...]]:
    """Return the mark of outputs, and their names."""
    try:
        value = _decode(text)
        return hash(_encode(value)), tuple(map(intern, value))
    except (RecursionError, ValueError):  # deeper than Python reads, or damaged
        return hash(text), ()

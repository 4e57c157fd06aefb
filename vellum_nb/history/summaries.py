"""Runs in short, for comparisons of very many: scalars at hand, payloads read when asked for.

The payloads of few runs are read at once: then the history may be closed. Of many the last ones
that were asked for stay in memory.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
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
    from_micros,
    micros,
    run_of,
)
from vellum_nb.history.store import Reader, Row, Store
from vellum_nb.models import Run, RunState

__all__ = ["MissingRunError", "RunSummary", "fetch", "in_turn", "read_summaries"]

_AT_ONCE = 100  # rows that are read at once
_FEW, _MEMORY = 10_000, 8_000_000  # runs, and characters of payloads
_NAMES = (*SCALARS, *FRAMED)
_AT = {name: at for at, name in enumerate(_NAMES)}
_ANSWERS = frozenset({"FULFILLED", "REJECTED"})
_SUMMARY = (
    *("id", "deployment", "release_tag", "release_id", "environment", "timestamp", "state"),
    *("case_id", "sweep_id", "latency_s", "cost_usd", "quality", "tag_moved", "error_code"),
    *("error_message", "outputs", "desired"),
)


class MissingRunError(HistoryError):
    """A run was removed from the history since it was summarised."""


class _Payloads:
    """Whole rows by their number: those that were asked for last, within `_MEMORY`."""

    def __init__(self, read: Callable[[Sequence[int]], Mapping[int, Row]]) -> None:
        self._read = read
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

    def text(self, number: int, name: str) -> str:
        """Return a payload as JSON text."""
        return self.row(number)[_AT[name]] or "{}"

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


class RunSummary:
    """A run as a comparison handles it; has the attributes of a `Run` that metrics read.

    Attributes
    ----------
    group : str
        What it is counted under, at first its release tag.
    micros : int
        Its timestamp in µs since 1970.
    error : tuple of str or None
        Code and message.
    is_answer : bool
        Whether an answer came, be it FULFILLED or REJECTED.
    output_names : tuple of str
        The names of its outputs.
    """

    __slots__ = (
        *("id", "deployment", "release_tag", "release_id", "environment", "group", "case_id"),
        *("sweep_id", "micros", "state", "error", "latency_s", "cost_usd", "quality", "tag_moved"),
        *("is_answer", "output_names", "_desired", "_mark", "_number", "_payloads", "_run"),
    )

    id: str
    deployment: str
    release_tag: str
    release_id: str | None
    environment: str | None
    group: str
    case_id: str
    sweep_id: str | None
    micros: int
    state: str
    error: tuple[str, str] | None
    latency_s: float | None
    cost_usd: float | None
    quality: float | None
    tag_moved: bool
    is_answer: bool
    output_names: tuple[str, ...]
    _desired: Any
    _mark: int | None
    _number: int
    _payloads: _Payloads | None
    _run: Run | None

    @classmethod
    def of_run(cls, run: Run) -> RunSummary:
        """Return the summary of `run`, which it holds."""
        self = cls()
        self._set({name: getattr(run, name, None) for name in _SUMMARY})
        self.micros = micros(run.timestamp)
        self.error = None if run.error is None else (run.error.code, run.error.message)
        self._run, self._payloads, self._number = run, None, 0
        self._desired, self._mark, self.output_names = run.desired, None, tuple(run.outputs)
        return self

    @classmethod
    def _of_row(cls, number: int, row: Sequence[Any], payloads: _Payloads) -> RunSummary:
        self = cls()
        found = dict(zip(_SUMMARY, row, strict=True))
        self._set(found)
        self.micros = found["timestamp"]
        code, message = found["error_code"], found["error_message"]
        self.error = None if code is None else (code, message or "")
        self._run, self._payloads, self._number = None, payloads, number
        self._desired = found["desired"] or None
        self._mark, self.output_names = _mark_of(found["outputs"] or "{}")
        return self

    def _set(self, found: Mapping[str, Any]) -> None:
        self.id, self.case_id, self.sweep_id = found["id"], found["case_id"], found["sweep_id"]
        for name in ("deployment", "release_tag", "release_id", "environment", "state"):
            value = found[name]
            setattr(self, name, None if value is None else intern(value))
        for name in ("latency_s", "cost_usd", "quality"):
            setattr(self, name, found[name])
        self.tag_moved = bool(found["tag_moved"])
        self.group, self.is_answer = self.release_tag, self.state in _ANSWERS

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
        found: dict[str, Any] = (
            getattr(self._run, name)
            if self._payloads is None
            else self._payloads.value(self._number, name)
        )
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
        if self._payloads is not None:
            return self._payloads.text(self._number, "outputs")
        return json.dumps(self.outputs, ensure_ascii=False)

    @property
    def run(self) -> Run:
        """The whole run, without its trace; where the history has it, it is read each time."""
        return self.made()

    def made(self) -> Run:
        """Return the whole run, without its trace."""
        if self._payloads is None:
            assert self._run is not None  # noqa: S101  (one of the two is there)
            return self._run
        run = run_of((*self._payloads.row(self._number), None))
        if run.release_tag != self.release_tag:  # reused by a sweep
            run = run.model_copy(update={"release_tag": self.release_tag})
        return run


def read_summaries(store: Store, filters: Filters) -> list[RunSummary]:
    """Return the summaries of the runs that `filters` choose, newest first."""
    selection = query.select(filters, store)
    payloads = _Payloads(partial(_whole_rows, store))
    columns = ", ".join(f"{'r' if name in SCALARS else 'p'}.{name}" for name in _SUMMARY)
    sql = selection.sql(f"r.seq, p.large, {columns}", query.JOINED)
    found = []
    with store.snapshot() as snapshot:
        for rows in snapshot.stream(sql, selection.parameters):
            for number, places, *row in rows:
                try:
                    found.append(_summary(snapshot, number, row, places, payloads))
                except DamagedRunError:
                    if not selection.skip_damaged:
                        raise
        if len(found) <= _FEW:
            _read_few(payloads, [each._number for each in found])  # noqa: SLF001
    return found


def _summary(
    reader: Reader, number: int, row: Sequence[Any], places: str | None, payloads: _Payloads
) -> RunSummary:
    if places is not None:  # outputs and corrections are cut short in the row
        row = large.restore(reader, [(*row, places)], _SUMMARY, missing="mark")[0]
    try:
        found = RunSummary._of_row(number, row, payloads)  # noqa: SLF001
        from_micros(found.micros)
    except (ValueError, TypeError, OverflowError) as exc:
        raise DamagedRunError(row[0], f"{exc!s:.100}") from exc
    if found.state not in get_args(RunState):
        raise DamagedRunError(row[0], "state")
    return found


def _read_few(payloads: _Payloads, numbers: Sequence[int]) -> None:
    """Read payloads ahead while they are little."""
    size = 0
    for start in range(0, len(numbers), _AT_ONCE):
        size += sum(map(_size, payloads.fetch(numbers[start : start + _AT_ONCE]).values()))
        if size > _MEMORY:
            return


def _whole_rows(store: Store, numbers: Sequence[int]) -> dict[int, Row]:
    if not numbers:
        return {}
    columns = ", ".join(f"{'r' if n in SCALARS else 'p'}.{n}" for n in (*_NAMES, "large"))
    sql = f"SELECT {columns}, r.seq {query.JOINED} WHERE {store.dialect.one_of('r.seq', 'seqs')}"
    rows = store.read(sql, {"seqs": store.dialect.listed(numbers)})
    whole = large.restore(store, [row[:-1] for row in rows], _NAMES, missing="mark")
    return {row[-1]: each for row, each in zip(rows, whole, strict=True)}


def in_turn(summaries: Iterable[RunSummary]) -> Iterator[RunSummary]:
    """Yield `summaries`, the payloads of many read at once."""
    todo = iter(summaries)
    while some := list(islice(todo, _AT_ONCE)):
        fetch(some)
        yield from some


def fetch(summaries: Iterable[RunSummary]) -> None:
    """Read the payloads of some runs at once, as they are going to be asked for."""
    wanted: dict[_Payloads, list[int]] = {}
    for each in summaries:
        if each._payloads is not None:  # noqa: SLF001  (its own class)
            wanted.setdefault(each._payloads, []).append(each._number)  # noqa: SLF001
    for payloads, numbers in wanted.items():
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

"""Runs as light rows, for work over very many of them: what is not asked for is not parsed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from sys import intern
from typing import Any

from vellum_nb.history.reading.payloads import Payloads, Read
from vellum_nb.history.rows.rows import LIGHT, micros, run_of
from vellum_nb.models import Run

__all__ = ["AT_ONCE", "Record", "fetch", "in_turn", "records_of"]

_AT = {name: at for at, name in enumerate(LIGHT)}
_ID, _TAG, _RELEASE, _ENVIRONMENT = (
    _AT[name] for name in ("id", "release_tag", "release_id", "environment")
)
_TIME, _STATE, _CASE, _SWEEP = (_AT[name] for name in ("timestamp", "state", "case_id", "sweep_id"))
_LATENCY, _COST, _QUALITY, _MOVED = (
    _AT[name] for name in ("latency_s", "cost_usd", "quality", "tag_moved")
)
_CODE, _MESSAGE, _DEPLOYMENT = (_AT[name] for name in ("error_code", "error_message", "deployment"))
_OUTPUTS, _DESIRED = (_AT[name] for name in ("outputs", "desired"))


AT_ONCE = 100  # rows that are read at once
_ANSWERS = frozenset({"FULFILLED", "REJECTED"})


class Record:
    """A run as a comparison handles it; has the attributes of a `Run` that metrics read.

    `group` is what it is counted under, at first its release tag; `micros` its timestamp;
    `is_answer` whether an answer came, be it FULFILLED or REJECTED. What was said is read from the
    history when it is asked for.
    """

    __slots__ = (
        "_desired",
        "_inputs",
        "_make",
        "_mark",
        "_number",
        "_outputs",
        "_payloads",
        "case_id",
        "cost_usd",
        "deployment",
        "environment",
        "error",
        "group",
        "id",
        "is_answer",
        "latency_s",
        "micros",
        "output_names",
        "quality",
        "release_id",
        "release_tag",
        "state",
        "sweep_id",
        "tag_moved",
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
    _inputs: Any
    _outputs: Any
    _desired: Any
    output_names: tuple[str, ...]
    _number: int
    _payloads: Payloads | None
    _mark: int | None
    _make: Run | Callable[[Record], Run] | None

    def __init__(self, fields: Mapping[str, Any]) -> None:
        for name, value in fields.items():
            setattr(self, name, value)
        self._payloads = self._mark = None
        self.output_names = tuple(self._outputs)
        self.is_answer = self.state in _ANSWERS

    @classmethod
    def of_run(cls, run: Run) -> Record:
        """Return the record of `run`."""
        error = None if run.error is None else (run.error.code, run.error.message)
        names = ("id", "deployment", "release_tag", "release_id", "environment", "case_id", "state")
        more = ("latency_s", "cost_usd", "quality", "sweep_id", "tag_moved")
        fields = {name: getattr(run, name) for name in (*names, *more)}
        fields |= {"_inputs": run.inputs, "_outputs": run.outputs, "_desired": run.desired}
        fields |= {"group": run.release_tag, "micros": micros(run.timestamp), "_make": run}
        return cls(fields | {"error": error})

    @classmethod
    def of_row(cls, number: int, row: Sequence[Any], payloads: Payloads) -> Record:
        """Return the record of a row as `light` fetches them; what was said is not kept."""
        self = cls.__new__(cls)
        self.id, self.deployment, self.case_id = row[_ID], intern(row[_DEPLOYMENT]), row[_CASE]
        self.release_tag = self.group = intern(row[_TAG])
        self.release_id, self.environment = _interned(row[_RELEASE]), _interned(row[_ENVIRONMENT])
        self.state, self.micros, self.sweep_id = intern(row[_STATE]), row[_TIME], row[_SWEEP]
        self.latency_s, self.cost_usd, self.quality = row[_LATENCY], row[_COST], row[_QUALITY]
        self.tag_moved = bool(row[_MOVED])
        self.error = None if row[_CODE] is None else (row[_CODE], row[_MESSAGE] or "")
        self._desired = row[_DESIRED] or None
        self._number, self._payloads, self._make = number, payloads, None
        self._mark, self.output_names = _of_text(row[_OUTPUTS] or "{}")
        self.is_answer = self.state in _ANSWERS
        return self

    @property
    def inputs(self) -> dict[str, Any]:
        """The inputs, as plain JSON values."""
        found: dict[str, Any]
        if self._payloads is not None:
            found = self._payloads.parsed(self._number, "inputs")
        else:
            found = self._inputs
        return found

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs, likewise."""
        found: dict[str, Any]
        if self._payloads is not None:
            found = self._payloads.parsed(self._number, "outputs")
        else:
            found = self._outputs
        return found

    @property
    def output_types(self) -> dict[str, str]:
        """The outputs' types, as far as they are known."""
        found: dict[str, str]
        if self._payloads is not None:
            found = self._payloads.parsed(self._number, "output_types")
        else:
            found = self.run.output_types
        return found

    @property
    def desired(self) -> dict[str, Any] | None:
        """What the outputs should have been, where a reader said so."""
        if isinstance(self._desired, str):
            self._desired = json.loads(self._desired)
        found: dict[str, Any] | None = self._desired
        return found

    @property
    def mark(self) -> int:
        """A number that runs with the same outputs share, in this process: 1 is 1.0, not true."""
        if self._mark is None:
            self._mark = _mark(json.dumps(self._outputs))
        return self._mark

    @property
    def text(self) -> str:
        """The outputs as text, for a search."""
        if self._payloads is not None:
            return self._payloads.text(self._number, "outputs")
        return json.dumps(self._outputs, ensure_ascii=False)

    @property
    def run(self) -> Run:
        """The whole run; where the history has it, it is read anew each time."""
        made = self.made()
        if self._payloads is None:
            self._make = made
        return made

    def read_as(self, other: Record) -> None:
        """Read what was said where `other`, which is the same run, has it: it moved meanwhile."""
        if self._payloads is None:
            return
        self._payloads = other._payloads
        if other._payloads is not None:
            self._number = other._number
            return
        self._inputs, self._outputs, self._make = other._inputs, other._outputs, other._make
        if isinstance(self._make, Run) and self._make.release_tag != self.release_tag:
            self._make = self._make.model_copy(update={"release_tag": self.release_tag})

    def made(self) -> Run:
        """Return the whole run, which is not kept here: of very many at a time that is lighter."""
        if isinstance(self._make, Run):
            return self._make
        if self._make is not None:
            return self._make(self)
        assert self._payloads is not None  # noqa: S101  (one of the two makes it)
        row = self._payloads.whole.row(self._number)
        made = run_of((*row, None))
        if made.release_tag != self.release_tag:  # taken over by a sweep
            made = made.model_copy(update={"release_tag": self.release_tag})
        return made


def records_of(numbers: Sequence[int], read: Read, payloads: Payloads) -> list[Record]:
    """Return the records of rows, which are read a few at a time."""
    found: list[Record] = []
    for start in range(0, len(numbers), AT_ONCE):
        some = numbers[start : start + AT_ONCE]
        rows = read(some)
        found += [Record.of_row(each, rows[each], payloads) for each in some if each in rows]
    return found


def in_turn(records: Iterable[Record], *, whole: bool = False) -> Iterator[Record]:
    """Yield `records`, the payloads of many read at once; those of `whole` runs, where wanted."""
    todo = iter(records)
    while some := list(islice(todo, AT_ONCE)):
        fetch(some, whole=whole)
        yield from some


def fetch(records: Iterable[Record], *, whole: bool = False) -> None:
    """Read the payloads of some records at once, as they are going to be asked for."""
    wanted: dict[Payloads, list[int]] = {}
    for each in records:
        if each._payloads is not None:  # noqa: SLF001  (its own class)
            wanted.setdefault(each._payloads, []).append(each._number)  # noqa: SLF001
    for payloads, numbers in wanted.items():
        (payloads.whole if whole else payloads.said).fetch(numbers)


def _interned(text: str | None) -> str | None:
    return None if text is None else intern(text)


def _number(text: str) -> float:
    """Read a number with a point; a whole one is the same as without."""
    value = float(text)
    return int(value) if value.is_integer() else value


_decode = json.JSONDecoder(parse_float=_number).decode
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _of_text(text: str) -> tuple[int, tuple[str, ...]]:
    """Return the mark of outputs, and their names."""
    try:
        value = _decode(text)
        return hash(_encode(value)), tuple(map(intern, value))
    except RecursionError:  # deeper than Python reads
        return hash(text), ()


def _mark(text: str) -> int:
    return _of_text(text)[0]

"""Runs as light rows, for work over very many of them: what is not asked for is not parsed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vellum_nb.history.rows import FRAMED, SCALARS, micros, run_of
from vellum_nb.models import Run, canonical_json
from vellum_nb.models.run import with_trace

__all__ = ["Record"]

_AT = {name: at for at, name in enumerate((*SCALARS, *FRAMED))}
_ID, _TAG, _RELEASE, _ENVIRONMENT = (
    _AT[name] for name in ("id", "release_tag", "release_id", "environment")
)
_TIME, _STATE, _CASE, _SWEEP = (_AT[name] for name in ("timestamp", "state", "case_id", "sweep_id"))
_LATENCY, _COST, _QUALITY, _MOVED = (
    _AT[name] for name in ("latency_s", "cost_usd", "quality", "tag_moved")
)
_CODE, _MESSAGE, _DEPLOYMENT = (_AT[name] for name in ("error_code", "error_message", "deployment"))
_INPUTS, _OUTPUTS, _DESIRED = (_AT[name] for name in ("inputs", "outputs", "desired"))


_ANSWERS = frozenset({"FULFILLED", "REJECTED"})


class Record:
    """A run as a comparison handles it; has the attributes of a `Run` that metrics read.

    `group` is what it is counted under, at first its release tag; `micros` its timestamp;
    `is_answer` whether an answer came, be it FULFILLED or REJECTED.
    """

    __slots__ = (
        "_desired",
        "_inputs",
        "_make",
        "_outputs",
        "_text",
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
    _text: str | None
    _make: Run | tuple[Sequence[Any], Callable[[Run], Any]] | Callable[[Record], Run]

    def __init__(self, fields: Mapping[str, Any]) -> None:
        for name, value in fields.items():
            setattr(self, name, value)
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
        return cls(fields | {"error": error, "_text": None})

    @classmethod
    def of_row(cls, row: Sequence[Any], trace: Callable[[Run], Any]) -> Record:
        """Return the record of a row as `reads.framed` fetches them."""
        self = cls.__new__(cls)
        self.id, self.deployment, self.case_id = row[_ID], row[_DEPLOYMENT], row[_CASE]
        self.release_tag = self.group = row[_TAG]
        self.release_id, self.environment = row[_RELEASE], row[_ENVIRONMENT]
        self.state, self.micros, self.sweep_id = row[_STATE], row[_TIME], row[_SWEEP]
        self.latency_s, self.cost_usd, self.quality = row[_LATENCY], row[_COST], row[_QUALITY]
        self.tag_moved = bool(row[_MOVED])
        self.error = None if row[_CODE] is None else (row[_CODE], row[_MESSAGE] or "")
        self._inputs, self._outputs = row[_INPUTS], None
        self._text = row[_OUTPUTS]
        self._desired = row[_DESIRED] or None
        self._make = (row, trace)
        self.is_answer = self.state in _ANSWERS
        return self

    @property
    def inputs(self) -> dict[str, Any]:
        """The inputs, as plain JSON values."""
        if isinstance(self._inputs, str):
            self._inputs = json.loads(self._inputs)
        found: dict[str, Any] = self._inputs
        return found

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs, likewise."""
        if self._outputs is None:
            self._outputs = json.loads(self._text or "{}")
        found: dict[str, Any] = self._outputs
        return found

    @property
    def desired(self) -> dict[str, Any] | None:
        """What the outputs should have been, where a reader said so."""
        if isinstance(self._desired, str):
            self._desired = json.loads(self._desired)
        found: dict[str, Any] | None = self._desired
        return found

    @property
    def text(self) -> str:
        """The outputs as text; equal texts are equal outputs, not the other way round."""
        if self._text is None:
            try:
                self._text = canonical_json(self._outputs)
            except ValueError:  # NaN within
                self._text = json.dumps(self._outputs, sort_keys=True)
        return self._text

    @property
    def run(self) -> Run:
        """The whole run."""
        if not isinstance(self._make, Run):
            self._make = self.made()
        return self._make

    def made(self) -> Run:
        """Return the whole run, which is not kept here: of very many at a time that is lighter."""
        if isinstance(self._make, Run):
            return self._make
        if isinstance(self._make, tuple):
            row, trace = self._make
            made = with_trace(run_of((*row, None)), trace)
            if made.release_tag != self.release_tag:  # taken over by a sweep
                made = made.model_copy(update={"release_tag": self.release_tag})
        else:
            made = self._make(self)
        return made

"""From what a callable returns or yields to typed outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from vellum_nb.local.callables.signature import variable_id
from vellum_nb.local.engine.wire_values import not_finite, wire_problem, wire_value
from vellum_nb.models import VellumVariable, WorkflowOutput
from vellum_nb.models.media import media_dict, media_type_of

__all__ = ["Chunk", "OutputError", "Outputs", "final_state"]

_MEDIA = ("IMAGE", "AUDIO", "VIDEO", "DOCUMENT")
_SINGLE = "output"


class OutputError(Exception):
    """What a callable returned is no output."""


class Chunk(NamedTuple):
    """Text that a generator yielded for an output."""

    name: str
    text: str
    first: bool


class Outputs:
    """The outputs of one run as they come in.

    Examples
    --------
    >>> outputs = Outputs(())
    >>> outputs.add("Hel")
    Chunk(name='output', text='Hel', first=True)
    >>> outputs.add("lo")
    Chunk(name='output', text='lo', first=False)
    >>> outputs.finish({"words": 1})
    >>> [(o.name, o.type, o.value) for o in outputs.typed()]
    [('output', 'STRING', 'Hello'), ('words', 'NUMBER', 1)]
    """

    def __init__(self, declared: Sequence[VellumVariable]) -> None:
        self._declared = {variable.key: variable for variable in declared}
        self._chunks: dict[str, list[str]] = {}
        self._values: dict[str, Any] = {}

    def add(self, yielded: Any) -> Chunk:
        """Take what a generator yields: text, or a (name, text) pair."""
        name, chunk = _pair(yielded)
        if not isinstance(chunk, str):
            msg = f"the generator yielded {_shown(yielded)}; text or (name, text) is expected"
            raise OutputError(msg)
        self._values.setdefault(name, None)  # keeps the order of arrival
        chunks = self._chunks.setdefault(name, [])
        chunks.append(chunk)
        return Chunk(name, chunk, first=len(chunks) == 1)

    def outline(self, name: str) -> WorkflowOutput:
        """Return an output that is still coming, without a value."""
        return WorkflowOutput(id=self._id(name), name=name, type="STRING", value=None)

    def finish(self, returned: Any) -> None:
        """Take what the callable returned; a generator may return nothing."""
        if returned is None and self._chunks:
            return
        for name, value in _named(returned).items():
            self._chunks.pop(name, None)
            self._values[name] = value

    def typed(self) -> tuple[WorkflowOutput, ...]:
        """Return the outputs with their types.

        Raises
        ------
        OutputError
            When a value is not what was declared, or nothing that JSON knows.
        """
        return tuple(self._output(name) for name in self._values)

    def _output(self, name: str) -> WorkflowOutput:
        chunks = self._chunks.get(name)
        value = self._values[name] if chunks is None else "".join(chunks)
        declared = self._declared.get(name)
        type_, value = _typed(name, value, declared.type if declared else None)
        return WorkflowOutput(id=self._id(name), name=name, type=type_, value=value)

    def _id(self, name: str) -> str:
        declared = self._declared.get(name)
        return declared.id if declared else variable_id("output", name)


def final_state(state: Mapping[Any, Any] | None) -> dict[str, Any] | None:
    """Return what a run left in its state, as JSON knows it.

    Raises
    ------
    OutputError
        When JSON cannot carry it.
    """
    if state is None:
        return None
    wrong = [key for key in state if not isinstance(key, str)]
    if wrong:
        msg = f"the state has the key {wrong[0]!r}; it is named by text"
        raise OutputError(msg)
    return {key: _plain(key, value, what="state") for key, value in state.items()}


def _pair(yielded: Any) -> tuple[str, Any]:
    if isinstance(yielded, tuple) and len(yielded) == 2 and _is_name(yielded[0]):  # noqa: PLR2004
        return yielded
    return _SINGLE, yielded


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(name)


def _named(returned: Any) -> dict[str, Any]:
    """Return the values of a returned object by output name."""
    if isinstance(returned, Mapping):
        wrong = [key for key in returned if not _is_name(key)]
        if wrong:
            msg = f"the returned dict has the key {wrong[0]!r}; outputs are named by text"
            raise OutputError(msg)
        return dict(returned)
    if isinstance(returned, BaseModel):
        return {name: getattr(returned, name) for name in type(returned).model_fields}
    if dataclasses.is_dataclass(returned) and not isinstance(returned, type):
        return {f.name: getattr(returned, f.name) for f in dataclasses.fields(returned)}
    return {_SINGLE: returned}


def _typed(name: str, value: Any, declared: str | None) -> tuple[str, Any]:
    if declared in _MEDIA or (declared is None and isinstance(value, bytes)):
        value = _as_media(value, declared)
        declared = declared or media_type_of(value)
    plain = _plain(name, value)
    type_ = declared or _inferred(plain)
    if plain is None:
        return type_, None
    problem = wire_problem(plain, type_)
    if problem:
        msg = f"the output {name!r} is {_shown(plain)}, but {problem}"
        raise OutputError(msg)
    return type_, wire_value(plain, type_)


def _as_media(value: Any, declared: str | None) -> Any:
    if isinstance(value, str | Mapping) or value is None:
        return {"src": value} if isinstance(value, str) else value
    return media_dict(value, declared)


def _inferred(plain: Any) -> str:
    if isinstance(plain, str):
        return "STRING"
    if isinstance(plain, int | float) and not isinstance(plain, bool):
        return "NUMBER"
    return "JSON"


def _plain(name: str, value: Any, *, what: str = "output") -> Any:
    """Return `value` as JSON knows it."""
    try:
        plain = to_jsonable_python(value, fallback=_foreign, inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, RecursionError) as exc:
        reason = str(exc).removeprefix("Error calling function `<unknown>`: ")
        msg = f"the {what} {name!r} is {_shown(value)}, which JSON cannot carry: {reason}"
        raise OutputError(msg) from exc
    where = not_finite(plain, name)
    if where:
        msg = f"the {what} {where} is not a finite number (NaN or infinite), which JSON has not"
        raise OutputError(msg)
    return plain


def _foreign(value: Any) -> Any:
    """Return NumPy and pandas values as Python's; they are told by what they offer."""
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return value.to_dict(orient="records")
    for name in ("tolist", "item"):
        if hasattr(value, "dtype") and hasattr(value, name):
            return getattr(value, name)()
    msg = f"a {type(value).__name__} is nothing that JSON knows"
    raise ValueError(msg)


def _shown(value: Any) -> str:
    kind = type(value).__name__
    simple = isinstance(value, str | int | float | bool | list | dict | tuple)
    return f"{kind} {value!r:.60}" if simple else f"a {kind}"

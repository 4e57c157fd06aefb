"""The shape of each of Vellum's value types, as the contract has it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

__all__ = ["WIRE_TYPES", "SearchResult", "not_finite", "wire_problem", "wire_value"]

WIRE_TYPES = frozenset(
    {"STRING", "NUMBER", "JSON", "CHAT_HISTORY", "IMAGE", "AUDIO", "VIDEO", "DOCUMENT"}
)


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Media(_Open):
    src: Annotated[str, Field(min_length=1)]
    metadata: dict[str, Any] | None = None


class _Content(_Open):
    type: Literal["STRING", "FUNCTION_CALL", "ARRAY", "AUDIO", "VIDEO", "IMAGE", "DOCUMENT"]
    value: Any


class _Message(_Open):
    role: Literal["SYSTEM", "ASSISTANT", "USER", "FUNCTION"]
    text: str | None = None
    content: _Content | None = None
    source: str | None = None
    metadata: dict[str, Any] | None = None


class _ResultDocument(_Open):
    label: str
    id: str | None = None
    external_id: str | None = None
    metadata: dict[str, Any] | None = None


class SearchResult(_Open):
    """One search result; `keywords` may be left out."""

    text: str
    score: float
    keywords: list[str] = Field(default_factory=list)
    document: _ResultDocument
    meta: dict[str, Any] | None = None


_SHAPES: dict[str, TypeAdapter[Any]] = {
    "STRING": TypeAdapter(str),
    "NUMBER": TypeAdapter(float),
    "CHAT_HISTORY": TypeAdapter(list[_Message]),
    "SEARCH_RESULTS": TypeAdapter(list[SearchResult]),
    **dict.fromkeys(("IMAGE", "AUDIO", "VIDEO", "DOCUMENT"), TypeAdapter(_Media)),
}
_EXPECTED = {
    "STRING": "text is expected",
    "NUMBER": "a number is expected",
    "CHAT_HISTORY": "a list of messages with role and text is expected",
    "SEARCH_RESULTS": "a list of results with text, score and document is expected",
    **dict.fromkeys(("IMAGE", "AUDIO", "VIDEO", "DOCUMENT"), 'an object with "src" is expected'),
}


def wire_problem(value: Any, type_: str) -> str:
    """Return why `value` is no value of `type_`, or an empty string.

    Examples
    --------
    >>> wire_problem("7", "NUMBER")
    'a number is expected: Input should be a valid number'
    """
    shape = _SHAPES.get(type_)
    if shape is None:
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{_EXPECTED.get(type_, 'a value')}; JSON has no {value}"
    try:
        shape.validate_python(value, strict=True)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, error["loc"]))
        return f"{_EXPECTED[type_]}: {place and f'{place}: '}{error['msg']}"
    return ""


def wire_value(value: Any, type_: str) -> Any:
    """Return a valid `value` with the keys that the contract requires."""
    if type_ == "SEARCH_RESULTS":
        return [{"keywords": [], **result} for result in value]
    return value


def not_finite(value: Any, place: str) -> str:
    """Return where `value`, which is at `place`, holds NaN or infinity; empty when nowhere.

    Examples
    --------
    >>> not_finite({"scores": [1.0, float("nan")]}, "result")
    'result.scores.1'
    """
    if isinstance(value, float):
        return "" if math.isfinite(value) else place
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    return next((found for k, v in items if (found := not_finite(v, f"{place}.{k}"))), "")

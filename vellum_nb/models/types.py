"""Vellum's value types, one declaration per type.

All rooms read the properties of a type from `TYPES`. CONTRIBUTING.md describes how to add a type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from vellum_nb.models.media import MEDIA_TYPES


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


class _SearchResult(_Open):
    text: str
    score: float
    keywords: list[str] = Field(default_factory=list)
    document: _ResultDocument
    meta: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueType:
    """Properties of a value type. The defaults suit a type of outputs that is shown as JSON."""

    field: str = "json"  # kind of form field
    python: type | tuple[type, ...] = object  # Python values accepted as an input
    expected: str = "a JSON value"  # name of such a value in messages
    shape: TypeAdapter[Any] | None = None  # schema of values in the contract
    is_input: bool = False  # inputs of this type exist; a variable of another type is sent as JSON
    has_schema: bool = False  # the JSON schema of a variable applies
    has_files: bool = False  # values can contain files, which are uploaded
    in_chat: bool = False  # can be the content of a chat message
    streams: Literal["workflow", "node", "none"] = "workflow"  # events that carry it before the end
    has_parts: bool = False  # values are displayed by part, never as one line of JSON
    part: str = "JSON"  # kind of the items of a list
    part_noun: str = ""  # name of an item in a difference
    part_value: str = ""  # key of an item that a difference does not mention


TYPES: dict[str, ValueType] = {
    "STRING": ValueType(
        field="text",
        python=str,
        expected="text",
        shape=TypeAdapter(str),
        is_input=True,
        has_schema=True,
        in_chat=True,
    ),
    "NUMBER": ValueType(
        field="number",
        python=(int, float),
        expected="a number",
        shape=TypeAdapter(float),
        is_input=True,
        has_schema=True,
    ),
    "JSON": ValueType(is_input=True, has_schema=True),
    "CHAT_HISTORY": ValueType(
        field="chat",
        shape=TypeAdapter(list[_Message]),
        expected="a list of messages with role and text",
        is_input=True,
        has_files=True,
        has_parts=True,
        part="turn",
        part_noun="turn",
        part_value="text",
    ),
    "SEARCH_RESULTS": ValueType(
        python=list,
        expected="a list of results with text, score and document",
        shape=TypeAdapter(list[_SearchResult]),
        has_parts=True,
        part="hit",
        part_noun="result",
        part_value="text",
    ),
    "ARRAY": ValueType(
        python=list,
        expected="a list",
        has_parts=True,
        part="typed",
        part_noun="item",
        part_value="value",
    ),
    "FUNCTION_CALL": ValueType(python=dict, expected="a dict", in_chat=True, has_parts=True),
    "ERROR": ValueType(has_parts=True),
    "THINKING": ValueType(streams="node"),
    **{
        name: ValueType(
            field=name.lower(),
            shape=TypeAdapter(_Media),
            expected='an object with "src"',
            is_input=True,
            has_files=True,
            in_chat=True,
            streams="none",
        )
        for name in MEDIA_TYPES
    },
}
_UNKNOWN = ValueType(streams="none")


def value_type(name: str) -> ValueType:
    """Return the properties of a type; an undeclared type resembles JSON."""
    return TYPES.get(name, _UNKNOWN)

"""What a signature says about the variables of a release."""

from __future__ import annotations

import functools
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict

import pytest
from pydantic import BaseModel, Field

from vellum_nb.errors import VellumNBError
from vellum_nb.local import ChatHistory, Document, Image, SearchResults
from vellum_nb.local.callables.signature import inputs_of, kind_of, outputs_of


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Order(BaseModel):
    id: int
    note: str = ""


@dataclass
class Verdict:
    label: str
    score: float


class Answer(TypedDict):
    text: str
    chat: ChatHistory


class Described(BaseModel):
    text: Annotated[str, Field(description="what it says")]
    found: SearchResults


@pytest.mark.parametrize(
    ("annotation", "type_", "schema"),
    [
        (str, "STRING", None),
        (int, "NUMBER", {"type": "integer"}),
        (bool, "JSON", {"type": "boolean"}),
        (Any, "JSON", None),
        (list[str], "JSON", {"type": "array", "items": {"type": "string"}}),
        (Literal["a", "b"], "JSON", {"type": "string", "enum": ["a", "b"]}),
        (Size, "JSON", {"type": "string", "enum": ["s", "l"]}),
        (datetime, "STRING", {"type": "string", "format": "date-time"}),
        (Annotated[float | None, Field(ge=1)], "NUMBER", {"type": "number", "minimum": 1}),
        (ChatHistory, "CHAT_HISTORY", None),
        (Annotated[ChatHistory | None, Field(description="x")], "CHAT_HISTORY", None),
        (SearchResults, "SEARCH_RESULTS", None),
        (Image, "IMAGE", None),
        (Document | None, "DOCUMENT", None),
    ],
)
def test_an_annotation_gives_type_and_schema(annotation, type_, schema):
    kind = kind_of(annotation)
    assert (kind.type, kind.schema) == (type_, schema)
    assert kind.adapter is not None


def test_a_model_is_json_with_the_schema_of_its_fields():
    schema = kind_of(Order).schema
    assert schema is not None
    assert schema["required"] == ["id"]
    assert "$ref" not in str(schema)
    several = kind_of(list[Order]).schema  # it points at parts of itself
    assert several is not None
    assert set(several["$defs"]) == {"Order"}


def test_defaults_are_typed_values_and_make_an_input_optional():
    nan = float("nan")  # JSON does not know it

    def f(
        a: str, b: int = 3, c: Size = Size.LARGE, d: str | None = None, e: float = nan
    ) -> None: ...

    found = [(p.variable.key, p.variable.required, p.variable.default) for p in inputs_of(f)]
    assert found == [
        ("a", True, None),
        ("b", False, {"type": "NUMBER", "value": 3}),
        ("c", False, {"type": "JSON", "value": "l"}),
        ("d", False, None),
        ("e", False, None),
    ]


def test_a_field_as_default_gives_the_schema():
    def f(n: int = Field(2, ge=1, description="how many"), m: int = Field(ge=1)) -> None: ...

    first, second = (p.variable for p in inputs_of(f))
    assert first.default == {"type": "NUMBER", "value": 2}
    assert (first.description, first.json_schema) == ("how many", {"type": "integer", "minimum": 1})
    assert second.required is True


def test_a_default_gives_the_type_if_there_is_no_annotation():
    def f(a, b="x", c=1, d=True): ...  # noqa: FBT002

    assert [p.variable.type for p in inputs_of(f)] == ["JSON", "STRING", "NUMBER", "JSON"]


def test_descriptions_come_from_the_annotation_else_from_the_docstring():
    def f(a: Annotated[str, Field(description="said here")], b: str, c: Annotated[str, "or so"]):
        """Do it.

        Parameters
        ----------
        a, b : str
            Said there,
            over two lines.

        Returns
        -------
        str
            Nothing.
        """

    assert [p.variable.description for p in inputs_of(f)] == [
        "said here",
        "Said there, over two lines.",
        "or so",
    ]


class Adder:
    """Adds."""

    def __call__(self, a: int) -> int:
        return a

    def method(self, b: int) -> int:
        return b


def two(a: int, b: str) -> str:
    return b * a


@pytest.mark.parametrize(
    ("target", "keys"),
    [
        (Adder(), ["a"]),
        (Adder().method, ["b"]),
        (functools.partial(two, 2), ["b"]),
        (functools.lru_cache(two), ["a", "b"]),
        (lambda text: text, ["text"]),
    ],
)
def test_anything_that_can_be_called_will_do(target, keys):
    assert [p.variable.key for p in inputs_of(target)] == keys


def _many(*texts: str) -> None: ...
def _open(**texts: str) -> None: ...
def _object(thing: Adder) -> None: ...
def _unknown(thing: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def _odd(n: Annotated[float, Field(json_schema_extra={"x": object()})]) -> None: ...  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (_many, r"_many takes \*texts; inputs have names"),
        (_open, r"_open takes \*\*texts"),
        (_object, "parameter thing of _object cannot be read from JSON"),
        (_unknown, "annotation of _unknown cannot be read: name 'Missing'"),
        (_odd, "parameter n of _odd cannot be read from JSON"),
        (Adder, "Adder is a class"),
        (min, "min has no signature that Python can read"),
    ],
)
def test_what_cannot_be_an_input_is_refused_with_the_reason(target, message):
    with pytest.raises(VellumNBError, match=message):
        inputs_of(target)


def _dict() -> dict[str, Any]: ...  # type: ignore[empty-body]
def _text() -> str | None: ...
def _choice() -> Literal["a", "b"]: ...  # type: ignore[empty-body]
def _answer() -> Answer: ...  # type: ignore[empty-body]
def _verdict() -> Verdict: ...  # type: ignore[empty-body]
def _described() -> Described: ...  # type: ignore[empty-body]
def _stream() -> Generator[str, None, Answer]: ...  # type: ignore[empty-body]
def _named_stream() -> Generator[tuple[Literal["a", "b"], str], None, None]: ...  # type: ignore[empty-body]
def _nothing(): ...
def _none() -> None: ...


@pytest.mark.parametrize(
    ("target", "outputs"),
    [
        (_dict, {}),
        (_nothing, {}),
        (_none, {}),
        (_text, {"output": "STRING"}),
        (_choice, {"output": "STRING"}),
        (_answer, {"text": "STRING", "chat": "CHAT_HISTORY"}),
        (_verdict, {"label": "STRING", "score": "NUMBER"}),
        (_described, {"text": "STRING", "found": "SEARCH_RESULTS"}),
        (_stream, {"output": "STRING", "text": "STRING", "chat": "CHAT_HISTORY"}),
        (_named_stream, {"a": "STRING", "b": "STRING"}),
    ],
)
def test_the_return_annotation_declares_the_outputs(target, outputs):
    assert {v.key: v.type for v in outputs_of(target)} == outputs
    descriptions = {v.description for v in outputs_of(target)} - {None, ""}
    assert descriptions == ({"what it says"} if target is _described else set())

"""From what a callable returns to typed outputs."""

import uuid
from collections import namedtuple
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from vellum_nb.local import ChatHistory, Image, SearchResults
from vellum_nb.local.callables.workflow import Workflow
from vellum_nb.local.engine.events import Rejection, RunContext

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8


class Mood(Enum):
    GOOD = "good"


class Model(BaseModel):
    a: int = 1
    inner: list[Mood] = [Mood.GOOD]


@dataclass
class Pair:
    left: str
    right: float


Point = namedtuple("Point", "x y")  # noqa: PYI024 - a plain tuple with names


TYPES = {"NUMBER": float, "STRING": str, "IMAGE": Image}
TYPES |= {"CHAT_HISTORY": ChatHistory, "SEARCH_RESULTS": SearchResults}


def typed(returned: Any, **declared: str) -> list[tuple[str, str, Any]]:
    def returns():
        return returned

    if declared:
        fields = {name: TYPES[type_] for name, type_ in declared.items()}
        returns.__annotations__["return"] = TypedDict("Declared", fields)  # type: ignore[operator]
    context = RunContext(str(uuid.uuid4()), str(uuid.uuid4()))
    *_, last = Workflow(returns).begin([], context).events()
    return [(o.name, o.type, o.value) for o in last.outputs]


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("text", [("output", "STRING", "text")]),
        (3, [("output", "NUMBER", 3)]),
        (True, [("output", "JSON", True)]),
        (None, [("output", "JSON", None)]),
        ([1, "a"], [("output", "JSON", [1, "a"])]),
        ((1, 2), [("output", "JSON", [1, 2])]),
        (Mood.GOOD, [("output", "STRING", "good")]),
        (date(2026, 1, 2), [("output", "STRING", "2026-01-02")]),
        (Decimal("1.10"), [("output", "STRING", "1.10")]),
        ({}, []),
        ({"a": 1, "b": {"c": "d"}}, [("a", "NUMBER", 1), ("b", "JSON", {"c": "d"})]),
        (Pair("l", 0.5), [("left", "STRING", "l"), ("right", "NUMBER", 0.5)]),
        (Model(), [("a", "NUMBER", 1), ("inner", "JSON", ["good"])]),
        ({"p": Pair("l", 1)}, [("p", "JSON", {"left": "l", "right": 1})]),
        (Point(1, 2), [("output", "JSON", [1, 2])]),
        (np.float64(0.5), [("output", "NUMBER", 0.5)]),
        ({"n": np.int64(7), "a": np.arange(2)}, [("n", "NUMBER", 7), ("a", "JSON", [0, 1])]),
        (pd.DataFrame({"a": [1, 2]}), [("output", "JSON", [{"a": 1}, {"a": 2}])]),
        ("half \ud800", [("output", "STRING", "half \ud800")]),
    ],
)
def test_a_returned_value_becomes_typed_outputs(returned, expected):
    assert typed(returned) == expected


def test_a_png_becomes_an_image_with_its_content():
    ((_, type_, value),) = typed({"shot": PNG})
    assert type_ == "IMAGE"
    assert value["src"].startswith("data:image/png;base64,")
    assert typed({"a": PNG}, a="IMAGE") == [("a", "IMAGE", value)]


@pytest.mark.parametrize("wrap", [str, lambda address: {"src": address}], ids=["text", "object"])
def test_an_address_becomes_an_image(wrap):
    address = "https://example.org/a.png"
    assert typed({"a": wrap(address)}, a="IMAGE") == [("a", "IMAGE", {"src": address})]


def test_search_results_are_completed():
    found = {"text": "t", "score": 1, "document": {"label": "L"}}
    ((_, _, value),) = typed({"r": [found]}, r="SEARCH_RESULTS")
    assert value == [{**found, "keywords": []}]


def test_a_missing_value_has_the_declared_type():
    assert typed({"a": None}, a="NUMBER") == [("a", "NUMBER", None)]


RING: list[Any] = []
RING.append(RING)


@pytest.mark.parametrize(
    ("returned", "declared", "message"),
    [
        ({"a": float("nan")}, {}, "output a is not a finite number"),
        ({"a": {"b": [0, float("inf")]}}, {}, r"output a\.b\.1 is not a finite number"),
        ({"a": object()}, {}, "JSON cannot represent: a object has no JSON form"),
        ({"a": RING}, {}, "Circular reference"),
        ({1: "a"}, {}, "has the key 1; outputs are named by text"),
        ({"a": "x"}, {"a": "NUMBER"}, "'a' is str 'x', but a number is expected"),
        ({"a": [{"text": "hi"}]}, {"a": "CHAT_HISTORY"}, "messages with role and text is expected"),
        ({"a": [{"text": "hi"}]}, {"a": "SEARCH_RESULTS"}, "results with text, score and document"),
        ({"a": {}}, {"a": "IMAGE"}, 'an object with "src" is expected'),
        (10**400, {}, "a number is expected"),
    ],
)
def test_what_is_no_output_is_refused_with_its_name(returned, declared, message):
    with pytest.raises(Rejection, match=f"(?i){message}"):
        typed(returned, **declared)


def yielding(*items: Any, returns: Any = None) -> list[Any]:
    def generator():
        yield from items
        return returns

    context = RunContext(str(uuid.uuid4()), str(uuid.uuid4()))
    return list(Workflow(generator).begin([], context).events())


def test_chunks_of_an_output_are_joined():
    *_, last = yielding("a", ("b", "1"), "c", ("b", "2"))
    assert {o.name: o.value for o in last.outputs} == {"output": "ac", "b": "12"}


def test_a_returned_value_replaces_the_chunks_of_its_output():
    *_, last = yielding("a", ("d", "lost"), returns={"d": 4})
    assert {o.name: o.value for o in last.outputs} == {"output": "a", "d": 4}


@pytest.mark.parametrize("chunk", [1, ("a", 1), ("", "x"), ("a", "b", "c"), None])
def test_a_generator_yields_only_text(chunk):
    with pytest.raises(Rejection, match="The generator yielded"):
        yielding(chunk)

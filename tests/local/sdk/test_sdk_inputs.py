"""Inputs of Workflows SDK classes, which the SDK itself takes as they come."""

import enum
from typing import Annotated, Any, List, Literal, Optional

import pytest
from pydantic import BaseModel, Field
from sdk_kit import execution, run
from vellum import ChatMessage, SearchResult, VellumImage
from vellum.workflows import BaseWorkflow
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.nodes import BaseNode
from vellum.workflows.state import BaseState

from vellum_nb.errors import VellumNBError

TURNS = [{"role": "USER", "text": "hi"}]
IMAGE = {"src": "data:image/png;base64,AAAA"}


class Colour(enum.Enum):
    """An enum that comes as text."""

    RED = "red"


class Point(BaseModel):
    """A structured input."""

    x: int


class Inputs(BaseInputs):
    """One of each."""

    text: Optional[str]
    whole: int = 1
    real: float = 1.0
    flag: bool = False
    level: Literal["low", "high"] = "low"
    colour: Colour = Colour.RED
    point: Optional[Point] = None
    turns: List[ChatMessage] = []
    found: List[SearchResult] = []
    image: Optional[VellumImage] = None
    small: Annotated[int, Field(ge=1, le=3)] = 1
    data: Any = None


NAMES = [name for name in Inputs.__annotations__ if not name.startswith("_")]


class Shown(BaseNode):
    """Show what arrived."""

    class Outputs(BaseNode.Outputs):
        shown: dict

    def run(self) -> BaseNode.Outputs:
        values = {name: getattr(self, name) for name in NAMES}
        return self.Outputs(shown={name: f"{_kind(v)} {v!r}" for name, v in values.items()})


Show = type(BaseNode)(
    "Show", (Shown,), {n: getattr(Inputs, n) for n in NAMES} | {"__module__": __name__}
)


def _kind(value: object) -> str:
    inner = f"[{type(value[0]).__name__}]" if isinstance(value, list) and value else ""
    return type(value).__name__ + inner


class Arrive(BaseWorkflow[Inputs, BaseState]):
    """Show inputs."""

    graph = Show

    class Outputs(BaseWorkflow.Outputs):
        shown = Show.Outputs.shown


@pytest.mark.parametrize(
    ("name", "given", "arrived"),
    [
        ("text", "häß", "str 'häß'"),
        ("whole", 3.0, "int 3"),
        ("real", 3, "float 3.0"),
        ("flag", True, "bool True"),
        ("flag", ("NUMBER", 1.0), "bool True"),
        ("level", "high", None),
        ("level", ("JSON", "high"), "str 'high'"),
        ("colour", ("JSON", "red"), "Colour <Colour.RED: 'red'>"),
        ("point", {"x": 1}, "Point Point(x=1)"),
        ("turns", ("CHAT_HISTORY", TURNS), "list[ChatMessage] "),
        ("turns", ("JSON", []), "list []"),
        ("image", ("IMAGE", IMAGE), "VellumImage "),
        ("image", ("JSON", IMAGE), "VellumImage "),
        (
            "found",
            [{"text": "t", "score": 0.5, "keywords": [], "document": {"label": "d"}}],
            "list[SearchResult] ",
        ),
        ("data", {"a": [1, None]}, "dict {'a': [1, None]}"),
        ("small", 3.0, "int 3"),
    ],
)
def test_an_input_arrives_as_what_its_annotation_says(name, given, arrived):
    if arrived is None:
        with pytest.raises(VellumNBError, match="has the type STRING; JSON is expected"):
            execution(Arrive, {name: given})
        return
    assert run(Arrive, {name: given}).outputs["shown"][name].startswith(arrived)


def test_inputs_that_are_not_given_have_their_defaults():
    shown = run(Arrive).outputs["shown"]
    assert shown["text"] == "NoneType None"
    assert shown["whole"] == "int 1"
    assert shown["colour"] == "Colour <Colour.RED: 'red'>"
    assert shown["turns"] == "list []"


@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        ("text", 5, "Input 'text' has the type NUMBER; STRING is expected"),
        ("whole", "abc", "Input 'whole' has the type STRING; NUMBER is expected"),
        ("whole", 1.5, "Input 'whole': Input should be a valid integer"),
        ("flag", ("JSON", "yes"), "Input 'flag': Input should be a valid boolean"),
        ("flag", ("NUMBER", 2), "Input 'flag' has the type NUMBER; JSON is expected"),
        ("level", ("JSON", "huge"), "Input 'level': Input should be 'low' or 'high'"),
        ("point", {"x": "1"}, "Input 'point': x: Input should be a valid integer"),
        ("turns", ("CHAT_HISTORY", [{"text": "hi"}]), "a list of messages"),
        ("turns", ("JSON", TURNS), "Input 'turns' has the type JSON; CHAT_HISTORY is expected"),
        ("image", ("IMAGE", {"src": ""}), "Input 'image': an object with \"src\" is expected"),
        ("small", 4, "less than or equal to 3"),
        ("other", "x", "Unknown input variable 'other'; available: text, whole"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_before_anything_runs(name, given, problem):
    with pytest.raises(VellumNBError) as refused:
        execution(Arrive, {name: given})
    assert problem in str(refused.value)

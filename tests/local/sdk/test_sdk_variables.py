"""What the Inputs and Outputs of a Workflows SDK class say about a release's variables."""

import enum
import types
from typing import Annotated, Any, Dict, List, Optional, Union

import pytest
from pydantic import BaseModel, Field
from vellum import ChatMessage, FunctionCall, SearchResult, VellumImage, VellumValue
from vellum.workflows import BaseWorkflow
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.nodes import BaseNode
from vellum.workflows.state import BaseState

from vellum_nb.errors import VellumNBError
from vellum_nb.local.sdk.workflow import SdkWorkflow


class Point(BaseModel):
    """A structured input."""

    x: int
    y: int = 0


class Colour(enum.Enum):
    """An enum that comes as text."""

    RED = "red"
    GREEN = "green"


TABLE: list[tuple[Any, str, bool, dict[str, Any] | None]] = [
    (str, "STRING", True, None),
    (Optional[str], "STRING", False, None),
    (int, "NUMBER", True, {"type": "integer"}),
    (float, "NUMBER", True, None),
    (Union[int, float], "NUMBER", True, None),
    (bool, "JSON", True, {"type": "boolean"}),
    (Colour, "JSON", True, {"type": "string", "enum": ["red", "green"]}),
    (Dict[str, int], "JSON", True, {"type": "object", "additionalProperties": {"type": "integer"}}),
    (Any, "JSON", True, None),
    (Union[str, int], "JSON", True, {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
    (List[ChatMessage], "CHAT_HISTORY", True, None),
    (List[SearchResult], "SEARCH_RESULTS", True, None),
    (VellumImage, "IMAGE", True, None),
    (FunctionCall, "FUNCTION_CALL", True, None),
    (List[VellumValue], "ARRAY", True, None),
    (
        Annotated[int, Field(ge=1, le=3)],
        "NUMBER",
        True,
        {"type": "integer", "maximum": 3, "minimum": 1},
    ),
]


def workflow_of(inputs: type) -> type:
    bases = (BaseWorkflow[inputs, BaseState],)
    return types.new_class("W", bases, exec_body=lambda body: body.update(graph=BaseNode))


def variable_of(annotation: Any, **default: Any):
    body = {"__annotations__": {"it": annotation}, "__module__": __name__}
    if default:
        body["it"] = default["default"]
    inputs = type(BaseInputs)("Inputs", (BaseInputs,), body)
    (variable,) = SdkWorkflow(workflow_of(inputs)).input_variables
    return variable


@pytest.mark.parametrize(("annotation", "type_", "required", "schema"), TABLE)
def test_an_annotation_gives_type_and_schema(annotation, type_, required, schema):
    variable = variable_of(annotation)
    assert (variable.type, variable.required, variable.json_schema) == (type_, required, schema)
    assert variable.default is None


@pytest.mark.parametrize(
    ("annotation", "default", "shown"),
    [
        (str, "x", {"type": "STRING", "value": "x"}),
        (int, 3, {"type": "NUMBER", "value": 3}),
        (bool, False, {"type": "JSON", "value": False}),
        (Colour, Colour.RED, {"type": "JSON", "value": "red"}),
        (Point, Point(x=1), {"type": "JSON", "value": {"x": 1, "y": 0}}),
        (str, Field(default="x"), {"type": "STRING", "value": "x"}),
        (list[str], Field(default_factory=list), {"type": "JSON", "value": []}),
        (Optional[str], None, None),
    ],
)
def test_a_default_is_shown_as_a_typed_value(annotation, default, shown):
    variable = variable_of(annotation, default=default)
    assert variable.default == shown
    assert variable.required is False


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (Annotated[str, Field(description="What to say.")], {}),
        (str, {"default": Field(description="What to say.")}),
        (str, {"default": Field(default="x", description="What to say.")}),
    ],
)
def test_a_description_comes_from_the_field(annotation, default):
    assert variable_of(annotation, **default).description == "What to say."


def test_a_union_with_a_bar_is_refused_and_variables_come_as_they_are_written_bases_first():
    with pytest.raises(VellumNBError, match=r"Inputs\.it; write Optional\[\.\.\.\]"):
        variable_of(str | None)
    talk = SdkWorkflow(Talk)
    assert [v.key for v in talk.input_variables] == ["zebra", "apple", "mango"]
    assert [(v.key, v.type) for v in talk.output_variables] == [
        ("turns", "CHAT_HISTORY"),
        ("words", "STRING"),
        ("count", "NUMBER"),
        ("anything", "JSON"),
        ("maybe", "STRING"),
    ]
    assert [v.id for v in talk.input_variables] == [
        str(getattr(More, v.key).id) for v in talk.input_variables
    ]
    assert {v.key: v.id for v in talk.output_variables} == {
        name: str(id_) for name, id_ in Talk.__output_ids__.items()
    }
    assert talk.description == "Talk a little."
    assert SdkWorkflow(Quiet).description == ""


class Base(BaseInputs):
    """Inputs to build on."""

    zebra: str
    apple: int = 1


class More(Base):
    """One input more."""

    mango: bool = True


class Say(BaseNode):
    """Say something of each kind."""

    class Outputs(BaseNode.Outputs):
        words: str
        count: int
        turns: List[ChatMessage]
        anything: Any


class Talk(BaseWorkflow[More, BaseState]):
    """Talk a little.

    And then some more.
    """

    graph = Say

    class Outputs(BaseWorkflow.Outputs):
        turns = Say.Outputs.turns
        words = Say.Outputs.words
        count = Say.Outputs.count
        anything = Say.Outputs.anything
        maybe = Say.Outputs.words.coalesce("x")


class Quiet(Talk):
    pass

"""The recipe for an output type in CONTRIBUTING.md: one declaration in `TYPES`."""

from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter

from vellum_nb import Client
from vellum_nb.local import LocalServer
from vellum_nb.local.engine.inputs import wire_problem
from vellum_nb.local.types import VellumType
from vellum_nb.models import VellumVariable
from vellum_nb.models.inputs import field_kind, to_wire, value_problem
from vellum_nb.models.types import TYPES, ValueType
from vellum_nb.rendering.diff import difference

Table = Annotated[list[dict[str, Any]], VellumType("TABLE")]
ROWS = [{"city": "Oslo"}, {"city": "Rome"}]
VARIABLE = VellumVariable(key="rows", type="TABLE")


@pytest.fixture
def declared(monkeypatch):
    declaration = ValueType(
        field="table",
        python=list,
        expected="a list of rows",
        shape=TypeAdapter(list[dict[str, str]]),
        is_input=True,
        has_parts=True,
        part_noun="row",
    )
    monkeypatch.setitem(TYPES, "TABLE", declaration)


def streamed_types():
    def cities(text: str) -> Table:
        return [{"city": city} for city in text.split()]

    with LocalServer() as server:
        server.deploy(cities, name="cities")
        with Client(api_key=server.api_key, base_url=server.url) as client:
            inputs = {"text": "Oslo Rome"}
            *progress, last = client.execute_workflow_stream(
                inputs, workflow_deployment_name="cities"
            )
    assert [(output.type, output.value) for output in last.outputs] == [("TABLE", ROWS)]
    return {event.output.type for event in progress if event.output}


def test_a_declared_type_is_streamed(declared):
    assert streamed_types() == {"TABLE"}


def test_an_undeclared_type_is_only_in_the_last_event():
    assert streamed_types() == set()


def test_an_output_of_a_declared_type_is_checked(declared):
    assert wire_problem([{"city": 1}], "TABLE").startswith("a list of rows is expected: 0.city")


def test_a_declared_type_is_sent_as_an_input(declared):
    (sent,) = to_wire({"rows": ROWS}, [VARIABLE])
    assert sent.type == "TABLE"


def test_an_undeclared_type_is_sent_as_json():
    (sent,) = to_wire({"rows": ROWS}, [VARIABLE])
    assert sent.type == "JSON"


def test_a_value_of_a_declared_type_is_checked(declared):
    assert value_problem("Oslo", VARIABLE) == "the text 'Oslo' is given; a list of rows is expected"


def test_a_declared_type_has_its_form_field(declared):
    assert field_kind(VARIABLE) == "table"


def test_differences_of_a_declared_type_name_its_parts(declared):
    changed = difference(ROWS, [*ROWS, {"city": "Bern"}], "TABLE")
    assert [row.label for row in changed.rows()] == ["row 3"]

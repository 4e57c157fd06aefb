"""JSON schemas of inputs, told in plain words."""

import pytest

from vellum_nb.models import VellumVariable
from vellum_nb.models.inputs import value_problem


def variable(type_, **more):
    return VellumVariable(key="x", type=type_, **more)


@pytest.mark.parametrize(
    ("schema", "value", "sentence"),
    [
        ({"maximum": 72}, 200, "200 is more than the maximum of 72"),
        ({"minimum": 1}, 0, "0 is less than the minimum of 1"),
        ({"type": "integer"}, 1.5, "1.5 is given; a whole number is expected"),
        ({"type": "boolean"}, "yes", "'yes' is given; true or false is expected"),
        ({"enum": ["a", "b"]}, "c", "'c' is not one of 'a', 'b'"),
        ({"required": ["a"]}, {}, "'a' is missing"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, 3, "3 is not one of: null, text"),
        ({"properties": {"a": {"minLength": 2}}}, {"a": "x"}, "at a: 'x' is shorter than 2"),
        ({"items": {"type": "string"}}, [1, 2, 3, 4], "and 1 more"),
        ({"type": "array", "uniqueItems": True}, [1, 1], "non-unique"),
    ],
)
def test_a_value_outside_the_schema_is_reported_in_plain_words(schema, value, sentence):
    problem = value_problem(value, variable("JSON", schema=schema))
    assert problem is not None
    assert sentence in problem


@pytest.mark.parametrize(
    "schema",
    [{"type": 3}, {"$ref": "http://127.0.0.1:9/schema.json"}, {"$ref": "#"}, {"pattern": "("}],
)
def test_a_broken_or_remote_schema_holds_nothing_back(schema):
    assert value_problem({"a": 1}, variable("JSON", schema=schema)) is None
    assert value_problem("text", variable("STRING", schema=schema)) is None

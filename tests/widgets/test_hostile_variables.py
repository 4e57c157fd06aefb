"""Deployments whose variables make no sense still have a form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from vellum_nb.models import VellumVariable
from vellum_nb.models.inputs import value_problem
from vellum_nb.widgets.fields import Field, FieldSet
from vellum_nb.widgets.form import make_field

TYPES = (
    *("STRING", "NUMBER", "JSON", "CHAT_HISTORY", "IMAGE", "AUDIO", "VIDEO", "DOCUMENT"),
    *("ARRAY", "SEARCH_RESULTS", "FUNCTION_CALL", "NEW_ONE", ""),
)
DEFAULTS = (
    *({"a": 1}, [1, "a", None], 5, "abc", True, 1e300, 10**400, {"role": 5}, {"src": 5}),
    *([{"role": "USER", "text": 5}], [{"role": "NOBODY"}], {"src": "javascript:alert(1)"}),
)


def variable(type_: str, **more: Any) -> VellumVariable:
    return VellumVariable.model_validate({"key": "x", "type": type_, **more})


@pytest.fixture
def shown() -> Iterator[FieldSet]:
    made = FieldSet(make_field, lambda: None)
    yield made
    made.close()


@pytest.mark.parametrize("default", DEFAULTS, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("type_", TYPES)
def test_a_default_of_any_type_makes_a_field_that_can_be_filled_and_emptied(
    shown: FieldSet, type_: str, default: Any
) -> None:
    shown.show({"v1": [variable(type_, default={"type": type_, "value": default})]})
    first = shown["x"].typed
    shown.set_values({}, where="d")
    assert shown["x"].typed == first


def test_a_default_that_is_no_value_of_its_type_blocks_the_run(shown: FieldSet) -> None:
    shown.show({"v1": [variable("ARRAY", default={"type": "ARRAY", "value": "abc"})]})
    assert "a list is expected" in shown.problems()["x"]


@pytest.fixture
def number() -> Iterator[Field]:
    made = make_field(variable("NUMBER"), lambda: None)
    yield made
    made.close()


@pytest.mark.parametrize("typed", ["9" * 400, "9" * 5000, "-" + "9" * 400, "1e999"])
def test_a_number_beyond_all_floats_is_a_problem_beside_the_field(number: Any, typed: str) -> None:
    number.typed = typed
    assert number.typed == typed
    assert "is not a number" in (number.problem() or "")


def test_a_schema_that_cannot_be_computed_holds_nothing_back() -> None:
    odd = variable("JSON", schema={"multipleOf": 1e-320})
    assert value_problem(10**400, odd) is None


def test_a_schema_nested_deep_has_a_field(shown: FieldSet) -> None:
    schema: dict[str, Any] = {}
    for _ in range(300):
        schema = {"allOf": [schema]}
    shown.show({"v1": [variable("JSON", schema=schema)]})
    shown["x"].typed = "{}"
    assert shown.values == {"x": {}}

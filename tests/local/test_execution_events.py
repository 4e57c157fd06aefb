"""Executions as they are listed, retrieved and continued through the API."""

import pytest
from execution_kit import read, run, turn


@pytest.fixture
def api(fresh, asking):
    fresh.deploy(turn)
    return asking(fresh)


def test_the_state_of_a_run_is_resolved_with_those_it_continues(api):
    first = run(api, "turn", "one")
    second = run(api, "turn", "two", previous_execution_id=first)
    third = run(api, "turn", "three", previous_execution_id=second)
    states = [api.get(f"/v1/workflows/{id_}/state").json() for id_ in (first, second, third)]
    turns = ["one", "two", "three"]
    assert [state["state"]["turns"] for state in states] == [turns[:1], turns[:2], turns]
    one, two, three = states
    assert [state["span_id"] for state in states] == [first, second, third]
    assert one["previous_span_id"] is one["root_span_id"] is one["root_trace_id"] is None
    assert (two["previous_span_id"], two["root_span_id"]) == (first, first)
    assert (three["previous_span_id"], three["root_span_id"]) == (second, first)
    assert three["previous_trace_id"] == two["trace_id"]
    assert three["root_trace_id"] == one["trace_id"]
    assert read(api, "turn", third)["state"] == three["state"]

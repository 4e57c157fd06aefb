"""Callables that remember: `State`, and `previous_execution_id`."""

import pytest
from execution_kit import read, run, turn

from vellum_nb.errors import VellumNBError
from vellum_nb.local import Reject, State


def chat(text: str, memory: State) -> str:
    """Say all that was said so far."""
    memory.setdefault("said", []).append(text)
    if text == "no":
        raise Reject("no")
    return " ".join(memory["said"])


@pytest.fixture
def say(fresh, asking):
    fresh.deploy(chat)
    api = asking(fresh)

    def ask(text, previous=None):
        answer = api.ask("chat", text, previous_execution_id=previous).json()
        outputs = answer["data"].get("outputs")
        return answer["execution_id"], outputs and outputs[0]["value"]

    return ask


def test_a_previous_execution_without_a_state_is_an_empty_one(say):
    rejected, said = say("no")
    assert said is None
    assert say("a", rejected)[1] == "a"
    assert say("a", "00000000-0000-4000-8000-000000000000")[1] == "a"


def test_one_state_that_can_be_named_and_that_json_can_carry_is_enough(fresh, asking):
    def odd(memory: State) -> None:
        memory["thing"] = object()

    def numbered(memory: State) -> None:
        memory[1] = "a"

    fresh.deploy(odd)
    fresh.deploy(numbered)
    api = asking(fresh)
    assert "The state 'thing' is a object" in api.run("odd")["error"]["message"]
    assert "The state has the key 1" in api.run("numbered")["error"]["message"]

    def two(one: State, other: State) -> None: ...

    def nameless(memory: State, /) -> None: ...

    for target in (two, nameless):
        with pytest.raises(VellumNBError, match="must have one state, which can be passed by name"):
            fresh.deploy(target)


def test_the_state_of_a_run_is_resolved_with_those_it_continues(fresh, asking):
    fresh.deploy(turn)
    api = asking(fresh)
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

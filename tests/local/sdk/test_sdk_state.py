"""State that goes from run to run, runs that are cancelled, and releases that share inputs."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from execution_kit import until
from sdk_flows import Chat, Inputs, Shout, Talk, mapped, of
from sdk_kit import Result, events_of, execution, run
from vellum.workflows import BaseWorkflow
from vellum.workflows.context import monitoring_context_store
from vellum.workflows.nodes import BaseNode
from vellum.workflows.state import BaseState


def test_the_state_of_an_execution_is_continued_by_the_next():
    state = {"turns": 4, "gone": 1, "note": None}
    for turn in (5, 6, 7):
        result = run(Chat, {"text": f"turn {turn}"}, state=state)
        state = result.last.body["final_state"]
        assert result.outputs["turn"] == turn
    assert "gone" not in state  # the state class does not know it
    assert [message["text"] for message in state["said"]] == ["turn 5", "turn 6", "turn 7"]
    assert result.types["said"] == "CHAT_HISTORY"


GATE = threading.Event()
ENTERED = threading.Semaphore(0)


class Waits(BaseNode):
    class Outputs(BaseNode.Outputs):
        said: str

    def run(self) -> BaseNode.Outputs:
        ENTERED.release()
        GATE.wait(20)
        return self.Outputs(said="late")


Wait = of(Waits, said=Waits.Outputs.said)


@pytest.fixture(autouse=True)
def _gate():
    GATE.clear()
    while ENTERED.acquire(blocking=False):
        pass
    yield
    GATE.set()


def test_cancelling_ends_a_run_whose_node_goes_on_and_leaves_no_thread():
    before = set(threading.enumerate())
    begun = execution(Wait, {"text": "x"})
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(events_of, begun)
        assert ENTERED.acquire(timeout=120)
        begun.cancel()
        result = Result(future.result(120))
    assert not GATE.is_set()
    assert result.error["code"] == "WORKFLOW_CANCELLED"
    assert len(result.of("node.execution.rejected")) == 1
    assert result.last.body["stacktrace"] is None
    GATE.set()
    until(lambda: set(threading.enumerate()) <= before)


def test_cancelling_before_the_run_begins_or_after_its_end_changes_nothing_and_nothing_is_left():
    begun = execution(Wait, {"text": "x"})
    begun.cancel()
    begun.cancel()
    assert events_of(begun) == []
    assert not ENTERED.acquire(blocking=False)
    begun = execution(Talk, {"text": "x"})
    events = events_of(begun)
    begun.cancel()
    assert events[-1].name == "workflow.execution.fulfilled"
    before = set(threading.enumerate())
    first = run(mapped("x"), {"text": "-"}).events[0]
    until(lambda: set(threading.enumerate()) <= before)
    kept = list(vars(monitoring_context_store)["_contexts"])
    assert not [key for key in kept if first.trace_id in key]


class Loud(BaseWorkflow[Inputs, BaseState]):
    """Another release with the same inputs."""

    graph = Shout

    class Outputs(BaseWorkflow.Outputs):
        said = Shout.Outputs.said


class Heir(Talk):
    """A release made of another."""


class MoreInputs(Inputs):
    """One input more."""

    end: str = "!"


class Finish(BaseNode):
    """Use an input of the base class and an own one."""

    text = Inputs.text
    end = MoreInputs.end

    class Outputs(BaseNode.Outputs):
        said: str

    def run(self) -> BaseNode.Outputs:
        return self.Outputs(said=self.text + self.end)


class Ended(BaseWorkflow[MoreInputs, BaseState]):
    """A release with one input more."""

    graph = Finish

    class Outputs(BaseWorkflow.Outputs):
        said = Finish.Outputs.said


def test_releases_that_share_inputs_run_side_by_side():
    expected = {Talk: "a ", Loud: "A", Heir: "a ", Ended: "a!"}
    jobs = [workflow for workflow in expected for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda w: run(w, {"text": "a"}).outputs["said"], jobs))
    assert said == [expected[workflow] for workflow in jobs]
    first, second = mapped("x"), mapped("y")  # these share the SDK's own inputs of a map
    assert run(second, {"text": "-"}).outputs == {"joined": ["1-y", "2-y"]}
    assert run(first, {"text": "-"}).outputs == {"joined": ["1-x", "2-x"]}

"""State that goes from run to run, and runs that are cancelled."""

from __future__ import annotations

import threading

import pytest
from execution_kit import until
from sdk_flows import Chat, Talk, mapped, of
from sdk_kit import context, events_of, execution, in_thread, run, typed
from vellum.workflows.context import monitoring_context_store
from vellum.workflows.nodes import (
    BaseNode,
)

from vellum_nb.local.sdk.workflow import SdkWorkflow


def test_the_state_of_an_execution_is_continued_by_the_next():
    state = None
    for turn in (1, 2, 3):
        told = run(Chat, {"text": f"turn {turn}"}, state=state)
        state = told.last.body["final_state"]
        assert told.outputs["turn"] == turn
    assert [message["text"] for message in state["said"]] == ["turn 1", "turn 2", "turn 3"]
    assert told.types["said"] == "CHAT_HISTORY"


def test_what_the_state_class_does_not_know_is_left_out():
    told = run(Chat, {"text": "a"}, state={"turns": 4, "gone": 1, "note": None})
    assert told.outputs["turn"] == 5
    assert "gone" not in told.last.body["final_state"]


GATE = threading.Event()


class Waits(BaseNode):
    class Outputs(BaseNode.Outputs):
        said: str

    def run(self) -> BaseNode.Outputs:
        ENTERED.release()
        GATE.wait(20)
        return self.Outputs(said="late")


ENTERED = threading.Semaphore(0)
Wait = of(Waits, said=Waits.Outputs.said)


@pytest.fixture(autouse=True)
def _gate():
    GATE.clear()
    while ENTERED.acquire(blocking=False):
        pass
    yield
    GATE.set()


def test_cancelling_ends_a_run_whose_node_goes_on():
    cancel, wait = in_thread(Wait, {"text": "x"})
    assert ENTERED.acquire(timeout=20)
    cancel()
    told = wait()
    assert told.error["code"] == "WORKFLOW_CANCELLED"
    assert told.names(node="Waits")[-1] == "node.execution.rejected"
    assert told.last.body["stacktrace"] is None
    assert not GATE.is_set()


def test_cancelling_before_the_run_begins_runs_nothing():
    begun = execution(Wait, {"text": "x"})
    begun.cancel()
    begun.cancel()
    assert events_of(begun) == []
    assert not ENTERED.acquire(blocking=False)


def test_cancelling_after_the_end_changes_nothing():
    begun = execution(Talk, {"text": "x"})
    events = events_of(begun)
    begun.cancel()
    assert events[-1].name == "workflow.execution.fulfilled"


def test_no_thread_is_left_after_a_run():
    before = set(threading.enumerate())
    run(mapped("x"), {"text": "-"})
    until(lambda: set(threading.enumerate()) <= before)


def test_no_thread_is_left_when_the_node_of_a_cancelled_run_has_ended():
    before = set(threading.enumerate())
    cancel, wait = in_thread(Wait, {"text": "x"})
    assert ENTERED.acquire(timeout=20)
    cancel()
    wait()
    GATE.set()
    until(lambda: set(threading.enumerate()) <= before)


def test_nothing_is_kept_of_a_run_that_has_ended():
    its = context()
    list(SdkWorkflow(Talk).begin(typed({"text": "a"}), its).events())
    kept = list(vars(monitoring_context_store)["_contexts"])
    assert not [key for key in kept if its.trace_id in key]


def test_events_come_while_the_run_goes_on():
    events = execution(Wait, {"text": "x"}).events()
    first = next(events)
    assert (first.name, GATE.is_set()) == ("workflow.execution.initiated", False)
    GATE.set()
    assert list(events)[-1].ends

"""Runs of Workflows SDK classes, as the events that they tell."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, List, Optional

import pytest
from sdk_kit import context, execution, in_thread, run, typed, until
from vellum import ChatMessage
from vellum.workflows import BaseWorkflow
from vellum.workflows.context import monitoring_context_store
from vellum.workflows.errors import WorkflowErrorCode
from vellum.workflows.exceptions import NodeException
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.nodes import (
    BaseNode,
    CodeExecutionNode,
    ConditionalNode,
    ErrorNode,
    FinalOutputNode,
    InlineSubworkflowNode,
    MapNode,
    RetryNode,
    TemplatingNode,
    TryNode,
)
from vellum.workflows.outputs import BaseOutput
from vellum.workflows.ports import Port
from vellum.workflows.state import BaseState
from vellum.workflows.triggers.chat_message import ChatMessageTrigger

from vellum_nb.errors import VellumNBError
from vellum_nb.local.sdk.workflow import SdkWorkflow


class Inputs(BaseInputs):
    """What these workflows take."""

    text: str


class Speak(BaseNode):
    """Say the words one by one, and count them."""

    text = Inputs.text

    class Outputs(BaseNode.Outputs):
        said: str
        words: int

    def run(self):
        words = self.text.split()
        for word in words:
            yield BaseOutput(name="said", delta=f"{word} ")
        yield BaseOutput(name="said", value="".join(f"{word} " for word in words))
        yield BaseOutput(name="words", value=len(words))


class Talk(BaseWorkflow[Inputs, BaseState]):
    """Say it."""

    graph = Speak

    class Outputs(BaseWorkflow.Outputs):
        said = Speak.Outputs.said
        words = Speak.Outputs.words
        again = Speak.Outputs.said.coalesce("nothing")


def test_the_first_event_begins_and_the_last_ends_the_run():
    told = run(Talk, {"text": "a b"})
    assert told.names()[0] == "workflow.execution.initiated"
    assert told.names().count("workflow.execution.fulfilled") == 1
    assert told.last.name == "workflow.execution.fulfilled"
    assert told.outputs == {"said": "a b ", "words": 2, "again": "a b "}
    assert told.types == {"said": "STRING", "words": "NUMBER", "again": "STRING"}


def test_text_comes_in_deltas_that_make_up_its_value():
    told = run(Talk, {"text": "a b c"})
    outputs = [event.body["output"] for event in told.of("workflow.execution.streaming")]
    said = [output for output in outputs if output["name"] == "said"]
    assert said[0] == {"name": "said"}
    assert "".join(output["delta"] for output in said[1:-1]) == said[-1]["value"] == "a b c "


def test_every_output_has_its_value_before_the_run_ends():
    told = run(Talk, {"text": "a"})
    complete = [
        event.outputs[0].name
        for event in told.of("workflow.execution.streaming")
        if "value" in event.body["output"]
    ]
    assert sorted(complete) == ["again", "said", "words"]


def test_events_come_while_the_run_goes_on():
    events = execution(Wait, {"text": "x"}).events()
    first = next(events)
    assert (first.name, GATE.is_set()) == ("workflow.execution.initiated", False)
    GATE.set()
    assert list(events)[-1].ends


def test_the_workflow_s_own_events_have_the_ids_and_the_parent_of_the_execution():
    its = context()
    events = list(SdkWorkflow(Talk).begin(typed({"text": "a"}), its).events())
    own = [event for event in events if event.name.startswith("workflow.")]
    assert {event.span_id for event in own} == {its.execution_id}
    assert {event.trace_id for event in events} == {its.trace_id}
    assert all(event.parent == its.parent for event in own)


def test_a_node_s_parent_is_the_workflow_whose_parent_is_the_release():
    its = context()
    events = list(SdkWorkflow(Talk).begin(typed({"text": "a"}), its).events())
    node = next(event for event in events if event.name == "node.execution.initiated")
    assert node.parent["type"] == "WORKFLOW"
    assert node.parent["span_id"] == its.execution_id
    assert node.parent["parent"]["deployment_id"] == its.parent["deployment_id"]


def test_a_node_s_events_share_a_span_and_tell_when_it_ran():
    told = run(Talk, {"text": "a"})
    begun, ended = (
        next(event for event in told.events if event.name == f"node.execution.{state}")
        for state in ("initiated", "fulfilled")
    )
    assert begun.span_id == ended.span_id
    assert begun.timestamp <= ended.timestamp
    assert begun.timestamp.tzinfo is not None
    assert begun.body["inputs"] == {"text": "a"}
    assert ended.body["outputs"] == {"said": "a ", "words": 1}


def test_bodies_have_the_keys_of_the_contract_and_no_others():
    told = run(Talk, {"text": "a"})
    keys = {event.name: set(event.body) for event in told.events}
    assert keys["workflow.execution.initiated"] == {"workflow_definition", "inputs", "trigger"}
    assert keys["node.execution.initiated"] == {"node_definition", "inputs"}
    assert set(told.events[0].body["workflow_definition"]) == {"id", "name", "module"}


# Releases that share an Inputs class


class Shout(BaseNode):
    """Say it loud."""

    text = Inputs.text

    class Outputs(BaseNode.Outputs):
        said: str

    def run(self) -> BaseNode.Outputs:
        return self.Outputs(said=self.text.upper())


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


def mapped(suffix: str) -> type:
    """Return a workflow that maps over two items with the SDK's shared inputs."""

    class Join(BaseNode):
        item = MapNode.SubworkflowInputs.item
        text = Inputs.text

        class Outputs(BaseNode.Outputs):
            joined: str

        def run(self) -> BaseNode.Outputs:
            return self.Outputs(joined=f"{self.item}{self.text}{suffix}")

    class Each(BaseWorkflow[MapNode.SubworkflowInputs, BaseState]):
        graph = Join

        class Outputs(BaseWorkflow.Outputs):
            joined = Join.Outputs.joined

    class All(MapNode):
        items = ["1", "2"]
        subworkflow = Each

    class Mapped(BaseWorkflow[Inputs, BaseState]):
        graph = All

        class Outputs(BaseWorkflow.Outputs):
            joined = All.Outputs.joined

    return Mapped


def test_two_maps_with_the_sdk_s_own_inputs_do_not_meet():
    first, second = mapped("x"), mapped("y")
    assert run(second, {"text": "-"}).outputs == {"joined": ["1-y", "2-y"]}
    assert run(first, {"text": "-"}).outputs == {"joined": ["1-x", "2-x"]}


def test_nodes_in_a_map_are_told_with_the_map_as_their_parent():
    told = run(mapped("x"), {"text": "-"})
    outer = next(e for e in told.events if e.kind == "MAP")
    inner = [e for e in told.events if e.body.get("node_definition", {}).get("name") == "Join"]
    assert len(inner) == 4
    assert {event.parent["span_id"] for event in inner} == {outer.span_id}
    assert {event.parent["type"] for event in inner} == {"WORKFLOW_NODE"}
    assert told.names().count("workflow.execution.initiated") == 1


def test_a_map_streams_its_value_and_not_its_bookkeeping():
    told = run(mapped("x"), {"text": "-"})
    (event,) = told.of("workflow.execution.streaming")
    assert event.body["output"] == {"name": "joined", "value": ["1-x", "2-x"]}


# Kinds of nodes


class Template(TemplatingNode[BaseState, str]):
    template = "{{ text }}!"
    inputs = {"text": Inputs.text}


class Code(CodeExecutionNode[BaseState, int]):
    code = "def main(text):\n    return len(text)"
    code_inputs = {"text": Inputs.text}


class Long(ConditionalNode):
    class Ports(ConditionalNode.Ports):
        long = Port.on_if(Code.Outputs.result.greater_than(3))
        short = Port.on_else()


class Sub(BaseWorkflow[BaseInputs, BaseState]):
    graph = Template

    class Outputs(BaseWorkflow.Outputs):
        result = Template.Outputs.result


class Inner(InlineSubworkflowNode):
    subworkflow = Sub


class LongEnd(FinalOutputNode[BaseState, str]):
    class Outputs(FinalOutputNode.Outputs):
        value = Inner.Outputs.result


class ShortEnd(FinalOutputNode[BaseState, str]):
    class Outputs(FinalOutputNode.Outputs):
        value = Inputs.text


class Kinds(BaseWorkflow[Inputs, BaseState]):
    """One of each kind that needs nobody else."""

    graph = Code >> {Long.Ports.long >> Inner >> LongEnd, Long.Ports.short >> ShortEnd}

    class Outputs(BaseWorkflow.Outputs):
        long = LongEnd.Outputs.value
        short = ShortEnd.Outputs.value


def test_nodes_are_told_by_their_kind():
    told = run(Kinds, {"text": "abcd"})
    kinds = {e.body["node_definition"]["name"]: e.kind for e in told.events if e.kind}
    assert kinds == {
        "Code": "CODE_EXECUTION",
        "Long": "CONDITIONAL",
        "Inner": "SUBWORKFLOW",
        "Template": "TEMPLATING",
        "LongEnd": "TERMINAL",
    }


@pytest.mark.parametrize(
    ("text", "expected"), [("abcd", {"long": "abcd!"}), ("ab", {"short": "ab"})]
)
def test_a_branch_gives_the_outputs_of_its_way(text, expected):
    outputs = run(Kinds, {"text": text}).outputs
    assert {name: value for name, value in outputs.items() if value is not None} == expected


# Failures


class Fails(BaseNode):
    text = Inputs.text

    class Outputs(BaseNode.Outputs):
        said: str

    def run(self) -> BaseNode.Outputs:
        raise ValueError(f"no {self.text} today")


class Quota(BaseNode):
    def run(self) -> BaseNode.Outputs:
        raise NodeException("no more", code=WorkflowErrorCode.PROVIDER_QUOTA_EXCEEDED)


class Refuses(ErrorNode):
    error = "not today"


class BadTemplate(TemplatingNode[BaseState, str]):
    template = "{{ text"
    inputs = {}


class Opaque(BaseNode):
    class Outputs(BaseNode.Outputs):
        thing: Any

    def run(self) -> BaseNode.Outputs:
        return self.Outputs(thing=object())


class Infinite(BaseNode):
    class Outputs(BaseNode.Outputs):
        number: float

    def run(self) -> BaseNode.Outputs:
        return self.Outputs(number=float("inf"))


def of(node: type, **outputs: Any) -> type:
    """Return a workflow of one node."""

    class One(BaseWorkflow[Inputs, BaseState]):
        graph = node
        Outputs = type("Outputs", (), outputs)

    return One


@pytest.mark.parametrize(
    ("workflow", "code", "message"),
    [
        (of(Fails), "NODE_EXECUTION", "no x today"),
        (of(Quota), "PROVIDER_QUOTA_EXCEEDED", "no more"),
        (of(Refuses), "USER_DEFINED_ERROR", "not today"),
        (of(BadTemplate), "INVALID_TEMPLATE", "Unable to render jinja template"),
        (of(Opaque, thing=Opaque.Outputs.thing), "INVALID_OUTPUTS", "not JSON serializable"),
        (
            of(Infinite, number=Infinite.Outputs.number),
            "INVALID_OUTPUTS",
            "'number' is not a finite",
        ),
    ],
)
def test_a_failure_rejects_the_run_with_its_code(workflow, code, message):
    told = run(workflow, {"text": "x"})
    assert told.last.name == "workflow.execution.rejected"
    assert told.error["code"] == code
    assert message in told.error["message"]
    assert sum(event.ends for event in told.events) == 1


def test_a_failed_node_is_told_as_rejected_with_the_same_error():
    told = run(of(Fails), {"text": "x"})
    (rejected,) = told.of("node.execution.rejected")
    assert rejected.body["error"] == told.error
    assert rejected.body["node_definition"]["name"] == "Fails"


def test_a_stack_trace_shows_the_workflow_s_own_code_and_no_folders():
    stacktrace = run(of(Fails), {"text": "x"}).last.body["stacktrace"]
    assert 'File "test_sdk_runs.py"' in stacktrace
    assert "no {self.text} today" in stacktrace
    assert "runner.py" not in stacktrace
    assert stacktrace.endswith("ValueError: no x today")


class Untrue(BaseNode):
    class Outputs(BaseNode.Outputs):
        said: str

    def run(self) -> BaseNode.Outputs:
        return self.Outputs(said={"not": "text"})


def test_an_output_that_is_not_what_its_annotation_says_is_told_as_what_it_is():
    told = run(of(Untrue, said=Untrue.Outputs.said), {"text": "x"})
    assert told.outputs == {"said": {"not": "text"}}
    assert told.types == {"said": "JSON"}


@TryNode.wrap()
class Tried(BaseNode):
    class Outputs(BaseNode.Outputs):
        said: str

    def run(self) -> BaseNode.Outputs:
        raise NodeException("in vain", code=WorkflowErrorCode.PROVIDER_ERROR)


def test_a_failure_that_is_caught_leaves_the_run_fulfilled():
    told = run(of(Tried, error=Tried.Outputs.error), {"text": "x"})
    assert told.last.name == "workflow.execution.fulfilled"
    assert told.outputs["error"]["message"] == "in vain"
    assert len(told.of("node.execution.rejected")) == 1


ATTEMPTS = iter(range(1, 100))


@RetryNode.wrap(max_attempts=3)
class Retried(BaseNode):
    class Outputs(BaseNode.Outputs):
        said: str

    def run(self) -> BaseNode.Outputs:
        if next(ATTEMPTS) < 3:
            raise NodeException("again")
        return self.Outputs(said="at last")


def test_a_node_that_is_tried_again_is_told_each_time():
    told = run(of(Retried, said=Retried.Outputs.said), {"text": "x"})
    assert told.outputs == {"said": "at last"}
    assert told.names(node="Retried").count("node.execution.rejected") == 2


class NeverMade(BaseInputs):
    """Inputs that cannot be made."""

    text: str

    def __init__(self, **_: Any) -> None:
        raise RuntimeError("no inputs today")


class Unmade(BaseWorkflow[NeverMade, BaseState]):
    graph = Shout


def test_a_run_that_cannot_begin_is_told_as_begun_and_rejected():
    told = run(Unmade, {"text": "x"})
    assert told.names() == ["workflow.execution.initiated", "workflow.execution.rejected"]
    assert told.events[0].body["inputs"] == {"text": "x"}
    assert told.error["message"] == "RuntimeError: no inputs today"


def test_an_unknown_trigger_is_refused_by_name():
    with pytest.raises(VellumNBError, match="nightly"):
        execution(Talk, {"text": "x"}, trigger="nightly")


def test_the_manual_trigger_is_what_is_used_without_one():
    assert run(Talk, {"text": "x"}, trigger="manual").outputs["said"] == "x "


class Answer(BaseNode):
    message = ChatMessageTrigger.message

    class Outputs(BaseNode.Outputs):
        said: str

    def run(self) -> BaseNode.Outputs:
        return self.Outputs(said=f"you said {self.message[0].value}")


class Answers(BaseWorkflow[BaseInputs, BaseState]):
    """Begin with a message."""

    graph = ChatMessageTrigger >> Answer

    class Outputs(BaseWorkflow.Outputs):
        said = Answer.Outputs.said


def test_a_trigger_gets_the_inputs_as_its_attributes():
    told = run(Answers, {"message": "hello"}, trigger=ChatMessageTrigger.__trigger_name__)
    assert told.outputs == {"said": "you said hello"}, told.last
    assert told.events[0].body["trigger"]["name"] == "ChatMessageTrigger"


# State


class Memory(BaseState):
    """What is remembered."""

    turns: int = 0
    said: List[ChatMessage] = []
    note: Optional[str] = None


class Remember(BaseNode[Memory]):
    text = Inputs.text

    class Outputs(BaseNode.Outputs):
        turn: int

    def run(self) -> BaseNode.Outputs:
        self.state.turns += 1
        self.state.said = [*self.state.said, ChatMessage(role="USER", text=self.text)]
        assert all(isinstance(message, ChatMessage) for message in self.state.said)
        return self.Outputs(turn=self.state.turns)


class Chat(BaseWorkflow[Inputs, Memory]):
    """Remember."""

    graph = Remember

    class Outputs(BaseWorkflow.Outputs):
        turn = Remember.Outputs.turn
        said = Memory.said


def test_the_state_of_an_execution_is_continued_by_the_next():
    state = None
    for turn in (1, 2, 3):
        told = run(Chat, {"text": f"turn {turn}"}, state=state)
        state = told.last.body["final_state"]
        assert told.outputs["turn"] == turn
    assert [message["text"] for message in state["said"]] == ["turn 1", "turn 2", "turn 3"]
    assert told.types["said"] == "CHAT_HISTORY"


def test_a_run_without_a_state_to_continue_begins_anew():
    run(Chat, {"text": "a"})
    assert run(Chat, {"text": "b"}).outputs["turn"] == 1


def test_what_the_state_class_does_not_know_is_left_out():
    told = run(Chat, {"text": "a"}, state={"turns": 4, "gone": 1, "note": None})
    assert told.outputs["turn"] == 5
    assert "gone" not in told.last.body["final_state"]


# Cancelling

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
    events = list(begun.events())
    assert [e.name for e in events] == [
        "workflow.execution.initiated",
        "workflow.execution.rejected",
    ]
    assert not ENTERED.acquire(blocking=False)


def test_cancelling_after_the_end_changes_nothing():
    begun = execution(Talk, {"text": "x"})
    events = list(begun.events())
    begun.cancel()
    assert events[-1].name == "workflow.execution.fulfilled"


def test_no_thread_is_left_after_a_run():
    before = set(threading.enumerate())
    run(mapped("x"), {"text": "-"})
    assert until(lambda: set(threading.enumerate()) <= before)


def test_no_thread_is_left_when_the_node_of_a_cancelled_run_has_ended():
    before = set(threading.enumerate())
    cancel, wait = in_thread(Wait, {"text": "x"})
    assert ENTERED.acquire(timeout=20)
    cancel()
    wait()
    GATE.set()
    assert until(lambda: set(threading.enumerate()) <= before)


def test_nothing_is_kept_of_a_run_that_has_ended():
    its = context()
    list(SdkWorkflow(Talk).begin(typed({"text": "a"}), its).events())
    kept = list(vars(monitoring_context_store)["_contexts"])
    assert not [key for key in kept if its.trace_id in key]

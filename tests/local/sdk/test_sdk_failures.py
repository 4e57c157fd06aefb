"""How runs of Workflows SDK classes fail."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from sdk_flows import Inputs, Shout, Talk, of
from sdk_kit import execution, run
from vellum.workflows import BaseWorkflow
from vellum.workflows.errors import WorkflowErrorCode
from vellum.workflows.exceptions import NodeException
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.nodes import (
    BaseNode,
    ErrorNode,
    MapNode,
    RetryNode,
    TemplatingNode,
    TryNode,
)
from vellum.workflows.outputs import BaseOutput
from vellum.workflows.state import BaseState
from vellum.workflows.triggers.chat_message import ChatMessageTrigger

from vellum_nb.errors import VellumNBError


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


class Hidden(BaseNode):
    class Outputs(BaseNode.Outputs):
        scores: Any

    def run(self) -> BaseNode.Outputs:
        return self.Outputs(scores={"best": [1.0, float("nan")]})


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
        (
            of(Hidden, scores=Hidden.Outputs.scores),
            "INVALID_OUTPUTS",
            "'scores.best.1' is not a finite",
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
    assert 'File "test_sdk_failures.py"' in stacktrace
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


class Exits(BaseNode):
    def run(self) -> BaseNode.Outputs:
        sys.exit("that is all")


class Cancels(BaseNode):
    class Outputs(BaseNode.Outputs):
        said: str

    def run(self):
        yield BaseOutput(name="said", delta="not ")
        raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("node", "message"), [(Exits, "SystemExit: that is all"), (Cancels, "CancelledError")]
)
def test_a_node_that_ends_its_thread_rejects_the_run(node, message):
    for _ in range(2):
        told = run(of(node), {"text": "x"})
        assert (told.error["code"], told.error["message"]) == ("NODE_EXECUTION", message)


def test_a_node_in_a_map_that_ends_its_thread_rejects_the_run():
    class Each(BaseWorkflow[MapNode.SubworkflowInputs, BaseState]):
        graph = Exits

    class All(MapNode):
        items = ["1"]
        subworkflow = Each

    assert "SystemExit: that is all" in run(of(All), {"text": "x"}).error["message"]

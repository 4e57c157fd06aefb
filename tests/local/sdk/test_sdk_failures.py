"""How runs of Workflows SDK classes fail."""

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
from vellum.workflows.nodes import BaseNode, ErrorNode, MapNode, RetryNode, TemplatingNode, TryNode
from vellum.workflows.outputs import BaseOutput
from vellum.workflows.state import BaseState
from vellum.workflows.triggers.chat_message import ChatMessageTrigger

from vellum_nb.errors import VellumNBError


def giving(value: Any) -> type:
    """Return a workflow with an output of any kind."""

    class Gives(BaseNode):
        class Outputs(BaseNode.Outputs):
            thing: Any

        def run(self) -> BaseNode.Outputs:
            return self.Outputs(thing=value)

    return of(Gives, thing=Gives.Outputs.thing)


class Fails(BaseNode):
    text = Inputs.text

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


class Exits(BaseNode):
    def run(self) -> BaseNode.Outputs:
        sys.exit("that is all")


class Cancels(BaseNode):
    class Outputs(BaseNode.Outputs):
        said: str

    def run(self):
        yield BaseOutput(name="said", delta="not ")
        raise asyncio.CancelledError


class Each(BaseWorkflow[MapNode.SubworkflowInputs, BaseState]):
    graph = Exits


class All(MapNode):
    items = ["1"]
    subworkflow = Each


class NeverMade(BaseInputs):
    """Inputs that cannot be made."""

    text: str

    def __init__(self, **_: Any) -> None:
        raise RuntimeError("no inputs today")


class Unmade(BaseWorkflow[NeverMade, BaseState]):
    graph = Shout


@pytest.mark.parametrize(
    ("workflow", "code", "message"),
    [
        (of(Fails), "NODE_EXECUTION", "no x today"),
        (of(Quota), "PROVIDER_QUOTA_EXCEEDED", "no more"),
        (of(Refuses), "USER_DEFINED_ERROR", "not today"),
        (of(BadTemplate), "INVALID_TEMPLATE", "Unable to render jinja template"),
        (giving(object()), "INVALID_OUTPUTS", "not JSON serializable"),
        (giving(float("inf")), "INVALID_OUTPUTS", "'thing' is not a finite"),
        (giving({"a": [1.0, float("nan")]}), "INVALID_OUTPUTS", "'thing.a.1' is not a finite"),
        (of(All), "NODE_EXECUTION", "SystemExit: that is all"),  # before its node runs by itself
        (of(Exits), "NODE_EXECUTION", "SystemExit: that is all"),
        (of(Cancels), "NODE_EXECUTION", "CancelledError"),
        (Unmade, "INTERNAL_ERROR", "RuntimeError: no inputs today"),
    ],
)
def test_a_failure_rejects_the_run_with_its_code(workflow, code, message):
    for _ in range(2):
        result = run(workflow, {"text": "x"})
        assert result.last.name == "workflow.execution.rejected"
        assert result.error["code"] == code
        assert message in result.error["message"]
        assert sum(event.ends for event in result.events) == 1


def test_the_failed_node_has_the_same_error_and_an_output_the_type_of_its_value():
    result = run(of(Fails), {"text": "x"})
    (rejected,) = result.of("node.execution.rejected")
    assert rejected.body["error"] == result.error
    assert rejected.body["node_definition"]["name"] == "Fails"
    stacktrace = result.last.body["stacktrace"]
    assert 'File "test_sdk_failures.py"' in stacktrace
    assert "no {self.text} today" in stacktrace
    assert "runner.py" not in stacktrace
    assert stacktrace.endswith("ValueError: no x today")
    result = run(of(Untrue, said=Untrue.Outputs.said), {"text": "x"})
    assert result.outputs == {"said": {"not": "text"}}
    assert result.types == {"said": "JSON"}


class Untrue(BaseNode):
    class Outputs(BaseNode.Outputs):
        said: str

    def run(self) -> BaseNode.Outputs:
        return self.Outputs(said={"not": "text"})


@TryNode.wrap()
class Tried(BaseNode):
    def run(self) -> BaseNode.Outputs:
        raise NodeException("in vain", code=WorkflowErrorCode.PROVIDER_ERROR)


ATTEMPTS = iter(range(1, 100))


@RetryNode.wrap(max_attempts=3)
class Retried(BaseNode):
    class Outputs(BaseNode.Outputs):
        said: str

    def run(self) -> BaseNode.Outputs:
        if next(ATTEMPTS) < 3:
            raise NodeException("again")
        return self.Outputs(said="at last")


def test_failures_that_the_workflow_handles_are_rejected_nodes_of_a_fulfilled_run():
    result = run(of(Tried, error=Tried.Outputs.error), {"text": "x"})
    assert result.outputs["error"]["message"] == "in vain"
    assert len(result.of("node.execution.rejected")) == 1
    result = run(of(Retried, said=Retried.Outputs.said), {"text": "x"})
    assert result.outputs == {"said": "at last"}
    names = [e.body["node_definition"]["name"] for e in result.of("node.execution.rejected")]
    assert names == ["Retried", "Retried"]


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
    result = run(Answers, {"message": "hello"}, trigger=ChatMessageTrigger.__trigger_name__)
    assert result.outputs == {"said": "you said hello"}, result.last
    assert result.events[0].body["trigger"]["name"] == "ChatMessageTrigger"
    assert run(Talk, {"text": "x"}, trigger="manual").outputs["said"] == "x "
    with pytest.raises(VellumNBError, match="nightly"):
        execution(Talk, {"text": "x"}, trigger="nightly")

"""The events of runs of Workflows SDK classes."""

import pytest
from sdk_flows import Inputs, Talk, mapped, of
from sdk_kit import Result, events_of, execution, run
from vellum.workflows import BaseWorkflow
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.nodes import (
    BaseNode,
    CodeExecutionNode,
    ConditionalNode,
    FinalOutputNode,
    InlineSubworkflowNode,
    TemplatingNode,
)
from vellum.workflows.ports import Port
from vellum.workflows.references import EnvironmentVariableReference
from vellum.workflows.state import BaseState


def test_a_run_begins_streams_its_text_and_ends():
    result = run(Talk, {"text": "a b"})
    assert result.events[0].name == "workflow.execution.initiated"
    assert result.last.name == "workflow.execution.fulfilled"
    assert result.outputs == {"said": "a b ", "words": 2, "again": "a b "}
    assert result.types == {"said": "STRING", "words": "NUMBER", "again": "STRING"}
    streamed = [event.body["output"] for event in result.of("workflow.execution.streaming")]
    said = [output for output in streamed if output["name"] == "said"]
    assert said[0] == {"name": "said"}
    assert "".join(output["delta"] for output in said[1:-1]) == said[-1]["value"] == "a b "


def test_a_node_has_a_span_of_its_own_in_the_workflow_of_the_release():
    begun = execution(Talk, {"text": "a"})
    result = Result(events_of(begun))
    first, workflow = result.of("node.execution.initiated")[0], result.events[0]
    (last,) = result.of("node.execution.fulfilled")
    assert first.span_id == last.span_id
    assert first.timestamp <= last.timestamp
    assert first.timestamp.tzinfo is not None
    assert (first.body["inputs"], last.body["outputs"]) == (
        {"text": "a"},
        {"said": "a ", "words": 1},
    )
    assert (first.parent["type"], first.parent["span_id"]) == ("WORKFLOW", workflow.span_id)
    assert first.parent["parent"]["deployment_id"] == workflow.parent["deployment_id"]


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
    """One node of each kind that needs no other service."""

    graph = Code >> {Long.Ports.long >> Inner >> LongEnd, Long.Ports.short >> ShortEnd}

    class Outputs(BaseWorkflow.Outputs):
        long = LongEnd.Outputs.value
        short = ShortEnd.Outputs.value


INNER = {"Inner": "SUBWORKFLOW", "Template": "TEMPLATING", "LongEnd": "TERMINAL"}


@pytest.mark.parametrize(
    ("text", "expected", "nodes"),
    [("abcd", {"long": "abcd!"}, INNER), ("ab", {"short": "ab"}, {"ShortEnd": "TERMINAL"})],
)
def test_a_branch_has_its_outputs_and_its_nodes_have_their_kinds(text, expected, nodes):
    result = run(Kinds, {"text": text})
    assert {k: value for k, value in result.outputs.items() if value is not None} == expected
    kinds = {e.body["node_definition"]["name"]: e.kind for e in result.events if e.kind}
    assert kinds == {"Code": "CODE_EXECUTION", "Long": "CONDITIONAL", **nodes}


def test_a_map_is_the_parent_of_its_nodes_and_names_the_executions_of_its_items():
    result = run(mapped("!"), {"text": "x"})
    ended = result.of("node.execution.fulfilled")
    (outer,) = [event for event in ended if event.kind == "MAP"]
    inner = {event.source_execution_id: event for event in ended if event.kind != "MAP"}
    joined = [inner[each].body["outputs"]["joined"] for each in outer.execution_ids]
    assert joined == ["1x!", "2x!"]
    assert outer.source_execution_id is None
    parents = {(e.parent["type"], e.parent["span_id"]) for e in inner.values()}
    assert parents == {("WORKFLOW_NODE", outer.span_id)}
    assert len(result.of("workflow.execution.initiated")) == 1
    (streamed,) = result.of("workflow.execution.streaming")
    assert streamed.body["output"] == {"name": "joined", "value": ["1x!", "2x!"]}


class Logs(BaseNode):
    key = EnvironmentVariableReference(name="KEY_OF_THIS_TEST")

    class Outputs(BaseNode.Outputs):
        length: int

    def run(self) -> BaseNode.Outputs:
        self._context.emit_log_event("INFO", "looked at the key", {"times": 1})
        return self.Outputs(length=len(self.key))


def test_what_a_node_logs_is_an_event_and_environment_variables_are_in_none(monkeypatch):
    monkeypatch.setenv("KEY_OF_THIS_TEST", "hush-hush")
    result = run(of(Logs, length=Logs.Outputs.length), {"text": "x"})
    assert result.outputs == {"length": 9}
    assert "hush" not in repr(result.events)
    (event,) = result.of("node.execution.log")
    assert (event.body["message"], event.body["severity"]) == ("looked at the key", "INFO")

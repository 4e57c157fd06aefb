"""What runs of Workflows SDK classes tell, event by event."""

from __future__ import annotations

import pytest
from sdk_flows import Inputs, Talk, mapped, of
from sdk_kit import context, run, typed
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

from vellum_nb.local.sdk.workflow import SdkWorkflow


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


def test_nodes_in_a_map_are_told_with_the_map_as_their_parent():
    told = run(mapped("x"), {"text": "-"})
    outer = next(e for e in told.events if e.kind == "MAP")
    inner = [e for e in told.events if e.body.get("node_definition", {}).get("name") == "Join"]
    assert len(inner) == 4
    assert {event.parent["span_id"] for event in inner} == {outer.span_id}
    assert {event.parent["type"] for event in inner} == {"WORKFLOW_NODE"}
    assert told.names().count("workflow.execution.initiated") == 1


def test_a_map_names_the_executions_of_its_items_and_their_nodes_name_theirs():
    told = run(mapped("!"), {"text": "x"})
    all_ = next(event for event in told.of("node.execution.fulfilled") if event.kind == "MAP")
    joined = {
        event.source_execution_id: event.body["outputs"]["joined"]
        for event in told.of("node.execution.fulfilled")
        if event.kind != "MAP"
    }
    assert [joined[each] for each in all_.execution_ids] == ["1x!", "2x!"]
    assert all_.source_execution_id is None


def test_a_map_streams_its_value_and_not_its_bookkeeping():
    told = run(mapped("x"), {"text": "-"})
    (event,) = told.of("workflow.execution.streaming")
    assert event.body["output"] == {"name": "joined", "value": ["1-x", "2-x"]}


class Logs(BaseNode):
    key = EnvironmentVariableReference(name="KEY_OF_THIS_TEST")

    class Outputs(BaseNode.Outputs):
        length: int

    def run(self) -> BaseNode.Outputs:
        self._context.emit_log_event("INFO", "looked at the key", {"times": 1})
        return self.Outputs(length=len(self.key))


def test_what_a_node_logs_is_told(monkeypatch):
    monkeypatch.setenv("KEY_OF_THIS_TEST", "x")
    (event,) = run(of(Logs), {"text": "x"}).of("node.execution.log")
    assert event.body["message"] == "looked at the key"
    assert event.body["severity"] == "INFO"


def test_the_value_of_an_environment_variable_is_not_told(monkeypatch):
    monkeypatch.setenv("KEY_OF_THIS_TEST", "hush-hush")
    told = run(of(Logs, length=Logs.Outputs.length), {"text": "x"})
    assert told.outputs == {"length": 9}
    assert "hush" not in repr(told.events)

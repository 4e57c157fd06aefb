"""The types that only a Workflows SDK class can have as outputs, by the official client."""

import warnings

import pytest
from conformance_kit import number, outputs, run, until, v

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the SDK warns about on import is not ours
    from vellum.workflows import BaseWorkflow
    from vellum.workflows.inputs import BaseInputs
    from vellum.workflows.nodes import BaseNode
    from vellum.workflows.state import BaseState

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's own
TYPES = {"call": "FUNCTION_CALL", "error": "ERROR", "items": "ARRAY", "found": "SEARCH_RESULTS"}


class Inputs(BaseInputs):
    number: float


class Make(BaseNode):
    class Outputs(BaseNode.Outputs):
        """One of each."""

        call: v.FunctionCall
        error: v.VellumError
        items: list[v.VellumValue]
        found: list[v.SearchResult]

    def run(self):
        document = v.SearchResultDocument(label="d")
        return self.Outputs(
            call=v.FunctionCall(name="f", arguments={"a": 1}, id="x"),
            error=v.VellumError(code="PROVIDER_ERROR", message="m"),
            items=[v.StringVellumValue(value="a"), v.NumberVellumValue(value=1)],
            found=[v.SearchResult(text="t", score=0.5, keywords=[], document=document)],
        )


class Workflow(BaseWorkflow[Inputs, BaseState]):
    graph = Make

    class Outputs(BaseWorkflow.Outputs):
        """One of each."""

        call = Make.Outputs.call
        error = Make.Outputs.error
        items = Make.Outputs.items
        found = Make.Outputs.found


@pytest.fixture(scope="module", autouse=True)
def deployed(server):
    server.deploy(Workflow, name="sdk-types")


def looks_right(name, value):
    return {
        "call": lambda: (value.name, value.arguments, value.id) == ("f", {"a": 1}, "x"),
        "error": lambda: (value.code, value.message) == ("PROVIDER_ERROR", "m"),
        "items": lambda: [item.value for item in value] == ["a", 1.0],
        "found": lambda: value[0].document.label == "d",
    }[name]()


def test_the_output_variables_have_their_types(client):
    variables = client.workflow_deployments.retrieve("sdk-types").output_variables
    assert {variable.key: variable.type for variable in variables} == TYPES


@pytest.mark.parametrize("name", TYPES)
def test_an_output_of_the_type_is_in_the_answer(client, name):
    answer = run(client, "sdk-types", number(1))
    assert {o.name: o.type for o in answer.data.outputs} == TYPES
    assert looks_right(name, outputs(answer)[name])


@pytest.mark.parametrize("name", TYPES)
def test_an_output_of_the_type_is_streamed(client, name):
    events = client.execute_workflow_stream(
        inputs=[number(1)], workflow_deployment_name="sdk-types"
    )
    told = [event.data.output for event in events if event.data.output is not None]
    (output,) = [each for each in told if each.name == name]
    assert (output.type, output.state) == (TYPES[name], "FULFILLED")
    assert looks_right(name, output.value)


def test_outputs_of_the_types_are_in_status_or_events(client):
    answer = client.execute_workflow_async(inputs=[number(1)], workflow_deployment_name="sdk-types")
    status = until(client, answer.execution_id, "FULFILLED")
    assert set(status.outputs) == set(TYPES)
    assert status.outputs["call"]["arguments"] == {"a": 1}
    execution = client.workflow_deployments.workflow_deployment_event_execution(
        answer.execution_id, "sdk-types"
    )
    assert {o.name: o.type for o in execution.outputs} == TYPES
    assert [span.name for span in execution.spans] == ["workflow.execution", "node.execution"]


def test_envelopes_carry_plain_values(client):
    events = list(client.workflow_deployments.execute_stream("sdk-types", inputs={"number": 1}))
    assert events[-1].body.outputs["items"][0]["value"] == "a"
    assert events[0].body.workflow_definition.name == "Workflow"

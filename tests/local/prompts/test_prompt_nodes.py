"""Unmodified prompt nodes of the Workflows SDK, answered through the local server."""

import time
import warnings
from datetime import UTC, datetime, timedelta

import pytest
from openai_kit import KEY, chunks, counts, delta, finish, says

import vellum_nb as vnb

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it warns about on import is not ours
    from vellum import ChatMessagePromptBlock, JinjaPromptBlock
    from vellum.client.types.prompt_settings import PromptSettings
    from vellum.workflows import BaseWorkflow
    from vellum.workflows.inputs import BaseInputs
    from vellum.workflows.nodes import InlinePromptNode
    from vellum.workflows.nodes.displayable.tool_calling_node import ToolCallingNode
    from vellum.workflows.state import BaseState
    from vellum.workflows.workflows.base import WorkflowContext
    from vellum.workflows.workflows.event_filters import all_workflow_event_filter

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's own
BLOCKS = [
    ChatMessagePromptBlock(chat_role="USER", blocks=[JinjaPromptBlock(template="Greet {{ name }}")])
]


class Greet(InlinePromptNode):
    ml_model = "gpt-4o-mini"
    blocks = BLOCKS
    prompt_inputs = {"name": "Ada"}  # noqa: RUF012 - the SDK's way


class GreetAtOnce(Greet):
    settings = PromptSettings(stream_enabled=False)


def weather(city: str) -> str:
    """Tell the weather."""
    return f"rain in {city}"


class Helper(ToolCallingNode):
    ml_model = "gpt-4o-mini"
    blocks = BLOCKS
    prompt_inputs = {"name": "Ada"}  # noqa: RUF012 - the SDK's way
    functions = [weather]  # noqa: RUF012 - the SDK's way


def workflow(node):
    class Workflow(BaseWorkflow):
        graph = node

        class Outputs(BaseWorkflow.Outputs):
            text = node.Outputs.text

    return Workflow


def events(node, vellum):
    run = workflow(node)(context=WorkflowContext(vellum_client=vellum))
    return list(run.stream(event_filter=all_workflow_event_filter))


@pytest.mark.parametrize("node", [Greet, GreetAtOnce])
def test_a_prompt_node_runs(server, vellum, model, node):
    model.answer = says("Hel", "lo")
    seen = events(node, vellum)
    assert (seen[-1].name, seen[-1].outputs.text) == ("workflow.execution.fulfilled", "Hello")
    assert model.asked[0].body["messages"] == [{"role": "user", "content": "Greet Ada"}]
    streamed = [e for e in seen if e.name == "workflow.execution.streaming"]
    deltas = [e.output.delta for e in streamed if e.output.is_streaming]
    assert deltas == (["Hel", "lo"] if node is Greet else [])


@pytest.fixture
def caller(model):
    """Have the model call a function, and then say what it returned."""
    call = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    first = chunks(delta(tool_calls=[call]), finish("tool_calls"), counts(1, 1))

    def answer(handler, body):
        last = body["messages"][-1]
        (says(last["content"]) if last["role"] == "tool" else first)(handler, body)

    model.answer = answer
    return model


def test_a_tool_calling_node_calls_its_function_and_goes_on(server, vellum, caller):
    last = events(Helper, vellum)[-1]
    assert last.name == "workflow.execution.fulfilled", last.error
    assert "rain in Oslo" in last.outputs.text
    called, result = caller.asked[1].body["messages"][-2:]
    assert called["tool_calls"][0]["id"] == result["tool_call_id"]


def test_a_metric_reads_the_function_calls_of_a_trace(server, caller):
    server.deploy(workflow(Helper), name="helper", release_tags=["v1"])
    calls = vnb.metrics.calls
    with vnb.connect(server, history=":memory:") as ws:
        streamed = ws.run("helper", {}, release_tag="v1", expand_meta=True)
        ws.trace(read := ws.run("helper", {}, release_tag="v1"))
        for run in (streamed, ws.history.get(read.id)):
            assert run.state == "FULFILLED"
            assert calls("weather", arguments={"city": "Oslo"})(run) is True
            assert calls("weather", arguments={"city": "Rome"})(run) is False
            assert vnb.metrics.nodes(["Helper"])(run) is True


class Inputs(BaseInputs):
    name: str


class GreetInput(Greet):
    prompt_inputs = {"name": Inputs.name}  # noqa: RUF012 - the SDK's way


class Deployed(BaseWorkflow[Inputs, BaseState]):
    graph = GreetInput

    class Outputs(BaseWorkflow.Outputs):
        """What comes out."""

        text = GreetInput.Outputs.text


@pytest.fixture
def elsewhere(monkeypatch):
    """Be in Tokyo."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_deployed_workflow_shows_its_usage_and_when_it_ran(server, vellum, model, elsewhere):
    server.deploy(Deployed, name="greet")
    model.answer = says("Hel", "lo")
    name = {"name": "name", "type": "STRING", "value": "Ada"}
    asked = {"usage": True, "cost": True, "model_name": True}
    seen = list(
        vellum.execute_workflow_stream(
            inputs=[name],
            workflow_deployment_name="greet",
            event_types=["NODE", "WORKFLOW"],
            expand_meta=asked,
        )
    )
    assert seen[-1].data.outputs[0].value == "Hello"
    (node,) = [e.data for e in seen if e.type == "NODE" and e.data.state == "FULFILLED"]
    meta = node.data.data.execution_meta
    assert (meta.model_name, meta.usage.input_token_count) == ("tiny", 7)
    assert meta.cost.value == pytest.approx(13e-6)
    execution = vellum.workflow_deployments.workflow_deployment_event_execution(
        seen[-1].execution_id, "greet"
    )
    (usage,) = execution.usage_results
    assert usage.usage[0].ml_model_usage.output_token_count == 3
    now = datetime.now(UTC)
    for when in (seen[0].data.ts, seen[-1].data.ts, execution.end, execution.spans[1].start_ts):
        assert abs(now - when) < timedelta(minutes=5)
    assert KEY not in execution.model_dump_json()

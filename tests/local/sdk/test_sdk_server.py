"""Workflows SDK classes behind the real local server, asked over HTTP."""

from __future__ import annotations

import threading

import pytest
from execution_kit import until
from sdk_flows import Inputs, Talk, of
from sdk_kit import text
from vellum import WorkflowRequestStringInputRequest
from vellum.workflows import BaseWorkflow
from vellum.workflows.nodes import BaseNode
from vellum.workflows.outputs import BaseOutput

from vellum_nb.errors import VellumNBError
from vellum_nb.local import LocalServer

HOLD = threading.Event()


class Slow(BaseNode):
    text = Inputs.text

    class Outputs(BaseNode.Outputs):
        said: str

    def run(self):
        yield BaseOutput(name="said", delta="first ")
        HOLD.wait(20)
        yield BaseOutput(name="said", value="first last")


@pytest.fixture(scope="module")
def server():
    with LocalServer() as server:
        server.deploy(Talk, name="talk")
        server.deploy(of(Slow, said=Slow.Outputs.said), name="slow")
        yield server


def test_a_class_is_deployed_with_its_summary_and_variables(server, client):
    deployment = client.retrieve_workflow_deployment("talk")
    assert deployment.description == "Say it."
    assert [v.key for v in deployment.input_variables] == ["text"]
    with pytest.raises(VellumNBError, match="BaseWorkflow"):
        server.deploy(BaseWorkflow)


def test_the_official_client_streams_a_class(official):
    events = list(
        official.execute_workflow_stream(
            workflow_deployment_name="talk",
            inputs=[WorkflowRequestStringInputRequest(name="text", value="a b")],
            event_types=["WORKFLOW", "NODE"],
        )
    )
    own = [event.data for event in events if event.type == "WORKFLOW"]
    assert (own[0].state, own[-1].state) == ("INITIATED", "FULFILLED")
    said = [data.output for data in own if data.output and data.output.name == "said"]
    assert [output.delta for output in said if output.delta] == ["a ", "b "]
    nodes = [event.data.state for event in events if event.type == "NODE"]
    assert (nodes[0], nodes[-1]) == ("INITIATED", "FULFILLED")


def test_first_words_come_before_the_run_ends_and_no_thread_is_left(client):
    HOLD.clear()
    with client.execute_workflow_stream(text("x"), workflow_deployment_name="slow") as stream:
        events = iter(stream)
        assert next(event.delta for event in events if event.delta) == "first "
        HOLD.set()
        assert list(events)[-1].state == "FULFILLED"
    names = ("_thread", "WorkflowRunner", "vellum_nb-run")
    until(lambda: not [t for t in threading.enumerate() if any(name in t.name for name in names)])

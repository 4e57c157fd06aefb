"""Workflows SDK classes behind the real local server, asked over HTTP."""

import threading

import pytest
from execution_kit import until
from sdk_flows import Inputs, Talk, of
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


def test_first_words_come_before_the_run_ends_and_no_thread_is_left(official):
    HOLD.clear()
    given = [WorkflowRequestStringInputRequest(name="text", value="x")]
    events = official.execute_workflow_stream(inputs=given, workflow_deployment_name="slow")
    outputs = (event.data.output for event in events)
    assert next(output.delta for output in outputs if output and output.delta) == "first "
    HOLD.set()
    assert list(events)[-1].data.state == "FULFILLED"
    names = ("_thread", "WorkflowRunner", "vellum_nb-run")
    until(lambda: not [t for t in threading.enumerate() if any(name in t.name for name in names)])

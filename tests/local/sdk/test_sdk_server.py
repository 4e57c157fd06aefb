"""Workflows SDK classes behind the real local server, asked over HTTP."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import List

import pytest
from sdk_kit import outputs, text, until
from vellum import ChatMessage, WorkflowRequestStringInputRequest
from vellum.workflows import BaseWorkflow
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.nodes import BaseNode
from vellum.workflows.outputs import BaseOutput
from vellum.workflows.state import BaseState

from vellum_nb.client import Client
from vellum_nb.errors import VellumNBError
from vellum_nb.local import LocalServer


class Inputs(BaseInputs):
    """What these workflows take."""

    text: str


class Speak(BaseNode):
    text = Inputs.text

    class Outputs(BaseNode.Outputs):
        said: str

    def run(self):
        words = self.text.split()
        for word in words:
            yield BaseOutput(name="said", delta=f"{word} ")
        yield BaseOutput(name="said", value="".join(f"{word} " for word in words))


class TalkWorkflow(BaseWorkflow[Inputs, BaseState]):
    """Say it word by word."""

    graph = Speak

    class Outputs(BaseWorkflow.Outputs):
        said = Speak.Outputs.said


class Memory(BaseState):
    said: List[ChatMessage] = []


class Remember(BaseNode[Memory]):
    text = Inputs.text

    class Outputs(BaseNode.Outputs):
        turn: int

    def run(self) -> BaseNode.Outputs:
        self.state.said = [*self.state.said, ChatMessage(role="USER", text=self.text)]
        return self.Outputs(turn=len(self.state.said))


class ChatWorkflow(BaseWorkflow[Inputs, Memory]):
    graph = Remember

    class Outputs(BaseWorkflow.Outputs):
        turn = Remember.Outputs.turn


GATE = threading.Event()
HOLD = threading.Event()


@pytest.fixture(scope="module")
def server():
    with LocalServer() as server:
        for workflow in (TalkWorkflow, ChatWorkflow):
            server.deploy(workflow)
        yield server


def test_a_class_is_deployed_under_its_name_in_words(server, client):
    deployment = client.retrieve_workflow_deployment("talk-workflow")
    assert deployment.label == "Talk workflow"
    assert deployment.description == "Say it word by word."
    assert [v.key for v in deployment.input_variables] == ["text"]


def test_the_base_class_itself_is_refused(server):
    with pytest.raises(VellumNBError, match="BaseWorkflow"):
        server.deploy(BaseWorkflow)


def test_the_official_client_streams_a_class(official):
    events = list(
        official.execute_workflow_stream(
            workflow_deployment_name="talk-workflow",
            inputs=[WorkflowRequestStringInputRequest(name="text", value="a b")],
            event_types=["WORKFLOW", "NODE"],
        )
    )
    own = [event.data for event in events if event.type == "WORKFLOW"]
    assert [data.state for data in own][:1] + [data.state for data in own][-1:] == [
        "INITIATED",
        "FULFILLED",
    ]
    assert [data.output.delta for data in own if data.output and data.output.delta] == ["a ", "b "]
    nodes = [event.data.state for event in events if event.type == "NODE"]
    assert nodes[0] == "INITIATED"
    assert nodes[-1] == "FULFILLED"


def test_state_goes_on_from_the_execution_before(client):
    previous = None
    for turn in (1, 2, 3):
        reply = client.execute_workflow(
            text(f"turn {turn}"),
            workflow_deployment_name="chat-workflow",
            previous_execution_id=previous,
        )
        assert outputs(reply) == {"turn": turn}
        previous = reply.execution_id
    state = client.retrieve_state(previous).state
    assert [message["text"] for message in state["said"]] == ["turn 1", "turn 2", "turn 3"]


def test_two_releases_that_share_inputs_answer_each_in_its_way(server, client):
    class Loud(BaseNode):
        text = Inputs.text

        class Outputs(BaseNode.Outputs):
            said: str

        def run(self) -> BaseNode.Outputs:
            return self.Outputs(said=self.text.upper())

    class LoudWorkflow(BaseWorkflow[Inputs, BaseState]):
        graph = Loud

        class Outputs(BaseWorkflow.Outputs):
            said = Loud.Outputs.said

    for tag, workflow in (("v1", TalkWorkflow), ("v2", LoudWorkflow)):
        server.deploy(workflow, name="two", release_tags=[tag])

    def said(tag: str) -> object:
        reply = client.execute_workflow(text("a"), workflow_deployment_name="two", release_tag=tag)
        return outputs(reply)["said"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(said, ["v1", "v2"] * 10))
    assert answers == ["a ", "A"] * 10


def test_a_time_limit_ends_a_run_that_a_node_holds_up():
    class Sleeps(BaseNode):
        def run(self) -> BaseNode.Outputs:
            GATE.wait(20)
            return self.Outputs()

    class SleepWorkflow(BaseWorkflow[Inputs, BaseState]):
        graph = Sleeps

    with (
        LocalServer(timeout=0.3) as server,
        Client(base_url=server.url, api_key=server.api_key) as client,
    ):
        server.deploy(SleepWorkflow)
        reply = client.execute_workflow(text("x"), workflow_deployment_name="sleep-workflow")
        assert reply.data.error.code == "WORKFLOW_TIMEOUT"
        GATE.set()


def test_no_thread_is_left_of_the_runs(client):
    client.execute_workflow(text("x"), workflow_deployment_name="talk-workflow")
    names = ("_thread", "WorkflowRunner", "vellum_nb-run")
    assert until(
        lambda: not [t for t in threading.enumerate() if any(name in t.name for name in names)]
    )


def test_first_words_come_before_the_run_ends(server, client):
    class Slow(BaseNode):
        class Outputs(BaseNode.Outputs):
            said: str

        def run(self):
            yield BaseOutput(name="said", delta="first ")
            HOLD.wait(20)
            yield BaseOutput(name="said", value="first last")

    class SlowWorkflow(BaseWorkflow[Inputs, BaseState]):
        graph = Slow

        class Outputs(BaseWorkflow.Outputs):
            said = Slow.Outputs.said

    server.deploy(SlowWorkflow)
    with client.execute_workflow_stream(
        text("x"), workflow_deployment_name="slow-workflow"
    ) as stream:
        events = iter(stream)
        assert next(event.delta for event in events if event.delta) == "first "
        assert not HOLD.is_set()
        HOLD.set()
        assert list(events)[-1].state == "FULFILLED"

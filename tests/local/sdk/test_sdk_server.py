"""Workflows SDK classes behind the real local server, asked over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import List

import pytest
import requests
from sdk_kit import until
from vellum import ChatMessage, WorkflowRequestStringInputRequest
from vellum.client import Vellum
from vellum.client.environment import VellumEnvironment
from vellum.workflows import BaseWorkflow
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.nodes import BaseNode, InlinePromptNode, SubworkflowDeploymentNode
from vellum.workflows.outputs import BaseOutput
from vellum.workflows.state import BaseState

from vellum_nb.client import Client
from vellum_nb.errors import VellumNBError
from vellum_nb.local import ChatHistory, LocalServer
from vellum_nb.local.samples.sdk_project import PROJECTS, declared
from vellum_nb.models.tracing import nodes_of_stream

PROJECT = PROJECTS / "feedback-digest"


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


class Fails(BaseNode):
    def run(self) -> BaseNode.Outputs:
        raise ValueError("not today")


class FailWorkflow(BaseWorkflow[Inputs, BaseState]):
    graph = Fails


class Prompt(InlinePromptNode):
    ml_model = "gpt-4o"
    blocks = []
    prompt_inputs = {}


class PromptWorkflow(BaseWorkflow[Inputs, BaseState]):
    graph = Prompt

    class Outputs(BaseWorkflow.Outputs):
        text = Prompt.Outputs.text


def nested(deployment: str, *, tag: str = "LATEST", **inputs: object) -> type:
    """Return a workflow whose node runs another deployment."""

    class Nest(SubworkflowDeploymentNode):
        subworkflow_inputs = inputs or {"text": Inputs.text}
        release_tag = tag

        class Outputs(SubworkflowDeploymentNode.Outputs):
            said: str

    Nest.deployment = deployment

    class NestWorkflow(BaseWorkflow[Inputs, BaseState]):
        graph = Nest

        class Outputs(BaseWorkflow.Outputs):
            said = Nest.Outputs.said

    return NestWorkflow


GATE = threading.Event()
ENTERED = threading.Semaphore(0)
LEFT = threading.Semaphore(0)


async def waits(text: str) -> dict[str, str]:
    """Wait until it is cancelled."""
    import asyncio

    ENTERED.release()
    try:
        await asyncio.sleep(20)
    finally:
        LEFT.release()
    return {"said": text}


def shout(text: str) -> dict[str, str]:
    """Say it loud."""
    return {"said": text.upper()}


def show(flag: bool, turns: ChatHistory) -> dict[str, str]:  # noqa: FBT001 - an input
    """Show what arrived."""
    return {"said": f"{flag!r} {len(turns)}"}


@pytest.fixture(scope="module")
def server():
    with LocalServer() as server:
        for workflow in (TalkWorkflow, ChatWorkflow, FailWorkflow, PromptWorkflow):
            server.deploy(workflow)
        for function in (waits, shout, show):
            server.deploy(function)
        yield server


@pytest.fixture(scope="module")
def client(server):
    with Client(base_url=server.url, api_key=server.api_key) as client:
        yield client


@pytest.fixture(scope="module")
def official(server):
    environment = VellumEnvironment(default=server.url, predict=server.url, documents=server.url)
    client = Vellum(api_key=server.api_key, environment=environment)
    yield client
    client._client_wrapper.httpx_client.httpx_client.close()


def text(value: str) -> list[dict[str, str]]:
    return [{"name": "text", "type": "STRING", "value": value}]


def outputs(reply) -> dict[str, object]:
    assert reply.data.state == "FULFILLED", reply.data.error
    return {output.name: output.value for output in reply.data.outputs}


def test_a_class_is_deployed_under_its_name_in_words(server, client):
    deployment = client.retrieve_workflow_deployment("talk-workflow")
    assert deployment.label == "Talk workflow"
    assert deployment.description == "Say it word by word."
    assert [v.key for v in deployment.input_variables] == ["text"]


def test_the_base_class_itself_is_refused(server):
    with pytest.raises(VellumNBError, match="BaseWorkflow"):
        server.deploy(BaseWorkflow)


def test_the_official_client_runs_a_class(official):
    reply = official.execute_workflow(
        workflow_deployment_name="talk-workflow",
        inputs=[WorkflowRequestStringInputRequest(name="text", value="a b")],
    )
    assert [(o.name, o.type, o.value) for o in reply.data.outputs] == [("said", "STRING", "a b ")]


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


def test_events_of_a_class_parse_in_the_official_client(official):
    events = list(
        official.workflow_deployments.execute_stream("talk-workflow", inputs={"text": "a"})
    )
    assert events[0].name == "workflow.execution.initiated"
    assert events[-1].name == "workflow.execution.fulfilled"
    assert events[-1].body.outputs == {"said": "a "}
    assert {event.parent.type for event in events} == {"WORKFLOW_RELEASE_TAG", "WORKFLOW"}


def test_a_failing_node_rejects_the_run_and_is_in_its_trace(client):
    reply = client.execute_workflow(text("x"), workflow_deployment_name="fail-workflow")
    assert (reply.data.error.code, reply.data.error.message) == ("NODE_EXECUTION", "not today")
    spans = client.retrieve_workflow_execution_detail(reply.execution_id).spans
    assert [span.name for span in spans].count("node.execution") == 1


def test_wrong_inputs_are_answered_with_400_and_nothing_runs(client):
    with pytest.raises(VellumNBError, match="'text' has the type NUMBER; STRING is expected"):
        client.execute_workflow(
            [{"name": "text", "type": "NUMBER", "value": 5}],
            workflow_deployment_name="talk-workflow",
        )


def test_a_prompt_node_without_a_model_says_what_to_write(client):
    reply = client.execute_workflow(text("x"), workflow_deployment_name="prompt-workflow")
    assert reply.data.state == "REJECTED"
    assert "server.models(" in reply.data.error.message


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


@pytest.mark.parametrize(
    ("workflow", "said"),
    [
        (nested("shout"), "HI"),
        (nested("talk-workflow"), "hi "),
        (nested("shout", tag="LATEST"), "HI"),
        (nested("show", flag=True, turns=[]), "True 0"),
        (nested("show", flag=False, turns=[ChatMessage(role="USER", text="x")]), "False 1"),
    ],
)
def test_a_node_runs_another_deployment_of_the_server(server, client, workflow, said):
    server.deploy(workflow, name="nest")
    reply = client.execute_workflow(text("hi"), workflow_deployment_name="nest")
    assert outputs(reply) == {"said": said}


@pytest.mark.parametrize(
    ("workflow", "message"),
    [
        (nested("nowhere"), "nowhere"),
        (nested("shout", tag="v9"), "v9"),
        (nested("fail-workflow"), "not today"),
        (nested("shout", other="x"), "other"),
    ],
)
def test_a_failure_of_the_other_deployment_rejects_the_run(server, client, workflow, message):
    server.deploy(workflow, name="nest")
    reply = client.execute_workflow(text("hi"), workflow_deployment_name="nest")
    assert reply.data.state == "REJECTED"
    assert message in reply.data.error.message


def test_hanging_up_cancels_the_run_and_the_deployment_that_its_node_runs(server):
    server.deploy(nested("waits"), name="nest-waits")
    with requests.Session() as session:
        session.trust_env = False
        reply = session.post(
            f"{server.url}/v1/execute-workflow-stream",
            json={"workflow_deployment_name": "nest-waits", "inputs": text("x")},
            headers={"X-API-KEY": server.api_key},
            stream=True,
            timeout=20,
        )
        assert next(reply.iter_lines())
        assert ENTERED.acquire(timeout=20)
        reply.close()
    assert LEFT.acquire(timeout=15)


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


def test_many_runs_at_once_are_all_answered(client):
    def said(n: int) -> object:
        reply = client.execute_workflow(text(str(n)), workflow_deployment_name="talk-workflow")
        return outputs(reply)["said"]

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(said, range(64))) == [f"{n} " for n in range(64)]


def test_no_thread_is_left_of_the_runs(client):
    client.execute_workflow(text("x"), workflow_deployment_name="talk-workflow")
    names = ("_thread", "WorkflowRunner", "vellum_nb-run")
    assert until(
        lambda: not [t for t in threading.enumerate() if any(name in t.name for name in names)]
    )


# Projects


@pytest.fixture(scope="module")
def project(server):
    for tag in ("v1", "v2"):
        server.deploy(PROJECT / tag, name="digest", release_tags=[tag])


def comments(*said: str) -> list[dict[str, object]]:
    return [{"name": "comments", "type": "JSON", "value": list(said)}]


def digest(client, tag, *said):
    reply = client.execute_workflow(
        comments(*said), workflow_deployment_name="digest", release_tag=tag
    )
    return outputs(reply)


def test_two_releases_of_a_project_are_loaded_at_once(project, client):
    assert digest(client, "v1", "not good")["moods"] == ["good"]
    assert digest(client, "v2", "not good")["moods"] == ["bad"]


def test_releases_of_a_project_have_the_same_ids(project, client):
    def ids(tag: str) -> dict[str, str]:
        version = client.retrieve_workflow_deployment_release("digest", tag).workflow_version
        return {v.key: v.id for v in (*version.input_variables, *version.output_variables)}

    first, second = ids("v1"), ids("v2")
    assert second.items() >= first.items()
    assert not [id_ for id_ in first.values() if "vellum_nb" in id_]


def test_the_branch_of_a_project_answers_an_empty_list(project, client):
    assert digest(client, "v2") == {"digest": "Nobody said anything about the app."}


def test_the_trace_of_a_project_shows_branch_map_and_template(project, client):
    with client.execute_workflow_stream(
        comments("good", "bad"), workflow_deployment_name="digest", event_types=["NODE"]
    ) as events:
        nodes = nodes_of_stream(list(events))
    kinds = {node.name: node.kind for node in nodes}
    assert kinds == {
        "CheckComments": "CONDITIONAL",
        "RateComments": "MAP",
        "RateComment": "",
        "WriteDigest": "TEMPLATING",
        "FinalOutput": "TERMINAL",
    }
    outer = next(node for node in nodes if node.name == "RateComments")
    inner = [node for node in nodes if node.name == "RateComment"]
    assert [node.parent_span_id for node in inner] == [outer.span_id] * 2


def test_events_do_not_tell_where_a_project_was_loaded(project, client):
    with client.execute_stream("digest", inputs={"comments": ["good"]}) as events:
        told = json.dumps([event.model_dump(mode="json") for event in events])
    assert "vellum_nb_source" not in told
    assert '"nodes", "write_digest"' in told


@pytest.mark.parametrize("tag", ["v1", "v2"])
def test_what_the_sample_declares_is_what_its_project_says(project, client, tag):
    said = declared(PROJECT / tag)
    version = client.retrieve_workflow_deployment_release("digest", tag).workflow_version
    assert version.input_variables == said.input_variables
    assert version.output_variables == said.output_variables


@pytest.mark.slow
def test_a_server_with_samples_imports_no_sdk_before_the_first_run():
    program = (
        "import sys, vellum_nb as vnb\n"
        "with vnb.LocalServer(samples=True) as server:\n"
        "    assert 'feedback-digest' in server.names()\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'vellum']\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_a_project_comes_back_after_a_restart(tmp_path):
    for _ in range(2):
        with (
            LocalServer(data=tmp_path) as server,
            Client(base_url=server.url, api_key=server.api_key) as client,
        ):
            if not server.names():
                server.deploy(PROJECT / "v1", name="digest", release_tags=["v1"])
            assert digest(client, "v1", "good")["moods"] == ["good"]


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


FLOW = """
from vellum.workflows import BaseWorkflow
from vellum.workflows.nodes import BaseNode

class Nothing(BaseNode):
    pass

class Flow(BaseWorkflow):
    graph = Nothing
"""


def test_the_display_folder_of_a_project_is_left_alone(server, client, tmp_path):
    folder = write(tmp_path / "shown", workflow=FLOW, display__workflow="raise SystemExit")
    server.deploy(folder)
    assert outputs(client.execute_workflow([], workflow_deployment_name="shown")) == {}
    assert not [name for name in sys.modules if name.startswith("vellum_ee.workflows.display.base")]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere_at_all\n" + FLOW, "No module named 'nowhere_at_all'"),
        ("from vellum.workflows import BaseWorkflow\nx = (", "SyntaxError"),
        ("from vellum.workflows import BaseWorkflow\n", "defines no function or Workflow class"),
    ],
)
def test_a_project_that_cannot_be_loaded_is_refused_with_the_reason(
    server, tmp_path, source, message
):
    with pytest.raises(VellumNBError) as refused:
        server.deploy(write(tmp_path / "broken", workflow=source))
    assert message in str(refused.value)


@pytest.mark.slow
def test_a_project_runs_in_a_process_of_its_own(server, client):
    server.deploy(PROJECT / "v2", name="apart", isolation="process")
    reply = client.execute_workflow(comments("not good"), workflow_deployment_name="apart")
    assert outputs(reply)["moods"] == ["bad"]


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


HOLD = threading.Event()

"""Nodes of Workflows SDK classes that run other deployments of the server."""

import threading

import pytest
import requests
from sdk_flows import Inputs, Talk, of
from sdk_kit import text
from vellum import ChatMessage
from vellum.workflows import BaseWorkflow
from vellum.workflows.nodes import BaseNode, SubworkflowDeploymentNode
from vellum.workflows.state import BaseState

from vellum_nb.errors import VellumNBError
from vellum_nb.local import ChatHistory, LocalServer
from vellum_nb.local.engine.requests import outer_context


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


ID = "00000000-0000-4000-8000-00000000000a"
NODE = {"id": ID, "name": "Nest", "module": ["m"]}
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


class Fails(BaseNode):
    def run(self) -> BaseNode.Outputs:
        raise ValueError("not today")


@pytest.fixture(scope="module")
def server():
    with LocalServer(concurrency=1, queue=0) as server:  # inner ones run all the same
        for function in (waits, shout, show):
            server.deploy(function)
        server.deploy(Talk, name="talk")
        server.deploy(of(Fails), name="fail")
        yield server


@pytest.mark.parametrize(
    ("workflow", "said", "error"),
    [
        (nested("shout"), "HI", ""),
        (nested("talk"), "hi ", ""),
        (nested("show", flag=True, turns=[]), "True 0", ""),
        (nested("show", flag=False, turns=[ChatMessage(role="USER", text="x")]), "False 1", ""),
        (nested("nowhere"), None, "nowhere"),
        (nested("shout", tag="v9"), None, "v9"),
        (nested("fail"), None, "not today"),
        (nested("shout", other="x"), None, "other"),
        (nested("nest"), None, "does its deployment run itself?"),
    ],
)
def test_a_node_runs_another_deployment_of_the_server(server, client, workflow, said, error):
    server.deploy(workflow, name="nest")
    data = client.execute_workflow(text("hi"), workflow_deployment_name="nest").data
    assert data.state == ("REJECTED" if error else "FULFILLED")
    assert [output.value for output in data.outputs or ()] == ([said] if said else [])
    assert error in (data.error.message if data.error else "")


@pytest.mark.parametrize(
    ("inner", "state"), [("shout", "FULFILLED"), ("talk", "FULFILLED"), ("fail", "REJECTED")]
)
def test_a_node_and_the_execution_that_it_runs_name_each_other(server, official, inner, state):
    server.deploy(nested(inner), name="nest")
    options = {"inputs": text("hi"), "workflow_deployment_name": "nest"}
    stream = list(official.execute_workflow_stream(event_types=["NODE", "WORKFLOW"], **options))
    [end] = [e.data for e in stream if e.type == "NODE" and e.data.state == state]
    ran = end.data.data.execution_id
    detail = official.workflow_executions.retrieve_workflow_execution_detail(ran)
    asked = detail.parent_context
    assert (asked.type, asked.deployment_name) == ("WORKFLOW_RELEASE_TAG", inner)
    node, workflow, release, request = chain(asked.parent)
    assert (node.type, str(node.span_id)) == ("WORKFLOW_NODE", end.node_result_id)
    assert (workflow.type, str(workflow.span_id)) == ("WORKFLOW", stream[0].execution_id)
    assert (release.deployment_name, request.type) == ("nest", "API_REQUEST")
    [event] = official.workflow_deployments.list_workflow_deployment_event_executions(
        inner, limit=1
    ).results
    assert event.parent_context.parent == asked.parent
    for span in detail.spans:
        assert span.parent_span_id in {None, ran}


def chain(context):
    while context is not None:
        yield context
        context = context.parent


@pytest.mark.parametrize(
    "parent",
    [
        "x",
        {"type": "NEW", "span_id": ID},
        {"type": "WORKFLOW_NODE", "span_id": "none", "node_definition": NODE},
        {"type": "WORKFLOW_NODE", "span_id": ID, "node_definition": NODE, "parent": {"type": "X"}},
    ],
)
def test_a_parent_that_the_contract_does_not_know_is_passed_over(server, official, parent):
    reply = official.execute_workflow(
        inputs=text("hi"),
        workflow_deployment_name="shout",
        request_options={
            "additional_body_parameters": {"execution_context": {"parent_context": parent}}
        },
    )
    detail = official.workflow_executions.retrieve_workflow_execution_detail(reply.execution_id)
    assert detail.parent_context.parent.type == "API_REQUEST"


def test_a_parent_that_is_nested_without_end_is_refused():
    parent = None
    for _ in range(300):
        parent = {"type": "WORKFLOW_NODE", "span_id": ID, "node_definition": NODE, "parent": parent}
    with pytest.raises(VellumNBError, match="too many other workflows"):
        outer_context(parent)


def test_hanging_up_cancels_the_run_and_the_deployment_that_its_node_runs(server):
    server.deploy(nested("waits"), name="nest-waits")
    with requests.Session() as session:
        session.trust_env = False
        reply = session.post(
            f"{server.url}/v1/execute-workflow-stream",
            json={"workflow_deployment_name": "nest-waits", "inputs": text("x")},
            headers={"X-API-KEY": server.api_key},
            stream=True,
            timeout=120,
        )
        lines = reply.iter_lines()  # kept: its end hangs up
        assert next(lines)
        assert ENTERED.acquire(timeout=120)
        reply.close()
    assert LEFT.acquire(timeout=120)

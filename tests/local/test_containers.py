"""Releases that run in real containers, with docker and with podman."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace

import container_kit
import pytest
import requests
from container_kit import IMAGE, TAG
from execution_kit import FLOW_HEAD, archive, by, events, inputs, outputs, until
from leak_kit import KEY, SEARCH
from prompts.openai_kit import model_server

from vellum_nb.errors import VellumNBError
from vellum_nb.local import Isolation, LocalServer

pytestmark = pytest.mark.slow
MEMORY = 700 * 2**20
FLOW = f"""{FLOW_HEAD}
import time
{SEARCH}
class Do(BaseNode):
    text = Inputs.text

    class Outputs(BaseNode.Outputs):
        output: object

    def run(self) -> Outputs:
        if self.text == "fail":
            raise ValueError("no such text")
        if self.text == "sleep":
            pathlib.Path("/tmp/pid").write_text(str(os.getpid()))
            time.sleep(120)
        if self.text == "memory":
            content = bytearray({2 * MEMORY})
            content[::4096] = b"x" * len(content[::4096])
        if self.text == "search":
            return self.Outputs(output=search(-1))
        return self.Outputs(output=self.text.upper())

class Flow(BaseWorkflow[Inputs, BaseState]):
    graph = Do

    class Outputs(BaseWorkflow.Outputs):
        output = Do.Outputs.output
"""
CALLS = f"""{FLOW_HEAD}
from vellum import ChatMessagePromptBlock, JinjaPromptBlock
from vellum.workflows.nodes import InlinePromptNode

class Greet(InlinePromptNode):
    ml_model = "tiny"
    blocks = [ChatMessagePromptBlock(
        chat_role="USER", blocks=[JinjaPromptBlock(template="Greet {{{{ name }}}}")]
    )]
    prompt_inputs = {{"name": Inputs.text}}

class Echo(SubworkflowDeploymentNode):
    deployment = "echo"
    subworkflow_inputs = {{"text": Inputs.text}}

    class Outputs(SubworkflowDeploymentNode.Outputs):
        output: str

class Flow(BaseWorkflow[Inputs, BaseState]):
    graph = Greet >> Echo

    class Outputs(BaseWorkflow.Outputs):
        greeting = Greet.Outputs.text
        said = Echo.Outputs.output
"""
KEYS = {name: KEY.format(n) for n, name in enumerate(("VELLUM_API_KEY", "OPENAI_API_KEY", "A_KEY"))}


def echo(text: str) -> str:
    return text * 2


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request):
    """Return the program that runs containers, which the local server finds on the PATH."""
    with ExitStack() as stack:
        try:
            engine = stack.enter_context(getattr(container_kit, request.param)())
        except container_kit.UnavailableError as exc:
            pytest.skip(f"{request.param}: {exc}")
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in {**engine.environment, **KEYS}.items():
            environment.setenv(name, value)
        yield engine


@pytest.fixture(scope="module")
def deployed(engine):
    """Deploy a release that runs in a container; yield the server and the container's name."""
    before = engine.containers()
    with model_server() as model:
        with LocalServer() as server:
            server.models(base_url=model.url, api_key=KEYS["A_KEY"])
            files = {"workflow.py": FLOW.encode()}
            isolation = Isolation("container", image=f"{IMAGE}:{TAG}", memory_limit=MEMORY)
            server.deploy(files, name="flow", isolation=isolation)
            server.deploy(echo)
            (name,) = engine.containers() - before
            yield SimpleNamespace(server=server, name=name, model=model)
        until(lambda: engine.containers() <= before)


@pytest.fixture
def api(deployed, asking):
    return asking(deployed.server)


def run(api, text, name="flow"):
    answer = api.session.post(
        f"{api.server.url}/v1/execute-workflow",
        json={"workflow_deployment_name": name, "inputs": inputs(text=("STRING", text))},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def sleeps(engine, deployed):
    """Return whether the process of the last run that sleeps has not ended."""
    command = "pid=$(cat /tmp/pid 2>/dev/null) && cat /proc/$pid/cmdline 2>/dev/null || true"
    return engine.call("exec", deployed.name, "sh", "-c", command) != ""


def test_a_release_runs_in_a_container_with_limits_on_loopback(engine, deployed, api):
    assert outputs(run(api, "hi")) == {"output": "HI"}
    (container,) = json.loads(engine.call("inspect", deployed.name))
    host = container["HostConfig"]
    assert host["Memory"] == MEMORY
    assert host["PidsLimit"] == 1024
    assert "no-new-privileges" in str(host["SecurityOpt"])
    (published,) = container["NetworkSettings"]["Ports"]["8000/tcp"]
    assert published["HostIp"] == "127.0.0.1"


def test_a_container_has_no_key_in_its_settings_processes_or_files(engine, deployed, api):
    settings = engine.call("inspect", deployed.name) + engine.call("top", deployed.name)
    assert deployed.server.api_key not in settings
    assert not [key for key in KEYS.values() if key in settings]
    seen = outputs(run(api, "search"))["output"]
    assert seen["keys"] == {}
    assert "environ of 1" in seen["looked"]


def test_the_programs_that_run_a_container_have_no_key_in_their_environment(deployed):
    environments = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if deployed.name in (process / "cmdline").read_text("utf-8", "replace"):
                environments.append((process / "environ").read_text("utf-8", "replace"))
    assert len(environments) > 1  # the shell that removes the container, and docker or podman
    assert not [key for key in KEYS.values() if key in "".join(environments)]


def test_a_failure_in_a_container_is_a_rejected_run(api):
    failed = run(api, "fail")
    assert failed["state"] == "REJECTED"
    assert (failed["error"]["code"], failed["error"]["message"]) == (
        "NODE_EXECUTION",
        "no such text",
    )


def test_a_run_that_exceeds_the_memory_of_its_container_is_rejected(engine, asking):
    """The container is its own: the kernel may also end the workflow server, which restarts."""
    before = engine.containers()
    with LocalServer() as server:
        isolation = Isolation("container", image=f"{IMAGE}:{TAG}", memory_limit=MEMORY)
        server.deploy({"workflow.py": FLOW.encode()}, name="flow", isolation=isolation)
        api = asking(server)
        failed = run(api, "memory")
        assert failed["error"]["code"] == "NODE_EXECUTION"
        assert f"memory_limit of {MEMORY:,} bytes" in failed["error"]["message"]
        until(lambda: run(api, "next")["state"] == "FULFILLED", seconds=90)
    until(lambda: engine.containers() <= before)


def test_a_run_whose_client_hangs_up_is_cancelled_and_ends_in_its_container(engine, deployed, api):
    body = {
        "workflow_deployment_name": "flow",
        "inputs": inputs(text=("STRING", "sleep")),
        "external_id": "cancelled",
    }
    with suppress(requests.ReadTimeout):
        api.session.post(f"{deployed.server.url}/v1/execute-workflow", json=body, timeout=1)

    def is_cancelled():
        (execution,) = events(api, "flow", filters=by("external_id", "=", "cancelled"))["results"]
        return execution["end"] and execution["error"]["code"] == "WORKFLOW_CANCELLED"

    until(is_cancelled, seconds=90)
    until(lambda: not sleeps(engine, deployed), seconds=90)


def test_nodes_of_a_pushed_project_in_its_image_call_the_local_server(engine, deployed, api):
    image = {"container_image_name": IMAGE, "container_image_tag": TAG}
    answer = api.session.post(
        f"{deployed.server.url}/v1/workflows/push",
        data={
            "exec_config": json.dumps({"runner_config": image}),
            "deployment_config": json.dumps({"name": "calls"}),
        },
        files={"artifact": ("calls.tar.gz", archive({"workflow.py": CALLS}))},
        timeout=180,
    )
    assert answer.status_code == 200, answer.text
    release = api.get("/v1/workflow-deployments/calls/releases/LATEST").json()
    assert release["workflow_version"]["container_image"]
    assert len(engine.containers()) > 1
    assert outputs(run(api, "Ada", "calls")) == {"greeting": "Hello", "said": "AdaAda"}
    (asked,) = deployed.model.asked
    assert asked.body["messages"] == [{"role": "user", "content": "Greet Ada"}]


def test_an_image_that_is_missing_is_an_error_at_deploy(deployed):
    image = "127.0.0.1:1/missing:1"  # a registry that refuses the connection
    with pytest.raises(VellumNBError, match=f"'{image}' is not here and cannot be pulled"):
        deployed.server.deploy(
            {"workflow.py": FLOW.encode()}, name="x", isolation=Isolation("container", image=image)
        )


SERVE = """
import sys
from vellum_nb.local import Isolation, LocalServer
with LocalServer(timeout=4) as server:
    files = {"workflow.py": sys.argv[1].encode()}
    server.deploy(files, name="flow", isolation=Isolation("container", image=sys.argv[2]))
    print(server.url, server.api_key, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def process(engine):
    """Start a server in a process of its own, with a time limit of four seconds for runs."""
    before = engine.containers()
    command = [sys.executable, "-c", SERVE, FLOW, f"{IMAGE}:{TAG}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=dict(os.environ)) as process:
        try:
            url, api_key = process.stdout.readline().split()
            (name,) = engine.containers() - before
            server = SimpleNamespace(url=url, api_key=api_key)
            yield SimpleNamespace(server=server, name=name, kill=process.kill)
        finally:
            process.kill()


def test_a_run_that_takes_too_long_is_rejected_and_ends_in_its_container(engine, process, asking):
    late = run(asking(process.server), "sleep")
    assert late["error"]["code"] == "WORKFLOW_TIMEOUT"
    until(lambda: not sleeps(engine, process), seconds=90)


def test_no_container_is_left_by_a_server_that_was_killed(engine, process):
    assert process.name in engine.containers()
    process.kill()
    until(lambda: process.name not in engine.containers())

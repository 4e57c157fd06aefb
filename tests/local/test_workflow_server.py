"""Releases that run in Vellum's workflow server: in an environment of its own, or in an image.

The real workflow server is installed by the test into an environment, and is spoken to over HTTP.
``VELLUM_WORKFLOW_SERVER_PYTHON`` names the Python of an environment that has it already. Where no
docker answers, a fake ``docker`` records its arguments and starts that server.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import leak_kit
import pytest
import requests
from container_kit import CACHE
from execution_kit import FLOW_HEAD, events, is_alive, read, until

from vellum_nb.errors import VellumNBError
from vellum_nb.local import Isolation, LocalServer
from vellum_nb.local.isolation.workflow_server import image_of_project

pytestmark = pytest.mark.slow
PROJECT = f"""{FLOW_HEAD}    times: Optional[int] = 1

import os
import resource
import time

class Shout(BaseNode):
    text = Inputs.text
    times = Inputs.times

    class Outputs(BaseNode.Outputs):
        loud: str
        where: str

    def run(self) -> Outputs:
        if self.text == "crash":
            os._exit(7)
        if self.text == "fail":
            raise ValueError("no such text")
        if self.text == "sleep":
            time.sleep(60)
        memory = resource.getrlimit(resource.RLIMIT_AS)[0]
        where = f"{{os.getpid()}} {{os.environ['VELLUM_API_URL']}} {{memory}}"
        return self.Outputs(loud=self.text.upper() * int(self.times), where=where)

class MyFlow(BaseWorkflow[Inputs, BaseState]):
    graph = Shout

    class Outputs(BaseWorkflow.Outputs):
        loud = Shout.Outputs.loud
        where = Shout.Outputs.where
"""
NESTED = f"""{FLOW_HEAD}
class Inner(SubworkflowDeploymentNode):
    deployment = "echo"
    subworkflow_inputs = {{"text": Inputs.text}}

    class Outputs(SubworkflowDeploymentNode.Outputs):
        output: str

class Outer(BaseWorkflow[Inputs, BaseState]):
    graph = Inner

    class Outputs(BaseWorkflow.Outputs):
        said = Inner.Outputs.output
"""


@pytest.fixture(scope="session")
def python():
    """Return the Python of an environment with the workflow server, which is installed once."""
    if known := os.environ.get("VELLUM_WORKFLOW_SERVER_PYTHON"):
        return known
    package = f"vellum-workflow-server=={version('vellum-ai')}"
    folder = CACHE / f"{package}-{sys.implementation.cache_tag}"
    if not (folder / "bin" / "python").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as made:
            install(package, Path(made, "venv"))
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # another test run was faster
                Path(made, "venv").rename(folder)
    return str(folder / "bin" / "python")


def install(package, folder):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), package]
    for source in (["--offline"], []):  # from uv's cache if it has everything
        if not subprocess.run([*command, *source], capture_output=True, check=False).returncode:
            return
    pytest.skip(f"{package} cannot be installed here")


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "my-flow"
    folder.mkdir()
    (folder / "workflow.py").write_text(PROJECT)
    return folder


MEMORY = 2**34


@pytest.fixture(scope="module")
def deployed(python):
    """Return a server on which the project runs in an environment of its own, and the release."""
    isolation = Isolation("environment", python=python, memory_limit=MEMORY)
    files = {"workflow.py": PROJECT.encode()}
    with LocalServer(timeout=60) as server:
        yield server, server.deploy(files, name="my-flow", isolation=isolation)


@pytest.fixture
def server(tmp_path):
    with LocalServer(timeout=60, data=tmp_path / "data") as server:
        yield server


def run(api, text="hi", name="my-flow", **more):
    answer = api.ask(name, text, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def outputs(data):
    assert data["state"] == "FULFILLED", data
    return {output["name"]: (output["type"], output["value"]) for output in data["outputs"]}


def test_a_project_runs_in_an_environment_of_its_own(deployed, asking):
    server, release = deployed
    variables = release.workflow_version.input_variables
    assert {(v.key, v.type, v.required) for v in variables} == {
        ("text", "STRING", True),
        ("times", "NUMBER", False),
    }
    api = asking(server)
    found = outputs(run(api))
    assert found["loud"] == ("STRING", "HI")
    pid, url, _ = found["where"][1].split()
    assert int(pid) != os.getpid()
    assert url == server.url

    inputs = [{"name": "text", "type": "STRING", "value": "ho"}]
    body = {"workflow_deployment_name": "my-flow", "inputs": inputs}
    body["event_types"] = ["NODE", "WORKFLOW"]
    stream = api.session.post(f"{server.url}/v1/execute-workflow-stream", json=body, timeout=60)
    lines = [json.loads(line) for line in stream.text.splitlines()]
    assert [(line["type"], line["data"]["state"]) for line in lines][:2] == [
        ("WORKFLOW", "INITIATED"),
        ("NODE", "INITIATED"),
    ]
    assert lines[-1]["data"]["state"] == "FULFILLED"
    answer = api.send(workflow_deployment_name="my-flow", inputs=[])
    assert answer.status_code == 400
    assert "text" in answer.json()["detail"]


def test_a_failure_and_a_crash_are_rejections_and_memory_is_limited(deployed, asking):
    api = asking(deployed[0])
    assert outputs(run(api))["where"][1].split()[2] == str(MEMORY)
    failed = run(api, "fail")["error"]
    assert (failed["code"], failed["message"]) == ("NODE_EXECUTION", "no such text")
    crashed = run(api, "crash")
    assert crashed["state"] == "REJECTED"
    assert crashed["error"]["message"]
    assert outputs(run(api))["loud"] == ("STRING", "HI")


def test_code_in_an_environment_of_its_own_reads_no_key(python, tmp_path):
    options = {"kind": "environment", "python": str(python)}
    _, seen = leak_kit.keys_seen(tmp_path, leak_kit.PROJECT, **options)
    assert seen["keys"] == {}
    assert len([place for place in seen["looked"] if place.startswith("environ of")]) > 2


CRASHING = """#!{python}
import http.server, json, select, socketserver, sys
if "-c" in sys.argv:
    sys.exit()
CONFIG = {{"workflow_raw_data": {{"definition": {{"name": "F"}}}}, "input_variables": [],
          "output_variables": []}}
CRASH = {{"name": "vembda.execution.fulfilled", "body": {{"exit_code": -1, "stderr": "crashed"}}}}

class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()
        if self.path == "/workflow/serialize":
            self.wfile.write(json.dumps({{"exec_config": CONFIG}}).encode())
            return
        open({log!r}, "w").write("began")
        self.wfile.write(json.dumps(CRASH).encode() + b"\\n")
        has_hung_up = bool(select.select([self.connection], [], [], 0.5)[0])
        open({log!r}, "w").write(str(has_hung_up))
        self.wfile.write(b"END\\n")

place = sys.argv[sys.argv.index("--bind") + 1].removeprefix("unix:")
socketserver.ThreadingUnixStreamServer(place, Handler).serve_forever()
"""


@pytest.fixture
def crashing(tmp_path):
    """Return how to make such a program, which may begin with some code, and what it writes to."""
    log, python = tmp_path / "log", tmp_path / "python"

    def crashing(code=""):
        text = CRASHING.replace("place = ", f"{code}place = ")
        python.write_text(text.format(python=sys.executable, log=str(log)))
        python.chmod(0o700)
        return python, log

    return crashing


@pytest.mark.parametrize(
    ("timeout", "message"), [(20, "could not finish the run: crashed"), (0.2, "than 0.2 seconds")]
)
def test_the_answer_of_a_run_is_read_to_its_end(project, crashing, asking, timeout, message):
    """The real server forks a run for each request: after a hang-up the next one may hang."""
    python, log = crashing()
    with LocalServer(timeout=timeout) as server:
        server.deploy(project, isolation=Isolation("environment", python=python))
        answer = asking(server).send(workflow_deployment_name="my-flow", inputs=[]).json()
        assert answer["data"]["error"]["message"].endswith(message)
        until(lambda: log.read_text() not in {"", "began"})
    assert log.read_text() == "False"


def test_a_server_that_stops_leaves_the_runs_of_another_with_the_same_project(
    project, crashing, asking
):
    python, log = crashing()
    with LocalServer(timeout=60) as other, LocalServer(timeout=20) as server:
        for each in (other, server):
            each.deploy(project, isolation=Isolation("environment", python=python))
        with ThreadPoolExecutor() as pool:
            sent = pool.submit(asking(server).send, workflow_deployment_name="my-flow", inputs=[])
            until(log.exists)
            other.stop()
        assert sent.result().status_code == 200
    assert log.read_text() == "False", "it was cut off"


def test_a_workflow_server_that_starts_when_the_server_stops_is_stopped(project, crashing, asking):
    slow = "import os, time; open({log!r}, 'w').write(str(os.getpid())); time.sleep(3)\n"
    python, log = crashing(slow)
    with LocalServer(timeout=60) as server:
        server.deploy(project, isolation=Isolation("environment", python=python))
        server.stop()
        log.unlink()
        server.start()
        with ThreadPoolExecutor() as pool:
            pool.submit(asking(server).send, workflow_deployment_name="my-flow", inputs=[])
            until(lambda: log.exists() and log.read_text())
            server.stop()
        until(lambda: not is_alive(int(log.read_text())))


def test_a_run_that_takes_too_long_is_rejected_and_a_cancelled_one_at_once(
    python, project, tmp_path, asking
):
    with LocalServer(timeout=2) as server:
        server.deploy(project, isolation=Isolation("environment", python=python))
        late = run(asking(server), "sleep")["error"]
        assert late["code"] == "WORKFLOW_TIMEOUT", late
        assert outputs(run(asking(server)))["loud"] == ("STRING", "HI")
    with LocalServer(timeout=60, data=tmp_path / "data") as server:
        server.deploy(project, isolation=Isolation("environment", python=python))
        began = time.monotonic()
        threading.Timer(1.0, server.stop).start()
        with suppress(requests.RequestException):
            run(asking(server), "sleep")
        assert time.monotonic() - began < 40  # the limit is 60 s
    with LocalServer(data=tmp_path / "data") as again:
        (ended,) = events(asking(again), "my-flow")["results"]
        error = read(asking(again), "my-flow", ended["span_id"])["error"]
    assert error["code"] == "WORKFLOW_CANCELLED"


def test_a_server_that_was_killed_is_started_again(deployed, asking):
    api = asking(deployed[0])
    pid = int(outputs(run(api))["where"][1].split()[0])
    mine = _workflow_servers()
    assert mine
    assert pid not in mine
    for child in mine:
        os.kill(child, 9)
    until(lambda: not any(map(is_alive, mine)))
    assert outputs(run(api))["loud"] == ("STRING", "HI")


def _workflow_servers():
    """Return the workflow servers that this process started."""
    command = ["pgrep", "-P", str(os.getpid()), "-f", "workflow_server.server:app"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return {int(pid) for pid in found.split()}


@pytest.mark.parametrize("isolation", ["process", "environment"])
def test_a_node_of_it_runs_another_deployment(python, tmp_path, server, asking, isolation):
    def echo(text: str) -> str:
        return text * 2

    server.deploy(echo)
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "workflow.py").write_text(NESTED)
    options = {"python": python} if isolation == "environment" else {}
    server.deploy(tmp_path / "outer", isolation=Isolation(isolation, **options))
    assert outputs(run(asking(server), "ab", name="outer"))["said"] == ("STRING", "abab")


EACH = f"""{FLOW_HEAD}
class Shout(BaseNode):
    item = MapNode.SubworkflowInputs.item

    class Outputs(BaseNode.Outputs):
        loud: str

    def run(self) -> Outputs:
        return self.Outputs(loud=self.item.upper())

class Each(BaseWorkflow[MapNode.SubworkflowInputs, BaseState]):
    graph = Shout

    class Outputs(BaseWorkflow.Outputs):
        loud = Shout.Outputs.loud
"""
ALL = f"""{FLOW_HEAD}
from .each import Each

class ShoutAll(MapNode):
    items = ["a", "b"]
    subworkflow = Each

class Say(BaseNode):
    items = ShoutAll.Outputs.loud

    class Outputs(BaseNode.Outputs):
        said: str

    def run(self):
        for item in self.items:
            yield BaseOutput(name="said", delta=item)
        yield BaseOutput(name="said", value="".join(self.items))

class All(BaseWorkflow[Inputs, BaseState]):
    graph = ShoutAll >> Say

    class Outputs(BaseWorkflow.Outputs):
        items = ShoutAll.Outputs.loud
        said = Say.Outputs.said
"""


def test_the_events_of_a_project_are_the_same_wherever_it_runs(python, server, asking):
    def without_ids(value):
        if isinstance(value, list):
            return [without_ids(each) for each in value]
        if not isinstance(value, dict):
            return value
        kept = (key for key in value if key not in {"id", "timestamp"} and key[-3:] != "_id")
        return {key: without_ids(value[key]) for key in kept}

    files = {"workflow.py": ALL.encode(), "each.py": EACH.encode(), "__init__.py": b""}
    found = []
    for isolation in ("kernel", "process", "environment"):
        options = {"python": python} if isolation == "environment" else {}
        server.deploy(files, name="all", isolation=Isolation(isolation, **options))
        answer = asking(server).session.post(
            f"{server.url}/v1/workflow-deployments/all/execute-stream",
            json={"inputs": {"text": "x"}},
            timeout=60,
        )
        lines = [without_ids(json.loads(line)) for line in answer.text.splitlines()]
        found.append(sorted(json.dumps(line, sort_keys=True) for line in lines))
        assert len(lines) > 10, answer.text
    assert found[0] == found[1] == found[2]


SERVE = """
import sys
from pathlib import Path
from vellum_nb.local import Isolation, LocalServer
with LocalServer() as server:
    server.deploy(Path(sys.argv[1]), isolation=Isolation("environment", python=sys.argv[2]))
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_the_server_ends_with_the_process_that_started_it(python, project, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, project, python],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True,
                               check=False).stdout.split()  # fmt: skip
        assert found
        assert list(tmp_path.glob("vellum_nb-server-*"))
        process.kill()
    until(lambda: not any(is_alive(int(pid)) for pid in found))
    until(lambda: not list(tmp_path.glob("vellum_nb-server-*")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "environment", "python": "no-python"}, "python=.*is not a program"),
        ({"kind": "environment", "python": sys.executable}, "vellum-workflow-server"),
        ({"kind": "container"}, "needs an image"),
    ],
)
def test_what_is_missing_is_an_error_at_deploy(project, server, options, message):
    with pytest.raises(VellumNBError, match=message):
        server.deploy(project, isolation=Isolation(**options))


@pytest.mark.parametrize(
    ("isolation", "module"), [("process", "process"), ("environment", "workflow_server")]
)
def test_an_import_that_hangs_is_an_error_at_deploy(python, server, monkeypatch, isolation, module):
    monkeypatch.setattr(f"vellum_nb.local.isolation.{module}.DESCRIBE_S", 1.0)
    options = {"python": python} if isolation == "environment" else {}
    files, before = {"workflow.py": b"import time\ntime.sleep(600)\n"}, _workflow_servers()
    with pytest.raises(VellumNBError, match="it took longer than 60 seconds to import"):
        server.deploy(files, name="hangs", isolation=Isolation(isolation, **options))
    assert _workflow_servers() <= before


LOCK = {"module": "flows.my-flow", "container_image_name": "mine", "container_image_tag": "7"}


def test_the_image_is_the_one_that_the_project_names(project):
    assert image_of_project(project) is None
    toml = "".join(f'{key} = "{value}"\n' for key, value in LOCK.items())
    texts = {
        "vellum.lock.json": json.dumps({"workflows": [LOCK]}),
        "pyproject.toml": f"[[tool.vellum.workflows]]\n{toml}",
    }
    for name, text in texts.items():
        (project.parent / name).write_text(text)
        assert image_of_project(project) == "mine:7"
        (project.parent / name).unlink()


FAKE = """#!{python}
import json, os, signal, sys
with open({log!r}, "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
command = sys.argv[1]
state = {folder!r} + "/" + "container"
if command == "image":
    if sys.argv[-1] == "missing:1":
        sys.exit("Error: No such image: missing:1")
    print("mine@sha256:0123")
elif command == "network":
    print("127.0.0.2")
elif command == "pull":
    sys.exit("Error: pull access denied for missing")
elif command == "run":
    sys.path.append({tests!r})
    from ports_kit import free_port
    port = free_port()
    environment = dict(a.removeprefix("--env=").split("=", 1) for a in sys.argv if "--env=" in a)
    environment["MEMORY_LIMIT_MB"] = "1000000"
    with open(state, "w") as file:
        file.write(f"{{os.getpid()}} {{port}}")
    arguments = ["--bind", f"127.0.0.1:{{port}}", "--worker-class", "gthread", "--threads", "8"]
    os.execve({server!r}, [{server!r}, "-m", "gunicorn", *arguments, "workflow_server.server:app"],
              {{**os.environ, **environment}})
else:
    try:
        pid, port = open(state).read().split()
    except OSError:
        sys.exit("Error: No such container")
    if command == "port":
        print(f"127.0.0.1:{{port}}")
    elif command == "rm":
        os.kill(int(pid), signal.SIGKILL)
        os.remove(state)
"""


@pytest.fixture
def docker(python, tmp_path, monkeypatch):
    """Put a fake docker on the PATH; return what it is called with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    log = folder / "log"
    log.touch()
    path = folder / "docker"
    path.write_text(
        FAKE.format(
            python=sys.executable,
            log=str(log),
            folder=str(folder),
            server=python,
            tests=str(Path(__file__).parents[1]),
        )
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


def test_a_container_is_published_on_loopback_with_limits_reaches_the_server_and_is_removed(
    docker, project, tmp_path, asking
):
    (tmp_path / "vellum.lock.json").write_text(
        json.dumps({"workflows": [{"module": "my-flow", "container_image_name": "mine"}]})
    )
    with LocalServer() as server:
        release = server.deploy(project, isolation="container")
        assert release.workflow_version.container_image == "mine@sha256:0123"
        assert outputs(run(asking(server)))["loud"] == ("STRING", "HI")
        answer = asking(server).get("/v1/workflow-deployments/my-flow/releases/LATEST").json()
        assert answer["workflow_version"]["container_image"] == "mine@sha256:0123"
        _, url, _ = outputs(run(asking(server)))["where"][1].split()
        host, _, port = url.removeprefix("http://").partition(":")
        assert host == "host.docker.internal"
        bridge = f"http://127.0.0.2:{port}/v1/environments/identity"
        headers = {"Host": f"{host}:{port}", "X-API-KEY": server.api_key}
        assert requests.get(bridge, headers=headers, timeout=120).json()["name"] == "local"
    with pytest.raises(requests.ConnectionError):
        requests.get(bridge, timeout=120)
    calls = docker()
    assert calls[0][:2] == ["image", "inspect"]
    assert calls[0][-1] == "mine:latest"
    (started,) = [call for call in calls if call[0] == "run"]
    assert started[-1] == "mine@sha256:0123"
    assert started[started.index("--publish") + 1] == "127.0.0.1::8000"
    assert started[started.index("--memory") + 1] == str(2 * 1024**3)
    assert "--rm" in started
    name = started[started.index("--name") + 1]
    until(lambda: ["rm", "--force", name] in docker())


def test_an_image_that_is_missing_or_nothing_to_run_it_is_an_error_at_deploy(
    docker, project, server, monkeypatch, tmp_path
):
    with pytest.raises(VellumNBError, match="'missing:1' is not here and cannot be pulled"):
        server.deploy(project, isolation=Isolation("container", image="missing:1"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VellumNBError, match="docker or podman"):
        server.deploy(project, isolation=Isolation("container", image="mine:1"))

"""The official command line against the local server: ping, push, pull, unmodified."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import execution_kit
import pytest
from execution_kit import archive

from vellum_nb.local import LocalServer

VELLUM = str(Path(sys.executable).with_name("vellum"))
PROJECT = {
    "__init__.py": "",
    "inputs.py": """
from vellum.workflows.inputs import BaseInputs

class Inputs(BaseInputs):
    text: str
""",
    "nodes/__init__.py": "from .shout import Shout\n\n__all__ = ['Shout']\n",
    "nodes/shout.py": """
from vellum.workflows.nodes import BaseNode

from ..inputs import Inputs

class Shout(BaseNode):
    text = Inputs.text

    class Outputs(BaseNode.Outputs):
        loud: str

    def run(self) -> Outputs:
        return self.Outputs(loud=self.text.upper())
""",
    "workflow.py": """
from vellum.workflows import BaseWorkflow
from vellum.workflows.state import BaseState

from .inputs import Inputs
from .nodes import Shout

class MyFlow(BaseWorkflow[Inputs, BaseState]):
    graph = Shout

    class Outputs(BaseWorkflow.Outputs):
        loud = Shout.Outputs.loud
""",
    "sandbox.py": """
from vellum.workflows.inputs import DatasetRow
from vellum.workflows.sandbox import WorkflowSandboxRunner

from .inputs import Inputs
from .nodes import Shout
from .workflow import MyFlow

dataset = [
    DatasetRow(label="hello", inputs=Inputs(text="hello")),
    DatasetRow(label="free", inputs=Inputs(text="bye"), mocks=[Shout.Outputs(loud="MOCK")]),
]

runner = WorkflowSandboxRunner(workflow=MyFlow, dataset=dataset)

if __name__ == "__main__":
    runner.run()
""",
}
PUSH = "/v1/workflows/push"


def write(folder, files=PROJECT):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def vellum(server, folder, *arguments):
    environment = {**os.environ, "VELLUM_API_URL": server.url, "VELLUM_API_KEY": server.api_key}
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
    return subprocess.run([VELLUM, *arguments], timeout=120, check=False, **options)


def code_in(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*.py")
        if "__pycache__" not in path.parts
    }


def outputs(api, **more):
    answer = api.ask("my-flow", "hi", **more)
    assert answer.status_code == 200, answer.text
    return execution_kit.outputs(answer.json()["data"])


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """Push the project with the command line; return its folder and the data of the server."""
    folder, data = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("data")
    write(folder / "my_flow")
    with LocalServer(data=data) as server:
        done = vellum(server, folder, "workflows", "push", "my_flow", "--deploy",
                      "--release-tag", "v2", "--release-tag", "production")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, data


@pytest.mark.slow
def test_the_command_line_pings_pushes_and_pulls_the_same_code(pushed, tmp_path, asking):
    here, data = pushed
    lock = json.loads((here / "vellum.lock.json").read_text())["workflows"][0]
    with LocalServer(data=data) as server:
        ping = vellum(server, here, "ping")
        assert "Successfully authenticated" in ping.stderr + ping.stdout
        api = asking(server)
        deployment = api.get("/v1/workflow-deployments/my-flow").json()
        assert lock["deployments"][0]["id"] == deployment["id"]
        tags = api.get("/v1/workflow-deployments/my-flow/release-tags").json()["results"]
        assert {tag["name"] for tag in tags} >= {"LATEST", "v2", "production"}
        assert outputs(api, release_tag="v2") == {"loud": "HI"}
        pulled = vellum(server, tmp_path, "workflows", "pull", "--workflow-deployment", "my-flow")
    assert pulled.returncode == 0, pulled.stderr
    assert code_in(tmp_path / "my_flow") == code_in(here / "my_flow") == dict(PROJECT)


@pytest.mark.slow
def test_a_pushed_sandbox_is_compared_and_pushed_again(pushed, tmp_path, asking):
    here, data = pushed
    changed = PROJECT["nodes/shout.py"].replace("upper()", "upper() + '!'")
    files = {**PROJECT, "nodes/shout.py": changed}
    write(tmp_path / "my_flow", files)
    lock = (here / "vellum.lock.json").read_text()
    (tmp_path / "vellum.lock.json").write_text(lock)
    sandbox = json.loads(lock)["workflows"][0]["workflow_sandbox_id"]
    with LocalServer(data=data) as server:
        dry = vellum(server, tmp_path, "workflows", "push", "my_flow", "--dry-run")
        assert dry.returncode == 1
        assert "nodes/shout.py" in dry.stdout + dry.stderr
        api = asking(server)
        config = json.dumps({"name": "my-flow", "release_tags": ["v3"]})
        ids = {"workflow_sandbox_id": sandbox, "deployment_config": config}
        assert push(api, archive(files), **ids).status_code == 200
        assert outputs(api, release_tag="v3") == {"loud": "HI!"}
        assert outputs(api, release_tag="v2") == {"loud": "HI"}
        text = {"Accept": "text/plain"}
        assert changed in api.get(f"/v1/workflows/{sandbox}/pull", headers=text).text


@pytest.mark.slow
def test_the_cases_of_a_pushed_project_run_with_their_mocks(pushed, asking):
    with LocalServer(data=pushed[1]) as server:
        api = asking(server)
        flat = api.get(
            "/v1/workflows/my-flow/pull",
            params={"release_tag": "v2", "include_sandbox": True, "exclude_code": True},
            headers={"Accept": "text/plain"},
        )
        rows = json.loads(flat.text.partition("\n")[2])
        assert [(row["label"], row["inputs"]) for row in rows] == [
            ("hello", {"text": "hello"}),
            ("free", {"text": "bye"}),
        ]
        mocks = {"node_output_mocks": rows[1]["mocks"]}
        assert outputs(api, release_tag="v2", metadata=mocks) == {"loud": "MOCK"}
        unknown = {**rows[1]["mocks"][0], "node_id": "nobody", "module": "\ud800"}
        mocks = {"node_output_mocks": [unknown]}
        answer = api.ask("my-flow", release_tag="v2", metadata=mocks)
        assert answer.status_code == 400
        assert "no node has the id 'nobody'; available: Shout" in answer.json()["detail"]


ECHO = {"workflow.py": "def echo(text: str) -> str: return text"}


def push(api, content, **fields):
    return api.call("POST", PUSH, data=fields, files={"artifact": ("echo.tar.gz", content)})


def test_a_push_without_a_deployment_config_makes_a_sandbox(api):
    answer = push(api, archive(ECHO))
    assert answer.status_code == 200, answer.text
    sandbox = answer.json()["workflow_sandbox_id"]
    assert answer.json().get("workflow_deployment_id") is None
    pulled = api.get(f"/v1/workflows/{sandbox}/pull", headers={"Accept": "text/plain"})
    assert ECHO["workflow.py"] in pulled.text
    answer = push(api, archive({"workflow.py": "x = 1"}), workflow_sandbox_id=sandbox)
    assert answer.json()["workflow_sandbox_id"] == sandbox


def test_a_dry_run_of_a_push_stores_nothing(api):
    answer = push(api, archive(ECHO), dry_run="true", deployment_config='{"name": "never"}')
    assert answer.status_code == 200
    sandbox = answer.json()["workflow_sandbox_id"]
    assert api.get(f"/v1/workflows/{sandbox}/pull").status_code == 404
    assert api.get("/v1/workflow-deployments/never").status_code == 404


@pytest.mark.parametrize(
    ("content", "fields", "status", "message"),
    [
        (b"no archive", {}, 400, "not a tar.gz archive"),
        (archive(ECHO)[:60], {}, 400, "not a tar.gz archive"),
        (archive({"../evil.py": "x"}), {}, 400, "not a path within"),
        (archive({"/etc/evil.py": "x"}), {}, 400, "not a path within"),
        (archive({"read.me": "x"}), {}, 400, "holds no .py file"),
        (archive({"a.py": "", "a.py/b.py": ""}), {}, 400, "cannot be stored: "),
        (archive({"a" * 300 + ".py": ""}), {}, 400, "cannot be stored: File name too long"),
        (archive({"d/" * 51 + "a.py": ""}), {}, 400, "is in more than 50 folders"),
        (archive({"\udcff.py": ""}), {}, 400, "a name that is not text"),
        (archive(ECHO), {"exec_config": '{"runner_config": 5}'}, 400, "exec_config.runner_config"),
        (archive(ECHO), {"dataset": '[{"mocks": [5]}]'}, 400, "dataset[0].mocks[0]"),
        (archive(ECHO), {"deployment_config": '{"name": "../x"}'}, 400, "name"),
        (archive({"a.py": "x = "}), {"deployment_config": "{}"}, 400, "cannot be deployed"),
        (archive(ECHO), {"workflow_sandbox_id": "nope"}, 404, "no workflow sandbox 'nope'"),
    ],
)
def test_a_push_that_does_not_fit_is_refused(api, content, fields, status, message):
    answer = push(api, content, **fields)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["detail"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_archive_that_unpacks_to_too_much_is_refused(api, kind):
    size = 33 if kind == tarfile.REGTYPE else 65
    content = archive({"workflow.py": "#" * (size * 1024 * 1024)}, kind=kind)
    assert len(content) < 100_000
    answer = push(api, content)
    assert answer.status_code == 400
    assert "more than" in answer.json()["detail"]

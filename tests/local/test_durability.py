"""A server that is killed, a real process, forgets nothing that it acknowledged."""

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from execution_kit import ACTUALS

from vellum_nb.local import LocalServer

pytestmark = pytest.mark.slow

CODE = """
import threading

def turn(text: str, memory: State) -> str:
    memory["said"] = [*memory.get("said", []), text]
    return text.upper()

def slow(text: str) -> str:
    threading.Event().wait(600)
    return text
"""


class Server:
    """The command ``vellum-nb serve`` on a folder."""

    def __init__(self, folder: Path) -> None:
        options = ("--data", str(folder), "--port", "0", "--no-samples")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vellum_nb", "serve", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip().removeprefix("VELLUM_API_URL=")
        key = self.process.stdout.readline().strip().removeprefix("VELLUM_API_KEY=")
        self.headers = {"X-API-KEY": key}

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        url = self.url + path
        return requests.request(method, url, headers=self.headers, timeout=30, **options)

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def run(self, name: str, text: str, *, how: str = "", **more: Any) -> requests.Response:
        given = {"name": "text", "type": "STRING", "value": text}
        body = {"workflow_deployment_name": name, "inputs": [given], **more}
        return self.call("POST", f"/v1/execute-workflow{how}", json=body)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate(timeout=20)


@pytest.fixture
def folder(tmp_path):
    """Make a data folder with two deployments whose source is in it."""
    source = tmp_path / "flows.py"
    source.write_text("from vellum_nb.local import State\n" + CODE)
    server = LocalServer(data=tmp_path / "data")
    for name in ("turn", "slow"):
        server.deploy(source, name=name, entry=f"workflow:{name}", release_tags=["production"])
    server.deploy(source, name="turn", entry="workflow:turn")
    return tmp_path / "data"


def kept(server: Server, id_: str) -> dict[str, Any]:
    found: dict[str, Any] = server.get(f"/v1/workflow-executions/{id_}/detail")
    return found


def test_every_acknowledged_run_survives_a_kill(folder):
    acknowledged: dict[str, str] = {}
    enough = threading.Event()

    def work(server: Server, number: int) -> None:
        for n in range(1_000_000):
            external_id = f"{number}-{n}"
            try:
                answer = server.run("turn", external_id, external_id=external_id)
            except requests.RequestException:
                return
            assert answer.status_code == 200, answer.text
            acknowledged[external_id] = answer.json()["execution_id"]
            if len(acknowledged) >= 100:
                enough.set()

    with serving(folder) as server:
        threads = [threading.Thread(target=work, args=(server, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        assert enough.wait(60)
        server.kill()
        for thread in threads:
            thread.join(60)
    with serving(folder) as server:
        for external_id, id_ in acknowledged.items():
            found = kept(server, id_)
            assert found["outputs"][0]["value"] == external_id.upper()
            assert found["parent_context"]["external_id"] == external_id
            assert found["state"] == {"said": [external_id]}
            assert len(found["spans"]) == 2
        one = next(iter(acknowledged))
        assert server.run("turn", "again", external_id=one).status_code == 400
        listed = server.get("/v1/workflow-deployments/turn/execution-events?limit=1")
        assert listed["count"] >= len(acknowledged)


def test_runs_of_a_killed_server_come_back_as_rejected(folder):
    with serving(folder) as server:
        external_id = str(uuid.uuid4())
        answer = server.run("slow", "a", how="-async", external_id=external_id)
        id_ = answer.json()["execution_id"]
        assert server.get(f"/v1/workflows/executions/{id_}/status")["status"] != "REJECTED"
        server.kill()
    with serving(folder) as server:
        status = server.get(f"/v1/workflows/executions/{id_}/status")
        assert (status["status"], status["outputs"]) == ("REJECTED", None)
        error = {"message": "The server ended while it ran", "code": "WORKFLOW_CANCELLED"}
        assert status["error"] == error
        found = kept(server, id_)
        assert found["end"] is not None
        assert found["inputs"][0]["value"] == "a"
        assert found["spans"] == []
        assert server.run("slow", "a", external_id=external_id).status_code == 400


def test_states_actuals_uploads_and_tags_survive_a_kill(folder):
    path = "/v1/workflow-deployments/turn"
    with serving(folder) as server:
        first = server.run("turn", "one").json()["execution_id"]
        actual = {"output_type": "STRING", "quality": 0.5, "desired_output_value": "UNO"}
        output = kept(server, first)["outputs"][0]["name"]
        body = {"execution_id": first, "actuals": [{"output_key": output, **actual}]}
        assert server.call("POST", ACTUALS, json=body).status_code == 200
        files = {"file": ("a.txt", b"kept")}
        file = server.call("POST", "/v1/uploaded-files", files=files).json()
        latest = server.get(f"{path}/release-tags/LATEST")["release"]["id"]
        to = {"history_item_id": latest}
        assert server.call("PATCH", f"{path}/release-tags/production", json=to).ok
        server.kill()
    with serving(folder) as server:
        found = server.get(f"{path}/execution-events/{first}")
        assert found["latest_actual"]["quality"] == 0.5
        assert found["latest_actual"]["output"]["value"] == "UNO"
        again = server.run("turn", "two", previous_execution_id=first).json()["execution_id"]
        state = server.get(f"/v1/workflows/{again}/state")
        assert state["state"] == {"said": ["one", "two"]}
        assert state["root_span_id"] == first
        url = server.get(f"/v1/uploaded-files/{file['id']}")["file_url"]
        assert requests.get(url, timeout=20).content == b"kept"
        assert server.get(f"{path}/release-tags/production")["release"]["id"] == latest

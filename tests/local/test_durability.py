"""A server that is killed, a real process, forgets nothing that it acknowledged."""

import threading
import uuid
from contextlib import contextmanager

import pytest
import requests
from execution_kit import ACTUALS, events, found_at, read, run, serving

from vellum_nb.local import LocalServer

pytestmark = pytest.mark.slow

CODE = """
import threading
from vellum_nb.local import State

def turn(text: str, memory: State) -> str:
    memory["said"] = [*memory.get("said", []), text]
    return text.upper()

def slow(text: str) -> str:
    threading.Event().wait(600)
    return text
"""


@pytest.fixture
def serve(folder, asking):
    """Return what runs the command on the folder, and asks it."""

    @contextmanager
    def serve():
        with serving("--data", str(folder)) as server:
            yield asking(server)

    return serve


@pytest.fixture
def folder(tmp_path):
    """Make a data folder with two deployments whose source is in it."""
    source = tmp_path / "flows.py"
    source.write_text(CODE)
    server = LocalServer(data=tmp_path / "data")
    for name in ("turn", "slow"):
        server.deploy(source, name=name, entry=f"workflow:{name}", release_tags=["production"])
    server.deploy(source, name="turn", entry="workflow:turn")
    return tmp_path / "data"


def kept(api, id_):
    return found_at(api, f"/v1/workflow-executions/{id_}/detail")


def test_every_acknowledged_run_survives_a_kill(serve):
    acknowledged: dict[str, str] = {}
    enough = threading.Event()

    def work(api, number):
        for n in range(1_000_000):
            external_id = f"{number}-{n}"
            try:
                answer = api.ask("turn", external_id, external_id=external_id)
            except requests.RequestException:
                return
            assert answer.status_code == 200, answer.text
            acknowledged[external_id] = answer.json()["execution_id"]
            if len(acknowledged) >= 100:
                enough.set()

    with serve() as api:
        threads = [threading.Thread(target=work, args=(api, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        assert enough.wait(60)
        api.server.kill()
        for thread in threads:
            thread.join(60)
    with serve() as api:
        for external_id, id_ in acknowledged.items():
            execution = kept(api, id_)
            assert execution["outputs"][0]["value"] == external_id.upper()
            assert execution["parent_context"]["external_id"] == external_id
            assert execution["state"] == {"said": [external_id]}
            assert len(execution["spans"]) == 2
        one = next(iter(acknowledged))
        assert api.ask("turn", "again", external_id=one).status_code == 400
        listed = events(api, "turn", limit=1)
        assert listed["count"] >= len(acknowledged)


def test_runs_of_a_killed_server_come_back_as_rejected(serve):
    with serve() as api:
        external_id = str(uuid.uuid4())
        answer = api.ask("slow", how="-async", external_id=external_id)
        id_ = answer.json()["execution_id"]
        assert found_at(api, f"/v1/workflows/executions/{id_}/status")["status"] != "REJECTED"
        api.server.kill()
    with serve() as api:
        status = found_at(api, f"/v1/workflows/executions/{id_}/status")
        assert (status["status"], status["outputs"]) == ("REJECTED", None)
        error = {"message": "The server ended while it ran", "code": "WORKFLOW_CANCELLED"}
        assert status["error"] == error
        execution = kept(api, id_)
        assert execution["end"] is not None
        assert execution["inputs"][0]["value"] == "a"
        assert execution["spans"] == []
        assert api.ask("slow", external_id=external_id).status_code == 400


def test_states_actuals_uploads_and_tags_survive_a_kill(serve):
    path = "/v1/workflow-deployments/turn"
    with serve() as api:
        first = run(api, "turn", "one")
        actual = {"output_type": "STRING", "quality": 0.5, "desired_output_value": "UNO"}
        output = kept(api, first)["outputs"][0]["name"]
        body = {"execution_id": first, "actuals": [{"output_key": output, **actual}]}
        assert api.call("POST", ACTUALS, json=body).status_code == 200
        files = {"file": ("a.txt", b"kept")}
        file = api.call("POST", "/v1/uploaded-files", files=files).json()
        latest = found_at(api, f"{path}/release-tags/LATEST")["release"]["id"]
        to = {"history_item_id": latest}
        assert api.call("PATCH", f"{path}/release-tags/production", json=to).ok
        api.server.kill()
    with serve() as api:
        found = read(api, "turn", first)
        assert found["latest_actual"]["quality"] == 0.5
        assert found["latest_actual"]["output"]["value"] == "UNO"
        again = run(api, "turn", "two", previous_execution_id=first)
        state = found_at(api, f"/v1/workflows/{again}/state")
        assert state["state"] == {"said": ["one", "two"]}
        assert state["root_span_id"] == first
        url = found_at(api, f"/v1/uploaded-files/{file['id']}")["file_url"]
        assert requests.get(url, timeout=120).content == b"kept"
        assert found_at(api, f"{path}/release-tags/production")["release"]["id"] == latest

"""Deploying, tagging, and what a restart forgets."""

import sqlite3
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from vellum_nb.errors import VellumNBError
from vellum_nb.local import LocalServer

SOURCE = '''
from typing import Annotated, Literal
from pydantic import Field

def shout(text: str, tone: Annotated[Literal["a", "b"], Field(description="how")] = "a") -> str:
    """Say it loudly."""
    return text.upper()
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Make a module on disk with a workflow in it."""
    (tmp_path / "workflows_on_disk.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    import workflows_on_disk

    yield workflows_on_disk
    sys.modules.pop("workflows_on_disk", None)


def whisper(text: str) -> str:
    return text.lower()


def test_each_deploy_makes_a_release_of_the_same_deployment():
    server = LocalServer()
    first = server.deploy(whisper, release_tags=["v1"])
    second = server.deploy(whisper, release_tags=["v2"], description="again")
    assert first.id != second.id
    assert first.deployment == second.deployment
    assert second.description == "again"
    assert server.names() == ("whisper",)


def test_a_deploy_moves_its_tags_with_latest():
    server = LocalServer()
    server.deploy(whisper, release_tags=["v1", "production"])
    second = server.deploy(whisper, release_tags=["v2", "production"])
    assert [tag.name for tag in second.release_tags] == ["LATEST", "production", "v2"]


@pytest.fixture
def two_releases():
    """Return a server with two releases, and the id of the first one."""
    server = LocalServer()
    first = server.deploy(whisper, release_tags=["v1"])
    server.deploy(whisper, release_tags=["v2"])
    return server, first.id


def test_a_tag_is_moved_to_the_release_of_another_tag(two_releases):
    server, first = two_releases
    moved = server.move_tag("whisper", "production", "v1")
    assert (moved.id, [t.name for t in moved.release_tags]) == (first, ["v1", "production"])


def test_a_tag_is_moved_to_a_release_by_its_id(two_releases):
    server, first = two_releases
    assert server.move_tag("whisper", "v2", first).id == first


def test_a_wrong_name_of_a_tag_is_refused(two_releases):
    with pytest.raises(VellumNBError, match="'a/b' cannot be a release tag"):
        two_releases[0].move_tag("whisper", "a/b", "LATEST")


def test_many_threads_may_deploy_at_once():
    server = LocalServer()
    start = threading.Barrier(8)

    def deploy(number):
        start.wait(120)
        return server.deploy(whisper, name=f"w{number % 2}", release_tags=[f"t{number}"]).id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(deploy, range(8)))
    assert len(ids) == 8
    moved = {server.move_tag(f"w{n % 2}", "x", f"t{n}").id for n in range(8)}
    assert moved == ids


def state(api):
    """Return all that the server says about the deployment `shout`."""
    path = "/v1/workflow-deployments/shout"
    parts = (path, f"{path}/release-tags", f"{path}/releases", "/v1/workflow-deployments")
    return [api.get(part).json() for part in parts]


def run(api, name, tag, **extra):
    return api.ask(name, "Ab", release_tag=tag, **extra)


def test_a_restart_forgets_nothing(tmp_path, module, asking):
    data = tmp_path / "data"
    with LocalServer(data=data) as server:
        server.deploy(module.shout, release_tags=["v1"], description="first", label="Shout!")
        server.deploy(whisper, name="shout", release_tags=["v2"])
        server.move_tag("shout", "production", "v1")
        before = state(asking(server))
        assert run(asking(server), "shout", "v1", external_id="e").status_code == 200
    with LocalServer(data=data) as server:
        api = asking(server)
        assert state(api) == before
        assert before[0]["label"] == "Shout!"  # the second release gave none
        outputs = run(api, "shout", "production").json()["data"]["outputs"]
        assert outputs[0]["value"] == "AB"
        assert run(api, "shout", "v1", external_id="e").status_code == 400


def test_run_of_code_that_a_restart_lost_says_to_deploy_again(tmp_path, asking):
    with LocalServer(data=tmp_path) as server:
        server.deploy(lambda text: text, name="lost")
    with LocalServer(data=tmp_path) as server:
        api = asking(server)
        assert api.get("/v1/workflow-deployments/lost").status_code == 200
        error = run(api, "lost", "LATEST").json()["data"]["error"]
        assert error["code"] == "WORKFLOW_INITIALIZATION"
        assert error["message"].endswith("Deploy it again to run it.")
        server.deploy(whisper, name="lost")
        assert run(api, "lost", "LATEST").json()["data"]["state"] == "FULFILLED"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def shout(text: str, more: int = 1): return text", "has other input variables now"),
        ("def shout(*text: str): return text", r"shout takes *text"),
        ("raise OSError('gone')", "cannot be imported (OSError: gone)"),
        ("", "cannot be imported (AttributeError"),
    ],
)
def test_code_that_changed_is_not_run_as_the_old_release(tmp_path, module, asking, source, message):
    with LocalServer(data=tmp_path / "data") as server:
        server.deploy(module.shout)
    del sys.modules["workflows_on_disk"]
    (tmp_path / "workflows_on_disk.py").write_text(f"# changed, so that no bytecode fits\n{source}")
    with LocalServer(data=tmp_path / "data") as server:
        error = run(asking(server), "shout", "LATEST").json()["data"]["error"]
    assert error["code"] == "WORKFLOW_INITIALIZATION"
    assert message in error["message"]


def test_a_sample_that_is_there_is_left_alone(tmp_path):
    LocalServer(data=tmp_path).deploy(whisper, name="docs-qa")
    server = LocalServer(data=tmp_path, samples=True)
    samples = {"docs-qa", "summarise", "ticket-triage", "feedback-digest", "pair-grader"}
    assert set(server.names()) == samples | {"support-bot", "angry-customer"}
    with pytest.raises(VellumNBError, match="no release 'v2'"):
        server.move_tag("docs-qa", "x", "v2")


@pytest.mark.parametrize(
    "damage", ["UPDATE deployments SET content = x''", "DROP TABLE deployments"]
)
def test_a_damaged_file_is_refused(tmp_path, damage):
    LocalServer(data=tmp_path).deploy(whisper)
    with sqlite3.connect(tmp_path / "registry.db") as db:
        db.execute(damage)
    db.close()
    with pytest.raises(VellumNBError, match="cannot be (read|used)"):
        LocalServer(data=tmp_path)


def test_what_another_server_deployed_in_between_is_not_overwritten(tmp_path):
    first, second = LocalServer(data=tmp_path), LocalServer(data=tmp_path)
    first.deploy(whisper, name="both")
    with pytest.raises(VellumNBError, match="has deployed 'both' since"):
        second.deploy(whisper, name="both")
    LocalServer(data=tmp_path).deploy(whisper, name="both")
    with pytest.raises(VellumNBError, match="has deployed 'both' since"):
        first.deploy(whisper, name="both")  # the other's release would be lost


BAD_TAGS = ["", "-a", "a.", "a b", "a/b", "a..b", "a\n", "x" * 151, "LATEST", str(uuid.UUID(int=1))]
BAD_NAMES = ["", " a", "a/b", "a?b", "x" * 151, "a\n", "-"]


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        *[
            (whisper, {"release_tags": [tag]}, "cannot be a release tag|LATEST always")
            for tag in BAD_TAGS
        ],
        *[(whisper, {"name": name}, "cannot be the name of a deployment") for name in BAD_NAMES],
        (whisper, {"release_tags": "v1"}, "must be a list of texts, not 'v1'"),
        (whisper, {"label": ""}, "a label has 1 to 150 characters"),
        (whisper, {"release_id": "x"}, "release_id 'x' is not a UUID"),
        (lambda text: text, {}, "a lambda has no name"),
        ("whisper", {"name": "w"}, "cannot be called; deploy a function"),
    ],
)
def test_what_cannot_be_deployed_is_refused_with_the_reason(target, options, message):
    server = LocalServer()
    with pytest.raises(VellumNBError, match=message):
        server.deploy(target, **options)
    assert server.names() == ()

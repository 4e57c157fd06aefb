"""One real server and the official client, unmodified."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "local"))  # for the filters of its kit

from conformance_kit import Gate, close, deploy_all, official

from vellum_nb.local import LocalServer


@pytest.fixture(scope="session")
def server():
    with LocalServer() as server:
        deploy_all(server)
        yield server


@pytest.fixture(scope="session")
def client(server):
    client = official(server)
    yield client
    close(client)


@pytest.fixture
def gate(server):
    """Deploy a workflow that waits, as `gate`."""
    gate = Gate()
    server.deploy(gate.workflow, name="gate")
    yield gate
    gate.open.set()


@pytest.fixture
def connect():
    """Give official clients with options of the test's own."""
    opened = []

    def connect(server, **options):
        opened.append(official(server, **options))
        return opened[-1]

    yield connect
    for client in opened:
        close(client)

"""The kit of these tests, importable, and both clients for the server of each module."""

import sys
from pathlib import Path

import execution_kit
import pytest

from vellum_nb.client import Client

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def client(server):
    with Client(base_url=server.url, api_key=server.api_key) as client:
        yield client


@pytest.fixture(scope="module")
def official(server):
    with execution_kit.official(server) as client:
        yield client

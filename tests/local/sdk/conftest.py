"""The kit of these tests, importable, and both clients for the server of each module."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from vellum import Vellum
from vellum.environment import VellumEnvironment

from vellum_nb.client import Client

sys.path.insert(0, str(Path(__file__).parent))


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

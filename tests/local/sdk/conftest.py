"""The kit of these tests, importable, and both clients for the server of each module."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
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
    with httpx.Client(timeout=60) as http:
        yield Vellum(api_key=server.api_key, environment=environment, httpx_client=http)

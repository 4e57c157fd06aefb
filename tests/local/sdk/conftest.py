"""The kit of these tests, importable, and our client for the server of each module."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vellum_nb.client import Client

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def client(server):
    with Client(base_url=server.url, api_key=server.api_key) as client:
        yield client

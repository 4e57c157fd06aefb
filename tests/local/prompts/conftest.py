"""A local server whose prompts go to a model server of the test's own, and the official client."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from openai_kit import KEY, model_server

from vellum_nb.local import LocalServer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it warns about on import is not ours
    from vellum.client import Vellum
    from vellum.environment import VellumEnvironment


@pytest.fixture
def model():
    with model_server() as model:
        yield model


@pytest.fixture(scope="module")
def prompts():
    """Start the server once; each test says where its prompts go."""
    with LocalServer() as server:
        yield server


@pytest.fixture
def server(prompts, model):
    prompts.models(base_url=model.url, api_key=KEY, model="tiny", prices={"tiny": (1.0, 2.0)})
    return prompts


@pytest.fixture(scope="module")
def vellum(prompts):
    url = prompts.url
    place = VellumEnvironment(default=url, predict=url, documents=url)
    with httpx.Client(timeout=60) as http:
        yield Vellum(api_key=prompts.api_key, environment=place, httpx_client=http)

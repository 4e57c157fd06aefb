"""A local server whose prompts go to a model server of the test's own, and the official client."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from execution_kit import official
from openai_kit import KEY, model_server

from vellum_nb.local import LocalServer


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
    with official(prompts) as client:
        yield client

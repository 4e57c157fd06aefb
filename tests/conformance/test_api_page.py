"""`docs/reference/api.md` names every route of the local server and every method of the client."""

from pathlib import Path

import pytest
import requests

from vellum_nb.client import Client

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "api.md").read_text("utf-8")
OURS = {"base_url", "predict_url", "close"}  # no endpoints
METHODS = [name for name in dir(Client) if not name.startswith("_") and name not in OURS]


def test_every_route_is_on_the_page(server):
    document = requests.get(f"{server.url}/openapi.json", timeout=20).json()
    for path, methods in document["paths"].items():
        named = path.replace("workflow-deployments/{id}", "workflow-deployments/{d}")
        named = named.replace("workflows/{id}/pull", "workflows/{d}/pull")
        for method in methods:
            assert f"`{method.upper()} {named}`" in PAGE


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_the_client_is_on_the_page(name):
    assert f"`{name}`" in PAGE

"""Deployments, releases, release tags and identity; failures; the document."""

import pytest


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/workflow-deployments/nope", "No deployment 'nope' exists; available: echo"),
        ("/v1/workflow-deployments/echo/release-tags/v9", "no release tag 'v9'; available: LATEST"),
        ("/v1/workflow-deployments/echo/releases/v9", "no release 'v9'; available: LATEST"),
        ("/v1/workflow-deployments/echo/history/v9", "no release 'v9'"),
        ("/v1/workflow-deployments/a%2Fb", "There is no GET /v1/workflow-deployments/a/b"),
        ("/v1/workflow-deployments/", "There is no GET"),
        ("/", "There is no GET /"),
        ("/redoc", "There is no GET /redoc"),
    ],
)
def test_404_names_what_is_available(api, path, message):
    answer = api.get(path)
    assert answer.status_code == 404
    assert message in answer.json()["detail"]


def failures(api):
    """Yield one answer of every kind of failure."""
    url = api.server.url
    yield 400, api.post(data=b"{")
    yield 400, api.send(inputs=[])
    yield 400, api.get("/v1/workflow-deployments", params={"limit": "x"})
    yield 403, api.get("/v1/environments/identity", headers={"X-API-KEY": "wrong"})
    yield 403, api.get("/openapi.json", headers={"Host": "example.org"})
    yield 404, api.get("/nowhere")
    yield 404, api.get("/v1/workflow-deployments/nope")
    yield 405, api.session.delete(f"{url}/v1/execute-workflow", timeout=120)
    yield 405, api.get("/v1/execute-workflow")
    yield 413, api.post(data=b" " * (33 * 1024 * 1024))


def test_every_failure_has_one_shape(api):
    for status, answer in failures(api):
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.content.isascii()
        body = answer.json()
        assert set(body) == {"detail"}
        assert isinstance(body["detail"], str)
        assert body["detail"]


def test_the_document_needs_no_key(api):
    answer = api.get("/openapi.json", headers={"X-API-KEY": None})
    assert answer.status_code == 200
    assert api.server.api_key not in answer.text

"""Deployments, releases, release tags and identity; failures; the document."""

from __future__ import annotations

import json
import re
import uuid
from datetime import datetime

import pytest


def old(text: str) -> str:
    """Say it."""
    return text


def new(text: str, times: int = 1) -> str:
    """Say it often."""
    return text * times


@pytest.fixture
def deployed(fresh, asking):
    """Serve one deployment of two releases, and four others."""
    fresh.deploy(old, name="say it", release_tags=["v1"], description="first")
    fresh.deploy(new, name="say it", release_tags=["v2", "production"], label="Say")
    for name in "abcd":
        fresh.deploy(old, name=name)
    return asking(fresh)


def get(api, path, **params):
    answer = api.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_deployment_is_found_by_name_and_by_id(deployed):
    by_name = get(deployed, "/v1/workflow-deployments/say%20it")
    assert get(deployed, f"/v1/workflow-deployments/{by_name['id']}") == by_name
    assert set(by_name) == {
        "id",
        "name",
        "label",
        "status",
        "environment",
        "created",
        "last_deployed_on",
        "input_variables",
        "output_variables",
        "description",
        "last_deployed_history_item_id",
        "display_data",
    }
    assert (by_name["label"], by_name["description"]) == ("Say", "Say it often.")
    assert [v["key"] for v in by_name["input_variables"]] == ["text", "times"]
    assert datetime.fromisoformat(by_name["created"]).tzinfo is not None


def test_a_variable_has_the_keys_of_the_contract(deployed):
    variable = get(deployed, "/v1/workflow-deployments/say it")["input_variables"][1]
    uuid.UUID(variable.pop("id"))
    assert variable == {
        "key": "times",
        "type": "NUMBER",
        "required": False,
        "default": {"type": "NUMBER", "value": 1},
        "extensions": None,
        "schema": {"type": "integer"},
    }


def test_a_list_comes_in_pages_that_point_at_each_other(deployed):
    page = get(deployed, "/v1/workflow-deployments", limit=2, ordering="name")
    assert page["count"] == 5
    assert page["previous"] is None
    seen = []
    while True:
        seen += [d["name"] for d in page["results"]]
        if page["next"] is None:
            break
        page = get(deployed, page["next"].removeprefix(deployed.server.url))
    assert seen == ["a", "b", "c", "d", "say it"]
    back = get(deployed, page["previous"].removeprefix(deployed.server.url))
    assert [d["name"] for d in back["results"]] == ["c", "d"]


@pytest.mark.parametrize(
    ("ordering", "first"),
    [(None, "d"), ("-created", "d"), ("created", "say it"), ("-name", "say it"), ("name", "a")],
)
def test_deployments_are_ordered(deployed, ordering, first):
    params = {"ordering": ordering} if ordering else {}
    assert get(deployed, "/v1/workflow-deployments", **params)["results"][0]["name"] == first


@pytest.mark.parametrize(("status", "count"), [("ACTIVE", 5), ("ARCHIVED", 0)])
def test_deployments_are_filtered_by_status(deployed, status, count):
    assert get(deployed, "/v1/workflow-deployments", status=status)["count"] == count


def test_a_page_after_the_last_is_empty_and_a_page_is_never_too_large(deployed):
    assert get(deployed, "/v1/workflow-deployments", offset=99)["results"] == []
    assert len(get(deployed, "/v1/workflow-deployments", limit=10**6)["results"]) == 5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"limit": 0}, "limit: Input should be greater than or equal to 1"),
        ({"limit": "x"}, "limit: Input should be a valid integer"),
        ({"offset": -1}, "offset"),
        ({"ordering": "size"}, "ordering: 'size' is not known; use created, -created, name"),
        ({"status": "GONE"}, "status: Input should be 'ACTIVE'"),
    ],
)
def test_a_wrong_query_is_400_and_says_what_is_known(deployed, params, message):
    answer = deployed.get("/v1/workflow-deployments", params=params)
    assert answer.status_code == 400
    assert message in answer.json()["detail"]


def test_release_tags_point_at_releases(deployed):
    path = "/v1/workflow-deployments/say it"
    tags = {tag["name"]: tag for tag in get(deployed, f"{path}/release-tags")["results"]}
    assert set(tags) == {"LATEST", "v1", "v2", "production"}
    assert {name: tag["source"] for name, tag in tags.items()} == {
        "LATEST": "SYSTEM",
        "v1": "USER",
        "v2": "USER",
        "production": "USER",
    }
    assert tags["LATEST"]["release"] == tags["LATEST"]["history_item"] == tags["v2"]["release"]
    assert tags["v1"]["release"]["id"] != tags["v2"]["release"]["id"]
    assert get(deployed, f"{path}/release-tags/v1") == tags["v1"]
    latest = get(deployed, path)["last_deployed_history_item_id"]
    assert latest == tags["LATEST"]["release"]["id"]


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"source": "SYSTEM"}, ["LATEST"]),
        ({"source": "USER", "ordering": "name"}, ["production", "v1", "v2"]),
        ({"ordering": "-name", "limit": 2}, ["v2", "v1"]),
    ],
)
def test_release_tags_are_filtered_ordered_and_paged(deployed, params, names):
    page = get(deployed, "/v1/workflow-deployments/say it/release-tags", **params)
    assert [tag["name"] for tag in page["results"]] == names


def test_a_release_keeps_its_own_variables(deployed):
    path = "/v1/workflow-deployments/say it/releases"
    first, second = get(deployed, f"{path}/v1"), get(deployed, f"{path}/LATEST")
    assert [v["key"] for v in first["workflow_version"]["input_variables"]] == ["text"]
    assert len(second["workflow_version"]["input_variables"]) == 2
    assert set(first) == {
        "id",
        "created",
        "environment",
        "created_by",
        "workflow_version",
        "deployment",
        "description",
        "release_tags",
        "reviews",
    }
    assert (first["description"], second["description"]) == ("first", "")
    assert first["release_tags"] == [{"name": "v1", "source": "USER"}]
    assert get(deployed, f"{path}/{first['id']}") == first


def test_releases_are_listed_newest_first(deployed):
    path = "/v1/workflow-deployments/say it/releases"
    newest_first = get(deployed, path)["results"]
    assert [r["release_tags"][-1]["name"] for r in newest_first] == ["production", "v1"]
    assert get(deployed, path, ordering="created")["results"] == newest_first[::-1]


def test_the_old_history_endpoint_shows_a_release(deployed):
    item = get(deployed, "/v1/workflow-deployments/say it/history/v1")
    release = get(deployed, "/v1/workflow-deployments/say it/releases/v1")
    assert (item["id"], item["timestamp"]) == (release["id"], release["created"])
    assert (item["name"], item["label"], item["description"]) == ("say it", "Say", "first")


def test_identity_is_that_of_a_local_server(api):
    assert get(api, "/v1/environments/identity")["name"] == "local"
    assert get(api, "/v1/workspaces/identity")["label"] == "Local"
    organization = get(api, "/v1/organizations/identity")
    assert organization["new_member_join_behavior"] == "REQUIRE_EXPLICIT_INVITE"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/workflow-deployments/nope", "No deployment 'nope' exists; there are: echo"),
        (f"/v1/workflow-deployments/{uuid.UUID(int=1)}", "No deployment has the id"),
        ("/v1/workflow-deployments/echo/release-tags/v9", "no release tag 'v9'; it has: LATEST"),
        ("/v1/workflow-deployments/echo/releases/v9", "no release 'v9'; its release tags: LATEST"),
        ("/v1/workflow-deployments/echo/history/v9", "no release 'v9'"),
        ("/v1/workflow-deployments/a%2Fb", "There is no GET /v1/workflow-deployments/a/b"),
        ("/v1/workflow-deployments/", "There is no GET"),
        ("/", "There is no GET /"),
        ("/redoc", "There is no GET /redoc"),
    ],
)
def test_what_is_not_there_is_404_and_names_what_is(api, path, message):
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
    yield 405, api.session.delete(f"{url}/v1/execute-workflow", timeout=20)
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


def test_a_method_that_is_not_allowed_names_the_one_that_is(api):
    assert api.get("/v1/execute-workflow").headers["Allow"] == "POST"


def test_the_openapi_document_describes_every_route(api):
    document = get(api, "/openapi.json")
    assert set(document["paths"]) >= {
        "/v1/execute-workflow",
        "/v1/workflow-deployments",
        "/v1/workflow-deployments/{id}",
        "/v1/workflow-deployments/{id}/release-tags",
        "/v1/workflow-deployments/{id}/release-tags/{name}",
        "/v1/workflow-deployments/{id}/releases",
        "/v1/workflow-deployments/{id}/releases/{release}",
        "/v1/environments/identity",
    }
    assert "422" not in json.dumps(document["paths"])
    schemas = document["components"]["schemas"]
    refs = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert refs <= set(schemas)
    assert "workflow_deployment_name" in schemas["ExecuteBody"]["properties"]


def test_the_document_needs_no_key_and_has_none(api):
    answer = api.get("/openapi.json", headers={"X-API-KEY": None})
    assert answer.status_code == 200
    assert api.server.api_key not in answer.text

"""Deployments, releases, release tags and the deprecated history, by the official client."""

import pytest
from conformance_kit import FUNCTIONS, UUID, echo, missing

from vellum_nb.local import LocalServer

NAME = "hällo wörld"


@pytest.fixture(scope="module")
def api(client):
    return client.workflow_deployments


@pytest.fixture
def movable(connect):
    """Start a server whose tags may be moved."""
    with LocalServer() as server:
        releases = [
            server.deploy(echo, name=NAME, release_tags=[tag]) for tag in ("v1", "v2", "v3")
        ]
        server.move_tag(NAME, "production", "v1")
        yield connect(server).workflow_deployments, releases


def test_all_deployments_are_listed_newest_first(api):
    page = api.list()
    assert page.count == len(page.results) >= len(FUNCTIONS) + 1
    created = [deployment.created for deployment in page.results]
    assert created == sorted(created, reverse=True)
    assert (page.next, page.previous) == (None, None)


def test_pages_form_the_whole_list(api):
    whole = [deployment.name for deployment in api.list(ordering="name").results]
    found, offset = [], 0
    while True:
        page = api.list(limit=4, offset=offset, ordering="name")
        found += [deployment.name for deployment in page.results]
        offset += len(page.results)
        if page.next is None:
            break
        assert f"offset={offset}" in page.next
        assert "limit=4" in page.next
    assert found == whole
    assert page.count == len(whole)
    assert page.previous


@pytest.mark.parametrize(
    ("ordering", "key", "reverse"),
    [
        ("name", "name", False),
        ("-name", "name", True),
        ("created", "created", False),
        ("-created", "created", True),
        ("name,-created", "name", False),
    ],
)
def test_deployments_are_ordered(api, ordering, key, reverse):
    found = [getattr(deployment, key) for deployment in api.list(ordering=ordering).results]
    assert found == sorted(found, reverse=reverse)


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": -1}, {"offset": -1},
                                     {"ordering": "riddle"}, {"status": "RIDDLE"}])  # fmt: skip
def test_invalid_page_is_refused(api, options):
    assert missing(api.list, **options) == 400


def test_offset_beyond_the_end_is_an_empty_page(api):
    page = api.list(offset=10_000)
    assert page.results == []
    assert page.count > 0


@pytest.mark.parametrize("status", ["ACTIVE", "ARCHIVED", "PENDING_DELETION"])
def test_deployments_are_listed_by_status(api, status):
    page = api.list(status=status)
    assert {deployment.status for deployment in page.results} <= {status}
    assert bool(page.results) == (status == "ACTIVE")


@pytest.mark.parametrize("by", ["id", "name"])
def test_deployment_is_retrieved_by_id_or_name(api, by):
    listed = next(d for d in api.list().results if d.name == "count")
    full = api.retrieve(getattr(listed, by))
    assert (full.id, full.name, full.label) == (listed.id, "count", "Count")
    assert full.last_deployed_history_item_id
    assert full.created <= full.last_deployed_on


def test_name_with_spaces_or_umlauts_is_found(api):
    assert api.retrieve(NAME).name == NAME
    assert api.retrieve("h%C3%A4llo%20w%C3%B6rld").name == NAME


def test_input_variables_have_types_defaults_or_schemas(api):
    found = {variable.key: variable for variable in api.retrieve("count").input_variables}
    assert {key: variable.type for key, variable in found.items()} == {
        "text": "STRING", "times": "NUMBER", "tier": "JSON"
    }  # fmt: skip
    assert (found["text"].required, found["times"].required) == (True, False)
    assert found["times"].default.value == 1
    schema = found["times"].model_extra["schema"]
    assert (schema["minimum"], schema["maximum"]) == (1, 3)
    assert found["tier"].model_extra["schema"]["enum"] == ["free", "pro"]


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("echo-chat", {"CHAT_HISTORY"}),
        ("echo-media", {"IMAGE", "AUDIO", "VIDEO", "DOCUMENT"}),
        ("echo-json", {"JSON"}),
        ("converse", {"STRING"}),
    ],
)
def test_input_variables_of_every_type_are_parsed(api, name, types):
    assert {variable.type for variable in api.retrieve(name).input_variables} == types


def test_output_variables_are_parsed(api):
    types = {o.key: o.type for o in api.retrieve("every-type").output_variables}
    assert types["found"] == "SEARCH_RESULTS"
    assert types["document"] == "DOCUMENT"


@pytest.mark.parametrize("id_", ["nope", UUID, "a/b", "../x", "%2e%2e", "ä" * 200])
def test_unknown_deployment_is_a_404(api, id_):
    assert missing(api.retrieve, id_) == 404


def test_releases_are_listed_newest_first(api):
    releases = api.list_workflow_deployment_releases(NAME).results
    assert [release.description for release in releases] == ["Release 3", "Release 2", "Release 1"]
    assert [t.name for t in releases[1].release_tags] == ["v2", "production"]
    assert {(t.name, t.source) for t in releases[0].release_tags} == {
        ("v3", "USER"), ("LATEST", "SYSTEM")
    }  # fmt: skip
    assert releases[0].deployment.name == NAME
    assert releases[0].environment.name
    assert releases[0].reviews == []


def test_releases_are_paged_in_their_order(api):
    page = api.list_workflow_deployment_releases(NAME, limit=1, offset=1, ordering="created")
    assert page.count == 3
    assert [release.description for release in page.results] == ["Release 2"]


@pytest.mark.parametrize("tag", ["v1", "v2", "production", "LATEST"])
def test_release_is_retrieved_by_tag_or_id(api, tag):
    release = api.retrieve_workflow_deployment_release(NAME, tag)
    assert tag in [each.name for each in release.release_tags]
    assert api.retrieve_workflow_deployment_release(NAME, release.id) == release
    assert release.workflow_version.input_variables[0].key == "text"


@pytest.mark.parametrize("release", ["v9", UUID, "a b", "ä"])
def test_unknown_release_is_a_404(api, release):
    assert missing(api.retrieve_workflow_deployment_release, NAME, release) == 404


def test_release_of_another_deployment_is_a_404(api):
    other = api.retrieve_workflow_deployment_release("echo", "LATEST").id
    assert missing(api.retrieve_workflow_deployment_release, NAME, other) == 404


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (None, {"LATEST", "v1", "v2", "v3", "production"}),
        ("SYSTEM", {"LATEST"}),
        ("USER", {"v1", "v2", "v3", "production"}),
    ],
)
def test_release_tags_are_listed_by_source(api, source, names):
    page = api.list_workflow_release_tags(NAME, source=source)
    assert {tag.name for tag in page.results} == names
    assert page.count == len(names)


def test_release_tags_are_paged_in_their_order(api):
    page = api.list_workflow_release_tags(NAME, limit=2, offset=1, ordering="name")
    assert [tag.name for tag in page.results] == ["production", "v1"]
    assert page.next
    assert page.previous


def test_release_tag_has_its_release(api):
    tag = api.retrieve_workflow_release_tag(NAME, "production")
    release = api.retrieve_workflow_deployment_release(NAME, "v2")
    assert tag.release.id == tag.history_item.id == release.id


@pytest.mark.parametrize("tag", ["v9", "latest", "a b", UUID])
def test_unknown_release_tag_is_a_404(api, tag):
    assert missing(api.retrieve_workflow_release_tag, NAME, tag) == 404


def test_release_tag_is_moved(movable):
    api, (_, second, third) = movable
    tag = api.update_workflow_release_tag(NAME, "production", history_item_id=second.id)
    assert (tag.name, tag.release.id) == ("production", second.id)
    assert api.retrieve_workflow_deployment_release(NAME, "production").id == second.id
    assert api.retrieve_workflow_deployment_release(NAME, "v3").id == third.id


def test_release_tag_stays_without_a_release(movable):
    api, (first, *_) = movable
    assert api.update_workflow_release_tag(NAME, "production").release.id == first.id
    unchanged = api.update_workflow_release_tag(NAME, "production", history_item_id=None)
    assert unchanged.release.id == first.id


@pytest.mark.parametrize(
    ("tag", "item", "status"),
    [("LATEST", None, 400), ("production", UUID, 404), ("v9", None, 404),
     ("production", "no-uuid", 400)],
)  # fmt: skip
def test_invalid_move_is_refused(movable, tag, item, status):
    api, (first, *_) = movable
    given = item or first.id
    assert missing(api.update_workflow_release_tag, NAME, tag, history_item_id=given) == status
    assert api.retrieve_workflow_deployment_release(NAME, "production").id == first.id


@pytest.mark.parametrize("item", ["v1", "LATEST"])
def test_history_item_is_the_release(api, item):
    stored = api.workflow_deployment_history_item_retrieve(item, NAME)
    release = api.retrieve_workflow_deployment_release(NAME, item)
    assert (stored.id, stored.name) == (release.id, NAME)
    assert api.workflow_deployment_history_item_retrieve(release.id, NAME) == stored


def test_unknown_history_item_is_a_404(api):
    assert missing(api.workflow_deployment_history_item_retrieve, "v9", NAME) == 404

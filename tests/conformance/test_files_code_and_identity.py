"""Uploaded files, pulled code and identity, by the official client."""

import io
import zipfile

import pytest
import requests
from conformance_kit import UUID, ApiError, BadRequestError, outputs, run, v


def fetched(url):
    answer = requests.get(url, timeout=20)
    assert answer.status_code == 200
    return answer.content


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"\x00\xff" * 1000, ("hällo.txt", b"hi", "text/plain"), io.BytesIO(b"stream")],
    ids=["nothing", "bytes", "binary", "named", "stream"],
)
def test_uploaded_file_can_be_fetched(client, content):
    created = client.uploaded_files.create(file=content)
    expected = content[1] if isinstance(content, tuple) else content
    expected = expected.getvalue() if isinstance(expected, io.BytesIO) else expected
    found = client.uploaded_files.retrieve(created.id)
    assert found.id == created.id
    assert fetched(found.file_url) == expected


@pytest.mark.parametrize("seconds", [1, 3600, 2592000, 0, 99999999])
def test_any_expiry_is_accepted(client, seconds):
    created = client.uploaded_files.create(file=b"x")
    assert client.uploaded_files.retrieve(created.id, expiry_seconds=seconds).file_url


def test_a_file_is_replaced(client):
    created = client.uploaded_files.create(file=b"old")
    replaced = client.uploaded_files.update(created.id, file=b"new")
    assert replaced.id == created.id
    assert fetched(replaced.file_url) == b"new"


@pytest.mark.parametrize("id_", [UUID, "no-uuid"])
def test_unknown_file_is_a_404(client, id_):
    with pytest.raises(ApiError) as caught:
        client.uploaded_files.retrieve(id_)
    assert caught.value.status_code == 404
    with pytest.raises(ApiError) as caught:
        client.uploaded_files.update(id_, file=b"x")
    assert caught.value.status_code == 404


def test_an_uploaded_file_is_an_input(client):
    created = client.uploaded_files.create(file=("a.txt", b"hello", "text/plain"))
    document = v.WorkflowRequestDocumentInputRequest(
        name="document", value=v.VellumDocumentRequest(src=f"vellum:uploaded-file:{created.id}")
    )
    came = outputs(run(client, "echo-media", document))["came"]["document"]
    assert came["src"] == "data:text/plain;base64,aGVsbG8="


def test_unknown_file_is_an_invalid_input(client):
    document = v.WorkflowRequestDocumentInputRequest(
        name="document", value=v.VellumDocumentRequest(src=f"vellum:uploaded-file:{UUID}")
    )
    with pytest.raises(BadRequestError) as caught:
        run(client, "echo-media", document)
    assert UUID in caught.value.body["detail"]


def pulled(client, name, **options):
    return b"".join(client.workflows.pull(name, **options))


@pytest.mark.parametrize("tag", [None, "v1", "LATEST"])
def test_the_code_of_a_release_is_an_archive(client, tag):
    content = pulled(client, "hällo wörld", release_tag=tag)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert any("def say" in archive.read(n).decode() for n in archive.namelist())


def test_options_of_a_pull_are_accepted(client):
    names = ("exclude_display", "include_json", "include_sandbox", "strict")
    options = dict.fromkeys(names, True)
    content = pulled(client, "echo", exclude_code=False, version="1.14.8", **options)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert any(name.endswith(".json") for name in archive.namelist())


@pytest.mark.parametrize(("name", "options"), [("nope", {}), ("echo", {"release_tag": "v9"})])
def test_unknown_code_is_a_404(client, name, options):
    with pytest.raises(ApiError) as caught:
        pulled(client, name, **options)
    assert caught.value.status_code == 404


def test_identity_is_that_of_the_local_server(client):
    environment = client.environments.environment_identity()
    workspace = client.workspaces.workspace_identity()
    organization = client.organizations.organization_identity()
    assert (environment.name, workspace.name, organization.name) == ("local", "local", "Local")
    assert environment.id
    assert workspace.created
    assert organization.new_member_join_behavior == "REQUIRE_EXPLICIT_INVITE"

"""Uploaded files: kept, served to those with a signed address, and put into inputs."""

import time
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests
from execution_kit import inputs

from vellum_nb.local import LocalServer

FILES = "/v1/uploaded-files"
PART = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nhello\r\n'


def upload(api: Any, content: bytes = b"hello", name: str = "a.txt", kind: str = "text/plain"):
    answer = api.call("POST", FILES, files={"file": (name, content, kind)})
    assert answer.status_code == 201, answer.text
    return answer.json()


def opened(url: str) -> requests.Response:
    """Open an address as a browser would: without a key."""
    return requests.get(url, timeout=120)


def changed(url: str, **changes: str) -> str:
    parts = urlsplit(url)
    return parts._replace(query=urlencode(dict(parse_qsl(parts.query)) | changes)).geturl()


def test_a_file_is_served_as_a_download(api):
    file = upload(api, b"<script>alert(1)</script>", "é.html", "text/html")
    headers = opened(file["file_url"]).headers
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%A9.html"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("name", "kind", "served"),
    [
        ("a.png", "image/png", "image/png"),
        ("a.png", "application/octet-stream", "image/png"),
        ("upload", "no type at all", "application/octet-stream"),
    ],
)
def test_a_file_has_the_type_it_was_sent_with_or_that_its_name_shows(api, name, kind, served):
    assert opened(upload(api, b"x", name, kind)["file_url"]).headers["Content-Type"] == served


def test_an_address_that_was_changed_opens_nothing(api):
    one, other = upload(api), upload(api)
    url = one["file_url"]
    for wrong in (
        changed(url, token="0" * 64),
        changed(url, token="ä"),
        changed(url, expires="99999999999"),
        url.replace(one["id"], other["id"]),
        url.partition("?")[0],
    ):
        answer = opened(wrong)
        assert answer.status_code == 403
        assert "retrieve the file again" in answer.json()["detail"]


def test_an_address_that_has_expired_opens_nothing(api):
    file = upload(api)
    url = api.get(f"{FILES}/{file['id']}?expiry_seconds=1").json()["file_url"]
    until = time.monotonic() + 120
    while opened(url).status_code == 200 and time.monotonic() < until:
        time.sleep(0.1)
    assert opened(url).status_code == 403
    assert opened(file["file_url"]).status_code == 200


@pytest.mark.parametrize(
    "options",
    [
        {"json": {"file": "x"}},
        {"data": b""},
        {"files": {"document": b"x"}},
        {"data": b"x", "headers": {"Content-Type": "multipart/form-data"}},
        {"data": PART, "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        {"data": PART + b"--x--", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
    ],
)
def test_a_body_without_a_file_is_refused(api, options):
    answer = api.call("POST", FILES, **options)
    assert answer.status_code == 400
    assert answer.json()["detail"]


def test_addresses_of_files_survive_a_restart(tmp_path, asking):
    with LocalServer(data=tmp_path) as server:
        file = upload(asking(server), b"kept")
        old = server.url
    with LocalServer(data=tmp_path) as server:
        assert opened(file["file_url"].replace(old, server.url)).content == b"kept"


def test_a_file_in_a_chat_message_is_replaced_by_its_content(api):
    file = upload(api, b"doc", "a.pdf", "application/pdf")
    source = {"src": f"vellum:uploaded-file:{file['id']}"}
    content = {"type": "ARRAY", "value": [{"type": "DOCUMENT", "value": source}]}
    chat = [{"role": "USER", "content": content}]
    outputs = api.run("every-type", chat=("CHAT_HISTORY", chat))["outputs"]
    value = next(output["value"] for output in outputs if output["name"] == "chat")
    assert value[0]["content"]["value"][0]["value"]["src"] == "data:application/pdf;base64,ZG9j"


def test_a_trace_has_the_address_of_a_file(api):
    file = upload(api, b"x" * 100_000, "a.png", "image/png")
    source = {"src": f"vellum:uploaded-file:{file['id']}"}
    answer = api.send(workflow_deployment_name="media", inputs=inputs(image=("IMAGE", source)))
    detail = api.get(f"/v1/workflow-executions/{answer.json()['execution_id']}/detail").json()
    assert detail["inputs"][0]["value"] == source
    assert detail["spans"]
    for span in detail["spans"]:
        assert span["events"][0]["body"]["inputs"]["image"] == source

"""Uploaded files and pulled code."""

import email.policy
from email.parser import BytesParser

import pytest

from vellum_nb import errors

FILE = {"id": "f-1", "file_url": "https://storage.example.com/signed"}
ZIP = b"PK\x03\x04 and so on \x00\xff"


def parts(seen):
    head = f"Content-Type: {seen.headers['content-type']}\r\n\r\n".encode()
    parser = BytesParser(policy=email.policy.HTTP)
    return list(parser.parsebytes(head + seen.body).iter_parts())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("upload", "application/octet-stream"),
        ("caf\u00e9 \U0001f600.png", "image/png"),
        ("a b.pdf", "application/pdf"),
    ],
)
def test_file_is_uploaded_unchanged(server, client, name, kind):
    server.will(server.reply(201, FILE))
    content = bytes(range(256)) * 50
    uploaded = client.upload_file(content, filename=name)
    assert uploaded.src == "vellum:uploaded-file:f-1"
    (part,) = parts(server.seen[0])
    assert part.get_content_type() == kind
    assert part.get_param("name", header="content-disposition") == "file"
    assert content in server.seen[0].body
    assert name.encode() in server.seen[0].body


def test_file_name_cannot_add_headers(server, client):
    server.will(server.reply(201, FILE))
    client.upload_file(b"x", filename='a"\r\nX-Evil: 1\r\n\r\n.txt')
    (part,) = parts(server.seen[0])
    assert part["X-Evil"] is None
    assert part.get_payload() == "x"


def test_upload_is_not_retried(server, client):
    server.will(server.reset())
    with pytest.raises(errors.APIConnectionError, match="not sent again"):
        client.upload_file(b"x")
    assert len(server.seen) == 1


def test_pulled_code_is_unchanged(server, client):
    server.will(server.reply(200, ZIP, headers={"Content-Type": "application/zip"}))
    found = client.pull("w", release_tag="v 2", exclude_code=False, include_json=True, version="1")
    assert found == ZIP
    assert server.seen[0].target == (
        "/v1/workflows/w/pull?release_tag=v+2&exclude_code=false&include_json=true&version=1"
    )
    assert server.seen[0].headers["accept"] == "*/*"

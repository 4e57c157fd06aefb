"""Replies of a server: messages of errors, and lenient models."""

import pytest
from client_kit import execute, failure

from vellum_nb import errors
from vellum_nb.client import Client

GATEWAY_HTML = b"<html><body>Bad Gateway</body></html>"
DEEP = (b"[" * 100_000, b"[" * 950 + b"]" * 950)
BAD = errors.BadRequestError


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (400, {"detail": "Missing required input: 'q'"}, BAD, "Missing required input: 'q'."),
        (400, {"inputs": ["This field is required."]}, BAD, "inputs: This field is required."),
        (400, {"non_field_errors": ["Give a name"]}, BAD, "Bad Request: Give a name."),
        (400, {"detail": {"code": "x", "message": "nested"}}, BAD, "code: x; nested."),
        (400, {"detail": "no", "diffs": [1]}, BAD, "no; diffs: 1."),
        (400, ["first", "second"], BAD, "first; second."),
        (400, b"plain words", BAD, "plain words."),
        (400, GATEWAY_HTML, BAD, "answered 400 Bad Request. Change the request"),
        (400, b"", BAD, "answered 400 Bad Request. Change the request"),
        (400, b"\xff\xfe", BAD, "answered 400 Bad Request"),
        (400, rb'{"detail": "<b> has half of a pair: \ud83d"}', BAD, "<b> has half of a pair: ?"),
        *((400, deep, BAD, "answered 400 Bad Request") for deep in DEEP),
        (401, {}, errors.AuthenticationError, "answered 401"),
        (413, {}, errors.APIStatusError, "answered 413"),
        (421, {"update_active_workspace_id": "w"}, errors.APIStatusError, "another workspace"),
        (599, {}, errors.ServerError, "answered 599"),
    ],
)
def test_message_contains_the_body_of_an_error(server, client, status, body, *, kind, said):
    server.will(server.reply(status, body))
    error = failure(client)
    assert type(error) is kind
    assert said in str(error)
    assert f"POST {server.url}/v1/execute-workflow answered {status}" in str(error)
    assert str(error).encode()


@pytest.mark.parametrize(
    ("body", "reason", "is_whole"),
    [
        (b"<html>login</html>", "Invalid JSON", False),
        (b"", "Invalid JSON", False),
        (b'{"execution_id": "e-1", "data": {"id"', "Invalid JSON", False),
        (b"[]", "object", False),
        *((deep, "not as the API does", None) for deep in DEEP),
        (b"{}", "execution_id: Field required", True),
    ],
)
def test_reply_that_violates_the_contract_is_an_error(server, client, body, reason, is_whole):
    server.will(server.reply(200, body))
    error = failure(client)
    assert type(error) is errors.APIResponseError
    assert error.sent is True
    assert is_whole in (None, error.is_whole)
    assert reason in str(error)
    assert "Check that the address is that of a Vellum API." in str(error)


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"\n "])
def test_odd_but_readable_json_is_read(server, client, prefix):
    outputs = b'[{"name": "a", "type": "HOLOGRAM", "value": {"x": 1}, "new": 1}, {"name": "b"}]'
    body = rb'{"execution_id": "e\ud800", "more": NaN, "data": {"state": "NEW", "outputs": %b}}'
    server.will(server.reply(201, prefix + body % outputs))
    reply = execute(client)
    assert (reply.execution_id, reply.data.state) == ("e?", "NEW")
    first, second = reply.data.outputs
    assert (first.type, first.value, second.value) == ("HOLOGRAM", {"x": 1}, None)


def test_redirect_to_an_invalid_address_is_reported(server, client):
    server.will(server.reply(307, b"", headers={"Location": "http://[bad"}))
    assert "points to" in str(failure(client))


@pytest.mark.parametrize("wait", ["inf", "1e400"])
def test_infinite_wait_is_not_reported(server, client, wait):
    server.will(server.reply(404, {"detail": "no"}, headers={"Retry-After": wait}))
    error = failure(client)
    assert isinstance(error, errors.NotFoundError)
    assert "inf" not in str(error)


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example", ".example"])
def test_invalid_host_name_is_reported_as_unknown(host):
    with Client(api_key="k", base_url=f"https://{host}") as client:
        error = failure(client)
    assert "the host name is unknown" in str(error)
    assert error.sent is False

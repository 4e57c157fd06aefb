"""What the answers of a server become: errors that say what it said, and lenient models."""

import pytest
from client_kit import execute, failure

from vellum_nb import errors
from vellum_nb.client import Client

GATEWAY_HTML = b"<html><body>Bad Gateway</body></html>"
DEEP = b"[" * 100_000
CLOSED = b"[" * 950 + b"]" * 950
NEGATIVE_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"detail": "Missing required input: 'q'"}, "Missing required input: 'q'."),
        ({"inputs": ["This field is required."]}, "inputs: This field is required."),
        ({"non_field_errors": ["Give a name or an id"]}, "Bad Request: Give a name or an id."),
        ({"detail": {"code": "x", "message": "nested"}}, "code: x; nested."),
        ({"detail": "no", "diffs": [1]}, "no; diffs: 1."),
        (["first", "second"], "first; second."),
        (b"plain words", "plain words."),
        (GATEWAY_HTML, "answered 400 Bad Request. Change the request"),
        (b"", "answered 400 Bad Request. Change the request"),
        (b"\xff\xfe", "answered 400 Bad Request"),
    ],
)
def test_whatever_an_error_body_says_is_in_the_message(server, client, body, said):
    server.will(server.reply(400, body))
    error = failure(client)
    assert isinstance(error, errors.BadRequestError)
    assert said in str(error)
    assert f"POST {server.url}/v1/execute-workflow answered 400" in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, errors.AuthenticationError), (413, errors.APIStatusError), (599, errors.ServerError)],
)
def test_other_statuses_have_the_error_of_their_kind(server, client, status, kind):
    server.will(server.reply(status, {}))
    assert type(failure(client)) is kind


@pytest.mark.parametrize(
    ("body", "reason", "is_whole"),
    [
        (b"<html>login</html>", "Invalid JSON", False),
        (b"", "Invalid JSON", False),
        (b'{"execution_id": "e-1", "data": {"id"', "Invalid JSON", False),
        (b"[]", "object", False),
        (b"{}", "execution_id: Field required", True),
    ],
)
def test_a_reply_that_is_not_the_contract_is_said_to_be(server, client, body, reason, *, is_whole):
    server.will(server.reply(200, body))
    error = failure(client)
    assert type(error) is errors.APIResponseError
    assert error.sent is True
    assert error.is_whole is is_whole
    assert reason in str(error)
    assert "Check that the address is that of a Vellum API." in str(error)


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"\n "])
def test_odd_but_readable_json_is_read(server, client, prefix):
    body = prefix + rb'{"execution_id": "e\ud800", "more": NaN, "data": {"state": "NEW"}}'
    server.will(server.reply(201, body))
    reply = execute(client)
    assert (reply.execution_id, reply.data.state) == ("e?", "NEW")


def test_unknown_fields_types_and_missing_values_do_not_break_a_run(server, client, fulfilled):
    outputs = [{"name": "a", "type": "HOLOGRAM", "value": {"x": 1}, "new": 1}, {"name": "b"}]
    fulfilled["data"]["outputs"] = outputs
    server.will(server.reply(200, fulfilled))
    first, second = execute(client).data.outputs
    assert (first.type, first.value, second.value) == ("HOLOGRAM", {"x": 1}, None)


@pytest.mark.parametrize("body", [DEEP, CLOSED])
def test_json_nested_too_deep_is_a_bad_answer_with_its_status(server, client, body):
    server.will(server.reply(200, body), server.reply(400, body))
    with pytest.raises(errors.APIResponseError, match="not as the API does"):
        execute(client)
    with pytest.raises(errors.BadRequestError, match="answered 400 Bad Request"):
        execute(client)


def test_a_reason_is_told_in_text_that_can_be_printed_and_sent_on(server, client):
    server.will(server.reply(400, rb'{"detail": "<b> has half of a pair: \ud83d"}'))
    with pytest.raises(errors.BadRequestError, match="<b> has half of a pair: [?]") as caught:
        execute(client)
    assert str(caught.value).encode()


def test_a_chunk_of_negative_length_is_a_lost_connection(server, client):
    server.will(server.raw(NEGATIVE_CHUNK))
    with pytest.raises(errors.APIConnectionError) as caught:
        execute(client)
    assert caught.value.sent is True
    assert len(server.seen) == 1


def test_a_redirect_to_no_address_is_shown_as_that(server, client):
    server.will(server.reply(307, b"", headers={"Location": "http://[bad"}))
    with pytest.raises(errors.APIStatusError, match="points to"):
        execute(client)


@pytest.mark.parametrize("wait", ["inf", "1e400"])
def test_a_wait_for_ever_is_not_promised(server, client, wait):
    server.will(server.reply(404, {"detail": "no"}, headers={"Retry-After": wait}))
    with pytest.raises(errors.NotFoundError) as caught:
        execute(client)
    assert "inf" not in str(caught.value)


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example", ".example"])
def test_a_host_name_that_cannot_be_is_said_to_be_unknown(host):
    with (
        Client(api_key="k", base_url=f"https://{host}") as client,
        pytest.raises(errors.APIConnectionError, match="the host name is unknown") as caught,
    ):
        execute(client)
    assert caught.value.sent is False


@pytest.mark.parametrize(
    "url", ["http://é℀.example", "http://x\n.example", "http://a b", "http://[x"]
)
def test_an_address_that_is_none_is_refused_at_once(url):
    with pytest.raises(errors.VellumNBError, match="is not an http:// or https:// URL"):
        Client(api_key="k", base_url=url)


@pytest.mark.parametrize("name", ["\ud800", None, 5])
def test_a_name_that_is_no_text_is_refused(server, client, name):
    with pytest.raises(errors.InputError, match="cannot name a deployment|does not fit"):
        client.retrieve_workflow_deployment(name)
    assert server.seen == []

"""What the answers of a server become: errors that say what it said, and lenient models."""

from __future__ import annotations

from typing import Any

import pytest

from vellum_nb import errors
from vellum_nb.client import Client

GATEWAY_HTML = b"<html><body>Bad Gateway</body></html>"


def execute(client: Client, **options: Any) -> Any:
    return client.execute_workflow({"q": "hi"}, workflow_deployment_name="w", **options)


def failure(client: Client) -> errors.APIError:
    with pytest.raises(errors.APIError) as caught:
        execute(client)
    return caught.value


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
def test_whatever_an_error_body_says_is_in_the_message(
    server: Any, client: Client, body: object, said: str
) -> None:
    server.will(server.reply(400, body))
    error = failure(client)
    assert isinstance(error, errors.BadRequestError)
    assert said in str(error)
    assert f"POST {server.url}/v1/execute-workflow answered 400" in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, errors.AuthenticationError), (413, errors.APIStatusError), (599, errors.ServerError)],
)
def test_other_statuses_have_the_error_of_their_kind(
    server: Any, client: Client, status: int, kind: type
) -> None:
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
def test_a_reply_that_is_not_the_contract_is_said_to_be(
    server: Any, client: Client, body: bytes, reason: str, *, is_whole: bool
) -> None:
    server.will(server.reply(200, body))
    error = failure(client)
    assert type(error) is errors.APIResponseError
    assert error.sent is True
    assert error.is_whole is is_whole
    assert reason in str(error)
    assert "Check that the address is that of a Vellum API." in str(error)


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"\n "])
def test_odd_but_readable_json_is_read(server: Any, client: Client, prefix: bytes) -> None:
    body = prefix + rb'{"execution_id": "e\ud800", "more": NaN, "data": {"state": "NEW"}}'
    server.will(server.reply(201, body))
    reply = execute(client)
    assert (reply.execution_id, reply.data.state) == ("e?", "NEW")


def test_unknown_fields_types_and_missing_values_do_not_break_a_run(
    server: Any, client: Client, fulfilled: dict[str, Any]
) -> None:
    outputs = [{"name": "a", "type": "HOLOGRAM", "value": {"x": 1}, "new": 1}, {"name": "b"}]
    fulfilled["data"]["outputs"] = outputs
    server.will(server.reply(200, fulfilled))
    first, second = execute(client).data.outputs
    assert (first.type, first.value, second.value) == ("HOLOGRAM", {"x": 1}, None)

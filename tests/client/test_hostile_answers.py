"""Answers that no honest server gives, and addresses that cannot be, end in errors of ours."""

from __future__ import annotations

from typing import Any

import pytest

from vellum_nb import errors
from vellum_nb.client import Client

DEEP = b"[" * 100_000
CLOSED = b"[" * 950 + b"]" * 950
NEGATIVE_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc"


def execute(client: Client) -> None:
    client.execute_workflow({"q": "hi"}, workflow_deployment_name="w")


@pytest.mark.parametrize("body", [DEEP, CLOSED])
def test_json_nested_too_deep_is_a_bad_answer(server: Any, client: Client, body: bytes) -> None:
    server.will(server.reply(200, body))
    with pytest.raises(errors.APIResponseError, match="not as the API does"):
        execute(client)


@pytest.mark.parametrize("body", [DEEP, CLOSED])
def test_an_error_body_nested_too_deep_keeps_its_status(
    server: Any, client: Client, body: bytes
) -> None:
    server.will(server.reply(400, body))
    with pytest.raises(errors.BadRequestError, match="answered 400 Bad Request"):
        execute(client)


def test_a_reason_is_told_in_text_that_can_be_printed_and_sent_on(
    server: Any, client: Client
) -> None:
    server.will(server.reply(400, rb'{"detail": "<b> has half of a pair: \ud83d"}'))
    with pytest.raises(errors.BadRequestError, match="<b> has half of a pair: [?]") as caught:
        execute(client)
    assert str(caught.value).encode()


def test_a_chunk_of_negative_length_is_a_lost_connection(server: Any, client: Client) -> None:
    server.will(server.raw(NEGATIVE_CHUNK))
    with pytest.raises(errors.APIConnectionError) as caught:
        execute(client)
    assert caught.value.sent is True
    assert len(server.seen) == 1


def test_a_redirect_to_no_address_is_shown_as_that(server: Any, client: Client) -> None:
    server.will(server.reply(307, b"", headers={"Location": "http://[bad"}))
    with pytest.raises(errors.APIStatusError, match="points to"):
        execute(client)


@pytest.mark.parametrize("wait", ["inf", "1e400"])
def test_a_wait_for_ever_is_not_promised(server: Any, client: Client, wait: str) -> None:
    server.will(server.reply(404, {"detail": "no"}, headers={"Retry-After": wait}))
    with pytest.raises(errors.NotFoundError) as caught:
        execute(client)
    assert "inf" not in str(caught.value)


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example", ".example"])
def test_a_host_name_that_cannot_be_is_said_to_be_unknown(host: str) -> None:
    with (
        Client(api_key="k", base_url=f"https://{host}") as client,
        pytest.raises(errors.APIConnectionError, match="the host name is unknown") as caught,
    ):
        execute(client)
    assert caught.value.sent is False


@pytest.mark.parametrize(
    "url", ["http://é℀.example", "http://x\n.example", "http://a b", "http://[x"]
)
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(errors.VellumNBError, match="is no http:// or https:// URL"):
        Client(api_key="k", base_url=url)


@pytest.mark.parametrize("name", ["\ud800", None, 5])
def test_a_name_that_is_no_text_is_refused(server: Any, client: Client, name: Any) -> None:
    with pytest.raises(errors.InputError, match="cannot name a deployment|does not fit"):
        client.retrieve_workflow_deployment(name)
    assert server.seen == []

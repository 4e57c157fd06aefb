"""What a caller sees when the network or the server fails, and what is sent again."""

from __future__ import annotations

import copy
import logging
import pickle
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

from vellum_nb import errors
from vellum_nb.client import Client
from vellum_nb.models import Cancellation

SHORT_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"
GATEWAY_HTML = b"<html><body>Bad Gateway</body></html>"
IDENTITY = {"name": "production", "label": "Production"}


def execute(client: Client, **options: Any) -> Any:
    return client.execute_workflow({"q": "hi"}, workflow_deployment_name="w", **options)


def failure(client: Client) -> errors.APIError:
    with pytest.raises(errors.APIError) as caught:
        execute(client)
    return caught.value


def test_a_refused_connection_is_tried_four_times_and_said_not_to_be_sent(dead_url: str) -> None:
    with Client(api_key="k", base_url=dead_url) as client:
        start = time.perf_counter()
        error = failure(client)
    assert type(error) is errors.APIConnectionError
    assert error.sent is False
    assert f"POST {dead_url}/v1/execute-workflow failed: Connection refused." in str(error)
    assert "Nothing was sent" in str(error)
    assert time.perf_counter() - start > 1.75


def test_a_refused_execution_runs_when_the_server_comes_up(
    late_server: Any, fulfilled: dict[str, Any]
) -> None:
    late_server.will(late_server.reply(200, fulfilled))

    class StartsServer(Cancellation):
        def wait(self, seconds: float) -> bool:
            late_server.listen()
            return super().wait(seconds)

    with Client(api_key="k", base_url=late_server.url) as client:
        assert execute(client, cancel=StartsServer()).execution_id == "e-1"
    assert len(late_server.seen) == 1


@pytest.mark.parametrize("content", [b"", SHORT_HEAD, CHUNKED_HEAD])
def test_an_execution_cut_off_after_it_was_sent_is_never_sent_again(
    server: Any, client: Client, fulfilled: dict[str, Any], content: bytes
) -> None:
    server.will(server.reset(content), server.reply(200, fulfilled))
    error = failure(client)
    assert isinstance(error, errors.APIConnectionError)
    assert error.sent is True
    assert "it was not sent again" in str(error)
    assert len(server.seen) == 1


@pytest.mark.parametrize("content", [b"", SHORT_HEAD, CHUNKED_HEAD])
def test_a_connection_closed_in_mid_reply_is_an_error_not_half_a_reply(
    server: Any, client: Client, content: bytes
) -> None:
    server.will(server.raw(content))
    assert isinstance(failure(client), errors.APIConnectionError)
    assert len(server.seen) == 1


def test_a_read_that_was_cut_off_is_sent_again(server: Any, client: Client) -> None:
    server.will(server.reset(), server.reset(SHORT_HEAD), server.reply(200, IDENTITY))
    assert client.environment_identity().name == "production"
    assert len(server.seen) == 3


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_execution_that_a_server_failed_is_not_sent_again(
    server: Any, client: Client, fulfilled: dict[str, Any], status: int
) -> None:
    server.will(server.reply(status, {"detail": "boom"}), server.reply(200, fulfilled))
    error = failure(client)
    assert isinstance(error, errors.ServerError)
    assert (error.status_code, error.body) == (status, {"detail": "boom"})
    assert "boom. The server failed; look whether the execution ran" in str(error)
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_read_that_a_gateway_failed_is_sent_again(
    server: Any, client: Client, status: int
) -> None:
    server.will(server.reply(status, GATEWAY_HTML), server.reply(200, IDENTITY))
    assert client.environment_identity().label == "Production"


@pytest.mark.parametrize("status", [429, 503])
def test_an_execution_is_sent_again_when_the_server_says_when(
    server: Any, client: Client, fulfilled: dict[str, Any], status: int
) -> None:
    busy = server.reply(status, {"detail": "busy"}, headers={"Retry-After": "1"})
    server.will(busy, server.reply(200, fulfilled))
    start = time.perf_counter()
    assert execute(client).execution_id == "e-1"
    assert 1.0 <= time.perf_counter() - start < 3
    assert [seen.body for seen in server.seen] == [server.seen[0].body] * 2


def test_a_date_to_come_back_at_is_understood(
    server: Any, client: Client, fulfilled: dict[str, Any]
) -> None:
    past = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    server.will(server.reply(429, {}, headers=past), server.reply(200, fulfilled))
    assert execute(client).execution_id == "e-1"


def test_after_four_tries_too_many_requests_is_an_error(server: Any, client: Client) -> None:
    server.will(server.reply(429, {"detail": "slow down"}, headers={"Retry-After": "0"}))
    error = failure(client)
    assert isinstance(error, errors.RateLimitError)
    assert "slow down" in str(error)
    assert "lower the concurrency" in str(error)
    assert len(server.seen) == 4


def test_a_server_that_stays_silent_is_a_timeout(server: Any) -> None:
    server.will(server.hang())
    with Client(api_key="k", base_url=server.url, timeout=(5, 0.2)) as client:
        error = failure(client)
        assert isinstance(error, errors.APITimeoutError)
        assert error.sent is True
        assert "got no answer within 0.2 s" in str(error)
        with pytest.raises(errors.APITimeoutError):
            client.environment_identity()
    assert len(server.seen) == 2


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
    ("body", "reason"),
    [
        (b"<html>login</html>", "Invalid JSON"),
        (b"", "Invalid JSON"),
        (b'{"execution_id": "e-1", "data": {"id"', "Invalid JSON"),
        (b"[]", "object"),
        (b"{}", "execution_id: Field required"),
    ],
)
def test_a_reply_that_is_not_the_contract_is_said_to_be(
    server: Any, client: Client, body: bytes, reason: str
) -> None:
    server.will(server.reply(200, body))
    error = failure(client)
    assert type(error) is errors.APIResponseError
    assert error.sent is True
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


@pytest.mark.parametrize("status", [307, 308])
def test_an_execution_follows_a_redirect_on_the_same_host(
    server: Any, client: Client, fulfilled: dict[str, Any], status: int
) -> None:
    moved = server.reply(status, {}, headers={"Location": "/new/v1/execute-workflow"})
    server.will(moved, server.reply(200, fulfilled))
    assert execute(client).execution_id == "e-1"
    first, second = server.seen
    assert (second.method, second.target) == ("POST", "/new/v1/execute-workflow")
    assert second.body == first.body


def test_a_read_follows_any_redirect_on_the_same_host(server: Any, client: Client) -> None:
    moved = server.reply(301, {}, headers={"Location": f"{server.url}/v1/x/?a=1"})
    server.will(moved, server.reply(200, IDENTITY))
    assert client.environment_identity().name == "production"
    assert server.seen[1].target == "/v1/x/?a=1"


@pytest.mark.parametrize("status", [301, 302, 303])
def test_an_execution_never_becomes_a_read(server: Any, client: Client, status: int) -> None:
    server.will(server.reply(status, {}, headers={"Location": "/elsewhere"}))
    assert isinstance(failure(client), errors.APIStatusError)
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nothing_goes_to_another_host(
    server: Any, tls_server: Any, client: Client, status: int
) -> None:
    where = f"{tls_server.url}/v1/execute-workflow?token=secret"
    server.will(server.reply(status, {}, headers={"Location": where}))
    tls_server.will(tls_server.reply(200, IDENTITY))
    for call in (lambda: execute(client), client.environment_identity):
        with pytest.raises(errors.APIStatusError, match="It points to https://") as caught:
            call()
        assert "secret" not in str(caught.value)
    assert tls_server.seen == []


def test_a_circle_of_redirects_ends(server: Any, client: Client) -> None:
    server.will(server.reply(307, {}, headers={"Location": "/round"}))
    assert failure(client).status_code == 307
    assert len(server.seen) == 6


def test_proxies_of_the_environment_are_used(
    server: Any, fulfilled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.will(server.reply(200, fulfilled))
    with Client(api_key="k", base_url="http://vellum.example/api") as client:
        execute(client)
    (seen,) = server.seen
    assert seen.target == "http://vellum.example/api/v1/execute-workflow"
    assert seen.headers["host"] == "vellum.example"


def test_no_proxy_of_the_environment_is_honoured(
    server: Any, dead_url: str, fulfilled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", dead_url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server.will(server.reply(200, fulfilled))
    with Client(api_key="k", base_url=server.url) as client:
        assert execute(client).execution_id == "e-1"


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificate_authorities_of_the_environment_are_trusted(
    tls_server: Any,
    fulfilled: dict[str, Any],
    authority: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(name, str(authority))
    tls_server.will(tls_server.reply(200, fulfilled))
    with Client(api_key="k", base_url=tls_server.url) as client:
        assert execute(client).execution_id == "e-1"
        assert execute(client).execution_id == "e-1"
    assert len({seen.connection for seen in tls_server.seen}) == 1


def test_an_unknown_certificate_is_refused_at_once(tls_server: Any) -> None:
    with Client(api_key="k", base_url=tls_server.url) as client:
        error = failure(client)
    assert error.sent is False
    assert "certificate verify failed" in str(error)
    assert "set REQUESTS_CA_BUNDLE" in str(error)
    assert tls_server.seen == []


def test_one_connection_serves_call_after_call(
    server: Any, client: Client, fulfilled: dict[str, Any]
) -> None:
    server.will(server.reply(200, fulfilled))
    for _ in range(3):
        execute(client)
    assert [seen.connection for seen in server.seen] == [1, 1, 1]


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(
    server: Any, client: Client, fulfilled: dict[str, Any]
) -> None:
    server.will(server.reply(200, fulfilled, keep=False), server.reply(200, fulfilled))
    execute(client)
    server._threads[1].join()
    execute(client)
    assert [seen.connection for seen in server.seen] == [1, 2]


def test_the_key_is_never_shown(
    server: Any, dead_url: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = {"detail": f"bad key {key}"}
    moved = {"Location": f"http://other.example/{key}"}
    server.will(
        server.reply(403, echo),
        server.reply(200, key.encode()),
        server.reply(302, echo, headers=moved),
        server.reset(),
    )
    shown = []
    with Client(api_key=key, base_url=server.url) as client:
        caught = [failure(client) for _ in range(4)]
        shown += [repr(client), str(vars(client)), str(vars(client._sender))]
        shown += [repr(client._sender._headers), repr(client._sender._headers.copy())]
    with Client(api_key=key, base_url=dead_url) as client:
        caught.append(failure(client))
    for error in caught:
        whole = traceback.TracebackException.from_exception(error, capture_locals=True)
        shown += ["".join(whole.format()), str(error), repr(error), str(vars(error))]
        assert error.__context__ is None
        assert error.__cause__ is None
    assert [text for text in shown if key in text] == []
    assert key not in caplog.text


def test_a_client_cannot_be_copied_or_pickled_with_its_key(client: Client, key: str) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(client)
    with pytest.raises(TypeError):
        copy.deepcopy(client)

"""Faults of the network and the server: errors and retries."""

import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from client_kit import IDENTITY, execute, failure

from vellum_nb import errors
from vellum_nb.client import Client
from vellum_nb.models import Cancellation

SHORT_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"
NEGATIVE_CHUNK = CHUNKED_HEAD.replace(b"5", b"-5")
GATEWAY_HTML = b"<html><body>Bad Gateway</body></html>"


def test_refused_connection_is_retried_before_it_is_an_error(dead_url):
    with Client(api_key="k", base_url=dead_url) as client:
        start = time.perf_counter()
        error = failure(client)
    assert type(error) is errors.APIConnectionError
    assert error.sent is False
    assert f"POST {dead_url}/v1/execute-workflow failed: Connection refused." in str(error)
    assert "Nothing was sent" in str(error)
    assert time.perf_counter() - start > 1.75


def test_slow_connection_is_a_timeout(full_url):
    with Client(api_key="k", base_url=full_url, timeout=(0.05, 60)) as client:
        error = failure(client)
    assert type(error) is errors.APITimeoutError
    assert error.sent is False
    assert "could not connect in time. Nothing was sent" in str(error)


def test_refused_execution_runs_when_the_server_starts(late_server, fulfilled):
    late_server.will(late_server.reply(200, fulfilled))

    class StartsServer(Cancellation):
        def wait(self, seconds):
            late_server.listen()
            return super().wait(seconds)

    with Client(api_key="k", base_url=late_server.url) as client:
        assert execute(client, cancel=StartsServer()).execution_id == "e-1"
    assert len(late_server.seen) == 1


@pytest.mark.parametrize("content", [b"", SHORT_HEAD, CHUNKED_HEAD, NEGATIVE_CHUNK])
@pytest.mark.parametrize("how", ["reset", "raw"])
def test_execution_that_was_sent_is_never_retried(server, client, fulfilled, content, how):
    server.will(getattr(server, how)(content), server.reply(200, fulfilled))
    error = failure(client)
    assert isinstance(error, errors.APIConnectionError)
    assert error.sent is True
    assert "it was not sent again" in str(error)
    assert len(server.seen) == 1


def test_interrupted_read_is_retried(server, client):
    server.will(server.reset(), server.reset(SHORT_HEAD), server.reply(200, IDENTITY))
    assert client.environment_identity().name == "production"
    assert len(server.seen) == 3


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_execution_that_the_server_failed_is_not_retried(server, client, fulfilled, status):
    server.will(server.reply(status, {"detail": "boom"}), server.reply(200, fulfilled))
    error = failure(client)
    assert isinstance(error, errors.ServerError)
    assert (error.status_code, error.body) == (status, {"detail": "boom"})
    assert "boom. The server failed; check whether the execution ran" in str(error)
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [502, 503, 504])
def test_read_that_a_gateway_failed_is_retried(server, client, status):
    server.will(server.reply(status, GATEWAY_HTML), server.reply(200, IDENTITY))
    assert client.environment_identity().label == "Production"


@pytest.mark.parametrize("status", [429, 503])
def test_execution_is_retried_after_the_given_time(server, client, fulfilled, status):
    busy = server.reply(status, {"detail": "busy"}, headers={"Retry-After": "1"})
    server.will(busy, server.reply(200, fulfilled))
    start = time.perf_counter()
    assert execute(client).execution_id == "e-1"
    assert time.perf_counter() - start >= 1
    assert [seen.body for seen in server.seen] == [server.seen[0].body] * 2


@pytest.mark.parametrize(
    "when",
    [
        *("0", "-3", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 -0000"),
        pytest.param(format_datetime(datetime.now(UTC), usegmt=True), id="now"),
    ],
)
def test_503_is_retried_at_the_given_time(server, client, fulfilled, when):
    server.will(server.reply(503, {}, headers={"Retry-After": when}), server.reply(200, fulfilled))
    assert execute(client).execution_id == "e-1"


@pytest.mark.parametrize("when", ["nan", "soon", ""])
def test_503_without_a_time_is_not_retried(server, client, when):
    server.will(server.reply(503, {}, headers={"Retry-After": when}))
    assert isinstance(failure(client), errors.ServerError)
    assert len(server.seen) == 1


def test_fourth_429_is_an_error(server, client):
    server.will(server.reply(429, {"detail": "slow down"}, headers={"Retry-After": "0"}))
    error = failure(client)
    assert isinstance(error, errors.RateLimitError)
    assert "slow down" in str(error)
    assert "lower the concurrency" in str(error)
    assert len(server.seen) == 4


def test_silent_server_is_a_timeout(server):
    server.will(server.hang())
    with Client(api_key="k", base_url=server.url, timeout=(5, 0.2)) as client:
        error = failure(client)
        assert isinstance(error, errors.APITimeoutError)
        assert error.sent is True
        assert "got no answer within 0.2 s" in str(error)
        with pytest.raises(errors.APITimeoutError):
            client.environment_identity()
    assert len(server.seen) == 2


def test_connection_is_reused_until_the_server_closes_it(server, client, fulfilled):
    answer, last = server.reply(200, fulfilled), server.reply(200, fulfilled, keep=False)
    server.will(answer, answer, last, answer)
    for _ in range(3):
        execute(client)
    server.closed[1].wait()
    execute(client)
    assert [seen.connection for seen in server.seen] == [1, 1, 1, 2]

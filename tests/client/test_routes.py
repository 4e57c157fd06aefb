"""Redirects, proxies and certificate authorities."""

import pytest
from client_kit import IDENTITY, execute, failure

from vellum_nb import errors
from vellum_nb.client import Client


@pytest.mark.parametrize("status", [307, 308])
def test_execution_follows_a_redirect_on_the_same_host(server, client, fulfilled, status):
    moved = server.reply(status, {}, headers={"Location": "/new/v1/execute-workflow"})
    server.will(moved, server.reply(200, fulfilled))
    assert execute(client).execution_id == "e-1"
    first, second = server.seen
    assert (second.method, second.target) == ("POST", "/new/v1/execute-workflow")
    assert second.body == first.body


def test_read_follows_any_redirect_on_the_same_host(server, client):
    moved = server.reply(301, {}, headers={"Location": f"{server.url}/v1/x/?a=1"})
    server.will(moved, server.reply(200, IDENTITY))
    assert client.environment_identity().name == "production"
    assert server.seen[1].target == "/v1/x/?a=1"


@pytest.mark.parametrize("status", [301, 302, 303])
def test_redirected_execution_never_becomes_a_read(server, client, status):
    server.will(server.reply(status, {}, headers={"Location": "/elsewhere"}))
    assert isinstance(failure(client), errors.APIStatusError)
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_another_host_is_refused(server, tls_server, client, status):
    where = f"{tls_server.url}/v1/execute-workflow?token=secret"
    server.will(server.reply(status, {}, headers={"Location": where}))
    tls_server.will(tls_server.reply(200, IDENTITY))
    for call in (lambda: execute(client), client.environment_identity):
        with pytest.raises(errors.APIStatusError, match="It points to https://") as caught:
            call()
        assert "secret" not in str(caught.value)
    assert tls_server.seen == []


def test_circular_redirects_are_an_error(server, client):
    server.will(server.reply(307, {}, headers={"Location": "/round"}))
    assert failure(client).status_code == 307
    assert len(server.seen) == 6


def test_proxies_of_the_environment_are_used(server, fulfilled, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.will(server.reply(200, fulfilled))
    with pytest.warns(UserWarning, match="go to vellum.example unencrypted"):
        client = Client(api_key="k", base_url="http://vellum.example/api")
    with client:
        execute(client)
    (seen,) = server.seen
    assert seen.target == "http://vellum.example/api/v1/execute-workflow"
    assert seen.headers["host"] == "vellum.example"


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificate_authorities_of_the_environment_are_trusted(
    tls_server, fulfilled, authority, name, monkeypatch
):
    monkeypatch.setenv(name, str(authority))
    tls_server.will(tls_server.reply(200, fulfilled))
    with Client(api_key="k", base_url=tls_server.url) as client:
        assert execute(client).execution_id == "e-1"
        assert execute(client).execution_id == "e-1"
    assert len({seen.connection for seen in tls_server.seen}) == 1


def test_unknown_certificate_is_refused(tls_server):
    with Client(api_key="k", base_url=tls_server.url) as client:
        error = failure(client)
    assert error.sent is False
    assert "certificate verify failed" in str(error)
    assert "set REQUESTS_CA_BUNDLE" in str(error)
    assert tls_server.seen == []


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_local_requests_bypass_proxies(server, tls_server, fulfilled, name, monkeypatch):
    monkeypatch.setenv(name, tls_server.url.replace("https", "http"))
    tls_server.will(tls_server.reply(502, {}))
    server.will(server.reply(200, fulfilled))
    for host in ("127.0.0.1", "localhost", "127.1", "2130706433"):
        url = server.url.replace("127.0.0.1", host)
        with Client(api_key="k", base_url=url) as client:
            assert execute(client).execution_id == "e-1"
    assert tls_server.seen == []


@pytest.mark.parametrize("url", ["http://api.vellum.ai", "http://predict.VELLUM.ai./x"])
def test_key_is_not_sent_to_vellum_unencrypted(url):
    with pytest.raises(errors.VellumNBError, match="unencrypted. Use https://"):
        Client(api_key="k", base_url=url)
    with pytest.raises(errors.VellumNBError, match="unencrypted. Use https://"):
        Client(api_key="k", base_url="https://a.example", predict_url=url)


def test_unencrypted_key_warns_once(recwarn):
    for _ in range(3):
        Client(api_key="k", base_url="http://plain.example/api").close()
    for host in ("127.0.0.1:9", "127.8.8.8", "localhost", "a.localhost", "[::1]"):  # this machine
        Client(api_key="k", base_url=f"http://{host}").close()
    (warning,) = recwarn.list
    assert "API key and all inputs go to plain.example unencrypted" in str(warning.message)
    assert warning.filename == __file__

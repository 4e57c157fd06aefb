"""Who may ask the server, and how much may be sent."""

import pytest

from vellum_nb.errors import VellumNBError
from vellum_nb.local import LocalServer

PATH = "/v1/environments/identity"


@pytest.mark.parametrize("key", [None, b"", b"wrong", b"\xe4"])
def test_without_the_right_key_nothing_is_reported(api, key):
    answer = api.get(PATH, headers={"X-API-KEY": key})
    assert answer.status_code == 403
    assert api.server.api_key not in answer.text
    detail = "Authentication credentials were not provided."
    assert key is not None or answer.json() == {"detail": detail}


def test_the_old_spelling_of_the_header_is_understood_and_other_origins_are_refused(api):
    old = {"X-API-KEY": None, "X_API_KEY": api.server.api_key}
    assert api.get(PATH, headers=old).status_code == 200
    host = api.server.url.removeprefix("http://")
    for origin in ("https://example.org", "http://localhost:8888", "null", f"https://{host}"):
        assert api.get(PATH, headers={"Origin": origin}).status_code == 403
    assert api.get(PATH, headers={"Origin": api.server.url}).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:8765", 200),
        ("LOCALHOST", 200),
        ("example.org", 403),
        ("127.0.0.1.example.org", 403),
        ("localhost@example.org", 403),
        ("evil@127.0.0.1", 403),
        ("127.0.0.1:80:80", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_only_names_of_this_machine_are_served(api, host, status):
    assert api.get(PATH, headers={"Host": host}).status_code == status


def test_a_body_over_the_limit_is_413_however_it_is_sent(asking):
    with LocalServer(body_limit=1000) as server:
        api = asking(server)
        body = b'{"inputs": [], "pad": "' + b"x" * 2000 + b'"}'
        whole = api.post(data=body)
        chunked = api.post(data=iter([body[:500], body[500:1500], body[1500:]]))
        fitting = api.post(data=b'{"inputs": []}')
    assert (whole.status_code, chunked.status_code, fitting.status_code) == (413, 413, 400)
    assert whole.json() == {"detail": "The body has more than 1,000 bytes"}


@pytest.mark.parametrize("key", ["", "with space", "line\n", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused(key):
    with pytest.raises(VellumNBError, match="api_key is not ASCII"):
        LocalServer(api_key=key)

"""The API key is never shown, whatever fails."""

import copy
import json
import logging
import pickle
import traceback

import pytest
from client_kit import failure, stream, texts_of

from vellum_nb import errors
from vellum_nb.client import Client
from vellum_nb.client.client import contains_key


def broken_stream(client):
    with pytest.raises(errors.APIError) as caught:
        list(stream(client))
    return caught.value


def test_key_is_in_no_text_of_an_error(server, dead_url, key, caplog):
    caplog.set_level(logging.DEBUG)
    echo = {"detail": f"bad key {key}"}
    chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    moved = {"Location": f"http://other.example/{key}"}
    server.will(
        server.reply(403, echo),
        server.reply(200, key.encode()),
        server.reply(302, echo, headers=moved),
        server.reset(),
        server.reply(403, echo),
        server.raw(f"HTTP/1.1 200 OK\r\n\r\n{key}".encode()),
        server.reset(f"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{key}".encode()),
        server.raw(f"{key}\r\n\r\n".encode()),
        server.raw(f"{chunked}{key}\r\n".encode()),
        server.raw(f"{chunked}{key}\r\n".encode()),
    )
    shown = []
    with Client(api_key=key, base_url=server.url) as client:
        caught = [failure(client) for _ in range(4)]
        caught += [broken_stream(client) for _ in range(3)]
        caught += [failure(client), failure(client), broken_stream(client)]
        shown += texts_of(client)
    with Client(api_key=key, base_url=dead_url) as client:
        caught.append(failure(client))
    for error in caught:
        whole = traceback.TracebackException.from_exception(error, capture_locals=True)
        shown += ["".join(whole.format()), str(error), repr(error), str(vars(error))]
        assert error.__context__ is None
        assert error.__cause__ is None
    assert [text for text in shown if key in text] == []
    assert key not in caplog.text


def test_client_cannot_be_copied_or_pickled(client, key):
    with pytest.raises(TypeError):
        pickle.dumps(client)
    with pytest.raises(TypeError):
        copy.deepcopy(client)


@pytest.mark.parametrize("text", ["{}", '{{"a": "{}"}}', "x{}x\n"])
def test_key_is_found_in_a_text(server, client, key, text):
    assert contains_key(client, text.format(key))
    assert not contains_key(client, text.format(key[:-1]))


def escaped(key):
    return "".join(f"\\u{ord(letter):04x}" for letter in key)


FORMS = {
    "as it is": lambda key: key,
    "upper case": str.upper,
    "escaped": escaped,
    "escaped in part": lambda key: key[:3] + escaped(key[3:5]).upper().replace("U", "u") + key[5:],
    "escaped twice": lambda key: escaped(key).replace("\\", "\\\\"),
    "in an address": lambda key: "".join(f"%{ord(letter):02X}" for letter in key),
    "in a page": lambda key: "".join(f"&#{ord(letter)};" for letter in key),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", [400, 200])
def test_echoed_key_is_masked_in_any_encoding(server, client, key, form, status):
    text = FORMS[form](key)
    server.will(server.reply(status, f'{{"detail": "bad key {text}!"}}'.encode()))
    error = failure(client)
    texts = [str(error), repr(error), str(getattr(error, "body", ""))]
    if status == 400:
        assert error.body == {"detail": "bad key [API key]!"}
    assert [each for each in texts if text in each or key.lower() in each.lower()] == []


def test_escaped_key_in_an_output_is_masked(server, client, key, fulfilled):
    fulfilled["data"]["outputs"] = [{"name": "a", "type": "STRING", "value": "PLACE"}]
    body = json.dumps(fulfilled).replace("PLACE", f"{escaped(key)} {key.upper()}").encode()
    server.will(server.reply(200, body))
    (output,) = client.execute_workflow({}, workflow_deployment_name="w").data.outputs
    assert output.value == "[API key] [API key]"


@pytest.mark.parametrize(
    ("key", "said", "masked"),
    [
        ("demo", "No deployment demo, demo-2 or 'demo'", "No deployment demo, demo-2 or 'demo'"),
        ("demo", "wrong API key demo", "wrong API key [API key]"),
        ("demo", "X-API-KEY: 'demo'", "X-API-KEY: '[API key]'"),
        ("k-2026", "k-2026 is not k-2026-07", "[API key] is not k-2026-07"),
    ],
)
def test_short_key_is_not_masked_within_words(server, key, said, masked):
    server.will(server.reply(400, {"detail": said}))
    with Client(api_key=key, base_url=server.url) as client:
        assert failure(client).body == {"detail": masked}

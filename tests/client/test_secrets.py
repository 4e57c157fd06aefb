"""The API key is never shown, whatever fails."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from typing import Any

import pytest

from vellum_nb import errors
from vellum_nb.client import Client


def failure(client: Client) -> errors.APIError:
    with pytest.raises(errors.APIError) as caught:
        client.execute_workflow({"q": "hi"}, workflow_deployment_name="w")
    return caught.value


def broken_stream(client: Client) -> errors.APIError:
    with pytest.raises(errors.APIError) as caught:
        list(client.execute_workflow_stream({"q": "hi"}, workflow_deployment_name="w"))
    return caught.value


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
        server.reply(403, echo),
        server.raw(f"HTTP/1.1 200 OK\r\n\r\n{key}".encode()),
        server.reset(f"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{key}".encode()),
    )
    shown = []
    with Client(api_key=key, base_url=server.url) as client:
        caught = [failure(client) for _ in range(4)]
        caught += [broken_stream(client) for _ in range(3)]
        inner = [client, *vars(client).values()]
        shown += [repr(each) for each in inner] + [str(vars(each)) for each in inner[:1]]
        shown += [str(vars(client._session)), repr(client._session._headers.copy())]
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


@pytest.mark.parametrize("text", ["{}", '{{"a": "{}"}}', "x{}x\n"])
def test_a_client_tells_whether_its_key_stands_in_a_text(
    server: Any, client: Client, key: str, text: str
) -> None:
    assert client.leaks(text.format(key))
    assert not client.leaks(text.format(key[:-1]))

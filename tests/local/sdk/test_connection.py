"""The connection of nodes to the server, when their run ends before their answer."""

from __future__ import annotations

import socket
import threading

import httpx
from sdk_kit import context

from vellum_nb.local.sdk.connection import LocalContext


class Asking:
    """Asks in a thread, with the client that nodes have."""

    def __init__(self, local):
        self.failure = None
        self._client = local.vellum_client
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self):
        try:
            self._client.workflow_deployments.list()
        except httpx.HTTPError as exc:
            self.failure = exc

    def ended(self):
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.failure


def connected_to(server):
    url = f"http://127.0.0.1:{server.getsockname()[1]}"
    return LocalContext(context(url=url, api_key="k"))


def test_a_request_without_an_answer_is_cut():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        local = connected_to(silent)
        asking = Asking(local)
        connected, _ = silent.accept()
        with connected:
            assert connected.recv(10)
            local.cut()
            local.close()
            assert isinstance(asking.ended(), httpx.RemoteProtocolError)
            while connected.recv(1000):
                pass  # the server hears that nobody waits any more


def test_a_request_that_begins_after_the_cut_is_cut():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        local = connected_to(silent)
        local.cut()
        asking = Asking(local)
        connected, _ = silent.accept()
        with connected:
            assert isinstance(asking.ended(), httpx.HTTPError)
        local.close()

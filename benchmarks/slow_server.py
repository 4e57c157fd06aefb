"""A cheap server in a process of its own, which answers every execution after a fixed time.

It has one deployment with two release tags, so that a whole `ws.sweep` runs against it. It speaks
HTTP/1.1 straight from asyncio: a server that does more would be what is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TAGS = ("v1", "v2")
_NOON = "2026-01-15T09:30:00Z"
_VARIABLE = {"id": "a", "key": "ticket", "type": "STRING"}
_OUTPUTS = [
    {"id": str(n), "name": f"output-{n}", "type": "STRING", "value": "word " * 40} for n in range(3)
]
_RESULT = {"id": "c", "state": "FULFILLED", "ts": _NOON, "outputs": _OUTPUTS}
_REPLY = {"execution_id": "e-1", "run_id": None, "external_id": None, "data": _RESULT}
_DEPLOYMENT = {"id": "d", "name": "w", "label": "w", "input_variables": [_VARIABLE]}


def _release(tag: str) -> dict[str, object]:
    return {
        "id": f"release of {tag}",
        "created": _NOON,
        "environment": {"id": "p", "name": "production", "label": "Production"},
        "workflow_version": {"id": "w", "input_variables": [_VARIABLE], "output_variables": []},
        "deployment": {"id": "d", "name": "w"},
        "release_tags": [{"name": tag, "source": "USER"}],
        "reviews": [],
    }


def _answer(value: object) -> bytes:
    body = json.dumps(value).encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    return f"{head}{len(body)}\r\n\r\n".encode() + body


_EXECUTED = _answer(_REPLY)
_READ = {f"/releases/{tag}": _answer(_release(tag)) for tag in TAGS}


@contextmanager
def running(latency: float) -> Iterator[str]:
    """Run the server for the block, with `latency` seconds per execution; yield its address."""
    command = [sys.executable, __file__, str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


class _Connection(asyncio.Protocol):
    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, separator, rest = self._received.partition(b"\r\n\r\n")
            length = _length(head) if separator else 0
            if not separator or len(rest) < length:
                return
            self._received = rest[length:]
            if head.startswith(b"POST"):
                self._loop.call_later(self._latency, self._transport.write, _EXECUTED)
            else:
                self._transport.write(_looked_up(head))


def _looked_up(head: bytes) -> bytes:
    path = head.split(b" ", 2)[1].decode()
    found = [answer for end, answer in _READ.items() if path.endswith(end)]
    return found[0] if found else _answer(_DEPLOYMENT)


def _length(head: bytes) -> int:
    place = head.lower().find(b"content-length:")
    return int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0


async def _serve(latency: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(latency), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110  (nothing tells that it died)
        await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))

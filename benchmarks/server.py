"""A tiny server in a process of its own: answers every request with one fixed workflow reply."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

REPLY = {
    "execution_id": "00000000-0000-4000-8000-000000000001",
    "run_id": None,
    "external_id": None,
    "data": {
        "id": "00000000-0000-4000-8000-000000000002",
        "state": "FULFILLED",
        "ts": "2026-01-15T09:30:00Z",
        "outputs": [
            {"id": str(n), "name": f"output-{n}", "type": "STRING", "value": "word " * 80}
            for n in range(4)
        ],
    },
}


@contextmanager
def running() -> Iterator[str]:
    """Run the server for the block; the value is its address."""
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def _serve(connection: socket.socket, answer: bytes) -> None:
    received = b""
    with connection:
        while True:
            head, separator, rest = received.partition(b"\r\n\r\n")
            length = _content_length(head) if separator else 0
            if separator and len(rest) >= length:
                received = rest[length:]
                connection.sendall(answer)
                continue
            more = connection.recv(65536)
            if not more:
                return
            received += more


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def main() -> None:
    body = json.dumps(REPLY).encode()
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(
                target=_serve, args=(connection, head.encode() + body), daemon=True
            ).start()


if __name__ == "__main__":
    main()

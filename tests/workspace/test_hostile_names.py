"""`vellum-nb deployments` prints names of a hostile server without their control characters."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

NAME = "triage\x1b[2J\x1b]0;owned\x07\nfake\u202eline\x9b31m"
DEPLOYMENT = {
    "id": "00000000-0000-4000-8000-000000000001",
    "name": NAME,
    "label": "\x1b[31mred",
    "status": "ACTIVE",
    "environment": "PRODUCTION",
    "created": "2026-01-01T00:00:00Z",
    "last_deployed_on": "2026-01-01T00:00:00Z",
    "input_variables": [{"id": "i", "key": "text\x1b[5m", "type": "STRING"}],
    "output_variables": [],
    "description": "\x1b[0m",
}


class Hostile(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"count": 1, "next": None, "previous": None, "results": [DEPLOYMENT]})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def hostile():
    server = HTTPServer(("127.0.0.1", 0), Hostile)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_control_characters_of_a_name_do_not_reach_the_terminal(hostile, options):
    done = subprocess.run(
        [sys.executable, "-m", "vellum_nb", "deployments", *options, "--target", hostile],
        env={"VELLUM_API_KEY": "key", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    text = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    assert "triage" in text
    assert not any(sign in text for sign in "\x1b\x07\x9b\u202e")
    if options:
        assert json.loads(text)[0]["name"] == NAME
    else:
        assert len(text.splitlines()) == 3

"""A real HTTP server that speaks OpenAI's chat completions, as a test scripts it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from execution_kit import FLOW_HEAD
from requests.structures import CaseInsensitiveDict

KEY = "sk-not-a-real-key-0123456789"
GREET = f"""{FLOW_HEAD}
from vellum import ChatMessagePromptBlock, JinjaPromptBlock
from vellum.workflows.nodes import InlinePromptNode

class Greet(InlinePromptNode):
    ml_model = "tiny"
    blocks = [ChatMessagePromptBlock(
        chat_role="USER", blocks=[JinjaPromptBlock(template="Greet {{{{ name }}}}")]
    )]
    prompt_inputs = {{"name": Inputs.text}}

class Flow(BaseWorkflow[Inputs, BaseState]):
    graph = Greet

    class Outputs(BaseWorkflow.Outputs):
        greeting = Greet.Outputs.text
"""


@dataclass
class Asked:
    """What came."""

    path: str
    headers: CaseInsensitiveDict
    body: dict[str, Any]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.model.asked.append(Asked(self.path, CaseInsensitiveDict(self.headers), body))
        with suppress(ConnectionError):
            self.server.model.answer(self, body)

    def log_message(self, *_: Any) -> None:
        pass

    def whole(self, status: int, content: Any, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def line(self, content: Any) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.wfile.write(b"data: " + data + b"\n\n")
        self.wfile.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    model: ModelServer


@dataclass
class ModelServer:
    """The server; `answer` is what it does next, `asked` what it was asked."""

    url: str
    answer: Callable[[_Handler, dict[str, Any]], None]
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def model_server() -> Iterator[ModelServer]:
    httpd = _Server(("127.0.0.1", 0), _Handler)
    httpd.model = ModelServer(f"http://127.0.0.1:{httpd.server_port}/v1", says("Hello"))
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield httpd.model
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def delta(**said: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": None}]}


def finish(reason: str = "stop") -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def counts(tokens_in: int, tokens_out: int) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}}


def chunks(*lines: Any, done: bool = True) -> Callable[[_Handler, dict[str, Any]], None]:
    """Stream these, as they are."""

    def answer(handler: _Handler, _: dict[str, Any]) -> None:
        handler.begin()
        for line in lines:
            handler.line(line)
        if done:
            handler.line(b"[DONE]")

    return answer


def says(*texts: str) -> Callable[[_Handler, dict[str, Any]], None]:
    """Say this, streamed or whole, as it is asked for; 7 tokens in, 3 out."""

    def answer(handler: _Handler, body: dict[str, Any]) -> None:
        if body.get("stream"):
            said = [delta(content=text) for text in texts]
            chunks(*said, finish(), counts(7, 3))(handler, body)
            return
        message = {"role": "assistant", "content": "".join(texts)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        handler.whole(200, {"choices": [choice], "usage": counts(7, 3)["usage"]})

    return answer


def refuses(status: int, content: Any) -> Callable[[_Handler, dict[str, Any]], None]:
    return lambda handler, _: handler.whole(status, content)


def block(text, role="USER"):
    return {
        "block_type": "CHAT_MESSAGE",
        "chat_role": role,
        "blocks": [{"block_type": "JINJA", "template": text}],
    }


def order(*blocks, inputs=(), **options):
    return {
        "ml_model": "gpt-4o-mini",
        "input_values": list(inputs),
        "input_variables": [],
        "parameters": {},
        "blocks": list(blocks) or [block("Hi {{ name }}")],
        **options,
    }


def ask(vellum, *blocks, **options):
    return list(vellum.ad_hoc.adhoc_execute_prompt_stream(**order(*blocks, **options)))


def text(key, value):
    return {"key": key, "type": "STRING", "value": value}

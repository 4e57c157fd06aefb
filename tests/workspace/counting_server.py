"""A server that counts what it executes by external id, and fails as it is told to.

It speaks HTTP/1.1 straight from asyncio, so that it can break every rule of it. An execution goes
on when its client has gone. An external id that was used is refused with 400. As a program of its
own it prints its address, throws dice for faults, and ends when its standard input does.
"""

import asyncio
import json
import random
import socket
import struct
import sys
import threading
from collections import Counter, deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

KEY = "sk-counting-0123456789"
FAULTS = {
    "429": 0.02,
    "503 with Retry-After": 0.02,
    "503": 0.02,
    "500": 0.01,
    "reset before": 0.03,
    "reset while running": 0.02,
    "reset after": 0.03,
    "502 after": 0.01,
    "truncated": 0.03,
    "garbage": 0.01,
    "hang": 0.002,
    "drip": 0.03,
}
READ_FAULTS = {"429": 0.02, "503": 0.02, "reset before": 0.02, "truncated": 0.02}
_VARIABLE = {"id": "t", "key": "text", "type": "STRING", "required": True}


def check_all_once(server, sweep, cases, posts=None, *, tags=("v1",), resends=False):
    """Check that each planned run is there, right, and was executed once.

    `posts` is the number of calls: by default one per run, and one per call that the server did
    not execute. With `resends` there are more, which the server refuses: it lists too late.
    """
    assert sweep.state == "done", sweep
    runs = sweep.runs()
    assert len(runs) == len(cases) * len(tags)
    assert {run.state for run in runs} == {"FULFILLED"}
    texts = [case["text"] for case in cases]
    assert {(run.release_tag, run.inputs["text"]): run.outputs for run in runs} == {
        (tag, text): {"said": f"{tag} {text}"} for tag in tags for text in texts
    }
    assert dict(server.executed) == {run.external_id: 1 for run in runs}
    needed = len(runs) + server.not_executed if posts is None else posts
    assert server.posts > needed if resends else server.posts == needed


class HangupError(Exception):
    """The connection ends here."""


class CountingServer:
    """The server, in a thread of its own between `start` and `close`.

    Attributes
    ----------
    executed
        External id to how often it was executed.
    not_executed
        Calls that a fault ended before their execution.
    script, read_script
        Faults of the next executions and of the next look-ups; "" is none. Then dice are thrown.
    held
        While it is set, executions do not end.
    most
        Number of calls after which further ones wait until it changes, and are not executed.
    refuses
        Whether it refuses an external id that was used; otherwise it executes again.
    forbidden
        What the key may not read: "identity", "releases", "workflow-deployments".
    cost
        Function that returns the cost of the next execution in USD; streams report it.
    """

    def __init__(self, faults=None, read_faults=None, *, seed=0, latency=0.01, lag=0.0):
        self.executed = Counter()
        self.script, self.read_script = deque(), deque()
        self.posts = self.lookups = self.not_executed = 0
        self.faults, self.read_faults = faults or {}, read_faults or {}
        self.latency, self.lag = latency, lag
        self.can_look_up = True
        self.held, self.most = False, None
        self.refuses = True
        self.forbidden = set()
        self.cost = None
        self.workspace = "w-1"
        self.kept = {}
        self._dice = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._writers = set()
        self._thread = threading.Thread(target=self._loop.run_forever)

    @property
    def busy(self):
        """Whether an execution is under way."""
        return any(execution["end"] is None for execution in list(self.kept.values()))

    def start(self, port=0):
        """Serve from a thread."""
        self._thread.start()
        self.listen(port)
        return self

    def listen(self, port=0):
        """Take connections."""
        opening = asyncio.start_server(self._serve, "127.0.0.1", port)
        self._server = asyncio.run_coroutine_threadsafe(opening, self._loop).result(120)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def hang_up(self):
        """Stop listening and reset every connection; executions go on."""

        async def stop():
            self._server.close()
            for writer in list(self._writers):
                _abort(writer)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(120)

    def close(self):
        """End the thread."""
        self.hang_up()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader, writer):
        self._writers.add(writer)
        try:
            with suppress(HangupError, ConnectionError, EOFError, asyncio.CancelledError):
                while True:
                    await self._answer_one(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer_one(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
        body = await reader.readexactly(int(lines.get("content-length", 0)))
        if lines.get("x-api-key") != KEY:
            await _answer(writer, {"detail": "No such key."}, 401)
        elif method == "POST":
            await self._execute(writer, json.loads(body), streams="-stream" in target)
        else:
            await self._read(writer, urlsplit(target))

    async def _execute(self, writer, body, *, streams=False):
        self.posts += 1
        await self._hold(self.posts)
        fault = self.script.popleft() if self.script else self._throw(self.faults)
        try:
            await _before(writer, fault)
        except (HangupError, ConnectionError):
            self.not_executed += 1
            raise
        if fault.startswith("late"):
            _abort(writer)
            await asyncio.sleep(float(fault.split()[2]))
        external_id = body["external_id"]
        if external_id in self.kept and self.refuses:
            await _answer(writer, {"detail": f"external_id {external_id} was used before"}, 400)
            return
        execution = self._begin(body)
        if fault.startswith("executed, then "):
            await _before(writer, fault.removeprefix("executed, then "))
        if fault == "reset while running":
            _reset(writer)
        if fault == "hang":
            await asyncio.sleep(30)
        while execution["end"] is None or self.held:  # noqa: ASYNC110  (set by another thread)
            await asyncio.sleep(0.002)
        reply = _stream(execution) if streams else _reply(execution)
        await _after(writer, fault, reply)

    async def _hold(self, number):
        most = self.most
        if most is None or number <= most:
            return
        while self.most == most:  # noqa: ASYNC110  (set by another thread)
            await asyncio.sleep(0.002)
        self.not_executed += 1
        raise HangupError

    def _begin(self, body):
        self.executed[body["external_id"]] += 1
        value = body["inputs"][0]["value"]
        execution = {
            "span_id": f"e-{self.executed.total()}",
            "start": datetime.now(UTC),
            "end": None,
            "external_id": body["external_id"],
            "tag": body["release_tag"],
            "value": f"{body['release_tag']} {value}",
            "inputs": body["inputs"],
            "previous": body.get("previous_execution_id"),
            "cost": self.cost and self.cost(),
        }
        self.kept[body["external_id"]] = execution
        took = self.latency * self._dice.uniform(0.2, 2)
        self._loop.call_later(took, lambda: execution.update(end=datetime.now(UTC)))
        return execution

    async def _read(self, writer, target):
        *_, room, name = unquote(target.path).split("/")
        if not self.forbidden.isdisjoint((room, name)):
            await _answer(writer, {"detail": "You may not."}, 403)
        elif name == "executed":
            await _answer(writer, dict(self.executed))
        elif name == "identity":
            await _answer(writer, {"id": self.workspace, "name": "w"})
        elif name == "execution-events":
            await self._look_up(writer, parse_qs(target.query))
        elif room == "releases":
            await _answer(writer, _release(name))
        elif room == "release-tags":
            release = {"id": f"release-{name}"}
            await _answer(writer, {"name": name, "release": release})
        else:
            variables = {"input_variables": [_VARIABLE]}
            await _answer(writer, {"id": "d-1", "name": "count", "label": "c", **variables})

    async def _look_up(self, writer, query):
        self.lookups += 1
        fault = self.read_script.popleft() if self.read_script else self._throw(self.read_faults)
        await _before(writer, fault)
        if not self.can_look_up:
            await _answer(writer, {"detail": "You may not."}, 403)
            return
        found = list(self.kept.values())
        if "filters" in query:
            wanted = json.loads(query["filters"][0])["conditions"][0]["rhs_variable"]["value"]
            age = timedelta(seconds=min(self.lag, 1e6))
            found = [e for e in found if e["external_id"] == wanted]
            found = [e for e in found if datetime.now(UTC) - e["start"] >= age]
        results = [self._event(each) for each in found]
        await _after(writer, fault, {"count": len(results), "results": results})

    def _event(self, execution):
        end = None if self.held else execution["end"]
        return {
            "span_id": execution["span_id"],
            "start": execution["start"].isoformat(),
            "end": end and end.isoformat(),
            "inputs": execution["inputs"],
            "outputs": [_output(execution)] if end else [],
            "error": None,
            "usage_results": None,
            "latest_actual": None,
            "metric_results": [],
            "parent_context": {
                "type": "WORKFLOW_RELEASE_TAG",
                "span_id": "s",
                "deployment_id": "d-1",
                "deployment_history_item_id": f"release-{execution['tag']}",
                "release_tag_name": execution["tag"],
                "external_id": execution["external_id"],
            },
        }

    def _throw(self, shares):
        dice = self._dice.random()
        for name, share in shares.items():
            dice -= share
            if dice < 0:
                return name
        return ""


def _release(tag):
    return {
        "id": f"release-{tag}",
        "created": "2026-01-15T09:30:00Z",
        "environment": {"id": "p", "name": "production", "label": "Production"},
        "workflow_version": {"id": "w", "input_variables": [_VARIABLE], "output_variables": []},
        "deployment": {"id": "d-1", "name": "count"},
        "release_tags": [{"name": tag, "source": "USER"}],
    }


def _output(execution):
    return {"id": "o", "name": "said", "type": "STRING", "value": execution["value"]}


def _reply(execution):
    return {
        "execution_id": execution["span_id"],
        "external_id": execution["external_id"],
        "data": {
            "id": "x",
            "state": "FULFILLED",
            "ts": execution["end"].isoformat(),
            "outputs": [_output(execution)],
        },
    }


def _stream(execution):
    """Return the lines of a stream: a prompt node with its cost, and the end."""
    ids = {"execution_id": execution["span_id"], "external_id": execution["external_id"]}
    cost = {"cost": {"value": execution["cost"], "unit": "USD"}}
    prompt = {"type": "PROMPT", "data": {"execution_meta": cost}}
    node = {"node_id": "n", "node_result_id": "n", "state": "FULFILLED", "data": prompt}
    end = {"state": "FULFILLED", "outputs": [_output(execution)]}
    lines = [{**ids, "type": "NODE", "data": node}, {**ids, "type": "WORKFLOW", "data": end}]
    return "".join(json.dumps(line) + "\n" for line in lines)


async def _before(writer, fault):
    """Make the faults that keep a request from being served."""
    if fault.startswith("page "):  # of a proxy
        page = "<html>This is not the page you are looking for</html>"
        await _answer(writer, page, int(fault.removeprefix("page ")), "Connection: close\r\n")
        raise HangupError
    if fault.startswith(("429", "503", "500", "504", "403", "404", "401")):
        seconds = fault.partition(" for ")[2].removesuffix(" s") or 0.02
        names_time = fault.startswith("429") or "Retry" in fault
        head = f"Retry-After: {seconds}\r\n" if names_time else ""
        # Without this header the next request on the connection is lost, and its run in doubt.
        head += "Connection: close\r\n"
        await _answer(writer, {"detail": "faulty on purpose"}, int(fault[:3]), head)
        raise HangupError
    if fault == "reset before":
        _reset(writer)


async def _after(writer, fault, value):
    """Make the faults of an answer."""
    if fault == "reset after":
        _reset(writer)
    if fault == "502 after":
        await _answer(writer, {"detail": "a gateway lost it"}, 502)
    elif fault.startswith("answer "):
        await _answer(writer, _unusable(value, fault.removeprefix("answer ")))
    elif fault == "garbage":
        await _answer(writer, "<html>Please log in to the hotel's network</html>")
    elif fault == "truncated":
        await _answer(writer, value, half=True)
        raise HangupError
    else:
        await _answer(writer, value, drip=fault == "drip")


def _unusable(value, kind):
    """Return JSON that is no result of this execution."""
    if kind == "another":
        return {**value, "external_id": "another"}
    if kind == "cancelled":
        error = {"code": "WORKFLOW_CANCELLED", "message": "by an operator"}
        return {**value, "data": {**value["data"], "state": "REJECTED", "error": error}}
    if kind == "shape":
        return {**value, "data": {**value["data"], "outputs": 7}}
    hole = {"digits": "9" * 5_000, "levels": "[" * 100_000 + "]" * 100_000}[kind]
    return json.dumps({**value, "data": "hole"}).replace('"hole"', hole)


async def _answer(writer, value, status=200, head="", *, half=False, drip=False):
    is_text = isinstance(value, str) and value[0] in "{<"
    body = (value if is_text else json.dumps(value)).encode()
    kind = "text/html" if is_text and value[0] == "<" else "application/json"
    lines = f"HTTP/1.1 {status} So\r\nContent-Type: {kind}\r\n{head}"
    whole = f"{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body
    size = 32 if drip else len(whole)
    for start in range(0, len(whole) - (len(body) // 2 if half else 0), size):
        writer.write(whole[start : start + size] if not half else whole[: -len(body) // 2])
        await writer.drain()
        if drip:
            await asyncio.sleep(0.002)


def _reset(writer):
    _abort(writer)
    raise HangupError


def _abort(writer):
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def main():
    seed = int(sys.argv[1])
    server = CountingServer(FAULTS, READ_FAULTS, seed=seed, latency=0.02).start()
    print(server.url, flush=True)
    sys.stdin.read()
    server.close()


if __name__ == "__main__":
    main()

"""Runs that are under way: asked for, waiting, hung up on, stopped."""

import asyncio
import functools
import gc
import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from execution_kit import connected, raw_post, until

from vellum_nb.local import LocalServer
from vellum_nb.local.engine.executions import LiveExecution

TEXT = [{"name": "text", "type": "STRING", "value": "a"}]


def begin(api, name="gate", **body):
    """Begin a run and return its execution id."""
    answer = api.ask(name, how="-async", **body)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"execution_id"}
    return answer.json()["execution_id"]


def status(api, execution_id):
    answer = api.get(f"/v1/workflows/executions/{execution_id}/status")
    assert answer.status_code == 200, answer.text
    return answer.json()


def ended(api, execution_id):
    def now():
        found = status(api, execution_id)
        return found if found["status"] in {"FULFILLED", "REJECTED"} else None

    return until(now)


def test_a_run_that_has_said_something_is_streaming(fresh, asking, gate):
    def words(text: str):
        yield text
        gate.open.wait(20)

    fresh.deploy(words)
    api = asking(fresh)
    execution_id = begin(api, "words")
    until(lambda: status(api, execution_id)["status"] == "STREAMING")
    gate.open.set()
    assert ended(api, execution_id)["outputs"] == {"output": "a"}


def test_more_than_the_queue_holds_is_429_with_a_time_to_retry(asking, gate):
    with LocalServer(concurrency=1, queue=1) as server:
        server.deploy(gate.workflow, name="gate")
        api = asking(server)
        kept = [begin(api), begin(api)]
        answer = api.send(workflow_deployment_name="gate", inputs=TEXT, external_id="again")
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
        assert "try again later" in answer.json()["detail"]
        gate.open.set()
        for execution_id in kept:
            ended(api, execution_id)
        again = api.send(workflow_deployment_name="gate", inputs=TEXT, external_id="again")
        assert again.status_code == 200  # what was refused did not use its external id up


def test_only_a_run_of_a_node_of_a_running_execution_does_not_wait_for_its_turn(asking, gate):
    trace = "00000000-0000-4000-8000-0000000000aa"
    code = {"id": trace, "name": "n", "module": ["m"]}
    with LocalServer(concurrency=1, queue=0) as server:
        server.deploy(gate.workflow, name="gate")
        api = asking(server)
        outer = begin(api, execution_context={"trace_id": trace})
        workflow = {"type": "WORKFLOW", "span_id": outer, "workflow_definition": code}
        node = {"type": "WORKFLOW_NODE", "span_id": trace, "node_definition": code}
        context = {"trace_id": trace, "parent_context": {**node, "parent": workflow}}
        runs = [outer, *(begin(api, execution_context=context) for _ in range(2))]
        assert [gate.entered.acquire(timeout=120) for _ in runs] == [True] * 3
        assert api.ask("gate", execution_context={"trace_id": trace}).status_code == 429
        gate.open.set()
        assert {ended(api, run)["status"] for run in runs} == {"FULFILLED"}
        assert api.ask("gate").status_code == 200


def test_bad_inputs_leave_the_queue_at_once(asking, gate):
    with LocalServer(concurrency=1, queue=1) as server:
        server.deploy(gate.workflow, name="gate")
        api = asking(server)
        begin(api)
        for _ in range(3):
            answer = api.send(workflow_deployment_name="gate", inputs=[])
            assert answer.status_code == 400
        gate.open.set()


class Patient:
    """Workflows that go on until they are ended."""

    def __init__(self):
        self.entered = threading.Event()
        self.ended = threading.Event()

    async def waits(self, text: str) -> str:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        return text

    def speaks(self, text: str):
        try:
            while True:
                self.entered.set()
                yield text
                time.sleep(0.01)
        finally:
            self.ended.set()


def hang_up(server, path, body, begun):
    """Ask, wait until `begun` is true, and close the connection."""
    with connected(server) as connection:
        connection.sendall(raw_post(server, path, body))
        assert begun()


@pytest.mark.parametrize("name", ["waits", "speaks"])
@pytest.mark.parametrize("path", ["/v1/execute-workflow", "/v1/execute-workflow-stream"])
def test_a_client_that_hangs_up_cancels_its_run(fresh, asking, name, path):
    patient = Patient()
    fresh.deploy(getattr(patient, name))
    api = asking(fresh)
    body = {"workflow_deployment_name": name, "inputs": TEXT}
    hang_up(fresh, path, body, lambda: patient.entered.wait(120))
    assert patient.ended.wait(120)
    events = f"/v1/workflow-deployments/{name}/execution-events"
    (run,) = until(lambda: [r for r in api.get(events).json()["results"] if r["end"]])
    assert run["error"]["code"] == "WORKFLOW_CANCELLED"
    assert run["error"]["message"] == "The client hung up"


def test_a_client_that_hangs_up_while_it_waits_leaves_the_queue(asking, gate):
    with LocalServer(concurrency=1, queue=1) as server:
        server.deploy(gate.workflow, name="gate")
        api = asking(server)
        begin(api)
        assert gate.entered.acquire(timeout=120)
        body = {"workflow_deployment_name": "gate", "inputs": TEXT}
        events = "/v1/workflow-deployments/gate/execution-events"
        # It is looked for without a second request for the place: that could be the one refused.
        kept = functools.partial(until, lambda: api.get(events).json()["count"] == 2)
        hang_up(server, "/v1/execute-workflow", body, kept)
        until(lambda: _has_room(api))
        gate.open.set()
        assert not gate.entered.acquire(timeout=0)


def _has_room(api):
    """Say whether the one place in the queue is free: bad inputs are 400 then, else it is 429."""
    return api.send(workflow_deployment_name="gate", inputs=[]).status_code == 400


def test_stopping_lets_runs_end_within_the_grace(asking, gate):
    server = LocalServer(grace=20).start()
    server.deploy(gate.workflow, name="gate")
    api = asking(server)
    body = {"workflow_deployment_name": "gate", "inputs": []}  # 400 as long as it takes requests
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(api.run, "gate", text=("STRING", "a"))
        assert gate.entered.acquire(timeout=120)
        stopped = pool.submit(server.stop)
        until(lambda: api.post(json=body).status_code == 503)
        gate.open.set()
        assert answer.result()["state"] == "FULFILLED"
        stopped.result()


def test_stopping_rejects_async_runs_and_those_that_wait(tmp_path, asking, gate):
    async def waits(text: str) -> str:
        gate.entered.release()
        await asyncio.Event().wait()
        return text

    server = LocalServer(concurrency=1, data=tmp_path).start()
    server.deploy(waits)
    api = asking(server)
    runs = [begin(api, "waits"), begin(api, "waits")]
    assert gate.entered.acquire(timeout=120)
    server.stop()
    with server:
        api = asking(server)
        for execution_id in runs:
            found = status(api, execution_id)
            assert (found["status"], found["error"]["code"]) == ("REJECTED", "WORKFLOW_CANCELLED")
            assert found["error"]["message"] == "The local server was stopped"
        assert not gate.entered.acquire(timeout=0)  # what waited never ran


def test_a_stream_is_ended_in_order_when_the_server_stops(asking):
    patient = Patient()
    server = LocalServer(grace=0).start()
    server.deploy(patient.speaks)
    api = asking(server)
    body = {"workflow_deployment_name": "speaks", "inputs": TEXT}
    with api.post("-stream", json=body, stream=True) as answer:
        assert patient.entered.wait(120)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        last = [json.loads(line) for line in answer.iter_lines()][-1]
        stopping.join(120)
    assert last["data"]["state"] == "REJECTED"
    assert last["data"]["error"]["message"] == "The local server was stopped"
    assert patient.ended.wait(120)


def live_executions():
    return [thing for thing in gc.get_objects() if isinstance(thing, LiveExecution)]


@pytest.mark.parametrize("how", ["", "-stream", "-async"])
def test_a_run_that_has_ended_is_freed_without_the_garbage_collector(api, how):
    gc.collect()
    gc.freeze()  # `gc.get_objects` leaves out all earlier objects
    gc.disable()
    try:
        for name in ("streamed", "fail"):
            assert api.ask(name, how=how).status_code == 200
        until(lambda: not live_executions())
    finally:
        gc.enable()


@pytest.mark.slow
def test_a_storm_of_impatient_clients_leaves_nothing_behind(asking, gate):
    def speaks(text: str):
        for letter in text:
            time.sleep(0.002)
            yield letter

    async def speaks_later(text: str):
        for letter in text:
            await asyncio.sleep(0.002)
            yield letter

    def ask(number):
        chance = random.Random(number)  # noqa: S311 - the same storm every time
        for _ in range(15):
            name = chance.choice(("speaks", "speaks-later"))
            text = [{"name": "text", "type": "STRING", "value": "abcdefgh"}]
            body = {"workflow_deployment_name": name, "inputs": text[chance.random() < 0.1 :]}
            kind = chance.choice(("", "-stream", "-async"))
            seconds = chance.choice((0, 0.01, 0.03))
            pause = threading.Event()
            begun = functools.partial(lambda p, s: not p.wait(s), pause, seconds)
            hang_up(server, f"/v1/execute-workflow{kind}", body, begun)

    with LocalServer(concurrency=2, queue=4) as server:
        server.deploy(speaks)
        server.deploy(speaks_later)
        server.deploy(gate.workflow, name="gate")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(8)))
        api = asking(server)
        for name in ("speaks", "speaks-later"):
            events = f"/v1/workflow-deployments/{name}/execution-events?limit=1000"
            until(lambda events=events: all(r["end"] for r in api.get(events).json()["results"]))
        until(lambda: not server._serving.executions._live)
        runs = [begin(api) for _ in range(6)]  # all the room there is
        gate.open.set()
        assert {ended(api, run)["status"] for run in runs} == {"FULFILLED"}

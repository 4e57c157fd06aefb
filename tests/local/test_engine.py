"""Many runs at once, time limits, external ids, and callables that misbehave."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from execution_kit import inputs, outputs
from requests.adapters import HTTPAdapter

from vellum_nb.local import LocalServer


def test_of_many_runs_with_one_external_id_just_one_runs(fresh, asking):
    calls = []

    def note(text: str) -> None:
        calls.append(text)

    fresh.deploy(note)
    api = asking(fresh)

    def send(_):
        body = {"workflow_deployment_name": "note", "inputs": inputs(text=("STRING", "a"))}
        return api.send(**body, external_id="same").status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(send, range(16)))
    assert sorted(statuses) == [200] + [400] * 15
    assert len(calls) == 1


def test_a_run_that_takes_too_long_is_rejected(asking, gate):
    with LocalServer(timeout=0.2) as server:
        server.deploy(gate.workflow, name="gate")
        started = time.monotonic()
        error = asking(server).run("gate", text=("STRING", "a"))["error"]
        assert time.monotonic() - started < 5
        gate.open.set()
    assert error["code"] == "WORKFLOW_TIMEOUT"
    assert error["message"] == "The run took longer than 0.2 seconds"


def test_an_async_callable_and_a_generator_are_ended_by_the_timeout(asking):
    ended = []

    async def waits(text: str) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("async")
        return text

    def spins(text: str):
        try:
            while True:
                yield text
        finally:
            ended.append("generator")

    with LocalServer(timeout=0.2) as server:
        server.deploy(waits)
        server.deploy(spins)
        for name in ("waits", "spins"):
            error = asking(server).run(name, text=("STRING", ""))["error"]
            assert error["code"] == "WORKFLOW_TIMEOUT"
    assert sorted(ended) == ["async", "generator"]


def test_what_cannot_be_sent_is_rejected_with_its_name(fresh, asking):
    fresh.deploy(lambda: {"score": float("nan")}, name="nan")
    fresh.deploy(lambda: {"thing": object()}, name="thing")
    api = asking(fresh)
    assert "output score is not a finite number" in api.run("nan")["error"]["message"]
    error = api.run("thing")["error"]
    assert (error["code"], error["message"][:25]) == ("NODE_EXECUTION", "The output 'thing' is a o")


@pytest.mark.parametrize("exc", [SystemExit(3), KeyboardInterrupt(), BaseException("odd")])
def test_a_callable_cannot_take_the_server_down(fresh, asking, exc):
    def quits() -> None:
        raise exc

    fresh.deploy(quits)
    fresh.deploy(lambda: "here", name="here")
    api = asking(fresh)
    assert api.run("quits")["error"]["code"] == "NODE_EXECUTION"
    assert outputs(api.run("here")) == {"output": "here"}


def test_sixty_four_runs_go_at_once(fresh, asking, gate):
    fresh.deploy(gate.workflow, name="gate")
    api = asking(fresh)
    api.session.mount("http://", HTTPAdapter(pool_maxsize=64))
    with ThreadPoolExecutor(64) as pool:
        running = [pool.submit(api.run, "gate", text=("STRING", str(n))) for n in range(64)]
        arrived = [gate.entered.acquire(timeout=20) for _ in range(64)]
        gate.open.set()
        answers = [outputs(each.result())["output"] for each in running]
    assert all(arrived)
    assert answers == [str(n) for n in range(64)]


def test_an_async_generator_stays_in_one_task(fresh, asking):
    async def tasks():
        async with asyncio.timeout(20):
            for _ in range(3):
                yield f"{id(asyncio.current_task())} "

    fresh.deploy(tasks)
    said = outputs(asking(fresh).run("tasks"))["output"].split()
    assert (len(said), len(set(said))) == (3, 1)

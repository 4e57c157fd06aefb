"""Many runs at once, time limits, external ids, and callables that misbehave."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from execution_kit import outputs
from requests.adapters import HTTPAdapter

from vellum_nb.local import LocalServer


def test_of_many_runs_with_one_external_id_just_one_runs(fresh, asking):
    calls = []

    def note(text: str) -> None:
        calls.append(text)

    fresh.deploy(note)
    api = asking(fresh)

    def send(_):
        return api.ask("note", external_id="same").status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(send, range(16)))
    assert sorted(statuses) == [200] + [400] * 15
    assert len(calls) == 1


def test_callables_of_every_kind_are_ended_by_the_timeout(asking, gate):
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
        server.deploy(gate.workflow, name="gate")
        for name in ("waits", "spins", "gate"):
            error = asking(server).run(name, text=("STRING", ""))["error"]
            assert error["code"] == "WORKFLOW_TIMEOUT"
            assert error["message"] == "The run took longer than 0.2 seconds"
        gate.open.set()
    assert sorted(ended) == ["async", "generator"]


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
        arrived = [gate.entered.acquire(timeout=120) for _ in range(64)]
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

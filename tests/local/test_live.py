"""An execution on its way: many readers, one end, whatever goes wrong with keeping it."""

import asyncio
import sqlite3
import threading
from contextlib import closing

import execution_kit
import pytest

from vellum_nb.local.callables.workflow import Workflow
from vellum_nb.local.engine.events import RunContext
from vellum_nb.local.engine.executions import Executions, Limits
from vellum_nb.local.ledger import Ledger
from vellum_nb.local.refusals import Refused

IDS = ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002")


def record(**more):
    return execution_kit.record(execution_id=IDS[0], trace_id=IDS[1], **more)


def events_of(function):
    """Return the events of a run of `function`."""
    return list(Workflow(function).begin([], RunContext(*IDS)).events())


def words():
    yield "one"
    yield "two"


class Steps:
    """An execution whose events come as they are released, and that may end oddly."""

    def __init__(self, events=(), *, raises=None, pause_after=None):
        self.given = list(events)
        self.raises = raises
        self.pause_after = pause_after
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def events(self):
        for number, event in enumerate(self.given):
            if number == self.pause_after:
                self.reached.set()
                self.go_on.wait(20)
            yield event
        if self.raises is not None:
            raise self.raises

    def cancel(self):
        """Go on after the pause."""


@pytest.fixture
def ledger():
    ledger = Ledger()
    yield ledger
    ledger.close()


async def read(live):
    return [event.name async for batch in live.batches() for event in batch]


def executions_in(ledger, **limits):
    return Executions(ledger, Limits(**limits))


def run_alone(ledger, prepare, *, while_it_runs=None, **more):
    """Run one execution to its end; return its record and the names of its events."""

    async def run():
        executions = executions_in(ledger, **more)
        live = executions.submit(record(), prepare)
        try:
            if while_it_runs is not None:
                await while_it_runs(live)
            return await live.result(), await read(live)
        finally:
            await asyncio.to_thread(executions.join, 20)

    return asyncio.run(run())


def test_it_ends_once_and_drops_what_comes_after(ledger):
    events = events_of(words)
    steps = Steps(events, pause_after=4)

    async def cancel(live):
        await asyncio.to_thread(steps.reached.wait, 20)
        await live.cancel("enough")
        await live.cancel("too late")
        steps.go_on.set()

    ended, names = run_alone(ledger, lambda: steps, while_it_runs=cancel)
    assert (ended.error.code, ended.error.message) == ("WORKFLOW_CANCELLED", "enough")
    assert names == [
        *[event.name for event in events[:4]],
        "node.execution.rejected",
        "workflow.execution.rejected",
    ]
    node = ledger.events(IDS[0])[-2]
    assert node.body["error"]["code"] == "NODE_CANCELLED"


def test_what_ends_before_it_began_has_a_beginning_too(ledger):
    async def cancel(live):
        live.cancel("never mind")

    loading = threading.Event()

    def prepare():
        loading.wait(0.2)
        return Steps()

    _, names = run_alone(ledger, prepare, while_it_runs=cancel)
    assert names == ["workflow.execution.initiated", "workflow.execution.rejected"]
    assert ledger.record(IDS[0]).status == "REJECTED"


class Unprintable(BaseException):
    """Its message cannot be had."""

    def __str__(self):
        raise self


@pytest.mark.parametrize(
    ("raises", "message"),
    [
        (None, "The code ended without an outcome"),
        (OSError("torn"), "The code of the run failed: OSError: torn"),
        (Unprintable(), "The code of the run failed: Unprintable"),
    ],
)
def test_code_without_an_end_is_rejected(ledger, raises, message):
    first = events_of(words)[:1]
    ended, _ = run_alone(ledger, lambda: Steps(first, raises=raises))
    assert (ended.error.code, ended.error.message) == ("INTERNAL_SERVER_ERROR", message)


@pytest.mark.parametrize("exc", [SystemExit(3), KeyboardInterrupt(), StopIteration(), ValueError()])
def test_whatever_loading_code_raises_ends_that_run_alone(ledger, exc):
    def prepare():
        raise exc

    with pytest.raises(
        Refused, match=f"could not be prepared to run: {type(exc).__name__}"
    ) as caught:
        run_alone(ledger, prepare)
    assert caught.value.status_code == 400
    assert ledger.record(IDS[0]) is None


def test_the_time_limit_holds_while_code_is_loaded_too(ledger):
    loading = threading.Event()

    def prepare():
        loading.wait(120)
        return Steps()

    async def go_on(live):
        await live.result()
        loading.set()

    ended, _ = run_alone(ledger, prepare, while_it_runs=go_on, timeout=0.05)
    assert ended.error.code == "WORKFLOW_TIMEOUT"
    assert ledger.record(IDS[0]).status == "REJECTED"


def test_a_machine_without_more_threads_refuses_and_keeps_no_place_for_it(ledger):
    async def run():
        executions = executions_in(ledger, concurrency=1, queue=0)
        usual = threading.stack_size(1 << 46)  # more than any machine has
        try:
            with pytest.raises(Refused, match="starts no more threads") as caught:
                executions.submit(record(), Steps)
        finally:
            threading.stack_size(usual)
        return caught.value.status_code, executions.has_room()

    assert asyncio.run(run()) == (429, True)


def test_a_turn_that_cannot_be_recorded_ends_the_run(tmp_path):
    ledger = Ledger(tmp_path)
    loaded = threading.Event()

    def prepare():
        loaded.wait(120)
        return Steps()

    async def run():
        executions = executions_in(ledger)
        live = executions.submit(record(status="PENDING"), prepare)
        with closing(sqlite3.connect(tmp_path / "executions.db")) as db:
            db.execute(
                "CREATE TRIGGER full BEFORE UPDATE ON executions WHEN new.state = 'INITIATED' "
                "BEGIN SELECT RAISE(FAIL, 'the disk is full'); END"
            )
        loaded.set()
        ended = await live.result()
        await asyncio.to_thread(executions.join, 20)
        return ended

    ended = asyncio.run(run())
    ledger.close()
    assert ended.error.code == "INTERNAL_SERVER_ERROR"
    assert "the disk is full" in ended.error.message

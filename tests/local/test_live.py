"""An execution on its way: many readers, one end, whatever goes wrong with keeping it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime

import pytest

from vellum_nb.local.callables.workflow import Workflow
from vellum_nb.local.engine.code import RunContext
from vellum_nb.local.engine.executions import Engine, Job, LiveExecution
from vellum_nb.local.ledger.ledger import ExecutionRecord, Ledger
from vellum_nb.local.refusals import Refused

IDS = ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002")


def record(**more):
    return ExecutionRecord(
        execution_id=IDS[0],
        trace_id=IDS[1],
        deployment_id="d",
        deployment_name="name",
        release_id="r",
        version_id="v",
        tag="LATEST",
        inputs=(),
        start=datetime.now(UTC),
        **more,
    )


def told(function):
    """Return the events of a run of `function`."""
    return list(Workflow(function).begin([], RunContext(*IDS)).events())


def words():
    yield "one"
    yield "two"


@pytest.fixture
def ledger():
    ledger = Ledger()
    yield ledger
    ledger.close()


async def read(live):
    return [event.name async for event in live.events()]


def test_every_reader_reads_from_the_beginning_to_the_end(ledger):
    events = told(words)

    async def run():
        live = LiveExecution(record(), ledger)
        live.keep()
        early = [asyncio.create_task(read(live)) for _ in range(3)]
        await asyncio.sleep(0)

        def tell():
            for event in events:
                live.tell(event)

        await asyncio.to_thread(tell)
        await live.result()
        return [await reader for reader in early], await read(live)

    early, late = asyncio.run(run())
    assert early == [late] * 3
    assert late == [event.name for event in events]
    assert [event.name for event in ledger.events(IDS[0])] == late
    assert ledger.record(IDS[0]).status == "FULFILLED"


def test_it_ends_once_and_does_not_hear_what_comes_after(ledger):
    events = told(words)

    async def run():
        live = LiveExecution(record(), ledger)
        live.keep()
        for event in events[:4]:
            live.tell(event)
        live.cancel("enough")
        live.reject("WORKFLOW_TIMEOUT", "too late")
        for event in events[4:]:
            live.tell(event)
        return await live.result(), await read(live)

    ended, names = asyncio.run(run())
    assert (ended.error.code, ended.error.message) == ("WORKFLOW_CANCELLED", "enough")
    assert names == [
        *[event.name for event in events[:4]],
        "node.execution.rejected",
        "workflow.execution.rejected",
    ]
    node = ledger.events(IDS[0])[-2]
    assert node.body["error"]["code"] == "NODE_CANCELLED"


def test_what_ends_before_it_began_has_a_beginning_too(ledger):
    async def run():
        live = LiveExecution(record(), ledger)
        live.cancel("never mind")
        live.keep()
        return await read(live)

    assert asyncio.run(run()) == ["workflow.execution.initiated", "workflow.execution.rejected"]
    assert ledger.record(IDS[0]).status == "REJECTED"


def test_an_end_that_cannot_be_kept_is_told_as_such(tmp_path):
    ledger = Ledger(tmp_path)

    async def run():
        live = LiveExecution(record(), ledger)
        live.keep()
        with closing(sqlite3.connect(tmp_path / "executions.db")) as db:
            db.execute("DROP TABLE traces")
        for event in told(words):
            live.tell(event)
        return await live.result(), await read(live)

    ended, names = asyncio.run(run())
    ledger.close()
    assert ended.error.code == "INTERNAL_SERVER_ERROR"
    assert "could not be kept: OperationalError" in ended.error.message
    assert names[-1] == "workflow.execution.rejected"


def test_an_external_id_that_was_used_is_refused_to_all_who_wait(ledger):
    ledger.begin(record(external_id="e"))

    async def run():
        live = LiveExecution(record(external_id="e"), ledger)
        waiting = [asyncio.create_task(wait()) for wait in (live.kept, live.result)]
        await asyncio.sleep(0)
        live.cancel("the client hung up before it was kept")
        return await asyncio.gather(*waiting, return_exceptions=True)

    for refused in asyncio.run(run()):
        assert isinstance(refused, Refused)
        assert "used before" in refused.detail


class Odd:
    """An execution that does not tell an end."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    def events(self):
        yield told(words)[0]
        if self.fails:
            raise OSError("torn")

    def cancel(self):
        """Do nothing."""


def flown(ledger, board, *, timeout=None):
    async def run():
        engine = Engine(timeout=timeout)
        live = LiveExecution(record(), ledger)
        engine.launch(Job(live, board))
        try:
            return await live.result()
        finally:
            await asyncio.to_thread(engine.join, 20)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        (False, "The code ended without an outcome"),
        (True, "The code of the run failed: OSError: torn"),
    ],
)
def test_code_that_tells_no_end_is_rejected(ledger, fails, message):
    ended = flown(ledger, lambda: Odd(fails=fails))
    assert (ended.error.code, ended.error.message) == ("INTERNAL_SERVER_ERROR", message)


@pytest.mark.parametrize("exc", [SystemExit(3), KeyboardInterrupt(), StopIteration(), ValueError()])
def test_whatever_loading_code_raises_ends_that_run_alone(ledger, exc):
    def board():
        raise exc

    with pytest.raises(type(exc) if isinstance(exc, ValueError) else Refused):
        flown(ledger, board)
    assert ledger.record(IDS[0]) is None


class Unspeakable(BaseException):
    """It cannot even be told what it is."""

    def __str__(self):
        raise self


def test_an_exception_that_cannot_be_told_ends_the_run_at_once(ledger):
    def unspeakable():
        raise Unspeakable

    ended = flown(ledger, lambda: Workflow(unspeakable).begin([], RunContext(*IDS)))
    assert (ended.error.code, ended.error.message) == ("NODE_EXECUTION", "Unspeakable")


def test_code_that_fails_without_words_is_rejected(ledger):
    class Silent(Odd):
        def events(self):
            yield told(words)[0]
            raise Unspeakable

    ended = flown(ledger, Silent)
    assert ended.error.message == "The code of the run failed: Unspeakable"


def test_the_time_limit_holds_while_code_is_loaded_too(ledger):
    loading = threading.Event()

    def board():
        loading.wait(20)
        return Odd()

    async def run():
        engine = Engine(timeout=0.05)
        live = LiveExecution(record(), ledger)
        engine.launch(Job(live, board))
        ended = await live.result()
        loading.set()
        await asyncio.to_thread(engine.join, 20)
        return ended

    assert asyncio.run(run()).error.code == "WORKFLOW_TIMEOUT"
    assert ledger.record(IDS[0]).status == "REJECTED"


def test_what_was_cancelled_before_it_began_does_not_run():
    calls = []
    execution = Workflow(lambda: calls.append("ran")).begin([], RunContext(*IDS))
    events = execution.events()
    next(events)
    execution.cancel()
    assert [event.name for event in events][-1] == "workflow.execution.rejected"
    assert calls == []


def test_a_machine_without_more_threads_refuses_and_keeps_no_place_for_it(ledger):
    async def run():
        engine = Engine(timeout=None, concurrency=1, queue=0)
        usual = threading.stack_size(1 << 46)  # more than any machine has
        try:
            with pytest.raises(Refused, match="starts no more threads") as caught:
                engine.launch(Job(LiveExecution(record(), ledger), Odd))
        finally:
            threading.stack_size(usual)
        return caught.value.status_code, engine.check()

    assert asyncio.run(run()) == (503, True)


def test_a_turn_that_cannot_be_kept_ends_the_run(tmp_path):
    ledger = Ledger(tmp_path)

    async def run():
        engine = Engine(timeout=None)
        live = LiveExecution(record(status="PENDING"), ledger)
        loaded = threading.Event()

        def board():
            loaded.wait(20)
            return Odd()

        engine.launch(Job(live, board))
        with closing(sqlite3.connect(tmp_path / "executions.db")) as db:
            db.execute(
                "CREATE TRIGGER full BEFORE UPDATE ON executions WHEN new.state = 'INITIATED' "
                "BEGIN SELECT RAISE(FAIL, 'the disk is full'); END"
            )
        loaded.set()
        ended = await live.result()
        await asyncio.to_thread(engine.join, 20)
        return ended

    ended = asyncio.run(run())
    ledger.close()
    assert ended.error.code == "INTERNAL_SERVER_ERROR"
    assert "the disk is full" in ended.error.message

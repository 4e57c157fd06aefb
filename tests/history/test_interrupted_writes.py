"""Ctrl-C at each step at which Python may interrupt a write: nobody is kept out by it."""

from __future__ import annotations

import asyncio
import dis
import signal
import sqlite3
import sys
import threading
from signal import SIGINT, raise_signal

import pytest
from psycopg.pq import TransactionStatus

from vellum_nb import History
from vellum_nb.history.store.interrupts import Interrupts

TRACED = ("/vellum_nb/", "contextlib.py", "test_interrupted_writes.py")
CALLS = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD"}


class CtrlC:
    """Sends one SIGINT at a step, counted from 1: where a function begins, or a call has ended."""

    def __init__(self, at):
        self.at = at
        self.last = {}

    def __call__(self, frame, _event, _arg):
        code = frame.f_code  # of a generator that is thrown away nobody hears
        if code.co_name == "<genexpr>" or not any(part in code.co_filename for part in TRACED):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        self.step()
        return self.opcode

    def opcode(self, frame, event, _arg):
        if event == "opcode":
            if self.last.get(frame) in CALLS:
                self.step()
            self.last[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        return self.opcode

    def step(self):
        self.at -= 1
        if self.at == 0:
            raise_signal(SIGINT)


def interrupted(call, at):
    """Return whether the interrupt came, and whether there was a step for it."""
    found = next(attempts(call, at))
    assert sys.exc_info()[1] is None
    return found


def attempts(call, at):
    """Yield that once: Python may leave an exception for handled, and with a generator it goes."""
    ctrl_c, before = CtrlC(at), sys.gettrace()
    sys.settrace(ctrl_c)
    try:
        call()
    except KeyboardInterrupt:
        found = True, True
    else:
        found = False, ctrl_c.at <= 0
    finally:
        sys.settrace(before)
    yield found


def taken(lock):
    """Return whether another thread would have to wait for a lock."""
    found = []

    def attempt():
        found.append(not lock.acquire(blocking=False))
        if not found[0]:
            lock.release()

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return found[0]


def writes(history, make_run):
    """Yield writes of one transaction, and of several; each may be called again and again."""
    kept = make_run()
    history.begin(kept)
    yield "begin", lambda: history.begin(make_run())
    yield "annotate", lambda: history.annotate(kept.id, note="n", tags=["a"])
    yield "merge", lambda: history.merge([make_run(), make_run()])
    yield "write", lambda: one_write(history)


def one_write(history):
    with history._store.write() as connection:
        connection.execute("SELECT 1").fetchall()


def is_under_way(store):
    """Return whether a transaction of its writer is open."""
    writer = store._writer.connection
    if isinstance(writer, sqlite3.Connection):
        return writer.in_transaction
    return writer.raw.info.transaction_status != TransactionStatus.IDLE


@pytest.mark.slow
def test_no_interrupt_of_a_write_keeps_anybody_out(place, history, make_run):
    usual = signal.getsignal(SIGINT)
    store = history._store
    for name, write in writes(history, make_run):
        at, came, is_step = 0, 0, True
        while is_step:
            at += 1
            is_here, is_step = interrupted(write, at)
            came += is_here
            assert signal.getsignal(SIGINT) is usual, (name, at)
            assert not is_under_way(store), (name, at)
            assert not taken(store._writer.lock), (name, at)
            assert not taken(store._reader.lock), (name, at)
        assert came == at - 1 > 20, name
    with History(place) as other:
        assert [run.id for run in other.runs()] == [run.id for run in history.runs()]


@pytest.fixture
def handled():
    """Return the numbers of signals that came, and let a handler note them."""
    numbers = []
    before = signal.signal(SIGINT, lambda number, _frame: numbers.append(number))
    yield numbers
    signal.signal(SIGINT, before)


KEEP = "INSERT INTO settings (name, value) VALUES ('kept', '1')"
KEPT = "SELECT value FROM settings WHERE name = 'kept'"


def test_an_interrupt_waits_for_the_end_of_a_write(history, handled):
    with history._store.write():
        raise_signal(SIGINT)
        assert handled == []
    assert handled == [SIGINT]


def test_a_write_that_is_interrupted_is_whole(history):
    def write():
        with history._store.write() as connection:
            raise_signal(SIGINT)
            connection.execute(KEEP)

    with pytest.raises(KeyboardInterrupt):
        write()
    assert history._store.read(KEPT) == [("1",)]


def test_a_second_interrupt_comes_at_once_and_undoes_the_write(history):
    def write():
        with history._store.write() as connection:
            connection.execute(KEEP)
            raise_signal(SIGINT)
            raise_signal(SIGINT)

    with pytest.raises(KeyboardInterrupt):
        write()
    assert history._store.read(KEPT) == []
    one_write(history)


def test_an_error_within_a_write_is_told_beside_the_interrupt(history):
    def write():
        with history._store.write():
            raise_signal(SIGINT)
            raise LookupError

    with pytest.raises(KeyboardInterrupt) as told:
        write()
    assert isinstance(told.value.__context__, LookupError)


def test_the_interrupt_of_a_write_within_another_one_waits_for_both(handled):
    outer, inner = Interrupts(), Interrupts()
    outer.put_off()
    inner.put_off()
    raise_signal(SIGINT)
    inner.let_through()
    assert handled == []
    outer.let_through()
    assert handled == [SIGINT]


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_who_is_not_interrupted_by_python_is_left_alone(handler):
    before = signal.signal(SIGINT, handler)
    try:
        interrupts = Interrupts()
        interrupts.put_off()
        assert signal.getsignal(SIGINT) is handler
        interrupts.let_through()
        assert signal.getsignal(SIGINT) is handler
    finally:
        signal.signal(SIGINT, before)


def test_writes_of_other_threads_leave_the_handler_alone(history, handled):
    begun, over = threading.Event(), threading.Event()

    def write():
        with history._store.write():
            begun.set()
            over.wait()

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait()
    raise_signal(SIGINT)
    over.set()
    thread.join()
    assert handled == [SIGINT]


def test_an_interrupt_within_asyncio_cancels_the_task_after_the_write(history):
    ended = []

    async def main():
        with history._store.write():
            raise_signal(SIGINT)
            ended.append("write")
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            ended.append("task")
            raise

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert ended == ["write", "task"]

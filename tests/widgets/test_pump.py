"""The thread that shows something as long as it goes on."""

from __future__ import annotations

import threading

import pytest

from vellum_nb.widgets.base import Debouncer

PATIENCE = 20


def test_it_shows_until_there_is_nothing_more_and_starts_again_when_poked():
    shown = threading.Semaphore(0)
    answers = iter([True, True, False, False])

    def show():
        shown.release()
        return next(answers)

    pump = Debouncer(show, name="example", least=0.01)
    for count in (3, 1):
        pump.poke()
        assert all(shown.acquire(timeout=PATIENCE) for _ in range(count))
        assert pump.wait(PATIENCE)


def test_a_poke_while_it_shows_asks_for_another_time():
    shown = []

    def show():
        shown.append(threading.current_thread().name)
        if len(shown) == 1:
            pump.poke()
        return False

    pump = Debouncer(show, name="example", least=0.01)
    pump.poke()
    assert pump.wait(PATIENCE)
    assert len(shown) == 2
    assert set(shown) == {"example"}


def test_closed_it_is_silent_also_when_it_closes_itself():
    calls = []

    def show():
        calls.append(1)
        pump.close()
        return True

    pump = Debouncer(show, name="example", least=0.01)
    pump.poke()
    assert pump.wait(PATIENCE)
    pump.poke()
    pump.close()
    assert calls == [1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_show_raises_ends_the_thread_and_a_poke_starts_another():
    answers = iter([ValueError("broken"), None])
    seen, threads = [], []

    def show():
        threads.append(threading.current_thread())
        answer = next(answers)
        if answer is not None:
            raise answer
        seen.append("shown")
        return False

    pump = Debouncer(show, name="example", least=0.01)
    for _ in range(2):
        pump.poke()
        assert pump.wait(PATIENCE)
        threads[-1].join(PATIENCE)  # what it raised is told after it ended, yet in this test
    assert seen == ["shown"]


def test_a_poke_that_comes_too_soon_waits_also_for_a_thread_that_ended():
    calls = []
    pump = Debouncer(lambda: calls.append(1), name="example", least=3600)
    pump.poke()
    assert pump.wait(PATIENCE)
    pump.poke()
    assert not pump.wait(0.05)
    pump.close()
    assert calls == [1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_poke_during_a_call_that_fails_is_heard():
    threads = []

    def show():
        threads.append(threading.current_thread())
        if len(threads) == 1:
            pump.poke()
            raise ValueError("broken")

    pump = Debouncer(show, name="example", least=0.01)
    pump.poke()
    assert pump.wait(PATIENCE)
    threads[0].join(PATIENCE)
    assert len(threads) == 2

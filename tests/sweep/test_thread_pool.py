from __future__ import annotations

import threading
from concurrent.futures import wait

import pytest

from vellum_nb.sweep.driver import DaemonThreadPool


def test_as_many_calls_run_at_once_as_there_are_threads_and_no_more():
    together = threading.Barrier(3)
    names = set()

    def call() -> None:
        names.add(threading.current_thread().name + str(threading.get_ident()))
        together.wait(timeout=60)

    with DaemonThreadPool(3) as crew:
        futures = [crew.submit(call) for _ in range(12)]
        assert not wait(futures, timeout=60).not_done
        assert all(future.exception() is None for future in futures)
    assert len(names) == 3


def test_an_error_reaches_the_future_and_the_thread_goes_on():
    with DaemonThreadPool(1) as crew:
        with pytest.raises(ZeroDivisionError):
            crew.submit(lambda: 1 // 0).result(timeout=60)
        with pytest.raises(SystemExit):
            crew.submit(exit).result(timeout=60)
        assert crew.submit(pow, 2, 3).result(timeout=60) == 8


def test_what_was_cancelled_before_its_turn_is_not_called():
    held, called = threading.Event(), []
    with DaemonThreadPool(1) as crew:
        crew.submit(held.wait, 60)
        later = crew.submit(called.append, 1)
        assert later.cancel()
        held.set()
    assert called == []


def test_after_shutdown_its_threads_have_ended():
    crew = DaemonThreadPool(2)
    crew.submit(pow, 2, 3)
    crew.shutdown()
    assert not [each for each in threading.enumerate() if each.name == "vellum-nb-call"]

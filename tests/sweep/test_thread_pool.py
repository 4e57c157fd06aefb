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


def test_one_call_after_the_other_needs_one_thread():
    with DaemonThreadPool(8) as crew:
        idents = {crew.submit(threading.get_ident).result(timeout=60) for _ in range(20)}
    assert len(idents) == 1


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


def test_after_shutdown_its_threads_are_gone_and_nothing_is_taken():
    crew = DaemonThreadPool(2)
    crew.submit(pow, 2, 3)
    crew.shutdown()
    assert not [each for each in threading.enumerate() if each.name == "vellum-nb-call"]
    with pytest.raises(RuntimeError, match="shut down"):
        crew.submit(pow, 2, 3)


def test_where_no_more_threads_are_to_be_had_the_others_do_the_work(monkeypatch):
    def refused(_thread):
        raise RuntimeError("can't start new thread")

    entered, release = threading.Event(), threading.Event()
    with DaemonThreadPool(4) as crew:
        first = crew.submit(lambda: (entered.set(), release.wait(20))[1])
        assert entered.wait(20)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            second = crew.submit(pow, 2, 10)
            with DaemonThreadPool(4) as other, pytest.raises(RuntimeError, match="new thread"):
                other.submit(pow, 2, 10)
        release.set()
        assert first.result(20)
        assert second.result(20) == 1024

"""Debounced repaints, calls in turn, a state that is never older, errors without words."""

from __future__ import annotations

import threading

import comm
import pytest
import traitlets
from wire_kit import Wire

from vellum_nb.widgets.base import Debouncer, SerialExecutor, ThreadSafeWidget
from vellum_nb.widgets.markup import alert_html

PATIENCE = 20
quietly = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture
def debounced():
    """Return how to make a debouncer of a function that is called with it."""
    made = []

    def debounced(show, *, least=0.01):
        made.append(Debouncer(lambda: show(made[-1]), name="example", least=least))
        return made[-1]

    yield debounced
    for each in made:
        each.close()


def test_it_shows_until_there_is_nothing_more_and_starts_again_when_poked(debounced):
    shown = threading.Semaphore(0)
    answers = iter([True, True, False, False])

    def show(_):
        shown.release()
        return next(answers)

    debouncer = debounced(show)
    for count in (3, 1):
        debouncer.poke()
        assert all(shown.acquire(timeout=PATIENCE) for _ in range(count))
        assert debouncer.wait(PATIENCE)


@quietly
@pytest.mark.parametrize("fails", [False, True])
def test_a_poke_during_a_call_asks_for_another_also_when_it_fails(debounced, fails):
    threads = []

    def show(debouncer):
        threads.append(threading.current_thread())
        if len(threads) == 1:
            debouncer.poke()
            assert not fails, "planted"

    debouncer = debounced(show)
    debouncer.poke()
    assert debouncer.wait(PATIENCE)
    threads[0].join(PATIENCE)  # what it raised is reported before this test ends
    assert [thread.name for thread in threads] == ["example"] * 2


def test_closed_it_is_silent_also_when_it_closes_itself(debounced):
    calls = []

    def show(debouncer):
        calls.append(1)
        debouncer.close()
        return True

    debouncer = debounced(show)
    debouncer.poke()
    assert debouncer.wait(PATIENCE)
    debouncer.poke()
    debouncer.close()
    assert calls == [1]


def test_a_poke_that_comes_too_soon_waits_also_for_a_thread_that_ended(debounced):
    calls = []
    debouncer = debounced(lambda _: calls.append(1), least=3600)
    debouncer.poke()
    assert debouncer.wait(PATIENCE)
    debouncer.poke()
    assert not debouncer.wait(0.05)
    debouncer.close()
    assert calls == [1]


def test_calls_are_made_in_turn_and_a_fault_stops_none(monkeypatch):
    faults: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: faults.append(str(args.exc_value)))
    executor, done, gate = SerialExecutor("vellum-nb-test"), [], threading.Event()

    def fail() -> None:
        assert gate.wait(PATIENCE)
        raise RuntimeError("planted")

    for call in (lambda: done.append(1), fail, lambda: done.append(2)):
        executor.submit(call)
    assert not executor.wait(0)
    gate.set()
    assert executor.wait(PATIENCE)
    executor.submit(lambda: done.append(3))
    assert executor.wait(PATIENCE)
    assert (done, faults) == ([1, 2, 3], ["planted"])


def test_an_old_state_is_never_sent_after_a_newer_one(monkeypatch):
    monkeypatch.setattr(comm, "create_comm", Wire)
    reading, go_on = threading.Event(), threading.Event()

    def read(word, _):
        if word == "old":
            reading.set()
            go_on.wait(10)
        return word

    class Word(ThreadSafeWidget):
        word = traitlets.Unicode().tag(sync=True, to_json=read)

    widget = Word()
    threads = [
        threading.Thread(target=lambda word=word: widget.set_trait("word", word))
        for word in ("old", "new")
    ]
    threads[0].start()
    assert reading.wait(10)
    threads[1].start()
    threads[1].join(0.2)  # it waits for the other, or it is through: then the old word comes last
    go_on.set()
    for thread in threads:
        thread.join(10)
    words = [data["state"]["word"] for data in widget.comm.sent if "word" in data.get("state", {})]
    assert words[-1] == "new"
    widget.close()


def test_an_exception_that_cannot_say_what_it_is_is_shown_by_its_kind():
    class SpeechlessError(RuntimeError):
        def __str__(self) -> str:
            raise ValueError("no words")

    assert "SpeechlessError (a fault in the form" in alert_html(SpeechlessError())

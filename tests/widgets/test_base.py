"""What all widgets are built on: calls in turn, calls put off, state sent from several threads."""

import threading

import comm
import pytest
import traitlets
from form_kit import PATIENCE
from wire_kit import Wire

from vellum_nb.widgets.base import Debouncer, SerialExecutor, ThreadSafeWidget

TURNED = "v1\u202e2v"
WRITTEN = "v1[U+202E]2v"
BREAKS = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture
def debounced():
    """Return a debouncer that gives `answers`, or raises them; and when it was called."""
    made = []

    def debounced(*answers, least=0.01, poke_in=()):
        calls = []

        def show():
            calls.append(threading.current_thread())
            if len(calls) in poke_in:
                made[-1].poke()
            answer = answers[len(calls) - 1]
            if isinstance(answer, Exception):
                raise answer
            return answer

        made.append(Debouncer(show, name="example", least=least))
        return made[-1], calls

    yield debounced
    for each in made:
        each.close()


@BREAKS
@pytest.mark.parametrize(
    ("answers", "poke_in", "called"),
    [
        ((True, True, False, None), (), (3, 1)),  # as long as there is more to show
        ((False, False), (1,), (2,)),  # a poke while it shows asks for another time
        ((ValueError("broken"), None), (), (1, 1)),  # an error ends nothing
        ((ValueError("broken"), None), (1,), (2,)),  # nor does it lose a poke
    ],
)
def test_it_calls_as_often_as_there_is_something_to_show(debounced, answers, poke_in, called):
    debouncer, calls = debounced(*answers, poke_in=poke_in)
    for count in called:
        before = len(calls)
        debouncer.poke()
        assert debouncer.wait(PATIENCE)
        assert len(calls) == before + count
        calls[-1].join(PATIENCE)  # what it raised is reported after it ended, yet in this test
    assert {thread.name for thread in calls} == {"example"}


def test_closed_it_is_silent_also_when_it_closes_itself():
    calls = []

    def show():
        calls.append(1)
        debouncer.close()
        return True

    debouncer = Debouncer(show, name="example", least=0.01)
    debouncer.poke()
    assert debouncer.wait(PATIENCE)
    debouncer.poke()
    debouncer.close()
    assert calls == [1]


def test_a_poke_that_comes_too_soon_waits(debounced):
    debouncer, calls = debounced(None, None, least=3600)
    debouncer.poke()
    assert debouncer.wait(PATIENCE)
    debouncer.poke()
    assert not debouncer.wait(0.05)
    debouncer.close()
    assert len(calls) == 1


def test_calls_are_made_in_turn_and_an_error_stops_none(monkeypatch):
    errors = []
    monkeypatch.setattr(threading, "excepthook", lambda args: errors.append(str(args.exc_value)))
    executor, done, gate = SerialExecutor("vellum-nb-test"), [], threading.Event()

    def fail():
        assert gate.wait(PATIENCE)
        msg = "planted"
        raise RuntimeError(msg)

    executor.submit(lambda: done.append(1))
    executor.submit(fail)
    executor.submit(lambda: done.append(2))
    assert not executor.wait(0)
    gate.set()
    assert executor.wait(PATIENCE)
    executor.submit(lambda: done.append(3))
    assert executor.wait(PATIENCE)
    assert (done, errors) == ([1, 2, 3], ["planted"])


def test_an_old_state_is_never_sent_after_a_newer_one(monkeypatch):
    monkeypatch.setattr(comm, "create_comm", Wire)
    reading, go_on = threading.Event(), threading.Event()

    def read(word, _):
        if word == "old":
            reading.set()
            go_on.wait(10)
        return word

    class Worded(ThreadSafeWidget):
        word = traitlets.Unicode().tag(sync=True, to_json=read)

    widget = Worded()
    widget.set_trait("word", "")
    first = threading.Thread(target=lambda: setattr(widget, "word", "old"))
    second = threading.Thread(target=lambda: setattr(widget, "word", "new"))
    first.start()
    assert reading.wait(10)
    second.start()
    second.join(0.2)  # it waits for the other, or it is through: then the old word comes last
    go_on.set()
    first.join(10)
    second.join(10)
    states = [data.get("state", {}) for data in widget.comm.sent]
    assert [state["word"] for state in states if "word" in state][-1] == "new"
    widget.close()

"""Debounced calls, state sent from several threads, and order of messages."""

import inspect
import threading

import comm
import ipykernel.comm.comm
import ipykernel.kernelbase
import ipywidgets
import pytest
import traitlets
from form_kit import PATIENCE
from wire_kit import Wire

from vellum_nb.widgets.base import Debouncer, ThreadSafeWidget, keep_order


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("answers", "poke_in", "called"),
    [
        ((True, True, False, None), 0, (3, 1)),  # while there is more to show
        ((False, False), 1, (2,)),  # a poke during a call requests another
        ((ValueError("broken"), None), 0, (1, 1)),  # an error ends nothing
        ((ValueError("broken"), None), 1, (2,)),  # nor does it lose a poke
    ],
)
def test_debouncer_calls_until_there_is_nothing_to_show(answers, poke_in, called):
    calls = []

    def show():
        calls.append(threading.current_thread())
        if len(calls) == poke_in:
            debouncer.poke()
        if isinstance(answers[len(calls) - 1], Exception):
            raise answers[len(calls) - 1]
        return answers[len(calls) - 1]

    debouncer = Debouncer(show, name="example", least=0.01)
    for count in called:
        before = len(calls)
        debouncer.poke()
        assert debouncer.wait(PATIENCE)
        assert len(calls) == before + count
        calls[-1].join(PATIENCE)  # its exception is reported within this test
    debouncer.close()


def test_old_state_is_never_sent_after_a_newer_one(monkeypatch):
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
    second.join(0.2)  # it waits for the first, or the old word would be sent last
    go_on.set()
    first.join(10)
    second.join(10)
    states = [data.get("state", {}) for data in widget.comm.sent]
    assert [state["word"] for state in states if "word" in state][-1] == "new"
    widget.close()


def test_ipykernel_routes_messages_to_the_requested_subshell_after_keep_order(monkeypatch):
    """Fails when ipykernel changes the private method that `keep_order` replaces."""
    monkeypatch.setattr(comm, "create_comm", ipykernel.comm.comm.BaseComm)
    widget = ipywidgets.IntText()
    widget.comm._reply_subshell_id = "last writer"
    assert widget.comm._reply_subshell_for({}, "requested") == "last writer"
    keep_order(widget)
    assert widget.comm._reply_subshell_for({}, "requested") == "requested"
    source = inspect.getsource(ipykernel.kernelbase.Kernel)
    assert 'getattr(comm, "_reply_subshell_for", None)' in source
    widget.close()

"""A page that asks for a widget's state while a thread changes it ends with the newest."""

from __future__ import annotations

import threading

import comm
import traitlets
from comm.base_comm import BaseComm

from vellum_nb.widgets.base import ThreadSafeWidget
from vellum_nb.widgets.lab import LabHead
from vellum_nb.widgets.results import AnswerBars
from vellum_nb.widgets.sweep_view import SweepView
from vellum_nb.widgets.table import HistoryView


class Wire(BaseComm):
    """A comm that keeps which words went to the browser."""

    def __init__(self, *args, **kwargs):
        self.words = []
        super().__init__(*args, **kwargs)

    def publish_msg(self, *_, data=None, **__):
        self.words += [data["state"]["word"]] if "word" in (data or {}).get("state", {}) else []


def test_an_old_state_is_never_sent_after_a_newer_one(monkeypatch):
    monkeypatch.setattr(comm, "create_comm", Wire)
    reading, go_on = threading.Event(), threading.Event()

    def read(word, _):
        if word == "old":
            reading.set()
            go_on.wait(10)
        return word

    class Told(ThreadSafeWidget):
        word = traitlets.Unicode().tag(sync=True, to_json=read)

    told = Told()
    told.set_trait("word", "")
    asked = threading.Thread(target=lambda: setattr(told, "word", "old"))
    changed = threading.Thread(target=lambda: setattr(told, "word", "new"))
    asked.start()
    assert reading.wait(10)
    changed.start()
    changed.join(0.2)  # it waits for the other, or it is through: then the old word comes last
    go_on.set()
    asked.join(10)
    changed.join(10)
    assert told.comm.words[-1] == "new"
    told.close()


def test_the_widgets_that_threads_change_send_so():
    kinds = (AnswerBars, LabHead, HistoryView, SweepView)
    assert all(issubclass(kind, ThreadSafeWidget) for kind in kinds)

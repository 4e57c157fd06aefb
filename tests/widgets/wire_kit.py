"""A page that exchanges messages with a widget over its comm, as the browser does."""

import threading
import time

from comm.base_comm import BaseComm


class Wire(BaseComm):
    """A comm that records the messages to the browser."""

    def __init__(self, *args, **kwargs):
        self.sent = []
        self.arrived = threading.Condition()
        super().__init__(*args, **kwargs)

    def publish_msg(self, *_, data=None, **__):
        with self.arrived:
            self.sent.append(data or {})
            self.arrived.notify_all()

    def customs(self, kind):
        contents = [data["content"] for data in self.sent if data.get("method") == "custom"]
        return [content for content in contents if content["kind"] == kind]

    def wait_for(self, condition):
        until = time.monotonic() + 10
        while not (found := condition()) and time.monotonic() < until:
            with self.arrived:  # not while `condition` is called: it may send a message itself
                self.arrived.wait(0.05)
        return found


def changed(widget, name, holds, seconds=60):
    """Wait until a trait of a widget satisfies a condition; return False on a timeout."""
    seen = threading.Event()

    def look(*_):
        if holds(getattr(widget, name)):
            seen.set()

    widget.observe(look, name)
    look()
    try:
        return seen.wait(seconds)
    finally:
        widget.unobserve(look, name)


class Page:
    """Sends the messages of the JavaScript of a widget."""

    def __init__(self, view):
        self.view, self.wire = view, view.comm

    def send(self, buffers=(), /, **content):
        data = {"method": "custom", "content": content}
        views = [memoryview(each) for each in buffers]
        self.wire.handle_msg({"content": {"data": data}, "buffers": views})

    def state(self, name):
        """Return a trait in the form sent to the page."""
        return self.view.get_state(name)[name]

    def set(self, **state):
        self.send_data(method="update", state=state, buffer_paths=[])

    def send_data(self, **data):
        """Send a message unchanged."""
        self.wire.handle_msg({"content": {"data": data}, "buffers": []})

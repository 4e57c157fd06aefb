"""Ctrl-C at any line of ours: no row is left under way, and the history stays usable."""

from __future__ import annotations

import linecache
import signal
import sys
import threading

import pytest

import vellum_nb as vnb

PLACES = (
    "history/sqlite_store.py",
    "workspace/runner.py",
    "workspace/streaming.py",
)
PATIENCE = 20


class Interrupt:
    """Interrupts at one of the lines in `PLACES`, counted from 1.

    Python itself never interrupts between a lock and its ``with``, a tracer would: those are left
    out.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.came = False

    def __call__(self, frame, _event, _arg):
        return self.line if frame.f_code.co_filename.endswith(PLACES) else None

    def line(self, frame, event, _arg):
        source = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not self.came and not source.lstrip().startswith("with "):
            self.at -= 1
            if self.at == 0:
                self.came = True
                signal.raise_signal(signal.SIGINT)
        return self.line


def run(ws):
    return ws.run("shout", {"text": "a"})


def stream(ws):
    with ws.stream("shout", {"text": "a"}) as events:
        list(events)
    return events


def interrupted(call, ws, at):
    """Return the run, or None when an interrupt came."""
    before = sys.gettrace()
    sys.settrace(Interrupt(at))
    try:
        return call(ws)
    except KeyboardInterrupt:
        return None
    finally:
        sys.settrace(before)


@pytest.mark.slow
@pytest.mark.parametrize(("call", "step"), [(run, 3), (stream, 7)])
def test_no_interrupt_leaves_a_row_under_way_or_the_history_locked(server, call, step):
    with vnb.connect(server, history=":memory:") as ws:
        at = 1
        while interrupted(call, ws, at) is None:
            assert ws.history.count(state="STARTED") == 0, at
            ws.history.merge([])  # a write, which finds the history unlocked
            at += step
    assert at > 50


@pytest.mark.parametrize("way", ["run", "stream"])
def test_an_answer_that_came_is_kept_when_recording_it_is_interrupted(ws, way):
    def interrupt(run):
        if run.state == "FULFILLED":
            raise KeyboardInterrupt

    ws.history.subscribe(interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(ws.stream("shout", {"text": "a"})) if way == "stream" else run(ws)
    (kept,) = ws.history.runs()
    assert (kept.state, kept.outputs) == ("FULFILLED", {"loud": "A"})


def test_an_upload_can_be_cancelled(tmp_path):
    import socket

    from vellum_nb.models import Cancellation
    from vellum_nb.models.media import DATA_URL_LIMIT
    from vellum_nb.models.run import RunRequest

    listener = socket.create_server(("127.0.0.1", 0))
    arrived, over = threading.Event(), threading.Event()

    def swallow():
        """Refuse to tell of the deployment; take the upload and never answer."""
        while not over.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                if sock.recv(4) == b"GET ":
                    sock.recv(65536)
                    answer = b"HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
                    sock.sendall(answer)
                    continue
                arrived.set()
                while sock.recv(65536):
                    pass

    thread = threading.Thread(target=swallow)
    thread.start()
    cancel = Cancellation()
    content = b"%PDF-" + b"x" * DATA_URL_LIMIT
    request = RunRequest(deployment="measure", inputs={"file": content})
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with vnb.connect(url, api_key="k", history=tmp_path / "runs.db") as ws:
            calls = []
            call = threading.Thread(
                target=lambda: calls.append(ws._runner.execute(request, cancel))
            )
            call.start()
            assert arrived.wait(PATIENCE)
            cancel.cancel()
            call.join(PATIENCE)
            assert [ended.state for ended, _ in calls] == ["CANCELLED"]
            assert [kept.state for kept in ws.history.runs()] == ["CANCELLED"]
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()

"""Sweeps in processes of their own, which a test stops, continues and kills.

A process sweeps as an order says, and writes its outcome to a file: a killed one has none.
"""

import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import fork_kit

LONG = 120.0  # seconds; waits that end long before
KEY = "sk-counting-0123456789"


def wait_until(condition, seconds=120):
    """Poll `condition` until it is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the state was not reached"
        time.sleep(0.005)


class Kernels:
    """Starts processes that sweep; `close` kills those that are left."""

    def __init__(self, forks, folder):
        self._forks, self.folder, self._kernels = forks, folder, []

    def start(self, url, history, cases, *, until=None, **order):
        """Start a kernel that sweeps `cases`; with `until`, when the file of that name exists."""
        number = len(self._kernels)
        order |= {"url": url, "history": str(history), "cases": cases}
        order |= {"outcome": str(self.folder / f"outcome-{number}"), "until": until and str(until)}
        pid = self._forks.start(__file__, "run_order", order)
        kernel = Kernel(pid, Path(order["outcome"]))
        self._kernels.append(kernel)
        return kernel

    def close(self):
        for kernel in self._kernels:
            kernel.kill()


class Kernel:
    """A process that sweeps."""

    def __init__(self, pid, path):
        self.pid, self._path = pid, path

    @property
    def is_alive(self):
        return fork_kit.is_alive(self.pid)

    @property
    def is_ready(self):
        return self._path.with_suffix(".ready").exists()

    @property
    def outcome_exists(self):
        return self._path.exists()

    @property
    def is_done(self):
        return self.outcome_exists and self.outcome().get("state") == "done"

    def suspend(self):
        """Stop it, and its `time.monotonic`, as a machine that sleeps does on Linux."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGSTOP)
        wait_until(lambda: self._state in {"T", None})
        self._stopped = time.monotonic()

    @property
    def _state(self):
        """Its state in Linux's ``/proc``: T if it is stopped, None if it is unknown."""
        with suppress(OSError):
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace")
            return stat.rpartition(")")[2].split()[0]
        return None

    def wake(self):
        """Continue it."""
        asleep = self._path.with_suffix(".asleep")
        before = struct.unpack("d", asleep.read_bytes())[0] if asleep.exists() else 0.0
        renamed = asleep.with_suffix(".new")
        renamed.write_bytes(struct.pack("d", before + time.monotonic() - self._stopped))
        renamed.rename(asleep)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def interrupt(self):
        """Send it Ctrl-C, unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT)

    def kill(self):
        fork_kit.kill(self.pid)

    def outcome(self, seconds=120):
        """Wait for its end; return the state, the id and the error of its sweep."""
        wait_until(self._path.exists, seconds)
        wait_until(lambda: not self.is_alive)
        return json.loads(self._path.read_text())


class Proxy:
    """A TCP proxy on 127.0.0.1 that a test cuts and heals."""

    def __init__(self, port):
        self._target, self.port, self._sockets = port, 0, []
        self._passes = threading.Event()
        self._passes.set()
        self.heal()

    def heal(self):
        """Take connections, again on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self):
        """Reset every connection, and refuse new ones."""
        with suppress(OSError):  # wakes the thread that accepts
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def freeze(self):
        """Hold back what the server answers."""
        self._passes.clear()

    def thaw(self):
        """Pass on what was held back."""
        self._passes.set()

    def _accept(self, listener):
        with suppress(OSError):
            while True:
                client = listener.accept()[0]
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # it is down
                    client.close()
                    continue
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    copy = (source, sink, source is server)
                    threading.Thread(target=self._copy, args=copy, daemon=True).start()

    def _copy(self, source, sink, is_answer):
        with suppress(OSError):
            while data := source.recv(65_536):
                if is_answer:
                    self._passes.wait()
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def sweep(order):
    """Sweep as ordered; return the outcome."""
    import vellum_nb as vnb
    from vellum_nb.sweep.sweep import control_of

    path = Path(order["outcome"])
    set_clocks(order, path)
    timeout = (10, order.get("read", 30))
    key, history = order.get("key", KEY), order["history"]
    with vnb.connect(order["url"], api_key=key, history=history, timeout=timeout) as ws:
        path.with_suffix(".ready").touch()
        if order["until"]:
            wait_until(Path(order["until"]).exists)
        name, options = order.get("name", "count"), order.get("options", {})
        options["release_tags"] = order.get("tags", ["v1"])
        if "user" in order:
            user, turns = ws.user(**order["user"]), order["max_turns"]
            options["conversation"] = vnb.Conversation(user=user, max_turns=turns)
        while True:
            try:
                made = ws.sweep(name, order["cases"], **options)
            except vnb.HistoryError as exc:
                if not order.get("waits_for_lease") or "is running" not in str(exc):
                    raise
                time.sleep(0.05)
            else:
                why = control_of(made).progress().why
                return {"state": made.state, "id": made.id, "why": why}


def set_clocks(order, path):
    """Have the clocks, the lease and the look-ups of this process as ordered."""
    if order.get("ahead_s"):
        set_wall_clock(order["ahead_s"])
    if order.get("lease_s"):
        stop_monotonic_clock(path.with_suffix(".asleep"))
        shorten_lease(order["lease_s"])
    shorten_look_ups()


def set_wall_clock(seconds):
    """Have the wall clock of this process ahead."""
    real, real_time, real_ns = datetime, time.time, time.time_ns

    class Kind(type):
        def __instancecheck__(cls, value):
            return isinstance(value, real)

    class Ahead(real, metaclass=Kind):
        @classmethod
        def now(cls, tz=None):
            return real.now(tz) + timedelta(seconds=seconds)

    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)
    for name, module in list(sys.modules.items()):
        if name.startswith("vellum_nb") and getattr(module, "datetime", None) is real:
            module.datetime = Ahead


def stop_monotonic_clock(path):
    """Have `time.monotonic` leave out the time for which this process was suspended."""
    from vellum_nb.sweep.driver import Driver

    real = time.monotonic

    def monotonic():
        asleep = 0.0
        with suppress(OSError):
            asleep = struct.unpack("d", path.read_bytes())[0]
        return real() - asleep

    time.monotonic = monotonic
    defaults = Driver.__init__.__kwdefaults__
    if defaults.get("clock") is real:
        defaults["clock"] = monotonic


def shorten_lease(seconds):
    """Have leases of this process end after so many seconds."""
    from vellum_nb.history import leases
    from vellum_nb.sweep import driver

    leases.LEASE_S, leases._LENGTH_US = seconds, int(seconds * 1e6)
    leases._MARGIN_S = seconds / 4
    driver._RENEW_INTERVAL_S, driver._DATABASE_RETRY_S = seconds / 6, seconds / 20


def shorten_look_ups():
    """Have a run in doubt looked up for as long as the read timeout, and no longer."""
    from vellum_nb.sweep import retry_policy

    retry_policy.SHORTEST_S = 0.0


def run_order(order):
    try:
        outcome = sweep(order)
    except BaseException as exc:  # noqa: BLE001  (the outcome says so)
        outcome = {"error": f"{type(exc).__name__}: {exc}"}
    path = Path(order["outcome"])
    path.with_suffix(".new").write_text(json.dumps(outcome))
    path.with_suffix(".new").rename(path)

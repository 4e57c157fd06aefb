"""A sweep on a real server with runs that wait for permits, and a way to wait for its view."""

import threading
from typing import TypedDict

from wire_kit import Page, changed

import vellum_nb as vnb

PATIENCE = 60
VIEW_THREADS = "vellum-nb-sweep-v"
CASES = [{"ticket": f"ticket {n}" if n else "bad ticket"} for n in range(6)]


class Sorted(TypedDict):
    category: str
    reply: str


class Gated:
    """A workspace on its own server, with a deployment that waits for permits."""

    def __init__(self):
        self.gate = threading.Semaphore(0)
        self.server = vnb.LocalServer().start()
        self.server.deploy(self.triage, name="triage", release_tags=["v1", "production"])
        self.server.deploy(self.triage, name="triage", release_tags=["v2"])
        self.ws = vnb.connect(self.server, history=":memory:")

    def triage(self, ticket: str) -> Sorted:
        assert self.gate.acquire(timeout=PATIENCE)
        if "bad" in ticket:
            raise vnb.Reject("this is unreadable")
        return {"category": "<b>billing</b>", "reply": f"Thank you for {ticket}, we look into it."}

    def sweep(self, **options):
        """Start a sweep of 12 runs, 4 at once."""
        known = {"release_tags": ["v1", "v2"], "concurrency": 4, "background": True}
        return self.ws.sweep("triage", CASES, **(known | options))

    def close(self):
        self.gate.release(1000)
        self.ws.close()
        self.server.stop()
        while threads := [t for t in threading.enumerate() if t.name.startswith(VIEW_THREADS)]:
            threads[0].join(PATIENCE)  # the verdict, which the view then shows in another thread


def until(view, holds):
    """Wait until the view model satisfies a condition; return the model."""
    panel = view.panel
    assert changed(panel, "view_model", holds, PATIENCE), panel.view_model
    return panel.view_model


def press(view, kind, **more):
    """Send the message of a click."""
    Page(view.panel).send(kind=kind, **more)

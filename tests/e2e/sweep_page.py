"""A `SweepView` as a user meets it: counts, Pause, Resume, Stop; and a workflow that waits."""

import re

from playwright.sync_api import expect

# Every run waits for a permit; the kernel gives as many as a test wants to see ended.
GATE = """
import threading
from typing import TypedDict
import vellum_nb as vnb

gate = threading.Semaphore(0)

class Sorted(TypedDict):
    category: str
    reply: str

def triage(ticket: str) -> Sorted:
    gate.acquire()
    if "bad" in ticket:
        raise vnb.Reject("nobody can read this")
    return {"category": "<b>billing</b>", "reply": f"Thank you for {ticket}, we look into it."}

server = vnb.LocalServer()
server.deploy(triage, name="triage", release_tags=["v1", "production"])
server.deploy(triage, name="triage", release_tags=["v2"], description="the same again")
ws = vnb.connect(server, history="runs.db")
cases = [{"ticket": f"ticket {n}" if n else "bad ticket"} for n in range(12)]
"""


class SweepPage:
    """The view in one output of a notebook; `cell` counts from 0, `name` is its variable."""

    def __init__(self, notebook, *, cell=0):
        self.notebook = notebook
        self.root = notebook.output(cell).get_by_role("region", name=re.compile("^Sweep of"))
        self.status = self.root.get_by_role("status")
        self.hint = self.root.get_by_role("note")
        self.sums = self.root.locator(".vnb-sweep-sums > div")
        self.outputs = self.root.locator(".vnb-sweep-output[aria-hidden='false']")
        expect(self.root).to_be_visible()

    def button(self, name):
        """Return Pause, Resume, Stop or Cut off."""
        return self.root.get_by_role("button", name=name, exact=True)

    def bar(self, tag):
        """Return the bar of a release tag."""
        return self.root.get_by_role("progressbar", name=tag, exact=True)

    def ended(self, text):
        """Wait until so many runs have ended, such as "3 of 24"."""
        expect(self.sums.first.locator(".vnb-sweep-value")).to_have_text(text)

    def let(self, count):
        """Let so many runs end."""
        self.notebook.kernel_eval(f"gate.release({count})")

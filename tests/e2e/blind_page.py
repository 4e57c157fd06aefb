"""A `BlindView` as a user meets it, and two releases to be told apart by their answers only."""

import re

from playwright.sync_api import expect

FIRST, SECOND = "tag-alpha", "tag-omega"

CONNECT = f"""
from typing import TypedDict
import vellum_nb as vnb

class Answer(TypedDict):
    category: str
    reply: str

def plain(ticket: str, tier: str) -> Answer:
    return {{"category": "account", "reply": f"Thanks for writing about {{ticket}}. " * 3}}

def kind(ticket: str, tier: str) -> Answer:
    if "same" in ticket:
        return plain(ticket, tier)
    if "hostile" in ticket:
        return {{"category": "<img src=x onerror=alert(1)>", "reply": "<script>boom()</script>"}}
    return {{"category": "billing", "reply": f"We are sorry about {{ticket}}, look here. " * 6}}

server = vnb.LocalServer()
server.deploy(plain, name="triage", release_tags=["{FIRST}"])
server.deploy(kind, name="triage", release_tags=["{SECOND}"], description="kinder")
ws = vnb.connect(server, history="runs.db")
names = ["a bill that I cannot read", "hostile", "a login that fails", "the same", "a refund"]
cases = [{{"ticket": f"{{name}} of last month, which nobody has answered so far", "tier": "pro"}}
         for name in names]
"""
RUN = f"""
done = ws.sweep("triage", cases, release_tags=["{FIRST}", "{SECOND}"], progress=False)
"""
VIEW = f"""
cmp = ws.compare("triage", release_tags=["{FIRST}", "{SECOND}"])
view = cmp.view(blind=True, seed=3)
view
"""


class BlindPage:
    """The view in one output of a notebook; `cell` counts from 0."""

    def __init__(self, notebook, *, cell=0):
        self.notebook = notebook
        self.root = notebook.output(cell).get_by_role("region", name=re.compile("^Blind rating"))
        self.status = self.root.locator(".vnb-sr-only")
        self.count = self.root.locator(".vnb-blind-count")
        self.a = self.root.get_by_role("region", name="Answer A")
        self.b = self.root.get_by_role("region", name="Answer B")
        self.note = self.root.get_by_role("textbox", name="Note on this case")
        expect(self.root).to_be_visible()

    def button(self, name):
        """Return one of its buttons."""
        return self.root.get_by_role("button", name=name, exact=True)

    def press(self, key):
        """Press a key in the page, wherever the focus is."""
        self.notebook.page.keyboard.press(key)

    def rated(self, text):
        """Wait until so many are rated, such as "3 of 4"."""
        expect(self.count).to_have_text(f"{text} rated")

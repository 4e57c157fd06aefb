"""Answers that stream, in a real JupyterLab on a real server: text grows, keeps its place, ends."""

import pytest
from form_page import open_form
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

STREAMS = """
import threading
from collections.abc import Generator
from typing import Literal, TypedDict
import vellum_nb as vnb
from vellum_nb.local import ChatHistory, LocalServer

WORDS = (
    "Thank you, I found INV-20931. Your card was charged on 3 March and again on 5 March; the "
    "second charge was ours by mistake. I have marked it for refund. The bank needs up to 5 "
    "working days, so I cannot promise that the money arrives today, but it is on its way."
).split()
more = threading.Semaphore(0)  # a word each

class Actions(TypedDict):
    actions: list[str]

def copilot(messages: ChatHistory) -> Generator[tuple[Literal["reply"], str], None, Actions]:
    for number, word in enumerate(WORDS):
        more.acquire(timeout=60)
        yield "reply", word if number == 0 else " " + word
    return {"actions": ["refund INV-20931"]}

server = LocalServer()
server.deploy(copilot, name="support-copilot", release_tags=["v2", "production"])
ws = vnb.connect(server)
form = ws.form("support-copilot")
form.value = {"messages": [("SYSTEM", "Be brief."), ("USER", "I was charged twice for March.")]}
"""
STATES = "ws.history.frame()['state'].tolist()"


def streaming(lab, *, words):
    """Open the form, switch Stream on, run, and let some words come."""
    form = open_form(lab, STREAMS)
    form.stream().check(force=True)
    form.notebook.kernel_becomes("form.streaming", "True")
    form.run.click()
    form.kernel(f"more.release({words})")
    return form


def finish(form):
    form.kernel("more.release(1000)")
    form.wait()


def test_answer_replaces_the_streamed_text(lab):
    form = streaming(lab, words=4)
    column = form.column("v2")
    expect(column).to_contain_text("Thank you, I found")
    expect(column).to_contain_text("streaming · first words after")
    expect(column).to_contain_text("4 words")
    expect(column.locator(".vnb-growing")).to_have_count(1)
    expect(column).to_have_attribute("aria-busy", "true")
    expect(form.cancel).to_be_enabled()
    expect(form.progress).to_contain_text("node 1 · copilot")
    assert form.kernel(STATES) == "['STARTED']"
    form.kernel("more.release(4)")
    expect(column).to_contain_text("Your card was")
    expect(form.act("Copy the outputs of v2")).to_be_disabled()
    finish(form)
    expect(column).to_contain_text("FULFILLED")
    expect(column).to_contain_text("it is on its way.")
    expect(column).to_contain_text('["refund INV-20931"]')
    expect(column.locator(".vnb-live")).to_have_count(0)
    expect(form.act("Copy the outputs of v2")).to_be_enabled()
    assert form.kernel(STATES) == "['FULFILLED']"

"""Answers that stream, in a real JupyterLab on a real server: text grows, keeps its place, ends."""

from __future__ import annotations

import subprocess
import sys

import pytest
from form_page import FormPage, open_form
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

def plain(messages: ChatHistory) -> dict[str, object]:
    return {"reply": "I found nothing.", "actions": []}

server = LocalServer()
server.deploy(plain, name="support-copilot", release_tags=["v1"])
server.deploy(copilot, name="support-copilot", release_tags=["v2", "production"])
ws = vnb.connect(server)
form = ws.form("support-copilot")
form.value = {"messages": [("SYSTEM", "Be brief."), ("USER", "I was charged twice for March.")]}
"""
STATES = "ws.history.frame()['state'].tolist()"


def streaming(lab, *, words: int) -> FormPage:
    """Open the form, switch Stream on, run, and let some words come."""
    form = open_form(lab, STREAMS)
    form.stream().check(force=True)
    form.notebook.kernel_becomes("form.streaming", "True")
    form.run.click()
    form.kernel(f"more.release({words})")
    return form


def finish(form: FormPage) -> None:
    form.kernel("more.release(1000)")
    form.wait()


def test_words_are_shown_while_the_run_goes_on_and_the_answer_takes_their_place(lab):
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


def test_a_selection_stays_while_text_grows_and_the_place_stays_when_it_ends(lab):
    form = streaming(lab, words=6)
    place = form.column("v2").locator(".vnb-growing")
    expect(place).to_contain_text("Thank you, I found INV-20931.")
    place.evaluate(
        """(node) => {
            const range = document.createRange();
            range.setStart(node.firstChild, 11);
            range.setEnd(node.firstChild, 28);
            getSelection().removeAllRanges();
            getSelection().addRange(range);
        }"""
    )
    form.kernel("more.release(12)")
    expect(place).to_contain_text("on 3 March")
    assert lab.page.evaluate("getSelection().toString()") == "I found INV-20931"
    height = form.answers.bounding_box()["height"]
    finish(form)
    expect(form.column("v2")).to_contain_text("FULFILLED")
    assert form.answers.bounding_box()["height"] >= height


def test_cancel_cuts_the_stream_off_and_keeps_its_words(lab):
    form = streaming(lab, words=4)
    expect(form.column("v2")).to_contain_text("Thank you, I found")
    form.cancel.click()
    form.wait()
    expect(form.column("v2")).to_contain_text("CANCELLED")
    expect(form.column("v2")).to_contain_text("Thank you, I found")
    assert form.kernel(STATES) == "['CANCELLED']"
    assert form.kernel("form.runs[0].outputs") == "{'reply': 'Thank you, I found'}"
    form.kernel("more.release(1000)")
    form.run_and_wait()
    expect(form.column("v2")).to_contain_text("it is on its way.")


def test_a_stream_is_started_and_cut_off_from_the_keyboard(lab):
    form = open_form(lab, STREAMS)
    form.stream().focus()
    lab.page.keyboard.press("Space")
    form.notebook.kernel_becomes("form.streaming", "True")
    lab.page.keyboard.press("Shift+Tab")
    expect(form.run).to_be_focused()
    lab.page.keyboard.press("Enter")
    expect(form.cancel).to_be_focused()
    form.kernel("more.release(4)")
    expect(form.column("v2")).to_contain_text("Thank you, I found")
    lab.page.keyboard.press("Enter")
    expect(form.column("v2")).to_contain_text("CANCELLED")
    expect(form.run).to_be_focused()


def test_two_releases_stream_beside_each_other_in_every_view_of_the_form(lab):
    notebook = lab.run_notebook([STREAMS + "form", "form"])
    form, other = FormPage(notebook), FormPage(notebook, cell=1)
    form.run_on("v1", "v2")
    form.stream().focus()
    lab.page.keyboard.press("Space")
    expect(other.stream()).to_be_checked()
    form.run.click()
    form.kernel("more.release(4)")
    for view in (form, other):
        expect(view.column("v1")).to_contain_text("FULFILLED")
        expect(view.column("v2")).to_contain_text("Thank you, I found")
        expect(view.answers.locator("dd ins")).to_have_count(0)
    finish(form)
    for view in (form, other):
        expect(view.column("v2")).to_contain_text("it is on its way.")
        expect(view.column("v2")).to_contain_text("outputs differ")


SERVER = """
import sys, threading
from collections.abc import Iterator
import vellum_nb as vnb

def talk(text: str) -> Iterator[str]:
    yield "half a word"
    print("told", flush=True)
    threading.Event().wait(60)
    yield "never told"

with vnb.LocalServer(api_key="test") as server:
    server.deploy(talk, name="talk", release_tags=["v1"])
    print(server.url, flush=True)
    sys.stdin.read()
"""


def test_a_server_that_dies_in_mid_stream_leaves_the_words_that_came(lab):
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            url = server.stdout.readline().strip()
            setup = f"import vellum_nb as vnb\nws = vnb.connect({url!r}, api_key='test')\n"
            form = open_form(lab, setup + "form = ws.form('talk')")
            form.field("text *").fill("hello")
            form.stream().check(force=True)
            form.run.click()
            assert server.stdout.readline().strip() == "told"
            expect(form.answers).to_contain_text("half a word")
        finally:
            server.kill()
    expect(form.answers).to_contain_text("FAILED")
    expect(form.answers).to_contain_text("half a word")
    expect(form.run).to_be_enabled()
    assert form.kernel("form.runs[0].state, form.runs[0].outputs['output']") == (
        "('FAILED', 'half a word')"
    )


def test_a_stream_fits_its_place_and_pictures_are_taken(lab):
    form = streaming(lab, words=30)
    looks = ("light-1400", "dark-500")
    spill = "node => node.scrollWidth - node.clientWidth"
    expect(form.column("v2")).to_contain_text("marked it for refund.")
    for look in looks:
        with lab.looking(look):
            form.notebook.screenshot(f"stream-{look}", form.notebook.output(0))
            assert form.root.evaluate(spill) <= 0
    finish(form)
    form.act("Trace of v2").click()
    expect(form.root.get_by_role("table")).to_contain_text("copilot")
    form.act("Continue from the answer of v2").click()
    expect(form.field("messages, turn 4")).to_be_focused()
    for look in looks:
        with lab.looking(look):
            form.notebook.screenshot(f"continued-{look}", form.notebook.output(0))
            assert form.root.evaluate(spill) <= 0

"""The form when things go wrong: slow runs, cancels, uploads."""

import base64
import time

import pytest
from form_page import open_form
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

OWN = """
import threading, time
from typing import Any, TypedDict
import vellum_nb as vnb
from vellum_nb.local import *

server = vnb.LocalServer()
gate = threading.Event()
calls = []
"""
SLOW = (
    OWN
    + """
def slow(text: str) -> dict[str, str]:
    calls.append(text)
    gate.wait(30)
    return {"output": text}

server.deploy(slow, name="slow", release_tags=["v1"])
ws = vnb.connect(server)
form = ws.form("slow")
"""
)
LOOK = (
    OWN
    + """
def look(picture: Image) -> dict[str, str]:
    return {"src": picture["src"][:60]}

server.deploy(look, name="look", release_tags=["v1"])
ws = vnb.connect(server)
form = ws.form("look")
"""
)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_slow_run_is_cancelled(lab):
    form = open_form(lab, SLOW)
    form.field("text *").fill("hello")
    form.run.click()
    expect(form.run).to_have_text("Running…")
    expect(form.run).to_be_disabled()
    assert form.kernel("6 * 7") == "42"
    form.kernel("form.submit()")
    expect(form.progress).to_contain_text("0 of 1")
    started = time.monotonic()
    form.cancel.click()
    expect(form.answers).to_contain_text("CANCELLED")
    assert time.monotonic() - started < 2
    expect(form.run).to_be_enabled()
    assert form.kernel("calls, [run.state for run in form.runs]") == "(['hello'], ['CANCELLED'])"
    assert form.kernel("ws.history.frame()['state'].tolist()") == "['CANCELLED']"
    form.kernel("gate.set()")
    form.run_and_wait()
    expect(form.answers).to_contain_text("FULFILLED")


def test_picture_is_uploaded(lab, tmp_path):
    file = tmp_path / "dot.png"
    file.write_bytes(PNG)
    form = open_form(lab, LOOK)
    form.root.locator("input[type=file]").set_input_files(file)
    expect(form.root.locator(".vnb-preview img")).to_be_visible()
    expect(form.root.get_by_text("dot.png")).to_be_visible()
    form.run_and_wait()
    expect(form.answers).to_contain_text("data:image/png;base64,iVBORw0")

"""The form when things go wrong: slow runs, cancels, dying servers, hostile answers, uploads."""

import base64
import time

import pytest
from form_page import FormPage, open_form
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


def test_a_slow_run_is_cancelled_at_once_and_the_kernel_stays_responsive(lab):
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


def test_a_picture_is_uploaded_shown_and_sent(lab, tmp_path):
    file = tmp_path / "dot.png"
    file.write_bytes(PNG)
    form = open_form(lab, LOOK)
    form.root.locator("input[type=file]").set_input_files(file)
    expect(form.root.locator(".vnb-preview img")).to_be_visible()
    expect(form.root.get_by_text("dot.png")).to_be_visible()
    form.run_and_wait()
    expect(form.answers).to_contain_text("data:image/png;base64,iVBORw0")


HOSTILE = (
    OWN
    + r"""
BAD = (
    "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1; alert(1)'>"
    "<img src='http://evil.invalid/p.png'><iframe srcdoc='<script>parent.pwned = 1</script>'>"
    "</iframe><iframe src='http://evil.invalid/f'></iframe><svg onload='window.pwned = 1'></svg>"
    "<details open ontoggle='window.pwned = 1'>d</details><style>body{display:none}</style>"
    "<a href='javascript:window.pwned = 1'>link</a> [md](javascript:window.pwned=1) "
    "![pic](http://evil.invalid/m.png) </textarea></pre></style></script>"
)
SVG = "data:image/svg+xml;utf8,<svg xmlns='http://www.w3.org/2000/svg' onload='pwned=1'/>"

class Everything(TypedDict):
    text: str
    json: dict[str, Any]
    chat: ChatHistory
    found: SearchResults
    image: Image
    svg: Image
    audio: Audio
    video: Video
    document: Document
    liar: Image

def everything(text: str, suffix: str = "") -> Everything:
    bad = BAD + suffix
    return {
        "text": bad,
        "json": {bad: [bad, {"k": bad}]},
        "chat": [{"role": "USER", "text": bad}, {"role": "ASSISTANT", "text": bad}],
        "found": [{"text": bad, "score": 0.5, "keywords": [bad],
                   "document": {"id": bad, "label": bad, "external_id": bad}}],
        "image": {"src": "http://evil.invalid/i.png"},
        "svg": {"src": SVG},
        "audio": {"src": "http://evil.invalid/a.mp3"},
        "video": {"src": "http://evil.invalid/v.mp4\" onerror=\"window.pwned=1"},
        "document": {"src": "javascript:window.pwned=1"},
        "liar": {"src": "data:image/png;base64,PHNjcmlwdD53aW5kb3cucHduZWQ9MTwvc2NyaXB0Pg=="},
    }

def everything_else(text: str) -> Everything:
    return everything(text, suffix="<b onclick='window.pwned=1'>x</b>")

def refuse(text: str) -> dict[str, str]:
    raise vnb.Reject(BAD)

server.deploy(everything, name="hostile", release_tags=["v1"], description=BAD)
server.deploy(everything_else, name="hostile", release_tags=["v2"], description=BAD)
server.deploy(refuse, name="hostile", release_tags=["v3"], description=BAD)
ws = vnb.connect(server)
form = ws.form("hostile")
"""
)


def test_hostile_answers_stay_text_in_every_type(lab):
    compare = "ws.history.count() and ws.compare('hostile', release_tags=['v1'])"
    cells = [HOSTILE + "form", "ws.history.view()", compare]
    notebook = lab.run_notebook(cells)
    form = FormPage(notebook)
    form.field("text *").fill("<script>window.pwned = 1</script>")
    form.run_on("v1", "v2", "v3")
    form.run_and_wait()
    expect(form.column("v1")).to_contain_text("onerror='window.pwned = 1")
    expect(form.column("v3")).to_contain_text("onerror='window.pwned = 1")
    form.root.get_by_label("Markdown").check(force=True)
    expect(form.column("v2")).to_contain_text("onerror")
    notebook.run(2)
    expect(notebook.output(1)).to_contain_text("onerror")
    expect(notebook.output(2)).to_contain_text("onerror")
    for scope in (notebook.output(0), notebook.output(1), notebook.output(2)):
        hostile = "script, iframe, object, embed, [onerror], [onload], [ontoggle], [onclick]"
        expect(scope.locator(hostile)).to_have_count(0)
        expect(scope.locator("a[href^='javascript:'], [src^='http']")).to_have_count(0)
    assert lab.page.evaluate("() => window.pwned") is None

"""Servers that are hostile in every text: deployments, streams, answers of every type."""

import re

import pytest
from form_page import FormPage, open_form
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

BAD = r"""
import json, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypedDict
import vellum_nb as vnb
from vellum_nb.local import *

BAD = (
    "<img src=x onerror='window.pwned = 1; alert(1)'><script>window.pwned = 1</script>"
    "<svg onload='window.pwned = 1'></svg><iframe src='http://evil.invalid/f'></iframe>"
    "<iframe srcdoc='<script>parent.pwned = 1</script>'></iframe><style>body{display:none}</style>"
    "<img src='http://evil.invalid/p.png'><details open ontoggle='window.pwned = 1'>d</details>"
    "<a href='javascript:window.pwned = 1'>link</a> [md](javascript:window.pwned=1) "
    "![pic](http://evil.invalid/m.png) \"'</textarea></pre></style></script>\n"
    "\u202e\x00\x1b[31m `x` {{7*7}} "
)
"""
SERVER = (
    BAD
    + r"""
LONG = "endless" * 50_000  # one line
NAME = f"reply{BAD}"
NOW = "2026-01-01T00:00:00Z"
TYPES = ["STRING", "NUMBER", "JSON", "CHAT_HISTORY", "IMAGE", "DOCUMENT", "ARRAY", "<b>NEW</b>"]
more = threading.Semaphore(0)  # an event each

def variable(name, type_, **more):
    return {"id": name, "key": name, "type": type_, "required": False, "description": BAD, **more}

def variables(tag):
    typed = [variable(f"{t}{BAD}", t, default={"type": t, "value": BAD}) for t in TYPES]
    typed.append(variable("enum", "STRING", schema={"enum": [BAD, "good"]}))
    typed += [variable(name, "STRING") for name in ("__class__", "value", "", "enum")]
    return [*typed, variable(f"only in {tag} {BAD}", "STRING")]

def tag(number, name):
    release = {"id": f"r{number}", "timestamp": f"2026-01-0{number}T00:00:00Z"}
    return {"name": name, "source": "USER", "release": release}

TAGS = [tag(1, f"old/%2F{BAD}"), tag(2, f"new{BAD}"), tag(2, "LATEST")]

def node(number, state, **fields):
    same = {"id": "n", "node_id": f"n{number}", "node_result_id": f"r{number}", "ts": NOW}
    return "NODE", {**same, "state": state, "node_name": f"node{BAD}", **fields}

def workflow(state, **fields):
    return "WORKFLOW", {"id": "w", "state": state, "ts": NOW, **fields}

def grown(name, delta):
    output = {"name": name, "type": "STRING", "state": "STREAMING", "delta": delta}
    return workflow("STREAMING", output=output)

def output(name, value, kind="STRING"):
    return {"id": "o", "name": name, "type": kind, "value": value}

def events(bad=BAD + "\ud83d"):
    usage = {"input_token_count": 10**300, "output_token_count": 1}
    meta = {"model_name": bad, "usage": usage, "cost": {"value": 1e300, "unit": bad}}
    yield workflow("INITIATED")
    yield node(1, "INITIATED", data={"type": bad})
    for _ in range(20):
        more.acquire(timeout=60)
        yield grown(NAME, bad)
    yield grown("long", LONG)
    more.acquire(timeout=60)
    yield node(1, "FULFILLED", data={"type": "PROMPT", "data": {"execution_meta": meta}})
    yield node(2, "REJECTED", error={"code": bad, "message": bad + LONG})
    yield node(3, bad, node_name=LONG)
    chat = output("chat", [{"role": "ASSISTANT", "text": bad * 3}], "CHAT_HISTORY")
    outputs = [output(NAME, bad * 20), output("long", LONG), chat]
    yield workflow("FULFILLED", outputs=outputs)

class Hostile(BaseHTTPRequestHandler):
    def do_GET(self):
        chat = [{"id": "c", "key": "chat", "type": "CHAT_HISTORY", "required": True}]
        is_chat = "/chat" in self.path
        described = {"label": BAD, "description": BAD, "status": BAD, "environment": BAD}
        base = {"id": "d", "name": "chat" if is_chat else "evil", "created": NOW}
        inputs = chat if is_chat else variables("old" if "/releases/" in self.path else "new")
        inputs = {"input_variables": inputs, "output_variables": []}
        if self.path.partition("?")[0].endswith("/release-tags"):
            tags = TAGS[-2:] if is_chat else TAGS
            self.answer(200, {"count": len(tags), "next": None, "results": tags})
        elif "/releases/" in self.path:
            version = {"id": "w", **inputs}
            self.answer(200, {**base, "workflow_version": version, "release_tags": []})
        else:
            self.answer(200, {**base, **described, **inputs})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if not self.path.endswith("-stream"):
            self.answer(400, {"detail": f"refused: {BAD * 10}"})
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        for kind, data in events():
            line = {"execution_id": f"e{BAD}", "type": kind, "data": data}
            self.wfile.write(json.dumps(line).encode() + b"\n")
            self.wfile.flush()

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_): ...

evil = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
threading.Thread(target=evil.serve_forever, daemon=True).start()
ws = vnb.connect(f"http://127.0.0.1:{evil.server_port}", api_key="k")
"""
)
CHAT = """
form = ws.form("chat")
form.value = {"chat": [("USER", "hello")]}
form.streaming = True
"""
TYPED = (
    BAD
    + r"""
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
    return everything(text, suffix="<b onclick='window.pwned=1'>x</b>" + "x" * 200_000)

def refuse(text: str) -> dict[str, str]:
    raise vnb.Reject(BAD)

server = vnb.LocalServer()
for number, function in enumerate((everything, everything_else, refuse), 1):
    server.deploy(function, name="hostile", release_tags=[f"v{number}"], description=BAD)
ws = vnb.connect(server)
form = ws.form("hostile")
"""
)
ACTIVE = (
    "script, iframe, object, embed, [onerror], [onload], [ontoggle], [onclick], .vnb-form img, "
    ".vnb-grid img, a[href^='javascript:'], [src^='http']"
)


def harmless(lab, *places):
    for place in places:
        expect(place.locator(ACTIVE)).to_have_count(0)
        assert place.evaluate("node => node.scrollWidth - node.clientWidth") <= 0
    assert lab.page.evaluate("() => window.pwned") is None


def test_hostile_deployment_runs_no_code(lab):
    form = open_form(lab, SERVER + 'form = ws.form("evil")')
    expect(form.root.locator(".vnb-fields").first.locator(".vnb-field")).to_have_count(13)
    form.kernel("form.release_tags = [choice.tag for choice in form._spec.tags]")
    expect(form.root.locator(".vnb-notices")).to_contain_text("lacks the input")
    expect(form.mend).to_contain_text("onerror")
    form.kernel(
        "form.value = {**dict.fromkeys(form.errors), '__class__': BAD, 'value': BAD, 'enum': BAD}"
    )
    form.run_and_wait()
    expect(form.answers).to_contain_text("400 Bad Request")
    expect(form.answers).to_contain_text("onerror")
    harmless(lab, form.root)


def test_hostile_streams_stay_text(lab):
    form = open_form(lab, SERVER + CHAT, width=700)
    form.run.click()
    form.kernel("more.release(10)")
    column = form.answers.get_by_role("region")
    expect(column.locator(".vnb-growing")).to_contain_text("onerror")
    harmless(lab, form.root)
    form.kernel("more.release(10)")
    expect(column.locator(".vnb-live", has_text="endless")).to_have_count(1)
    harmless(lab, form.root)
    form.kernel("more.release()")
    form.wait()
    expect(column).to_contain_text("FULFILLED")
    column.get_by_role("button", name="Trace of").click()
    expect(column.get_by_role("rowheader")).to_have_count(3)
    expect(column.get_by_role("table")).to_contain_text("onerror")
    harmless(lab, form.root)
    column.get_by_role("button", name="bad").click()
    expect(column.get_by_role("alert")).to_contain_text("onerror")
    column.get_by_role("button", name="Correct").click()
    expect(column.get_by_role("textbox").first).to_be_focused()
    expect(column.get_by_role("alert")).to_contain_text("Too long to correct here: long")
    harmless(lab, form.root)
    column.get_by_role("button", name="Continue").click()
    expect(form.field("chat, turn 3")).to_be_focused()
    expect(form.field("chat, turn 2")).to_have_value(re.compile("onerror"))
    harmless(lab, form.root)


def test_hostile_answers_stay_text_in_every_view(lab):
    compare = "ws.history.count() and ws.compare('hostile', release_tags=['v1', 'v2']).view()"
    notebook = lab.run_notebook([TYPED + "form", "ws.history.view()", compare])
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
    grid = notebook.output(2)
    expect(grid.locator(".vnb-grid-row").first).to_contain_text("onerror")
    grid.get_by_role("button", name="Outputs in full").click()
    grid.get_by_role("button", name="show all").first.click()
    case = grid.get_by_role("region", name="The case in full")
    expect(case).to_contain_text("more characters")
    harmless(lab, form.root, notebook.output(1).locator(".vnb-table"), grid.locator(".vnb-grid"))
    grid.get_by_role("button", name="One line per case").click()  # the browser remembers it
    harmless(lab, grid.locator(".vnb-grid"))
    history = notebook.output(1)
    history.locator(".vnb-table-row").first.locator(".vnb-table-outputs").click()
    run = history.get_by_role("region", name="The run in full")
    run.get_by_role("button", name="Run again…").click()
    expect(run.get_by_label("text *")).to_have_value(re.compile("window.pwned"))
    harmless(lab, history.locator(".vnb-table"), run)

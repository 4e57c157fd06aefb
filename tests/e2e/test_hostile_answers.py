"""A server that answers with hostile text everywhere: streams, nodes, errors, rating, a chat."""

import re

import pytest
from form_page import open_form
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

SERVER = r"""
import json, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import vellum_nb as vnb

BAD = (
    "<img src=x onerror='window.pwned = 1'><script>window.pwned = 1</script>"
    "<svg onload='window.pwned = 1'></svg><iframe src='http://evil.invalid/f'></iframe>"
    "\"'</textarea></pre></style>\n\u202e\x00\x1b[31m\ud83d `x` {{7*7}} "
)
LONG = "endless" * 50_000  # one line
NAME = f"reply{BAD}"
NOW = "2026-01-01T00:00:00Z"
more = threading.Semaphore(0)  # an event each

def node(number, state, **told):
    same = {"id": "n", "node_id": f"n{number}", "node_result_id": f"r{number}", "ts": NOW}
    return "NODE", {**same, "state": state, "node_name": f"node{BAD}", **told}

def workflow(state, **told):
    return "WORKFLOW", {"id": "w", "state": state, "ts": NOW, **told}

def grown(name, delta):
    output = {"name": name, "type": "STRING", "state": "STREAMING", "delta": delta}
    return workflow("STREAMING", output=output)

def output(name, value, kind="STRING"):
    return {"id": "o", "name": name, "type": kind, "value": value}

def events():
    usage = {"input_token_count": 10**300, "output_token_count": 1}
    meta = {"model_name": BAD, "usage": usage, "cost": {"value": 1e300, "unit": BAD}}
    yield workflow("INITIATED")
    yield node(1, "INITIATED", data={"type": BAD})
    for _ in range(20):
        more.acquire(timeout=60)
        yield grown(NAME, BAD)
    yield grown("long", LONG)
    more.acquire(timeout=60)
    yield node(1, "FULFILLED", data={"type": "PROMPT", "data": {"execution_meta": meta}})
    yield node(2, "REJECTED", error={"code": BAD, "message": BAD + LONG})
    yield node(3, BAD, node_name=LONG)
    chat = output("chat", [{"role": "ASSISTANT", "text": BAD * 3}], "CHAT_HISTORY")
    outputs = [output(NAME, BAD * 20), output("long", LONG), chat]
    yield workflow("FULFILLED", outputs=outputs)

class Hostile(BaseHTTPRequestHandler):
    def do_GET(self):
        chat = {"id": "c", "key": "chat", "type": "CHAT_HISTORY", "required": True}
        variables = {"input_variables": [chat], "output_variables": []}
        base = {"id": "d", "name": "evil", "label": BAD, "created": NOW}
        if self.path.partition("?")[0].endswith("/release-tags"):
            tag = {"name": f"v1{BAD}", "source": "USER", "release": {"id": "r1", "timestamp": NOW}}
            tags = [tag, {**tag, "name": "LATEST", "source": "SYSTEM"}]
            self.answer(200, {"count": 2, "next": None, "results": tags})
        elif "/releases/" in self.path:
            version = {"id": "w", **variables}
            self.answer(200, {**base, "workflow_version": version, "release_tags": []})
        else:
            self.answer(200, {**base, **variables})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if not self.path.endswith("-stream"):
            self.answer(400, {"detail": f"refused: {BAD * 100}"})
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
form = ws.form("evil")
form.value = {"chat": [("USER", "hello")]}
form.streaming = True
"""
ACTIVE = "script, iframe, object, embed, [onerror], [onload], .vnb-form img"


def harmless(form):
    expect(form.notebook.output(0).locator(ACTIVE)).to_have_count(0)
    assert form.root.evaluate("node => node.scrollWidth - node.clientWidth") <= 0
    assert form.notebook.page.evaluate("() => window.pwned") is None


def test_hostile_answers_stay_text_while_they_grow_and_in_all_that_is_done_with_them(lab):
    form = open_form(lab, SERVER, width=700)
    form.run.click()
    form.kernel("more.release(10)")
    column = form.answers.get_by_role("region")
    expect(column.locator(".vnb-growing")).to_contain_text("onerror")
    harmless(form)
    form.kernel("more.release(10)")
    expect(column.locator(".vnb-live", has_text="endless")).to_have_count(1)
    harmless(form)
    form.kernel("more.release()")
    form.wait()
    expect(column).to_contain_text("FULFILLED")
    harmless(form)
    column.get_by_role("button", name="Trace of").click()
    expect(column.get_by_role("rowheader")).to_have_count(3)
    expect(column.get_by_role("table")).to_contain_text("onerror")
    harmless(form)
    column.get_by_role("button", name="bad").click()
    expect(column.get_by_role("alert")).to_contain_text("onerror")
    harmless(form)
    column.get_by_role("button", name="Correct").click()
    expect(column.get_by_role("textbox").first).to_be_focused()
    expect(column.get_by_role("alert")).to_contain_text("Too long to correct here: long")
    harmless(form)
    column.get_by_role("button", name="Continue").click()
    expect(form.field("chat, turn 3")).to_be_focused()
    expect(form.field("chat, turn 2")).to_have_value(re.compile("onerror"))
    harmless(form)

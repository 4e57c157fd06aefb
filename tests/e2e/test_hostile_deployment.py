"""A server whose deployment is hostile in every name, label, description, default and tag."""

import pytest
from form_page import FormPage
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

SERVER = r"""
import json, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import vellum_nb as vnb

BAD = (
    "<img src=x onerror='window.pwned = 1'><script>window.pwned = 1</script>"
    "<svg onload='window.pwned = 1'></svg><iframe src='http://evil.invalid/f'></iframe>"
    "\"'</textarea></style>\n\u202e\x00 `x` {{7*7}}"
)
TYPES = ["STRING", "NUMBER", "JSON", "CHAT_HISTORY", "IMAGE", "DOCUMENT", "ARRAY", "<b>NEW</b>"]

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

class Hostile(BaseHTTPRequestHandler):
    def do_GET(self):
        base = {"id": "d", "name": "evil", "created": "2026-01-01T00:00:00Z"}
        if self.path.partition("?")[0].endswith("/release-tags"):
            self.answer(200, {"count": len(TAGS), "next": None, "results": TAGS})
        elif "/releases/" in self.path:
            version = {"id": "w", "input_variables": variables("old"), "output_variables": []}
            self.answer(200, {**base, "workflow_version": version, "release_tags": []})
        else:
            described = {"label": BAD, "description": BAD, "status": BAD, "environment": BAD}
            inputs = {"input_variables": variables("new"), "output_variables": []}
            self.answer(200, {**base, **described, **inputs})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(400, {"detail": BAD})

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
form
"""
CODE = "script, iframe, object, embed, [onerror], [onload]"


def test_a_hostile_deployment_has_a_form_and_runs_no_code(lab):
    notebook = lab.run_notebook([SERVER])
    form = FormPage(notebook)
    expect(form.root.locator(".vnb-fields").first.locator(".vnb-field")).to_have_count(13)
    notebook.kernel_eval("form.release_tags = [choice.tag for choice in form._spec.tags]")
    expect(form.root.locator(".vnb-notices")).to_contain_text("has no input")
    expect(form.mend).to_contain_text("onerror")
    notebook.kernel_eval(
        "form.value = {**dict.fromkeys(form.errors), '__class__': BAD, 'value': BAD, 'enum': BAD}"
    )
    form.run_and_wait()
    expect(form.answers).to_contain_text("400 Bad Request")
    expect(form.answers).to_contain_text("onerror")
    for scope in (form.root, notebook.output(0)):
        expect(scope.locator(CODE)).to_have_count(0)
        expect(scope.locator("a[href^='javascript:'], [src^='http']")).to_have_count(0)
    assert lab.page.evaluate("() => window.pwned") is None

"""The answers below the form: copied as plain text, and in their place while a run is under way."""

import pytest
from form_page import FormPage
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

TWO = """
import threading
import vellum_nb as vnb
from vellum_nb.local import LocalServer

server = LocalServer()
gate = threading.Event()
gate.set()

def reply(text: str) -> dict[str, object]:
    return {"reply": text * 200, "tags": ["a", "b"]}

def patient(text: str) -> dict[str, object]:
    gate.wait(30)
    return {"reply": "I see:\\n" + text, "tags": []}

server.deploy(reply, name="reply", release_tags=["v1"])
server.deploy(patient, name="reply", release_tags=["v2"])
ws = vnb.connect(server)
form = ws.form("reply")
"""


AGAIN = """
form.close()
form = ws.form("reply")
form.value = {"text": f"form {next(number)}"}
form
"""


def test_twenty_runs_of_a_cell_that_closes_its_form_leave_one_form_and_no_thread(lab):
    notebook = lab.run_notebook([TWO + "\nimport itertools; number = itertools.count()", AGAIN])
    text = FormPage(notebook, cell=1).field("text *")
    widgets = "__import__('ipywidgets').widgets.widget._instances.__len__()"
    before = notebook.kernel_eval(widgets)
    for number in range(1, 21):
        notebook.run(1)
        expect(text).to_have_value(f"form {number}")  # a reader runs a cell again when it is there
        expect(text).to_have_attribute("aria-required", "true")
    assert notebook.kernel_eval(widgets) == before
    ours = "[t.name for t in threading.enumerate() if 'vellum' in t.name]"
    notebook.kernel_becomes(ours, "['vellum_nb-server']")

"""The answers below the form: copied as plain text, and in their place while a run is under way."""

from __future__ import annotations

import pytest
from form_page import FormPage, open_form
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


@pytest.fixture
def answered(lab) -> FormPage:
    form = open_form(lab, TWO)
    form.run_on("v1", "v2")
    form.field("text *").fill("Two words. ")
    form.run_and_wait()
    return form


def copy_button(form: FormPage, tag: str):
    return form.root.get_by_role("button", name=f"Copy the outputs of {tag}")


def test_an_answer_is_copied_as_plain_text_with_mouse_or_keyboard(lab, answered):
    lab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    copy_button(answered, "v2").click()
    expect(copy_button(answered, "v2")).to_have_text("Copied")
    read = "navigator.clipboard.readText()"
    assert lab.page.evaluate(read) == "reply:\nI see:\nTwo words. \ntags: []"
    answered.act("Correct the outputs of v1…").focus()
    lab.page.keyboard.press("Tab")
    expect(copy_button(answered, "v1")).to_be_focused()
    lab.page.keyboard.press("Enter")
    expect(copy_button(answered, "v1")).to_have_text("Copied")
    assert lab.page.evaluate(read).startswith("reply: Two words. Two words. ")


def test_answers_keep_their_place_while_the_next_ones_come_in(answered):
    height = answered.answers.bounding_box()["height"]
    answered.kernel("gate.clear()")
    answered.field("text *").fill("a")
    answered.run.click()
    expect(answered.column("v2")).to_contain_text("no answer yet")
    assert answered.answers.bounding_box()["height"] >= height
    expect(copy_button(answered, "v2")).to_be_disabled()
    expect(copy_button(answered, "v1")).to_be_enabled()
    answered.kernel("gate.set()")
    answered.wait()
    expect(answered.column("v2")).to_contain_text("I see:")
    assert answered.answers.bounding_box()["height"] >= height
    answered.run_and_wait()
    expect(copy_button(answered, "v2")).to_be_enabled()
    assert answered.answers.bounding_box()["height"] < height


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

"""Answers that are rated, corrected, continued and traced, in a real JupyterLab."""

from __future__ import annotations

import pytest
from form_page import FormPage, open_form
from playwright.sync_api import Locator, expect

pytestmark = pytest.mark.browser

TRIAGE = """
import vellum_nb as vnb
ws = vnb.connect("local")
form = ws.form("ticket-triage")
form.value = {"ticket": "I was charged twice for March and nobody answers my mails."}
form.release_tags = ["v1", "v2"]
form.submit()
form.wait()
"""
KEPT = "ws.history.frame()[['release_tag', 'quality']].sort_values('release_tag').values.tolist()"


def pressed(thumb: Locator, *, is_pressed: bool) -> None:
    expect(thumb).to_have_attribute("aria-pressed", str(is_pressed).lower())


def test_thumbs_rate_with_mouse_and_keyboard_and_are_taken_back(lab):
    notebook = lab.run_notebook([TRIAGE + "form", "form"])
    form, other = FormPage(notebook), FormPage(notebook, cell=1)
    form.thumb("v1", "bad").click()
    pressed(other.thumb("v1", "bad"), is_pressed=True)
    form.thumb("v2", "good").focus()
    lab.page.keyboard.press("Enter")
    pressed(other.thumb("v2", "good"), is_pressed=True)
    pressed(form.thumb("v2", "bad"), is_pressed=False)
    notebook.kernel_becomes(KEPT, "[['v1', 0.0], ['v2', 1.0]]")
    expect(form.thumb("v2", "good")).to_be_focused()
    lab.page.keyboard.press("Tab")
    expect(form.thumb("v2", "bad")).to_be_focused()
    lab.page.keyboard.press("Space")
    pressed(other.thumb("v2", "bad"), is_pressed=True)
    pressed(form.thumb("v2", "good"), is_pressed=False)
    form.thumb("v1", "bad").click()
    pressed(other.thumb("v1", "bad"), is_pressed=False)
    notebook.kernel_becomes(KEPT, "[['v1', nan], ['v2', 0.0]]")


def test_a_correction_is_written_mended_and_kept(lab):
    form = open_form(lab, TRIAGE)
    form.act("Correct the outputs of v2…").click()
    editor = form.editor("v2")
    expect(editor.get_by_label("category")).to_be_focused()
    expect(editor.get_by_label("category")).to_have_value("billing")
    editor.get_by_label("category").fill("refund")
    editor.get_by_label("tags (JSON)").fill('["double-charge", ]')
    editor.get_by_role("button", name="Save correction").click()
    alert = form.column("v2").get_by_role("alert")
    expect(alert).to_contain_text("tags: Not valid JSON, line 1, column 17")
    expect(editor.get_by_label("category")).to_have_value("refund")
    editor.get_by_label("tags (JSON)").fill('["double-charge"]')
    editor.get_by_role("button", name="Save correction").click()
    expect(editor).to_be_hidden()
    expect(alert).to_have_count(0)
    expect(form.column("v2")).to_contain_text("corrected: category, tags")
    expect(form.act("Correct the outputs of v2…")).to_be_focused()
    wanted = "{'category': 'refund', 'tags': ['double-charge']}"
    assert form.kernel("form.runs[1].desired") == wanted
    assert form.kernel("ws.history.get(form.runs[1].id).desired") == wanted
    lab.page.keyboard.press("Enter")
    expect(editor.get_by_label("category")).to_have_value("refund")
    editor.get_by_role("button", name="Save correction").click()
    expect(alert).to_contain_text("Nothing was changed")
    lab.page.keyboard.press("Escape")
    expect(editor).to_be_hidden()
    expect(alert).to_have_count(0)
    expect(form.act("Correct the outputs of v2…")).to_be_focused()


def test_what_could_not_be_kept_is_told_and_nothing_that_was_typed_is_lost(lab):
    form = open_form(lab, TRIAGE)
    form.act("Correct the outputs of v1…").click()
    reply = form.editor("v1").get_by_label("reply")
    reply.fill("We are sorry.")
    form.kernel("ws.server.stop()")
    form.editor("v1").get_by_role("button", name="Save correction").click()
    expect(form.column("v1").get_by_role("alert")).to_contain_text("127.0.0.1")
    expect(reply).to_have_value("We are sorry.")
    form.thumb("v1", "good").click()  # shows as pressed at once, until the kernel knows better
    pressed(form.thumb("v1", "good"), is_pressed=False)
    expect(form.column("v1").get_by_role("alert")).to_contain_text("127.0.0.1")
    expect(reply).to_have_value("We are sorry.")
    assert form.kernel("form.runs[0].quality, form.runs[0].desired") == "(None, None)"


CHAT = """
import vellum_nb as vnb
from vellum_nb.local import ChatHistory, LocalServer, State

def count(messages: ChatHistory, state: State) -> dict[str, object]:
    state["asked"] = state.get("asked", 0) + 1
    return {"reply": f"{state['asked']}: {messages[-1]['text'].upper()}", "asked": state["asked"]}

def refuse(messages: ChatHistory) -> dict[str, object]:
    raise vnb.Reject(BAD + messages[-1]["text"])

BAD = "<img src=x onerror='window.pwned = 1'><script>window.pwned = 1</script>"

server = LocalServer()
server.deploy(refuse, name="chat", release_tags=["v1"])
server.deploy(count, name="chat", release_tags=["v2"])
ws = vnb.connect(server)
form = ws.form("chat")
"""


def test_a_chat_is_continued_from_its_answer(lab):
    form = open_form(lab, CHAT)
    expect(form.root.locator("[title=null]")).to_have_count(0)
    form.field("messages, turn 1").fill("hello")
    form.run_and_wait()
    expect(form.column("v2")).to_contain_text("1: HELLO")
    form.act("Continue from the answer of v2").click()
    expect(form.field("messages, turn 2")).to_have_value("1: HELLO")
    expect(form.field("messages, turn 3")).to_be_focused()
    expect(form.root.locator(".vnb-bad")).to_have_count(0)
    form.run.click()
    expect(form.problem("messages, turn 3")).to_contain_text("Turn 3 has no text")
    expect(form.field("messages, turn 3")).to_be_focused()
    for turn, is_bad in ((1, "false"), (2, "false"), (3, "true")):
        expect(form.field(f"messages, turn {turn}")).to_have_attribute("aria-invalid", is_bad)
    lab.page.keyboard.type("and now")
    previous = form.kernel("print(form.runs[0].execution_id)")
    expect(form.field("previous execution")).to_have_value(previous)
    form.run_and_wait()
    expect(form.column("v2")).to_contain_text("2: AND NOW")
    roles = "[turn['role'] for turn in form.runs[0].inputs['messages']]"
    assert form.kernel(roles) == "['USER', 'ASSISTANT', 'USER']"
    assert form.kernel("form.runs[0].previous_execution_id") == repr(previous)


TWO = """
import threading
import vellum_nb as vnb
from vellum_nb.local import LocalServer

gate = threading.Event()

def at_once(text: str) -> dict[str, str]:
    return {"reply": "At once."}

def patient(text: str) -> dict[str, str]:
    gate.wait(60)
    return {"reply": "At last."}

server = LocalServer()
server.deploy(at_once, name="reply", release_tags=["v1"])
server.deploy(patient, name="reply", release_tags=["v2"])
ws = vnb.connect(server)
form = ws.form("reply")
form.release_tags = ["v1", "v2"]
"""


def test_an_open_editor_keeps_its_words_and_its_focus_while_another_answer_comes(lab):
    form = open_form(lab, TWO)
    form.field("text *").fill("hi")
    form.run.click()
    expect(form.column("v1")).to_contain_text("At once.")
    form.act("Correct the outputs of v1…").click()
    reply = form.editor("v1").get_by_label("reply")
    expect(reply).to_be_focused()
    reply.fill("Sooner.")
    form.kernel("gate.set()")
    form.wait()
    expect(form.column("v2")).to_contain_text("outputs differ")
    expect(reply).to_have_value("Sooner.")
    expect(reply).to_be_focused()
    form.editor("v1").get_by_role("button", name="Save correction").click()
    expect(form.column("v1")).to_contain_text("corrected: reply")
    assert form.kernel("[run.desired for run in form.runs]") == "[{'reply': 'Sooner.'}, None]"


def test_a_trace_is_opened_under_the_answer_and_tells_the_error_as_text(lab):
    form = open_form(lab, CHAT)
    form.run_on("v1", "v2")
    form.field("messages, turn 1").fill("hello")
    form.run_and_wait()
    expect(form.act("Correct the outputs of v1…")).to_be_disabled()
    button = form.act("Trace of v1")
    expect(button).to_have_attribute("aria-expanded", "false")
    button.focus()
    lab.page.keyboard.press("Enter")
    trace = form.column("v1").get_by_role("table")
    expect(trace.get_by_role("rowheader")).to_contain_text("refuse")
    expect(trace).to_contain_text("REJECTED")
    expect(trace).to_contain_text("onerror='window.pwned = 1'")
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(button).to_be_focused()
    form.act("Trace of v2").click()
    expect(form.column("v2").get_by_role("table")).to_contain_text("count")
    button.click()
    expect(trace).to_be_hidden()
    expect(form.root.locator("script, img, [onerror]")).to_have_count(0)
    assert lab.page.evaluate("() => window.pwned") is None
    assert form.kernel("[[node.name for node in run.nodes] for run in form.runs]") == (
        "[['refuse'], ['count']]"
    )


HOSTILE = r"""
import vellum_nb as vnb
from vellum_nb.local import LocalServer

BAD = "<img src=x onerror='window.pwned = 1'><script>window.pwned = 1</script></textarea>\u202e"

def everything(text: str) -> dict[str, object]:
    return {BAD: BAD, "json": {BAD: [BAD]}}

server = LocalServer()
server.deploy(everything, name="hostile", release_tags=["v1"])
ws = vnb.connect(server)
form = ws.form("hostile")
"""


def test_hostile_names_and_corrections_stay_text(lab):
    form = open_form(lab, HOSTILE)
    form.field("text *").fill("hi")
    form.run_and_wait()
    form.act("Correct the outputs of v1…").click()
    first = form.editor("v1").get_by_role("textbox").first
    expect(first).to_be_focused()
    first.fill("</textarea><img src=x onerror='window.pwned = 2'>")
    form.editor("v1").get_by_role("button", name="Save correction").click()
    expect(form.column("v1")).to_contain_text("corrected: <img src=x")
    expect(form.root.locator("script, img, [onerror]")).to_have_count(0)
    assert lab.page.evaluate("() => window.pwned") is None
    assert form.kernel("form.runs[0].desired[BAD]").startswith('"</textarea><img')


def test_what_opens_under_an_answer_fits_its_place_and_pictures_are_taken(lab):
    form = open_form(lab, TRIAGE)
    form.thumb("v1", "bad").click()
    form.notebook.kernel_becomes(KEPT, "[['v1', 0.0], ['v2', nan]]")
    form.act("Trace of v1").click()
    expect(form.root.get_by_role("table")).to_be_visible()
    form.act("Correct the outputs of v2…").click()
    expect(form.editor("v2").get_by_label("category")).to_be_focused()
    for look in ("light-1400", "dark-500"):
        with lab.looking(look):
            form.notebook.screenshot(f"judged-{look}", form.notebook.output(0))
            assert form.root.evaluate("node => node.scrollWidth - node.clientWidth") <= 0

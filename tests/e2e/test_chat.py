"""The chat of a form in a real JupyterLab: one column per release, by keyboard, in every look."""

import json

import pytest
from form_page import FormPage
from playwright.sync_api import expect
from test_scripts import violations

pytestmark = pytest.mark.browser

BOT = """
import vellum_nb as vnb
ws = vnb.connect("local")
form = ws.form("support-bot")
form
"""
MESSAGES = ["Hello", "My order A-1234 is broken", "What can you do?", "I want a refund"]


@pytest.fixture
def chat(lab):
    form = FormPage(lab.run_notebook([BOT], width=1300))
    form.run_on("v1", "v2")
    form.root.get_by_label("Chat", exact=True).check(force=True)
    expect(form.run).to_have_text("Send to 2")
    return form


def turn(form, number):
    return form.root.get_by_role("listitem").nth(number - 1)


def test_each_release_continues_its_own_conversation(lab, chat):
    box = chat.field("Message")
    for number, message in enumerate(MESSAGES, 1):
        box.fill(message)
        box.press("Control+Enter")
        expect(turn(chat, number)).to_contain_text(message)
        expect(turn(chat, number).get_by_role("region", name="v2")).to_contain_text("FULFILLED")
        chat.wait()
        expect(box).to_be_focused()
        expect(box).to_have_value("")
    lab.page.keyboard.press("Shift+Tab")
    expect(chat.act("New conversation")).to_be_focused()
    chat.root.get_by_role("button", name="Edit and rerun from here").nth(3).click()
    expect(box).to_have_value(MESSAGES[3])
    expect(box).to_be_focused()
    box.press("Control+Enter")
    expect(chat.root.get_by_text("Editing turn 4")).to_be_hidden()
    chat.wait()
    expect(chat.field("Case, as JSON")).to_be_hidden()
    chat.root.get_by_role("button", name="Save as case").click()
    expect(chat.field("Case, as JSON")).to_have_value(json.dumps({"turns": MESSAGES}))
    chat.field("Case set").fill("talks")
    chat.act("Add to the set").click()
    expect(chat.root.get_by_text("talks, version 1: 1 added")).to_be_visible()
    chat.root.get_by_role("button", name="Edit and rerun from here").nth(1).click()
    last = turn(chat, 4)
    expect(last.get_by_role("region", name="v1")).to_contain_text("order A-1234 (damaged)")
    expect(last.get_by_role("region", name="v2")).to_contain_text("Which order is it?")
    for look in ("light-1300", "dark-1300", "dark-520", "light-520"):
        with lab.looking(look):
            chat.notebook.screenshot(f"chat-mode-{look}", chat.notebook.output(0))
            assert chat.root.evaluate("node => node.scrollWidth - node.clientWidth") <= 0
            assert violations(lab.page, ".vnb-form") == []

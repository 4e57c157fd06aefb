"""The chat of a form in a real JupyterLab: one column per release, by keyboard, in every look."""

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
TURNS = "ws.history.frame()[['release_tag', 'turn']].sort_values(['release_tag', 'turn'])"


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
    last = turn(chat, 4)
    expect(last.get_by_role("region", name="v1")).to_contain_text("order A-1234 (damaged)")
    expect(last.get_by_role("region", name="v2")).to_contain_text("Which order is it?")
    for look in ("light-1300", "dark-1300", "dark-520", "light-520"):
        with lab.looking(look):
            chat.notebook.screenshot(f"chat-mode-{look}", chat.notebook.output(0))
            assert chat.root.evaluate("node => node.scrollWidth - node.clientWidth") <= 0
            assert violations(lab.page, ".vnb-form") == []

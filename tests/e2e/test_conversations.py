"""Conversations in a real JupyterLab: the turns side by side, in an open case and in a report."""

import pytest
from playwright.sync_api import expect
from test_hostile import BAD, harmless
from test_scripts import violations

pytestmark = pytest.mark.browser

LOOKS = ("light-520", "dark-520", "dark-1300", "light-1300")
SETUP = """
import vellum_nb as vnb
ws = vnb.connect("local", history="runs.db")
talks = [
    {
        "turns": ["Hello", "My order A-1234 is broken", "What can you do?", "I want a refund"],
        "expected.status": "refund",
    },
    {
        "turns": ["Where is my order B-2345?", "Send me another, please"],
        "expected.status": "replacement",
    },
    {"turns": ["My order C-3456 is late", " ", "A refund, please"], "expected.status": "refund"},
]
sweep = ws.sweep("support-bot", talks, release_tags=["v1", "v2"], repeats=2, progress=False)
cmp = sweep.compare()
cmp.view()
"""


def test_turns_are_side_by_side_in_an_open_case(lab):
    notebook = lab.run_notebook([SETUP])
    output = notebook.output(0)
    rows = output.locator(".vnb-grid-row")
    expect(rows.first).to_be_visible()
    rows.first.locator(".vnb-grid-case").click()
    case = output.get_by_role("region", name="The case in full")
    turns = case.get_by_role("region", name="Turn ")
    expect(turns).to_have_count(4)
    case.get_by_label("repeat").select_option("1")
    expect(case).to_contain_text("repeat 1 of 2")
    case.get_by_role("button", name="Compare traces").click()
    expect(case.locator(".vnb-trace-fold")).to_have_count(4)
    for look in LOOKS:
        with lab.looking(look):
            notebook.screenshot(f"conversation-{look}", of=output)
            assert violations(lab.page, ".vnb-grid-view") == []
    output.locator(".vnb-grid").get_by_role("grid").focus()
    lab.page.keyboard.press("Escape")
    lab.page.keyboard.press("c")
    folded = rows.first.locator(".vnb-grid-talk")
    folded.locator("summary").click()
    expect(folded.get_by_role("region", name="Turn ")).to_have_count(4)
    expect(case).to_be_hidden()
    for look in LOOKS:
        with lab.looking(look):
            notebook.screenshot(f"full-conversation-{look}", of=output)
            assert violations(lab.page, ".vnb-grid-view") == []
    output.locator(".vnb-grid").get_by_role("grid").focus()
    lab.page.keyboard.press("c")
    lab.page.keyboard.press("b")
    rating = output.locator(".vnb-blind")
    expect(rating.get_by_role("region", name="Turn ")).to_have_count(4)
    for look in LOOKS:
        with lab.looking(look):
            notebook.screenshot(f"blind-conversation-{look}", of=output)
            assert violations(lab.page, ".vnb-blind") == []


HOSTILE = (
    BAD
    + r"""
from vellum_nb.local import ChatHistory

Answer = TypedDict("Answer", {"reply": str, BAD: str})

def bot(suffix):
    def answer(messages: ChatHistory) -> Answer:
        if "refuse" in messages[-1]["text"]:
            raise vnb.Reject(BAD + suffix)
        return {"reply": BAD + suffix, BAD: "long" * 50_000 + suffix}
    return answer

server = vnb.LocalServer()
for tag in ("v1", "v2"):
    server.deploy(bot(tag), name="chat", release_tags=[tag], description=tag)
ws = vnb.connect(server)
talks = [{"turns": [f"a {BAD}", BAD, "refuse"], f"expected.{BAD}": BAD}, {"turns": [BAD]}]
conversation = vnb.Conversation(reply="reply")
options = {"release_tags": ["v1", "v2"], "progress": False, "conversation": conversation}
cmp = ws.sweep("chat", talks, **options).compare()
cmp.view()
"""
)


def test_hostile_conversations_stay_text(lab):
    notebook = lab.run_notebook([HOSTILE, "cmp", "cmp.view(blind=True)"])
    output = notebook.output(0)
    rows = output.locator(".vnb-grid-row")
    case = output.get_by_role("region", name="The case in full")
    for number in (1, 2):
        rows.filter(has_text=f"case {number}").locator(".vnb-grid-case").click()
        expect(case).to_contain_text(f"Case {number} ")
        expect(case.locator(".vnb-talk-said").first).to_contain_text("onerror")
        expect(case.locator(".vnb-talk-reply").first).to_contain_text("onerror")
        harmless(lab, output.locator(".vnb-grid"), case)
    rating = notebook.output(2).locator(".vnb-blind")
    expect(rating.locator(".vnb-talk-reply").first).to_contain_text("onerror")
    page = notebook.output(1).locator(".vnb-cmp-page")
    page.evaluate("page => page.querySelectorAll('details').forEach(one => { one.open = true; })")
    expect(page.locator(".vnb-talk-reply").first).to_contain_text("onerror")
    harmless(lab, rating, page)

"""The form in a real JupyterLab, on the sample deployments: from a name to answers and rows."""

from __future__ import annotations

import pytest
from form_page import FormPage, open_form
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

TRIAGE = """
import vellum_nb as vnb
ws = vnb.connect("local")
form = ws.form("ticket-triage")
"""
DOCS = TRIAGE.replace("ticket-triage", "docs-qa")
TICKET = "I was charged twice for March and nobody answers my mails."


def test_two_release_tags_answer_beside_each_other_and_become_rows(lab):
    notebook = lab.run_notebook([TRIAGE + "form", "ws.history.view()"])
    form = FormPage(notebook)
    table = notebook.output(1)
    form.field("ticket *").fill(TICKET)
    form.run_on("v1", "v2")
    form.run_and_wait()
    expect(form.column("v1")).to_contain_text("FULFILLED")
    expect(form.column("v2")).to_contain_text("billing")
    expect(form.column("v2").locator("ins").first).to_be_visible()
    expect(form.column("v2").locator("del").first).to_be_visible()
    expect(form.column("v1").locator("ins, del")).to_have_count(0)
    expect(form.root.locator(".vnb-count")).to_contain_text("2 runs")
    for tag in ("v1", "v2"):
        cell = lab.page.get_by_role("gridcell", name=tag, exact=True)
        row = table.get_by_role("row").filter(has=cell)
        expect(row).to_contain_text("FULFILLED")
    frame = "ws.history.frame()[['release_tag', 'state', 'input.ticket']].values.tolist()"
    assert sorted(eval(form.kernel(frame))) == [  # noqa: S307
        ["v1", "FULFILLED", TICKET],
        ["v2", "FULFILLED", TICKET],
    ]


def test_every_field_of_text_is_found_by_its_label_and_sent(lab):
    form = open_form(lab, TRIAGE)
    form.run_on("v3")
    form.field("ticket *").fill(TICKET)
    form.field("customer_tier").select_option("pro")
    form.field("sla_hours").fill("8")
    form.field("vip").check(force=True)
    form.field("context").fill('{"plan": "pro", "seats": 12}')
    form.run_and_wait()
    expect(form.column("v3")).to_contain_text("FULFILLED")
    wanted = {
        "ticket": TICKET,
        "customer_tier": "pro",
        "sla_hours": 8,
        "vip": True,
        "context": {"plan": "pro", "seats": 12},
    }
    assert form.value() == wanted
    assert eval(form.kernel("form.runs[0].inputs")) == wanted  # noqa: S307


def test_one_older_tag_shows_its_own_inputs_says_so_and_keeps_what_was_typed(lab):
    form = open_form(lab, TRIAGE)
    form.run_on("v2")
    form.field("ticket *").fill(TICKET)
    form.field("sla_hours").fill("8")
    form.run_on("v1")
    expect(form.root.locator(".vnb-notices")).to_contain_text("v1 differs from LATEST")
    expect(form.field("vip")).to_have_count(0)
    expect(form.field("ticket *")).to_have_value(TICKET)
    expect(form.field("sla_hours")).to_have_value("8")


def test_turns_of_a_chat_are_added_written_moved_and_removed(lab):
    form = open_form(lab, DOCS)
    form.run_on("v3")
    form.field("question *").fill("And how long does it take?")
    form.field("chat_history, turn 1").fill("How do I get a refund?")
    form.root.get_by_role("button", name="Add turn").click()
    expect(form.field("chat_history, turn 2")).to_be_focused()
    form.field("chat_history, turn 2").fill("Ask for it on the billing page.")
    form.root.get_by_role("button", name="Add turn").click()
    form.field("chat_history, turn 3").fill("a slip")
    form.root.get_by_role("button", name="Remove turn 3").click()
    expect(form.field("chat_history, turn 3")).to_have_count(0)
    form.root.get_by_role("button", name="Move turn 1 down").click()
    expect(form.field("chat_history, turn 2")).to_have_value("How do I get a refund?")
    form.root.get_by_role("button", name="Move turn 2 up").click()
    expect(form.field("chat_history, turn 1")).to_have_value("How do I get a refund?")
    form.field("documents").fill('[{"title": "Refunds", "text": "A refund takes five days."}]')
    form.run_and_wait()
    expect(form.column("v3")).to_contain_text("FULFILLED")
    assert form.value()["chat_history"] == [
        {"role": "USER", "text": "How do I get a refund?"},
        {"role": "ASSISTANT", "text": "Ask for it on the billing page."},
    ]


def test_bad_json_stays_as_typed_blocks_run_and_gets_the_focus(lab):
    bad = '{"plan": "pro",\n "seats": [12, ]}'
    form = open_form(lab, TRIAGE)
    form.run_on("v3")
    form.field("ticket *").fill(TICKET)
    form.field("context").fill(bad)
    expect(form.problem("context")).to_contain_text("line 2, column 14")
    form.run.click()
    expect(form.field("context")).to_be_focused()
    expect(form.field("context")).to_have_value(bad)
    expect(form.mend).to_contain_text("1 field to mend")
    assert form.kernel("form.runs, ws.history.count()") == "((), 0)"
    form.field("context").fill('{"plan": "pro"}')
    expect(form.problem("context")).to_have_count(0)
    form.run_and_wait()
    expect(form.column("v3")).to_contain_text("FULFILLED")


def test_run_with_an_empty_required_field_sends_nothing_and_moves_the_focus_there(lab):
    form = open_form(lab, TRIAGE)
    form.run.click()
    expect(form.field("ticket *")).to_be_focused()
    expect(form.problem("ticket *")).to_contain_text("A value is required.")
    assert form.kernel("ws.history.count()") == "0"


def test_a_screen_reader_is_told_what_a_field_is_and_what_is_wrong_with_it(lab):
    form = open_form(lab, DOCS)
    question = form.field("question *")
    expect(question).to_have_attribute("aria-required", "true")
    expect(question).to_have_attribute("aria-invalid", "false")
    about = form.root.locator(".vnb-field").first.locator(".vnb-help").inner_text()
    expect(question).to_have_accessible_description(about)
    form.run.click()
    expect(question).to_have_attribute("aria-invalid", "true")
    expect(question).to_have_accessible_description(f"{about} A value is required.")
    turns = form.root.get_by_role("group", name="chat_history")
    expect(turns.get_by_role("button", name="Add turn")).to_be_visible()


def test_a_rejected_run_is_told_in_place(lab):
    form = open_form(lab, TRIAGE)
    form.field("ticket *").fill("   ")
    form.run_and_wait()
    expect(form.answers).to_contain_text("REJECTED")
    expect(form.answers).to_contain_text("The workflow refused these inputs.")
    assert form.kernel("ws.history.frame()['state'].tolist()") == "['REJECTED']"


def test_the_keyboard_alone_fills_and_runs_the_form(lab):
    form = open_form(lab, TRIAGE)
    form.run_on("v2")
    keyboard = lab.page.keyboard
    form.field("ticket *").focus()
    keyboard.type(TICKET)
    keyboard.press("Tab")
    order = []
    for _ in range(12):
        focused = lab.page.evaluate(FOCUSED)
        order.append(focused)
        if focused == "Run on 2":
            break
        if focused == "v1":
            keyboard.press("Space")
            expect(form.run).to_have_text("Run on 2")
        keyboard.press("Tab")
    assert order == ["sla_hours", "customer_tier", "vip", "v1", "v2", "v3", "Run on 2"]
    keyboard.press("Enter")
    expect(form.column("v1")).to_contain_text("FULFILLED")
    expect(form.column("v2")).to_contain_text("billing")


FOCUSED = """() => {
    const at = document.activeElement;
    const label = at.labels?.[0] ?? at;
    return label.innerText.trim();
}"""


def test_a_form_shown_in_two_cells_is_one_form(lab):
    notebook = lab.run_notebook([TRIAGE + "form", "form"])
    one, two = FormPage(notebook), FormPage(notebook, cell=1)
    one.field("ticket *").fill(TICKET)
    expect(two.field("ticket *")).to_have_value(TICKET)
    two.run_on("v1")
    two.run_and_wait()
    for form in (one, two):
        expect(form.tag("v1")).to_be_checked()
        expect(form.column("v1")).to_contain_text("FULFILLED")
    assert one.kernel("ws.history.count()") == "1"


def test_nothing_is_cut_and_pictures_are_taken(lab):
    notebook = lab.run_notebook([TRIAGE + "form", "ws.history.view()"], width=500)
    form = FormPage(notebook)
    form.run_on("v1", "v2", "v3")
    form.field("ticket *").fill(TICKET)
    form.run_and_wait()
    expect(form.column("v3")).to_contain_text("FULFILLED")
    form.field("context").fill('{"plan": ')
    expect(form.problem("context")).to_be_visible()
    for look in ("light-500", "dark-500", "dark-1400", "light-1400"):
        with lab.looking(look):
            notebook.screenshot(f"form-{look}", notebook.output(0))
            notebook.screenshot(f"history-{look}", notebook.output(1))
            assert form.root.evaluate("node => node.scrollWidth - node.clientWidth") <= 0


def test_a_switch_has_room_for_its_description(lab):
    form = open_form(lab, TRIAGE.replace("ticket-triage", "feedback-digest"))
    about = form.root.get_by_text("Whether the digest begins with what is bad.")
    expect(about).to_have_css("height", "18px")

"""The scripts of sweep and blind rating on a blank page: messages and accessibility."""

# ruff: noqa: E501, F811  # rows of data; fixtures of the other scripts

import pytest
from playwright.sync_api import expect
from test_scripts import HOSTILE, Blank, _blank_page, blank  # noqa: F401

from vellum_nb.rendering.html import asset
from vellum_nb.widgets.sweep_view import figures_html

pytestmark = pytest.mark.browser

TAG = {"note": "", "planned": 4, "done": 1, "failed": 1, "running": 1, "to_go": 1, "median": "2.30", "cost": "0.92"}  # fmt: skip
RUN = {
    "id": "r1", "time": "2026-11-24T12:00:00+00:00", "tag": "v1", "state": "FULFILLED", "seconds": "0.50",
    "case": "case 1", "short": "billing", "text": HOSTILE,
}  # fmt: skip
SUMS = [
    {"label": label, "value": "1", "unit": "of 4", "below": "so far"}
    for label in ("all", "rate", "time left", "at once", "cost")
]
SWEEP = {
    "state": "running", "title": "triage", "facts": "triage · 8 runs", "compare": "", "compared": False, "results": None, "began": "2026-11-24T12:00:00+00:00",
    "resumed": [["resumed: ", False], ["2", True], [" runs", False]], "lost": "2026-11-24T11:00:00+00:00",
    "notice": "Moved to another release since: v1", "notes": [f"the column {HOSTILE}"], "plan": "4 cases", "sums": SUMS, "cost": 0.5,
    "tags": [{**TAG, "tag": "v1"}, {**TAG, "tag": "v2", "failed": 0}], "latest": [RUN], "status": "on its way",
}  # fmt: skip
ROW = '<div class="vnb-out-row"><dt>reply</dt><dd><pre class="vnb-text">hello</pre></dd></div>'
ANSWER = (
    '<section class="vnb-out-run" style="grid-row:span 4" aria-label="Answer {0}">'
    f'<h3 class="vnb-blind-letter">{{0}}</h3><dl class="vnb-out-rows">{ROW}</dl></section>'
)
BLIND = {
    "state": "asking", "title": "triage", "rated": 1, "skipped": 1,
    "total": 3, "last": "A", "foot": "Ratings are saved as you go.", "kept": True, "step": 1,
    "question": f'<h3>Which is better?</h3><div class="vnb-blind-answers">{ANSWER.format("A")}</div>',
    "words": "", "note": "", "result": "", "unsent": 0, "case": 2,
}  # fmt: skip


@pytest.fixture
def sweep(blank):
    parts = figures_html(SWEEP) | {"verdicts": ""}
    blank.render("sweep.js", "panel.css", view_model=SWEEP, parts=parts, hint="", error="")
    blank.page.add_style_tag(content=asset("view.css", "sweep.css"))
    return blank


@pytest.fixture
def rating(blank):
    blank.render("blind.js", "outputs.css", view_model=BLIND, error="", sending="")
    blank.page.add_style_tag(content=asset("panel.css", "blind.css"))
    return blank


VERDICT = '<div class="vnb-verdict"><p>v2</p><button data-show="worse" data-release="v2" data-metric="m">Show 2</button></div>'
RESULTS = {
    "head": "4 cases", "difference": "difference in score", "rows": [
        {"parts": (), "words": "baseline", "delta": "", "interval": ""},
        {"parts": [("better", "↑", 3), ("worse", "↓", 1)], "words": "3 better", "delta": "+0.5", "interval": "0 to 1"},
    ],
}  # fmt: skip
DONE = {
    **SWEEP,
    "state": "done",
    "compare": "Compare",
    "results": RESULTS,
    "notice": "",
    "status": "done",
}


def test_focus_moves_to_compare_when_a_sweep_ends(sweep):
    page = sweep.page
    page.get_by_role("button", name="Pause").focus()
    sweep.set("parts", figures_html(DONE) | {"verdicts": VERDICT})
    sweep.set("view_model", DONE)
    compare = page.get_by_role("button", name="Compare", exact=True)
    expect(compare).to_be_focused()
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.get_by_text("Sweep done", exact=True)).to_be_visible()
    compare.click()
    page.get_by_role("button", name="Show 2").click()
    show = {"kind": "compare", "show": "worse", "release": "v2", "metric": "m"}
    assert sweep.sent() == [{"kind": "compare"}, show]
    assert sweep.violations() == []
    sweep.set("view_model", {**DONE, "compared": True})
    expect(page.get_by_role("button", name="Hide comparison", expanded=True)).to_be_visible()
    sweep.set("view_model", SWEEP)
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_focus_outside_a_sweep_stays_where_it_is(sweep):
    sweep.page.evaluate("document.body.append(document.createElement('textarea'))")
    sweep.page.locator("textarea").focus()
    sweep.set("view_model", DONE)
    expect(sweep.page.get_by_role("button", name="Compare", exact=True)).to_be_visible()
    expect(sweep.page.locator("textarea")).to_be_focused()


def test_buttons_of_a_sweep_follow_its_state(sweep):
    page = sweep.page
    expect(page.get_by_role("progressbar", name="v1")).to_have_attribute("aria-valuenow", "2")
    expect(page.get_by_text(HOSTILE, exact=True)).to_be_visible()
    expect(page.get_by_role("listitem")).to_have_text(f"the column {HOSTILE}")
    page.get_by_role("button", name="Pause").click()
    sweep.set("view_model", {**SWEEP, "state": "paused"})
    page.get_by_role("button", name="Resume").click()
    ended = {**SWEEP, "state": "stopped", "decided": True, "notice": "Ended: decided"}
    sweep.set("view_model", ended)
    expect(page.get_by_role("button", name="Resume")).to_be_disabled()
    expect(page.get_by_role("alert")).to_have_class("vnb-notice vnb-sweep-resumed")  # no warning
    sweep.set("view_model", {**SWEEP, "state": "stopping"})
    page.get_by_role("button", name="Pause").click(force=True)  # it is disabled
    page.get_by_role("button", name="Cut off").click()
    assert [each["kind"] for each in sweep.sent()] == ["pause", "resume", "cut"]
    sweep.answer(kind="received")
    sweep.set("error", "The history was closed")
    expect(page.get_by_role("alert")).to_have_text("The history was closed")
    sweep.set("hint", "interrupt the kernel")
    expect(page.get_by_role("button")).to_have_count(0)


def test_a_case_is_rated_by_keys_once_for_each_answer_of_the_kernel(rating):
    page = rating.page
    page.get_by_role("region", name="Blind rating of triage").focus()
    page.keyboard.press("n")
    page.keyboard.type("kinder")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.keyboard.press("2")  # the kernel has not answered yet
    assert rating.sent() == [{"kind": "rate", "step": 1, "said": "A", "note": "kinder"}]
    results = page.get_by_role("button", name="Show the results")
    expect(results).to_be_hidden()
    rating.set("view_model", {**BLIND, "step": 2, "decided": True})
    expect(results).to_be_visible()
    expect(page.get_by_role("button", name="Undo")).to_have_count(1)
    ready = {**BLIND, "state": "ready", "step": 2, "rated": 3, "words": "All are rated."}
    rating.set("view_model", ready)
    results.click()
    assert rating.sent()[-1] == {"kind": "finish", "step": 2}
    rating.set(
        "view_model", {**ready, "state": "ended", "step": 3, "result": "<h3>v2</h3>", "unsent": 2}
    )
    expect(page.locator(".vnb-blind-result")).to_be_focused()
    page.get_by_role("button", name="Send 2 ratings to Vellum as actuals").click()
    assert rating.sent()[-1] == {"kind": "actuals"}


def test_views_pass_axe(sweep, request):
    assert sweep.violations() == []
    rating = request.getfixturevalue("rating")
    rating.page.get_by_role("button", name="Add a note…").click()
    assert rating.violations() == []
    result = "<h3>v2 was preferred</h3><details open><summary>Which</summary><table class='vnb-rows'><thead><tr>"
    result += '<th scope="col">case</th></tr></thead><tbody><tr><th scope="row">1</th></tr></tbody>'
    ended = {**BLIND, "state": "ended", "step": 2, "result": f"{result}</table></details>"}
    rating.set("view_model", ended)
    assert rating.violations() == []


FORM = """<div class="vnb vnb-form"><div class="vnb-title">triage</div>
<div class="vnb-fields"><textarea aria-label="ticket"></textarea></div>
<div class="vnb-actions"><div class="vnb-chip"><input type="checkbox" aria-label="v1"></div>
<button class="jupyter-button vnb-run">Run</button><button class="jupyter-button vnb-cancel" disabled>Cancel</button>
<div class="vnb-folded"><button class="jupyter-button vnb-case-run">Run 4 calls</button></div></div>
<div class="vnb-results"><div class="vnb-answers"></div><textarea aria-label="correct"></textarea></div>
<div class="vnb-case-view"></div><div id="el"></div></div>"""


@pytest.fixture
def form(blank):
    blank.render("form.js", "form.css", FORM)
    expect(blank.page.get_by_role("region", name="Form of triage")).to_be_visible()
    blank.page.evaluate(
        """() => { window.clicked = []; document.querySelectorAll("button").forEach(
            (button) => button.addEventListener("click", () => clicked.push(button.className.split("-").slice(2).join("-")))
        ); }"""
    )
    return blank


@pytest.mark.parametrize("key", ["Control+Enter", "Meta+Enter"])
def test_ctrl_enter_presses_the_visible_run_button(form, key):
    page = form.page
    for control in (page.get_by_label("ticket"), page.get_by_label("v1")):
        control.press(key)
        expect(control).to_be_focused()
    page.get_by_label("ticket").press("Enter")
    page.get_by_label("correct").press(key)  # it belongs to an answer
    assert page.evaluate("clicked") == ["run", "run"]
    page.evaluate("document.querySelector('.vnb-run').classList.add('vnb-folded', 'x')")
    page.evaluate("document.querySelector('.vnb-case-run').parentNode.className = ''")
    page.get_by_label("ticket").press(key)
    assert page.evaluate("clicked") == ["run", "run", "case-run"]


def test_focus_moves_from_run_to_the_view_of_the_sweep(form):
    page = form.page
    page.evaluate("document.querySelector('.vnb-case-run').parentNode.className = ''")
    run = page.locator(".vnb-case-run")
    run.focus()
    run.evaluate("button => { button.disabled = true; }")
    page.evaluate(
        """() => { document.querySelector(".vnb-case-view").innerHTML =
            '<span class="vnb-sweep-buttons"><button hidden>Pause</button><button>Compare</button></span>'; }"""
    )
    expect(page.get_by_role("button", name="Compare")).to_be_focused()

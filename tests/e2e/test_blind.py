"""The blind rating in a real JupyterLab: keys, undo, another kernel, results; nothing too early."""

from __future__ import annotations

import json

import pytest
from blind_page import CONNECT, FIRST, RUN, SECOND, VIEW, BlindPage
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

TRAITS = (
    "import json; json.dumps({k: v for k, v in view.get_state().items() if k not in "
    "('_esm', '_css')}, default=str)"
)


SOME = 'view.session.rate("A", note="said before"); view.session.rate("skip")'
RUN_SECRETS = (
    "import json; print(json.dumps([x for r in ws.history.runs() "
    "for x in (r.id, r.execution_id, r.release_id)]))"
)
LOOKS = ("light-1100", "dark-1100", "light-520")


class Untold:
    """What must not be seen before the end: releases, ids, times."""

    def __init__(self, page: BlindPage) -> None:
        self.page = page
        ids = json.loads(page.notebook.kernel_eval(RUN_SECRETS))
        self.hidden = [FIRST, SECOND, "latency", " ms", *ids]
        assert len(ids) == 30

    def check(self) -> None:
        """Look at the whole view as it stands in the page, and at what the kernel sends."""
        seen = self.page.root.evaluate("root => root.outerHTML")
        seen += self.page.notebook.kernel_eval(TRAITS)
        assert "last month" in seen
        assert [each for each in self.hidden if each in seen] == []


def test_two_releases_are_rated_by_keys_and_nothing_is_told_too_early(lab):
    notebook = lab.run_notebook([CONNECT + RUN, VIEW])
    page = BlindPage(notebook, cell=1)
    page.rated("0 of 4")
    expect(page.root).to_contain_text("1 case has the same outputs on both")
    untold = Untold(page)
    untold.check()
    page.root.click(position={"x": 5, "y": 5})
    page.press("1")
    page.rated("1 of 4")
    expect(page.status).to_have_text("A better. Case 2, 1 of 4 rated")
    untold.check()
    page.press("u")
    page.rated("0 of 4")
    expect(page.root).to_contain_text("case 1")
    page.press("n")
    expect(page.note).to_be_focused()
    saved = notebook.saved()
    assert "Blind rating" in json.dumps(saved["cells"][1]["outputs"])
    seen = json.dumps([saved["cells"][1]["outputs"], saved["metadata"]])
    assert [each for each in untold.hidden[:3] + untold.hidden[4:] if each in seen] == []
    notebook.page.keyboard.type("1 and 2 are letters here")
    page.press("Escape")
    page.press("2")
    page.rated("1 of 4")
    page.press("s")
    expect(page.status).to_have_text("skipped. Case 3, 1 of 4 rated")
    untold.check()
    for rated in ("2 of 4", "3 of 4"):
        page.press("3")
        page.rated(rated)
    expect(page.root).to_contain_text("3 rated, 1 skipped")
    expect(page.root).to_be_focused()
    assert FIRST not in page.root.evaluate("root => root.outerHTML")
    page.press("Tab")
    page.press("Enter")
    expect(page.root.get_by_role("heading")).to_contain_text("decided cases")
    page.button("Send 3 ratings to Vellum as actuals").click()
    expect(page.root).to_contain_text("3 sent")
    notebook.kernel_becomes("len([r for r in ws.history.runs() if r.quality is not None])", "6")


def test_a_later_kernel_goes_on_and_shows_the_results_at_the_end(lab):
    notebook = lab.run_notebook([CONNECT + RUN + VIEW + SOME, "view"])
    old = notebook.output(1).get_by_role("alert")
    BlindPage(notebook, cell=1).rated("0 of 4")  # as drawn at first: it hears of the restart
    notebook.restart()
    expect(old).to_contain_text("What was rated is kept: run the cell again.")
    expect(notebook.output(1).get_by_role("button", name="A better")).to_be_disabled()
    notebook.edit(0, CONNECT + VIEW)
    notebook.run()
    page = BlindPage(notebook, cell=1)
    page.rated("1 of 4")
    Untold(page).check()
    expect(page.root).to_contain_text("case 3")
    expect(page.root).to_contain_text("last: skipped")
    page.button("Tie").click()
    page.rated("2 of 4")
    expect(page.button("Tie")).to_be_focused()
    page.press("1")
    page.button("Rate the skipped").click()
    expect(page.a).to_be_visible()
    page.press("3")
    expect(page.root).to_contain_text("After the results nothing can be changed")
    page.button("Show the results").click()
    expect(page.root.get_by_role("heading")).to_contain_text("decided cases")
    expect(page.root).to_contain_text("95 % interval")
    expect(page.root).to_contain_text("seed 3")
    page.root.get_by_text("Which was which").click()
    expect(page.root.get_by_role("cell", name="said before")).to_be_visible()
    notebook.screenshot("blind-results", page.root)
    counts = notebook.kernel_eval(
        "cmp.blind_summary()[['wins', 'losses', 'ties']].values.sum().item()"
    )
    assert counts == "5"


def test_the_view_fits_its_place(lab):
    notebook = lab.run_notebook([CONNECT + RUN, VIEW], width=1100)
    page = BlindPage(notebook, cell=1)
    spill = "root => root.scrollWidth - root.clientWidth"
    expect(page.note).to_be_hidden()
    page.button("A better").focus()
    page.press("3")
    page.rated("1 of 4")
    for look in LOOKS:
        with lab.looking(look):
            assert page.root.evaluate(spill) <= 0
            expect(page.root.locator("script, img")).to_have_count(0)
            notebook.screenshot(f"blind-{look}", page.root)
    page.press("s")
    page.press("n")  # at once: what is typed belongs to the next case
    notebook.page.keyboard.type("a note on the next one")
    expect(page.root).to_contain_text("case 3")
    expect(page.note).to_have_value("a note on the next one")
    page.press("Escape")
    for key, rated in (("1", "2 of 4"), ("2", "3 of 4")):
        page.press("n")
        notebook.page.keyboard.type("a note " * 30)
        page.press("Escape")
        page.press(key)
        page.rated(rated)
    expect(page.button("Rate the skipped")).to_be_visible()
    for look in LOOKS:
        with lab.looking(look):
            notebook.screenshot(f"blind-ready-{look}", page.root)
    page.button("Show the results").click()
    page.root.get_by_text("Which was which").click()
    for look in LOOKS:
        with lab.looking(look):
            assert page.root.evaluate(spill) <= 0
            notebook.screenshot(f"blind-ended-{look}", page.root)


def test_the_grid_is_out_of_sight_while_its_releases_are_rated_blind(lab):
    grid = f'ws.compare("triage", release_tags=["{FIRST}", "{SECOND}"]).view()'
    notebook = lab.run_notebook([CONNECT + RUN, grid])
    output = notebook.output(1)
    rows = output.get_by_role("grid", name="Cases and releases")
    rows.focus()
    notebook.page.keyboard.press("b")
    page = BlindPage(notebook, cell=1)
    expect(page.root).to_be_focused()
    expect(rows).to_be_hidden()
    assert [each for each in (FIRST, SECOND) if each in output.inner_text()] == []
    page.press("1")
    page.rated("1 of 4")
    notebook.screenshot("blind-in-the-grids-place", output)
    output.get_by_role("button", name="Back to the grid").click()
    expect(rows).to_be_focused()
    expect(page.root).to_have_count(0)
    notebook.page.keyboard.press("b")
    page.rated("1 of 4")

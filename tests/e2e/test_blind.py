"""The blind rating in a real JupyterLab: keys, undo, another kernel, results."""

import json

import pytest
from blind_page import CONNECT, FIRST, RUN, SECOND, VIEW, BlindPage
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

TRAITS = (
    "import json; json.dumps({k: v for k, v in view.get_state().items() if k not in "
    "('_esm', '_css')}, default=str)"
)


RUN_SECRETS = (
    "import json; print(json.dumps([x for r in ws.history.runs() "
    "for x in (r.id, r.execution_id, r.release_id)]))"
)
LOOKS = ("light-1100", "dark-1100", "light-520")


class Untold:
    """What must not be seen before the end: releases, ids, times."""

    def __init__(self, page):
        self.page = page
        ids = json.loads(page.notebook.kernel_eval(RUN_SECRETS))
        self.hidden = [FIRST, SECOND, "latency", " ms", *ids]
        assert len(ids) == 30

    def check(self):
        """Look at the whole view as it stands in the page, and at what the kernel sends."""
        seen = self.page.root.evaluate("root => root.outerHTML")
        seen += self.page.notebook.kernel_eval(TRAITS)
        assert "last month" in seen
        assert [each for each in self.hidden if each in seen] == []


def test_releases_are_rated_by_keyboard(lab):
    notebook = lab.run_notebook([CONNECT + RUN, VIEW])
    page = BlindPage(notebook, cell=1)
    page.rated("0 of 4")
    expect(page.root).to_contain_text("1 case has identical outputs on both")
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
    expect(page.root.get_by_role("heading")).to_contain_text("cases with a preference")
    page.button("Send 3 ratings to Vellum as actuals").click()
    expect(page.root).to_contain_text("3 sent")
    notebook.kernel_becomes("len([r for r in ws.history.runs() if r.quality is not None])", "6")


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

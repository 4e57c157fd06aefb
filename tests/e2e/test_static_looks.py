"""HTML that stands in an output without a widget: JupyterLab's own style must not spoil it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

RUNS = """
import vellum_nb as vnb
ws = vnb.connect("local")
runs = [ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
        for tag in ("v1", "v2")]
"""
COMPARE = "ws.compare('ticket-triage', release_tags=['v1', 'v2'])"


def test_a_comparison_and_a_run_look_right_as_plain_html(lab):
    notebook = lab.run_notebook([RUNS + "runs[0]", COMPARE])
    comparison = notebook.output(1)
    for look in ("light-1400", "dark-500"):
        with lab.looking(look):
            expect(comparison.locator("ins").first).to_be_visible()
            for part in comparison.locator("pre, code").all():
                expect(part).to_have_css("background-color", "rgba(0, 0, 0, 0)")
                expect(part).to_have_css("line-height", "18px")
                expect(part).to_have_css("word-break", "normal")
            mark = comparison.locator("del .vnb-mark").first
            expect(mark).to_have_css("text-decoration-line", "none")
            for cell in notebook.output(0).locator("td").all():
                expect(cell).to_have_css("text-align", "left")
            notebook.screenshot(f"compare-{look}", comparison)


def test_a_stored_form_and_history_have_their_text_on_the_left_and_figures_on_the_right(lab):
    rated = RUNS + "ws.rate(runs[0], quality=1.0)\nfrom IPython.display import HTML\n"
    stored = "HTML({}._repr_mimebundle_()[{}]['text/html'])"
    form = stored.format("ws.form('ticket-triage')", "").replace("[]", "")
    history = stored.format("ws.history.view()", 0)
    notebook = lab.run_notebook([rated, form, history])
    figure = notebook.output(2).get_by_text("1.0", exact=True)
    for theme in ("light", "dark"):
        with lab.looking(f"{theme}-1400"):
            for output in (notebook.output(1), notebook.output(2)):
                expect(output.locator("td").first).to_be_visible()
                for cell in output.locator("td").filter(has_text=re.compile("[a-z]")).all():
                    expect(cell).to_have_css("text-align", "left")
            expect(figure).to_have_css("text-align", "right")
            notebook.screenshot(f"stored-{theme}")

"""HTML that stands in an output without a widget: JupyterLab's own style must not spoil it."""

from __future__ import annotations

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


@pytest.mark.parametrize(("theme", "width"), [("light", 1400), ("dark", 500)])
def test_a_comparison_and_a_run_look_right_as_plain_html(lab, theme, width):
    notebook = lab.run_notebook([RUNS + "runs[0]", COMPARE], theme=theme, width=width)
    comparison = notebook.output(1)
    expect(comparison.locator("ins").first).to_be_visible()
    for part in comparison.locator("pre, code").all():
        expect(part).to_have_css("background-color", "rgba(0, 0, 0, 0)")
        expect(part).to_have_css("line-height", "18px")
        expect(part).to_have_css("word-break", "normal")
    expect(comparison.locator("del .vnb-mark").first).to_have_css("text-decoration-line", "none")
    for cell in notebook.output(0).locator("td").all():
        expect(cell).to_have_css("text-align", "left")
    notebook.screenshot(f"compare-{theme}-{width}", comparison)

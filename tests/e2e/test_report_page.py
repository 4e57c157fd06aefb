"""The HTML report in a browser without scripts."""

import re

import pytest
from playwright.sync_api import expect

import vellum_nb as vnb
from vellum_nb.local.samples import cases

pytestmark = pytest.mark.browser

TAGS = ["v1", "v2", "v3"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    with vnb.connect("local", history=":memory:") as ws:
        sweep = ws.sweep("ticket-triage", cases("ticket-triage"), release_tags=TAGS, progress=False)
        cmp = sweep.compare(baseline="v2")
        return cmp.to_html(tmp_path_factory.mktemp("report") / "report.html")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 400)])
def test_report_needs_no_scripts_or_requests(lab, report, scheme, width):
    context = lab.page.context.browser.new_context(
        java_script_enabled=False, color_scheme=scheme, viewport={"width": width, "height": 1000}
    )
    asked, said = [], []
    try:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(report.as_uri())
        expect(page.get_by_role("heading", name="ticket-triage: v1, v3 against v2")).to_be_visible()
        worse = page.locator("section.case").first
        expect(worse.get_by_text("worse", exact=True).first).to_be_visible()
        expect(worse.locator("ins").first).to_be_visible()
        same = page.locator("details", has_text=re.compile(r"Case \d")).last
        expect(same.locator("section.case").first).to_be_hidden()
        same.locator("summary").first.click()
        expect(same.locator("section.case").first).to_be_visible()
        box = worse.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        dark = scheme == "dark"
        ground = "rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)"
        expect(page.locator("body")).to_have_css("background-color", ground)
        page.screenshot(path=lab.screenshots / f"report-{scheme}-{width}.png")
        worse.screenshot(path=lab.screenshots / f"report-case-{scheme}-{width}.png")
    finally:
        context.close()
    assert asked == [report.as_uri()]
    assert said == []

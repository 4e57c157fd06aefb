"""The HTML report in a browser, without scripts and with its own."""

import re
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import expect

import vellum_nb as vnb
from vellum_nb.local.samples import cases

pytestmark = pytest.mark.browser

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"

TAGS = ["v1", "v2", "v3"]


@pytest.fixture(scope="module")
def browser(_browser):
    return _browser


@pytest.fixture(scope="module")
def cmp():
    with vnb.connect("local", history=":memory:") as ws:
        sweep = ws.sweep("ticket-triage", cases("ticket-triage"), release_tags=TAGS, progress=False)
        yield sweep.compare(baseline="v2")


@pytest.fixture(scope="module")
def report(cmp, tmp_path_factory):
    return cmp.to_html(tmp_path_factory.mktemp("report") / "report.html")


@contextmanager
def opened(browser, path, width=1200, setup="", **options):
    """Open a file in a page of its own, which asks for nothing else and reports nothing."""
    viewport = {"width": width, "height": 1000}
    context = browser.new_context(viewport=viewport, **options)
    asked, said = [], []
    try:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.add_init_script(setup)
        page.goto(path.as_uri())
        yield page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        context.close()
    assert asked == [path.as_uri()]
    assert said == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 520)])
def test_report_needs_no_scripts_or_requests(browser, report, scheme, width):
    options = {"java_script_enabled": False, "color_scheme": scheme}
    with opened(browser, report, width, **options) as page:
        expect(
            page.get_by_role("heading", name="ticket-triage: may v1 or v3 replace v2?")
        ).to_be_visible()
        expect(page.locator(".vnb-verdict").first).to_be_visible()
        expect(page.locator("svg.vnb-forest")).to_be_visible()
        worse = page.locator(".vnb-case-line").first
        expect(worse.locator(".vnb-case-body")).to_be_hidden()
        worse.locator("summary").first.click()
        expect(worse.get_by_text("worse", exact=True).first).to_be_visible()
        expect(worse.locator("ins").first).to_be_visible()
        expect(worse.locator("ins").first).to_have_css("text-decoration-line", "none")
        folded = page.locator("#cases .vnb-group").last
        expect(folded.locator(".vnb-case-line").first).to_be_hidden()
        folded.locator("summary").first.click()
        expect(folded.locator(".vnb-case-line").first).to_be_visible()
        for box in (worse.bounding_box(), page.locator("svg.vnb-forest").bounding_box()):
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
        ground = "rgb(33, 33, 33)" if scheme == "dark" else "rgb(255, 255, 255)"
        expect(page.locator("body")).to_have_css("background-color", ground)
        page.screenshot(path=SCREENSHOTS / f"report-{scheme}-{width}.png", full_page=True)


def answers(number):
    """Return a comparison of which all cases are worse, with 40 words in each answer."""
    frame = pd.DataFrame([
        {"model": model, "input.text": f"Ticket {n}: {'I was charged twice. ' * 8}",
         "output.category": category, "output.reply": f"{category} {'words of a reply ' * 10}",
         "expected.category": "billing"}
        for n in range(number) for model, category in (("a", "billing"), ("b", "how-to"))
    ])  # fmt: skip
    return vnb.compare(frame, by="model")


def test_report_of_50_cases_is_printed_on_three_pages(browser, tmp_path):
    path = answers(50).to_html(tmp_path / "report.html")
    with opened(browser, path) as page:
        printed = page.pdf(prefer_css_page_size=True)
    assert 1 <= len(re.findall(rb"/Type */Page\b", printed)) <= 3


def test_interactive_report_prints_the_rows_of_its_cases(browser, tmp_path):
    path = answers(50).to_html(tmp_path / "report.html", interactive=True)
    with opened(browser, path) as page:
        expect(page.get_by_role("grid")).to_be_visible()
        page.emulate_media(media="print")
        expect(page.locator(".vnb-case-line:visible")).to_have_count(50)
        printed = page.pdf(prefer_css_page_size=True)
    assert 1 <= len(re.findall(rb"/Type */Page\b", printed)) <= 3


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 520)])
def test_interactive_report_has_search_filters_and_keys(browser, cmp, tmp_path, scheme, width):
    path = cmp.to_html(tmp_path / "report.html", interactive=True)
    with opened(browser, path, width, color_scheme=scheme) as page:
        grid, count = page.get_by_role("grid"), page.locator(".vnb-view-count")
        total = len(cmp.cases)
        expect(count).to_have_text(f"{total} cases, regressions first")
        field = page.get_by_role("searchbox", name="Search inputs and outputs")
        page.keyboard.press("/")
        expect(field).to_be_focused()
        regressions = len(cmp.regressions())
        page.get_by_role("button", name=re.compile("^Regressions")).click()
        expect(count).to_have_text(f"{regressions} of {total} cases, regressions first")
        page.get_by_role("button", name=re.compile("^Regressions")).click()
        field.fill("no such words in it")
        expect(page.get_by_text("No case matches these filters.")).to_be_visible()
        field.fill("")
        expect(count).to_have_text(f"{total} cases, regressions first")
        title = page.locator(".vnb-case-title")
        grid.focus()
        for key in ("j", "Enter"):
            grid.press(key)
        expect(title).to_have_text(re.compile(r"Case \d+"))
        opened_first = title.inner_text()
        grid.press("j")
        expect(title).not_to_have_text(opened_first)
        page.screenshot(path=SCREENSHOTS / f"report-interactive-{scheme}-{width}.png")
        grid.press("Escape")
        expect(title).to_be_hidden()
        for event, number in (("beforeprint", total), ("afterprint", 0)):
            page.evaluate("(name) => { dispatchEvent(new Event(name)); }", event)
            expect(page.locator("#cases .vnb-case-line")).to_have_count(number)


@pytest.mark.parametrize("lacks", ["DecompressionStream", "JavaScript"])
def test_page_names_what_a_browser_lacks_to_read_the_cases(browser, cmp, tmp_path, lacks):
    path = cmp.to_html(tmp_path / "report.html", interactive=True)
    options = {"java_script_enabled": lacks != "JavaScript"}
    with opened(browser, path, setup="delete window.DecompressionStream", **options) as page:
        expect(page.get_by_text("This browser cannot show the cases: it needs")).to_be_visible()


def test_report_with_damaged_cases_says_so(browser, cmp, tmp_path):
    path = cmp.to_html(tmp_path / "report.html", interactive=True)
    html = path.read_text()
    at = html.index(">", html.index('id="vnb-cases"')) + 1
    path.write_text(html[: at + 40] + html[html.index("<", at) :])
    with opened(browser, path) as page:
        expect(page.locator("#vnb-cases-need")).to_have_text("The cases in this file are damaged.")


BAD = (
    "<img src=x onerror='window.pwned = 1'><script>window.pwned = 1</script></script>"
    "<svg onload='window.pwned = 1'></svg><iframe src='http://evil.invalid/f'></iframe>"
    "<style>body{display:none}</style><a href='javascript:window.pwned = 1'>link</a>"
    "<details open ontoggle='window.pwned = 1'>d</details>\"'</textarea></pre><!-- \u202e\x1b[31m"
)


@pytest.mark.parametrize("interactive", [False, True])
def test_hostile_outputs_are_text(browser, tmp_path, interactive):
    long = "endless" * 50_000
    frame = pd.DataFrame([
        {"model": f"{model}{BAD}", f"input.{BAD}": BAD, f"output.{BAD}": f"{model} {BAD} {long}",
         f"label.{BAD}": BAD, f"expected.{BAD}": BAD, "output.rows": {BAD: [BAD, model]}}
        for model in ("a", "b")
    ])  # fmt: skip
    cmp = vnb.compare(frame, by="model")
    path = cmp.to_html(tmp_path / "report.html", interactive=interactive)
    with opened(browser, path) as page:
        expect(page.locator("body")).to_be_visible()
        if interactive:
            grid = page.get_by_role("grid")
            grid.focus()
            for key in ("j", "Enter", "n"):
                grid.press(key)
            case = page.locator(".vnb-case")
        else:
            for summary in page.locator("#cases summary").all():
                if summary.is_visible():
                    summary.click()
            case = page.locator(".vnb-case-body").first
        expect(case.get_by_text("window.pwned = 1").first).to_be_visible()
        assert page.locator("img, iframe, textarea, a[href^=javascript]").count() == 0
        assert page.evaluate("window.pwned") is None

"""Charts and the summary of the grid in a browser: boxes of texts, colours, contrast."""

# ruff: noqa: F811  # fixtures of the other scripts

from itertools import pairwise

import pytest
from runs_kit import later_run
from test_scripts import _blank_page, blank  # noqa: F401

from vellum_nb.comparison import compare_runs
from vellum_nb.comparison.forest import DARK, LIGHT, THEMED, forest_svg
from vellum_nb.models import case_id
from vellum_nb.models.sweeps import SweepCase
from vellum_nb.rendering.html import asset
from vellum_nb.widgets.grid import ComparisonView

pytestmark = pytest.mark.browser

TAGS = ("v1", "v2", "v3", "v4", "v5", "v6", "v7", "2026-11-24-candidate")
LABELS = ("billing", "refund", "outage", "how-to", "account and access", "a")
TEXT_BOXES = """(all) => all
  .filter((text) => text.textContent.trim() && text.getAttribute("opacity") !== "0")
  .map((text) => {
    const { left, top, right, bottom } = text.getBoundingClientRect();
    const svg = text.closest("svg");
    const outer = svg.ownerSVGElement; // the nested one clips at its width
    const end = outer && outer.getBoundingClientRect().left + svg.width.baseVal.value;
    return [text.textContent, left, top, outer ? Math.min(right, end) : right, bottom];
  })"""


@pytest.fixture
def page(blank):
    return blank.page


@pytest.fixture(scope="module")
def many():
    """Return eight releases on 120 cases with one of six labels each."""
    runs, cases = [], []
    for at in range(120):
        inputs = {"text": str(at)}
        topic = {"topic": LABELS[at % 6]}
        cases.append(SweepCase(at, case_id(inputs), inputs, {"answer": "yes"}, topic))
        for place, tag in enumerate(TAGS):
            answer = "yes" if (at * 37 + place * 11) % 20 < (11, 17)[place % 2] else "no"
            prices = {"latency_s": 1 + place / 4, "cost_usd": 0.002 + place / 1_000}
            runs.append(later_run(tag, inputs, {"answer": answer}, **prices))
    return compare_runs(runs, deployment="triage", release_tags=TAGS, cases=cases)


def collisions(page, css="text"):
    """Return pairs of texts whose boxes overlap by more than a pixel."""
    boxes = page.eval_on_selector_all(f"svg {css}", TEXT_BOXES)
    assert len(boxes) > 10
    return [
        (one[0], other[0])
        for at, one in enumerate(boxes)
        for other in boxes[:at]
        if min(one[3], other[3]) - max(one[1], other[1]) > 1
        and min(one[4], other[4]) - max(one[2], other[2]) > 1
    ]


@pytest.mark.parametrize("width", [1044, 440])
def test_texts_of_a_forest_plot_do_not_overlap(page, many, width):
    svg = forest_svg(many.figures)
    page.set_content(f'<body style="margin:0"><div style="width:{width}px">{svg}</div>')
    texts = page.eval_on_selector_all("svg text", "all => all.map(t => t.textContent)")
    assert {*TAGS[1:], *LABELS} <= set(texts)
    assert collisions(page) == []
    right = max(box[3] for box in page.eval_on_selector_all("svg text", TEXT_BOXES))
    assert right <= width


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("metric", {}), ("wins", {}), ("latency", {}), ("frontier", {}),
        ("frontier", {"label": "topic"}), ("scatter", {"release": "v2"}),
    ],
)  # fmt: skip
def test_texts_of_charts_do_not_overlap(page, many, what, options):
    page.set_content(many.chart(what, **options).svg())
    assert collisions(page) == []


def test_colours_of_pictures_are_those_of_the_theme(page):
    swatches = "".join(f'<rect class="{name}" fill="{colour}"/>' for name, colour in THEMED.items())
    for scheme, fixed in (("light", LIGHT), ("dark", DARK)):
        page.set_content(f'<html style="color-scheme:{scheme}"><svg>{swatches}</svg>')
        for name, colour in fixed.items():
            filled = page.eval_on_selector(
                f".{name}",
                """(rect) => {
                  const pen = document.createElement("canvas").getContext("2d");
                  pen.fillStyle = getComputedStyle(rect).fill;
                  pen.fillRect(0, 0, 1, 1);
                  return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
                }""",
            )
            wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
            assert filled == pytest.approx(wanted, abs=1), (scheme, name)


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_of_charts(colours):
    def contrast(one, other):
        low, high = sorted(luminance(colours[name]) for name in (one, other))
        return (high + 0.05) / (low + 0.05)

    for ground in ("page", "better", "worse", "same", "band"):
        assert contrast("ink", ground) >= 6.5
    assert contrast("quiet", "page") >= 6.5
    assert min(contrast(name, "page") for name in ("brand", "good", "bad")) >= 4.5


def test_picture_follows_the_theme_of_jupyterlab(page, many):
    html = many.chart("wins")._repr_mimebundle_()[0]["text/html"]
    for is_light, content in (("true", "normal"), ("false", 'url("data:image/svg+xml')):
        page.set_content(f'<body data-jp-theme-light="{is_light}">{html}')
        image = page.locator("img")
        assert image.evaluate("(img) => getComputedStyle(img).content").startswith(content)
        assert image.evaluate("(img) => img.decode().then(() => img.naturalWidth)") > 500
        assert "cases that are better, tied and worse" in image.get_attribute("alt")


@pytest.mark.parametrize("width", [1230, 700, 520])
def test_summary_has_one_axis_and_readable_counts(page, many, width):
    head = ComparisonView(many).table._head
    narrow = " vnb-grid-narrow" if width < 640 else ""
    css = asset("view.css")
    page.set_content(
        f'<style>{css}</style><body style="margin:0"><div style="width:{width}px">'
        f'<div class="vnb-view vnb-grid{narrow}">{head["summary"]}</div></div>'
    )
    boxes = "(all) => all.map((e) => e.getBoundingClientRect().toJSON())"
    parts = page.eval_on_selector_all(".vnb-grid-part", boxes)
    assert min(part["width"] for part in parts) >= 26
    bands = page.eval_on_selector_all(".vnb-grid-band", boxes)
    assert len(bands) == len(TAGS) + 1  # of the heading, too
    assert len({round(band["left"]) for band in bands}) == 1
    by_height = sorted(bands, key=lambda band: band["top"])
    for above, below in pairwise(by_height):
        assert below["top"] - above["bottom"] <= 1  # without a gap
    texts = page.eval_on_selector_all(".vnb-grid-number", boxes)
    assert max(box["right"] for box in texts) <= width

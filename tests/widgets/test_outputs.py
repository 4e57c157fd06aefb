"""Outputs as HTML: right for each type, and safe whatever a workflow returns."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vellum_nb.experiments import Comparison
from vellum_nb.models import Run, RunError, case_id
from vellum_nb.widgets.comparison import comparison_html
from vellum_nb.widgets.copying import outputs_text
from vellum_nb.widgets.media import MAX_SHOWN
from vellum_nb.widgets.outputs import run_html, side_by_side_html
from vellum_nb.widgets.values import value_html

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'
TYPES = [
    "STRING", "NUMBER", "JSON", "CHAT_HISTORY", "SEARCH_RESULTS", "ARRAY", "ERROR",
    "FUNCTION_CALL", "IMAGE", "AUDIO", "VIDEO", "DOCUMENT", "SOMETHING_NEW",
]  # fmt: skip
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt&colon;alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "<javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "![x](https://evil.example/a.png)",
    "<style>body{display:none}</style>",
    "<link rel=stylesheet href=https://evil.example/a.css>",
    "<form action=https://evil.example><input></form>",
    "<base href=https://evil.example>",
    "</pre></div></style><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "```html\n<script>alert(1)</script>\n```",
    "javascript:alert(1)",
    "https://evil.example/a.png",
    "data:text/html,<script>alert(1)</script>",
    'data:image/png;base64,AAAA" onerror="alert(1)',
    "data:image/svg+xml;base64," + base64.b64encode(SVG).decode(),
]
ALLOWED = {
    "a", "audio", "b", "blockquote", "br", "code", "dd", "del", "details", "div", "dl", "dt", "em",
    "h1", "h2", "h3", "h4", "h5", "h6", "hr", "img", "ins", "li", "ol", "p", "path", "pre", "s",
    "section", "span", "strong", "style", "summary", "svg", "table", "tbody", "td", "th", "thead",
    "tr", "ul", "video",
}  # fmt: skip
MEDIA = re.compile(r"data:(?:image|audio|video)/[a-z0-9+]+;base64,[A-Za-z0-9+/=]*\Z")
LINK = re.compile(r"(?:https?:|mailto:)|data:application/pdf;base64,[A-Za-z0-9+/=]*\Z")
INLINE = re.compile(r"(?:grid-row:span \d+|flex-grow:\d+|text-align: right;)\Z")


class Page(HTMLParser):
    """What a browser would make of some HTML: its elements, their attributes, its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._in_style = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.text += data

    def handle_endtag(self, _tag: str) -> None:
        self._in_style = False

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def assert_harmless(html: str) -> None:
    for tag, attributes in Page(html).elements:
        assert tag in ALLOWED, tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in {"srcdoc", "srcset", "action", "formaction", "background"}
            assert name != "src" or MEDIA.match(value), value[:80]
            assert name != "href" or LINK.match(value), value[:80]
            assert name != "style" or INLINE.match(value), value
    styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert not any("url(" in style or "@import" in style for style in styles)


def shapes(text: str) -> list[object]:
    """Return hostile text in every place where a value can hold text."""
    typed = [{"type": text, "value": text}, {"type": "STRING", "value": text}]
    return [
        text,
        [text],
        {text: {text: [text]}, "padding": "x" * 100},
        {"src": text, "metadata": {text: text}},
        {"code": text, "message": text},
        {"name": text, "arguments": {text: text}, "id": text},
        {"name": text, "arguments": text},
        [{"role": text, "text": text}, {"role": "USER", "content": typed[1]}],
        [{"role": text, "content": {"type": "ARRAY", "value": typed}}],
        [{"role": text, "content": {"type": "IMAGE", "value": {"src": text}}}],
        [{"text": text, "score": 1, "keywords": [text], "document": {"label": text}}],
        [{"text": text, "score": text, "document": text}],
        typed,
    ]


def run(tag: str = "v1", outputs: dict[str, Any] | None = None, **fields: Any) -> Run:
    inputs = fields.pop("inputs", {"ticket": "a"})
    known = {
        "id": tag,
        "deployment": "triage",
        "release_tag": tag,
        "timestamp": datetime(2026, 11, 24, tzinfo=UTC),
        "inputs": inputs,
        "case_id": case_id(inputs),
        "outputs": outputs or {},
        "state": "FULFILLED",
    }
    return Run(**(known | fields))


def data_url(content: bytes, mime: str = "image/png") -> dict[str, str]:
    return {"src": f"data:{mime};base64,{base64.b64encode(content).decode()}"}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_are_harmless_in_every_type(text: str, kind: str) -> None:
    for value in shapes(text):
        assert_harmless(value_html(value, kind))
        assert_harmless(value_html(value, kind, markdown=True))
        assert_harmless(value_html(value, kind, against="something else"))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_runs_are_harmless(text: str) -> None:
    outputs = {f"{text}{number}": value for number, value in enumerate(shapes(text))}
    fields: dict[str, Any] = {
        "output_types": dict.fromkeys(outputs, text),
        "deployment": text,
        "not_sent": (text,),
        "inputs": {text: text},
    }
    error = RunError(code=text, message=text)
    runs = [
        run(text, outputs, **fields),
        run("v2", dict.fromkeys(outputs, text), **fields),
        run("v3", state="REJECTED", error=error, **fields),
        run("v4", state="FAILED", error=error, **fields),
    ]
    assert_harmless(side_by_side_html(runs))
    assert_harmless(side_by_side_html(runs, markdown=True))
    for one in runs:
        assert_harmless(run_html(one, baseline=runs[1]))
    tags = [one.release_tag for one in runs]
    assert_harmless(comparison_html(Comparison(runs, deployment=text, release_tags=tags)))
    assert_harmless(Comparison(runs, deployment=text, release_tags=tags).to_html())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.sampled_from(TYPES), st.booleans())
def test_any_json_of_any_type_is_shown(value: object, kind: str, markdown: bool) -> None:  # noqa: FBT001
    html = value_html(value, kind, markdown=markdown)
    assert html
    assert_harmless(html)


def test_text_keeps_its_spaces_and_line_breaks() -> None:
    assert Page(value_html("a  b\n\n c", "STRING")).text == "a  b\n\n c"


def test_a_very_long_text_is_cut_with_a_sentence() -> None:
    text = Page(value_html("x" * 150_000, "STRING")).text
    assert text.endswith("… 50,000 characters more; the run holds the whole text")


@pytest.mark.parametrize(
    ("value", "text"), [(3.0, "3"), (0.25, "0.25"), (-12, "-12"), (True, "true"), ("7", "7")]
)
def test_numbers_are_plain(value: object, text: str) -> None:
    assert Page(value_html(value, "NUMBER")).text == text


@pytest.mark.parametrize("kind", TYPES)
def test_null_is_shown_as_null(kind: str) -> None:
    assert Page(value_html(None, kind)).text == "null"


def test_short_json_is_one_line_and_long_json_folds() -> None:
    assert Page(value_html({"a": [1, "é"]}, "JSON")).text == '{"a": [1, "é"]}'
    page = Page(value_html({"rows": [{"n": n, "text": "x" * 40} for n in range(4)]}, "JSON"))
    folds = page.all("details")
    assert ["open" in fold for fold in folds] == [True, False]
    assert "4 items" in page.text


def test_a_huge_list_is_cut_with_a_count() -> None:
    page = Page(value_html(list(range(5_000)), "JSON"))
    assert page.text.endswith("… 4800 more")


def test_deeply_nested_json_is_shown() -> None:
    value: object = "bottom"
    for _ in range(400):
        value = [value, "x" * 50]
    assert_harmless(value_html(value, "JSON"))


def test_chat_turns_show_role_and_content_of_each_kind() -> None:
    turns = [
        {"role": "USER", "text": "hi"},
        {"role": "ASSISTANT", "content": {"type": "STRING", "value": "hello"}},
        {
            "role": "ASSISTANT",
            "content": {
                "type": "FUNCTION_CALL",
                "value": {"name": "pay", "arguments": {"sum": 4}},
            },
        },
        {
            "role": "USER",
            "content": {
                "type": "ARRAY",
                "value": [
                    {"type": "STRING", "value": "see"},
                    {"type": "IMAGE", "value": data_url(PNG)},
                    {"type": "IMAGE", "value": {"src": "https://e.com/a.png"}},
                ],
            },
        },
    ]
    page = Page(value_html(turns, "CHAT_HISTORY"))
    assert "USER hi" in page.text
    assert "ASSISTANT hello" in page.text
    assert 'call pay{"sum": 4}' in page.text
    assert "https://e.com/a.png, not loaded" in page.text
    assert len(page.all("img")) == 1


def test_search_results_come_in_order_with_score_and_document() -> None:
    hits = [
        {"text": "b", "score": 0.82345, "keywords": ["k"], "document": {"label": "two.md"}},
        {"text": "a", "score": 0.5, "keywords": [], "document": {"label": "one.md"}},
    ]
    page = Page(value_html(hits, "SEARCH_RESULTS"))
    assert page.text == "two.md score 0.823 kbone.md score 0.5a"


def test_arrays_show_each_item_by_its_type() -> None:
    items = [{"type": "NUMBER", "value": 2.0}, {"type": "ERROR", "value": {"message": "no"}}]
    assert Page(value_html(items, "ARRAY")).text == "2error ERROR: no"


@pytest.mark.parametrize(
    ("content", "mime", "kind", "tag"),
    [
        (PNG, "image/png", "IMAGE", "img"),
        (SVG, "image/svg+xml", "IMAGE", "img"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav", "AUDIO", "audio"),
        (b"\0\0\0\x18ftypisom", "video/mp4", "VIDEO", "video"),
        (b"%PDF-1.7", "application/pdf", "DOCUMENT", "a"),
    ],
)
def test_media_are_shown_by_what_their_bytes_say(
    content: bytes, mime: str, kind: str, tag: str
) -> None:
    (attributes,) = Page(value_html(data_url(content, "text/html"), kind)).all(tag)
    address = attributes.get("src") or attributes["href"]
    assert address.startswith(f"data:{mime};base64,")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (data_url(b"<html><script>"), "not shown"),
        ({"src": "data:image/png;base64,???"}, "cannot be read"),
        ({"src": "data:image/png,rawbytes"}, "cannot be read"),
        ({"src": "https://evil.example/a.png"}, "not loaded"),
        ({"src": "vellum:uploaded-file:123"}, "not loaded"),
        ({"src": "data:image/png;base64," + "A" * (MAX_SHOWN * 4 // 3 + 300)}, "too large"),
    ],
)
def test_what_is_no_known_image_stays_text(value: object, words: str) -> None:
    page = Page(value_html(value, "IMAGE"))
    assert page.all("img") == []
    assert words in page.text


def test_side_by_side_marks_the_words_that_differ() -> None:
    a = run("v1", {"reply": "We will look into it", "tags": ["card"], "score": 1}, latency_s=1.84)
    b = run("v2", {"reply": "We looked into it", "tags": ["card", "risk"], "score": 1.0})
    text = Page(side_by_side_html([a, b])).text
    assert "We \N{MINUS SIGN}will look +looked into it" in text
    assert '["card"+, "risk"]' in text
    assert "FULFILLED · 1.84 s baseline" in text
    assert "2 of 3 outputs differ" in text


def test_a_number_that_changed_tells_by_how_much() -> None:
    a, b = run("v1", {"n": 0.5}), run("v2", {"n": 0.8})
    types = {"output_types": {"n": "NUMBER"}}
    html = run_html(b.model_copy(update=types), baseline=a.model_copy(update=types))
    assert "\N{MINUS SIGN}0.5 +0.8 by +0.3" in Page(html).text


def test_a_missing_output_says_missing_and_counts_as_a_difference() -> None:
    a, b = run("v1", {"x": "1", "y": "2"}), run("v2", {"x": "1"})
    text = Page(side_by_side_html([a, b])).text
    assert "missing" in text
    assert "1 of 2 outputs differ" in text


@pytest.mark.parametrize(
    ("state", "code", "words"),
    [
        ("REJECTED", "NODE_EXECUTION", "A step of the workflow failed."),
        ("REJECTED", "SOMETHING_NEW", "The workflow ended with an error."),
        ("FAILED", "HTTP_503", "No usable answer came."),
        ("CANCELLED", "CANCELLED", "the workflow may have run all the same"),
    ],
)
def test_a_run_without_outputs_says_why_in_plain_words(state: str, code: str, words: str) -> None:
    failed = run("v1", state=state, error=RunError(code=code, message="details: 1 < 2"))
    text = Page(run_html(failed)).text
    assert f"v1 {' '}{state}".replace("  ", " ") in re.sub(r"\s+", " ", text)
    assert words in text
    assert ("details: 1 < 2" in text) is (code != state)


def test_a_run_that_waits_says_so() -> None:
    waiting = run("v2", state="STARTED")
    assert "no answer yet" in Page(run_html(waiting)).text
    assert "nothing to compare" not in Page(side_by_side_html([run("v1"), waiting])).text


def test_markdown_shows_form_and_tells_differences_in_words() -> None:
    a, b = run("v1", {"reply": "**a**"}), run("v2", {"reply": "**b**"})
    page = Page(side_by_side_html([a, b], markdown=True))
    assert len(page.all("strong")) == 2
    assert page.all("ins") == []
    assert "differs" in page.text


def test_runs_with_different_inputs_are_told() -> None:
    runs = [run("v1", {"x": "1"}), run("v2", {"x": "1"}, inputs={"ticket": "b"})]
    assert "different inputs" in Page(side_by_side_html(runs)).text


def test_a_run_that_waits_is_not_blamed_for_other_inputs() -> None:
    waiting = run("v2", inputs={}, state="STARTED")
    assert "different inputs" not in Page(side_by_side_html([run("v1"), waiting])).text


def test_what_a_release_was_not_sent_stands_above_the_answers() -> None:
    runs = [run("v1", {"x": "1"}, not_sent=("vip", "tier")), run("v2", {"x": "1"})]
    words = "v1 was not sent vip, tier"
    assert Page(side_by_side_html(runs)).text.count(words) == 1
    assert words in Page(run_html(runs[0])).text
    assert "not sent" not in Page(side_by_side_html(runs[1:])).text


def test_the_text_to_copy_has_no_marks_and_tells_an_error() -> None:
    assert outputs_text(run("v2", {"reply": "a\nb"})) == "a\nb"
    assert outputs_text(run("v2", {"n": 3.0, "tags": ["a"]}, output_types={"n": "NUMBER"})) == (
        'n: 3\ntags: ["a"]'
    )
    failed = run("v1", state="FAILED", error=RunError(code="HTTP_503", message="busy"))
    assert outputs_text(failed) == "HTTP_503: busy"
    assert outputs_text(run(state="STARTED")) == ""


def test_the_legend_can_be_left_out() -> None:
    runs = [run("v1", {"x": "1"}), run("v2", {"x": "2"})]
    assert "changed words are marked" in Page(side_by_side_html(runs)).text
    assert "changed words are marked" not in Page(side_by_side_html(runs, legend=False)).text


def test_no_runs_is_a_sentence() -> None:
    assert Page(side_by_side_html([])).text == "No runs to show."


def test_a_difference_behind_what_is_shown_is_told() -> None:
    a, b = run("v1", {"x": "a" * 120_000}), run("v2", {"x": "a" * 120_000 + "b"})
    assert "differs further on" in Page(side_by_side_html([a, b])).text

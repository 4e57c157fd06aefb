"""One output value as HTML: right for each type, and safe whatever a workflow returns."""

import pytest
from dom_kit import dom, text_of
from html_kit import HOSTILE, PNG, SVG, assert_harmless, data_url, shapes
from hypothesis import given
from hypothesis import strategies as st
from runs_kit import TYPES

from vellum_nb.rendering.answer import AnswerCell
from vellum_nb.rendering.diff import diff_html
from vellum_nb.rendering.html import MAX_SHOWN, value_html


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_are_harmless_in_every_type(text, kind):
    for value in shapes(text):
        assert_harmless(value_html(value, kind))
        assert_harmless(value_html(value, kind, markdown=True))
        for pair in ((value, "something else"), ("something else", value)):
            cell = AnswerCell("x", "differs", pair[1], kind, pair[0], kind)
            assert_harmless(cell.to_html())
            assert_harmless(cell.to_html(markdown=True))
            assert_harmless(cell.to_html(complete=True))
            assert_harmless(diff_html(cell.excerpt(100)[0]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.sampled_from(TYPES), st.booleans())
def test_any_json_of_any_type_is_shown(value, kind, markdown):
    html = value_html(value, kind, markdown=markdown)
    assert html
    assert_harmless(html)


@pytest.mark.parametrize(
    ("value", "text"), [(3.0, "3"), (0.25, "0.25"), (-12, "-12"), (True, "true"), ("7", "7")]
)
def test_numbers_are_plain_and_null_is_null_in_every_type(value, text):
    assert text_of(value_html(value, "NUMBER")) == text
    assert {text_of(value_html(None, kind)) for kind in TYPES} == {"null"}


def test_short_json_is_one_line_long_json_folds_and_what_is_huge_is_cut_and_says_so():
    assert text_of(value_html({"a": [1, "é"]}, "JSON")) == '{"a": [1, "é"]}'
    page = dom(value_html({"rows": [{"n": n, "text": "x" * 40} for n in range(4)]}, "JSON"))
    folds = page.select("details")
    assert [fold.has_attr("open") for fold in folds] == [True, False]
    assert "4 items" in text_of(page)
    text = text_of(value_html("x" * 150_000, "STRING"))
    assert text.endswith("… 50,000 more characters; the run has the whole text")
    assert text_of(value_html(list(range(5_000)), "JSON")).endswith("… 4800 more")
    value = "bottom"
    for _ in range(400):
        value = [value, "x" * 50]
    assert_harmless(value_html(value, "JSON"))


def test_chat_turns_show_role_and_content_and_search_results_score_and_document():
    call = {"type": "FUNCTION_CALL", "value": {"name": "pay", "arguments": {"sum": 4}}}
    images = [{"type": "IMAGE", "value": {"src": "https://e.com/a.png"}}]
    images += [{"type": "STRING", "value": "see"}, {"type": "IMAGE", "value": data_url(PNG)}]
    turns = [
        {"role": "USER", "text": "hi"},
        {"role": "ASSISTANT", "content": {"type": "STRING", "value": "hello"}},
        {"role": "ASSISTANT", "content": call},
        {"role": "USER", "content": {"type": "ARRAY", "value": images}},
    ]
    page = dom(value_html(turns, "CHAT_HISTORY"))
    assert "USER hi" in text_of(page)
    assert "ASSISTANT hello" in text_of(page)
    assert 'call pay {"sum": 4}' in text_of(page)
    assert "https://e.com/a.png, not loaded" in text_of(page)
    assert len(page.select("img")) == 1
    hits = [
        {"text": "b", "score": 0.82345, "keywords": ["k"], "document": {"label": "two.md"}},
        {"text": "a", "score": 0.5, "keywords": [], "document": {"label": "one.md"}},
    ]
    page = dom(value_html(hits, "SEARCH_RESULTS"))
    assert text_of(page) == "two.md score 0.823 k b one.md score 0.5 a"
    large = [{"text": "c", "score": 10**400}]  # larger than any float
    assert text_of(value_html(large, "SEARCH_RESULTS")).startswith("no document score 1000")


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
def test_media_are_shown_by_what_their_bytes_say(content, mime, kind, tag):
    (attributes,) = dom(value_html(data_url(content, "text/html"), kind)).select(tag)
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
def test_what_is_no_known_image_stays_text(value, words):
    page = dom(value_html(value, "IMAGE"))
    assert page.select("img") == []
    assert words in text_of(page)


def test_arrays_show_each_item_by_its_type_and_text_keeps_its_spaces():
    items = [{"type": "NUMBER", "value": 2.0}, {"type": "ERROR", "value": {"message": "no"}}]
    assert text_of(value_html(items, "ARRAY")) == "2 error ERROR: no"
    assert dom(value_html("a  b\n\n c", "STRING")).text == "a  b\n\n c"

"""Output values as HTML: correct for each type, and safe for any value."""

import pytest
from dom_kit import dom, text_of, texts
from html_kit import HOSTILE, PNG, SVG, assert_harmless, data_url, shapes
from hypothesis import given
from hypothesis import strategies as st
from runs_kit import TYPES

from vellum_nb.rendering.answer import AnswerCell
from vellum_nb.rendering.diff import side_html
from vellum_nb.rendering.html import MAX_SHOWN, value_html


@pytest.mark.slow
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
            assert_harmless(side_html(cell.excerpt(100)[0], "both"))


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
def test_numbers_are_plain(value, text):
    assert text_of(value_html(value, "NUMBER")) == text


@pytest.mark.parametrize("kind", TYPES)
def test_null_is_null(kind):
    assert text_of(value_html(None, kind)) == "null"


def test_short_json_is_one_line():
    assert text_of(value_html({"a": [1, "é"]}, "JSON")) == '{"a": [1, "é"]}'


def test_long_json_is_folded():
    page = dom(value_html({"rows": [{"n": n, "text": "x" * 40} for n in range(4)]}, "JSON"))
    assert [fold.has_attr("open") for fold in page.select("details")] == [True, False]
    assert "4 items" in page.text


@pytest.mark.parametrize(
    ("value", "kind", "end"),
    [
        ("x" * 150_000, "STRING", "… 50,000 more characters; the run has the whole text"),
        (list(range(5_000)), "JSON", "… 4800 more"),
    ],
)
def test_huge_value_is_cut(value, kind, end):
    assert text_of(value_html(value, kind)).endswith(end)


def test_deeply_nested_json_is_shown():
    value = "bottom"
    for _ in range(400):
        value = [value, "x" * 50]
    assert_harmless(value_html(value, "JSON"))


def test_chat_shows_roles_and_contents():
    call = {"type": "FUNCTION_CALL", "value": {"name": "pay", "arguments": {"sum": 4}}}
    images = [{"type": "IMAGE", "value": {"src": "https://e.com/a.png"}}]
    images += [{"type": "STRING", "value": "see"}, {"type": "IMAGE", "value": data_url(PNG)}]
    turns = [
        {"role": "USER", "text": "hi"},
        {"role": "ASSISTANT", "content": {"type": "STRING", "value": "hello"}},
        {"role": "ASSISTANT", "content": call},
        {"role": "USER", "content": {"type": "ARRAY", "value": images}},
    ]
    html = value_html(turns, "CHAT_HISTORY")
    first, second, third, fourth = texts(html, ".vnb-turn")
    assert (first, second) == ("USER hi", "ASSISTANT hello")
    assert 'call pay {"sum": 4}' in third
    assert "https://e.com/a.png, not loaded" in fourth
    assert len(dom(html).select("img")) == 1


@pytest.mark.parametrize(
    ("hit", "text"),
    [
        (
            {"text": "b", "score": 0.82345, "keywords": ["k"], "document": {"label": "two.md"}},
            "two.md score 0.823 k b",
        ),
        ({"text": "a", "score": 0.5, "keywords": [], "document": {"label": "1"}}, "1 score 0.5 a"),
        ({"text": "c", "score": 10**400}, "no document score 1000"),  # larger than any float
    ],
)
def test_search_result_shows_document_score_and_text(hit, text):
    assert text_of(value_html([hit], "SEARCH_RESULTS")).startswith(text)


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
def test_media_type_follows_from_the_content(content, mime, kind, tag):
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
def test_unsafe_image_is_text(value, words):
    page = dom(value_html(value, "IMAGE"))
    assert page.select("img") == []
    assert words in text_of(page)


def test_items_of_an_array_are_shown_by_type():
    items = [{"type": "NUMBER", "value": 2.0}, {"type": "ERROR", "value": {"message": "no"}}]
    assert text_of(value_html(items, "ARRAY")) == "2 error ERROR: no"


def test_spaces_of_a_text_are_kept():
    assert dom(value_html("a  b\n\n c", "STRING")).text == "a  b\n\n c"

"""What a workflow returns cannot add anything to HTML, to Markdown or to a terminal."""

import re
import unicodedata
from html import unescape
from typing import Any

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import given
from hypothesis import strategies as st
from runs_kit import HOSTILE

from vellum_nb.escaping import printable
from vellum_nb.rendering.diff import difference
from vellum_nb.rendering.format import markdown_code

ALLOWED = {
    '<ins class="vnb-ins">', '<del class="vnb-del">',
    '<span class="vnb-key">', '<span class="vnb-quiet vnb-number">',
    '<pre class="vnb-text vnb-change">',
    '<span class="vnb-quiet vnb-fold">', '<p class="vnb-note">', '<span class="vnb-flag">',
    '<details class="vnb-same">', "<summary>",
}  # fmt: skip
CARET = re.compile(
    r'<span class="vnb-caret" role="img" aria-label="(\d+ words? removed)" title="\1">'
)
KINDS = ["STRING", "JSON", "CHAT_HISTORY", "SEARCH_RESULTS", "FUNCTION_CALL", "ARRAY", "IMAGE"]


def shapes(text: str) -> list[Any]:
    return [
        text,
        {text: text, "padding": "x" * 120},
        [{"role": text, "text": text}],
        [{"text": text, "score": 1, "document": {"label": text}}],
        {"name": text, "arguments": {text: text}},
        {"src": text},
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", HOSTILE)
def test_html_has_no_element_but_ours(text, kind):
    for old, new in zip(shapes("plain"), shapes(text), strict=True):
        found = difference(old, new, kind)
        for html in (found.to_html("both"), found.to_html("new"), found.to_html("old")):
            tags = set(re.findall(r"<(?!/)[^>]*>", html))
            assert {tag for tag in tags if not CARET.fullmatch(tag)} <= ALLOWED


def shown_by_github(markdown: str) -> list[str]:
    """Return what GitHub shows of `markdown` in a paragraph and in the cell of a table."""
    page = f"text {markdown}\n\n| head | other |\n|---|---|\n| text {markdown} | cell |\n"
    html = cmarkgfm.github_flavored_markdown_to_html(page, Options.CMARK_OPT_UNSAFE)
    shown = [
        re.search(r"<p>text (.*)</p>", html, re.DOTALL),
        re.search(r"<td>text (.*)</td>\n<td>cell</td>", html, re.DOTALL),
    ]
    parts = [match[1] for match in shown if match]
    assert len(parts) == 2
    tags = [tag for part in parts for tag in re.findall(r"<[^>]*>", part)]
    assert set(tags) <= {"<code>", "</code>", "<b>", "</b>", "<i>", "</i>", "<br>", "<!-- -->"}
    return [
        unescape(re.sub(r"</?(?:code|b|i)>|<!-- -->", "", part).replace("<br>", "\n"))
        for part in parts
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_github_shows_hostile_text_letter_by_letter(text):
    assert shown_by_github(markdown_code(text)) == [text, text]
    for old, new in zip(shapes("plain"), shapes(text), strict=True):
        assert shown_by_github(difference(old, new, "JSON").to_markdown())


LINES = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029"))


@given(st.lists(LINES).map("\n".join))
def test_github_shows_any_text_letter_by_letter(text):
    text = printable(text)  # what turns text around is escaped
    assert shown_by_github(markdown_code(text)) == [text, text]


_OVERRIDES = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(st.text(), st.text())
def test_no_text_can_drive_a_terminal(old, new):
    plain = difference({"a": old, old: 1}, {"a": new, new: [2]}, "JSON").to_text()
    controls = {each for each in plain if unicodedata.category(each) in {"Cc", "Cs", "Zl", "Zp"}}
    assert controls <= {"\n", "\t"}
    assert {unicodedata.bidirectional(each) for each in plain}.isdisjoint(_OVERRIDES)

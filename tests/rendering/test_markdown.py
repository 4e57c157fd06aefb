"""Markdown of an untrusted author."""

import pytest
from dom_kit import dom, texts

from vellum_nb.rendering.html import markdown_html


def body(text: str) -> str:
    html = markdown_html(text)
    assert html.startswith('<div class="vnb-md">')
    return html.removeprefix('<div class="vnb-md">').removesuffix("</div>").strip()


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**a** _b_ `c`", "<p><strong>a</strong> <em>b</em> <code>c</code></p>"),
        ("~~old~~", "<p><s>old</s></p>"),
        ("# Title", "<h1>Title</h1>"),
        ("3. three", '<ol start="3">\n<li>three</li>\n</ol>'),
        ("<b>x</b>", "<p>&lt;b&gt;x&lt;/b&gt;</p>"),
        ("![cat](https://e.com/c.png)", "<p>[image: cat, https://e.com/c.png]</p>"),
        ("![](x.png)", "<p>[image: no description, x.png]</p>"),
        ("```js\nlet a\n```", "<pre><code>let a\n</code></pre>"),
    ],
)
def test_markdown_becomes_html(text, html):
    assert body(text) == html


def test_table_is_kept():
    html = body("| a | b |\n|---|--:|\n| 1 | 2 |")
    assert (texts(html, "th"), texts(html, "td")) == (["a", "b"], ["1", "2"])


def test_link_opens_in_another_tab():
    (link,) = dom(body("[x](https://e.com)")).select("a")
    attributes = {"href": "https://e.com", "target": "_blank", "rel": "noopener noreferrer"}
    assert (link.attrs, link.text) == (attributes, "x")


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "vbscript:x",
        "data:text/html,x",
        "file:///etc/passwd",
        "//e.com",
        "/lab",
    ],
)
def test_unsafe_address_is_no_link(address):
    assert dom(body(f"[x]({address})")).select("[href]") == []


@pytest.mark.parametrize("text", ["[" * 5_000, "> " * 500 + "x"], ids=["brackets", "quotes"])
def test_deep_markdown_is_rendered(text):
    assert body(text)

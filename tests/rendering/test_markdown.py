"""Markdown of an untrusted author."""

import pytest

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


def test_tables_are_kept_links_open_elsewhere_or_are_none_and_many_brackets_are_quick():
    html = body("| a | b |\n|---|--:|\n| 1 | 2 |")
    assert "<th>a</th>" in html
    assert "<td>2</td>" in html
    assert body("[x](https://e.com)") == (
        '<p><a href="https://e.com" target="_blank" rel="noopener noreferrer">x</a></p>'
    )
    assert [each for each in ADDRESSES.split() if "href" in body(f"[x]({each})")] == []
    assert body("[" * 5_000)
    assert body("> " * 500 + "x")


ADDRESSES = "javascript:alert(1) vbscript:x data:text/html,x file:///etc/passwd //e.com /lab"

"""Values that would do harm if they were not escaped, and the check that they are."""

import base64
import re
from html.parser import HTMLParser

from runs_kit import later_run

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'
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
    "a", "audio", "b", "blockquote", "br", "button", "caption", "code", "dd", "del",
    "details", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img",
    "ins", "li", "ol", "p", "path", "pre", "s", "section", "span", "strong", "style", "summary",
    "svg", "table", "tbody", "td", "th", "thead", "tr", "ul", "video",
}  # fmt: skip
MEDIA = re.compile(r"data:(?:image|audio|video)/[a-z0-9+]+;base64,[A-Za-z0-9+/=]*\Z")
LINK = re.compile(r"(?:https?:|mailto:)|data:application/pdf;base64,[A-Za-z0-9+/=]*\Z")
INLINE = re.compile(
    r"(?:grid-row:span \d+|flex-grow:\d+|text-align: (?:left|right;)"
    r"|--vnb-depth:\d|--vnb-others:\d+"
    r"|(?:margin-)?left:[\d.]+%(?:;width:[\d.]+%)?|(?:left|right):calc\([\d.]+% \+ 6px\))\Z"
)


class Elements(HTMLParser):
    """The start tags of some HTML; much faster than a tree for the many hostile values."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def assert_harmless(html):
    for tag, attributes in Elements(html).found:
        assert tag in ALLOWED, tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in {"srcdoc", "srcset", "action", "formaction", "background"}
            assert name != "src" or MEDIA.match(value), value[:80]
            assert name != "href" or LINK.match(value), value[:80]
            assert name != "style" or INLINE.match(value), value
    styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert not any("url(" in style or "@import" in style for style in styles)


def shapes(text):
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


def run(tag="v1", outputs=None, **fields):
    inputs = fields.pop("inputs", {"ticket": "a"})
    return later_run(tag, inputs, outputs or {}, **{"id": tag} | fields)


def data_url(content, mime="image/png"):
    return {"src": f"data:{mime};base64,{base64.b64encode(content).decode()}"}

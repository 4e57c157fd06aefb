"""HTML as a page shows it: elements by CSS selector, and their text."""

from bs4 import BeautifulSoup, CData, NavigableString

INLINE = {"a", "b", "code", "data", "del", "em", "i", "ins", "s", "span", "strong", "svg"}


def dom(html):
    """Parse HTML; the value of `class` is one string, as in the source."""
    return BeautifulSoup(html, "html.parser", multi_valued_attributes=None)


def text_of(html):
    """Return the visible text of HTML or of an element, with one space around each block."""
    return " ".join("".join(_strings(dom(html) if isinstance(html, str) else html)).split())


def texts(html, css):
    """Return the text of each element that a CSS selector selects."""
    return [text_of(element) for element in dom(html).select(css)]


def _strings(element):
    for child in element.children:
        if type(child) in (NavigableString, CData):  # no comment, style or script
            yield child
        elif not isinstance(child, NavigableString):
            space = "" if child.name in INLINE else " "
            yield from (space, *_strings(child), space)

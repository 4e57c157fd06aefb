"""The look of the form: Jupyter's own variables, every rule under `.vnb`."""

from __future__ import annotations

from vellum_nb.widgets.assets import asset
from vellum_nb.widgets.icons import mask

__all__ = ["STYLE", "style_html"]

_SHEETS = ("form.css", "form_fields.css", "form_cases.css", "answers.css")
_ICONS = {
    "DOWNARROW": "down-arrow",
    "DOWN": "down",
    "CHECK": "check",
    "PLAY": "play",
    "STOP": "stop",
    "PLUS": "plus",
    "UPLOAD": "upload",
    "UP": "up-arrow",
    "CLOSE": "close",
    "CHEVRON": "chevron",
    "COPY": "copy",
    "THUMBUP": "thumb-up",
    "THUMBDOWN": "thumb-down",
}


def _with_icons(css: str) -> str:
    for word, name in _ICONS.items():
        css = css.replace(f"mask: {word} ", f"mask: {mask(name)} ")
    return css


STYLE = _with_icons(asset("colours.css", *_SHEETS))


def style_html() -> str:
    """Return the style as an element."""
    return f"<style>{STYLE}</style>"

"""The look of the form: Jupyter's own variables, every rule under `.vnb`."""

from __future__ import annotations

from importlib import resources

from vellum_nb.widgets.icons import mask

__all__ = ["STYLE", "style_html"]

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


def _static(name: str) -> str:
    return resources.files("vellum_nb.widgets").joinpath("static", name).read_text("utf-8")


STYLE = _with_icons(_static("form.css") + _static("form_fields.css") + _static("answers.css"))


def style_html() -> str:
    """Return the style as an element."""
    return f"<style>{STYLE}</style>"

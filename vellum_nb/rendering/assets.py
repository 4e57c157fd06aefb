"""Scripts, styles and icons of ``widgets/static``, as text for widgets and pages."""

from __future__ import annotations

import json
import re
from importlib import resources

from vellum_nb.rendering.html import stylesheet

_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./([\w.]+)";$', re.MULTILINE)
_IMPORT_JSON = re.compile(
    r'^import (\w+) from "\./([\w.]+)" with \{ type: "json" \};$', re.MULTILINE
)
_EXPORT = re.compile(
    r"^export (?:default (?=widget)|(?=(async )?(const|class|function) ))", re.MULTILINE
)
_MASK = re.compile(r"icon\(([\w-]+)\)")


def asset(*names: str) -> str:
    """Return the common styles and those of ``static/``, with each ``icon(name)`` as an image."""
    common = ["colours.css", *(["lines.css"] if "view.css" in names else [])]
    common += ["transcript.css"] if {"view.css", "blind.css"} & {*names} else []
    text = "\n".join([*map(stylesheet, common), *map(_read, names)])
    return _MASK.sub(lambda match: _mask(match[1]), text)


def script(name: str) -> str:
    """Return an ES module of ``static/`` with its imports inlined.

    anywidget keeps widgets alive if their source is a path, and a script without an address cannot
    import modules.
    """

    def inline(match: re.Match[str]) -> str:
        body = _EXPORT.sub("", script(match[2]))
        return f"const {match[1]} = (() => {{\n{body}\nreturn {match[1]};\n}})();"

    text = _IMPORT_JSON.sub(lambda match: f"const {match[1]} = {_read(match[2])};", _read(name))
    return _IMPORT.sub(inline, text)


def _read(name: str) -> str:
    folder = resources.files("vellum_nb").joinpath("widgets", "static")
    return folder.joinpath(name).read_text("utf-8")


_ICONS: dict[str, str] = json.loads(_read("icons.json"))


def _mask(name: str) -> str:
    """Return an icon as a CSS mask image."""
    path = f"<path d='{_ICONS[name]}'/>"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'>{path}</svg>"
    return f'url("data:image/svg+xml,{svg.replace("<", "%3C").replace(">", "%3E")}")'


def icon(name: str, kind: str = "vnb-glyph", size: int = 16) -> str:
    """Return an icon as inline SVG, hidden from screen readers."""
    return (
        f'<svg class="{kind}" viewBox="0 0 24 24" width="{size}" height="{size}" '
        f'aria-hidden="true"><path fill="currentColor" d="{_ICONS[name]}"/></svg>'
    )

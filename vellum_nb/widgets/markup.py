"""Assets, icons, names and states as HTML, for widgets and static pages."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from vellum_nb.errors import VellumNBError
from vellum_nb.rendering.format import one_line, visible_name
from vellum_nb.rendering.html import stylesheet

_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./([\w.]+)";$', re.MULTILINE)
_IMPORT_JSON = re.compile(
    r'^import (\w+) from "\./([\w.]+)" with \{ type: "json" \};$', re.MULTILINE
)
_EXPORT = re.compile(r"^export (?=(async )?(const|class|function) )", re.MULTILINE)
_MASK = re.compile(r"icon\(([\w-]+)\)")
_SURROGATES = re.compile("[\ud800-\udfff]")
_MAX_LINE_CHARS = 160


def asset(*names: str) -> str:
    """Return the common styles and those of ``static/``, with each ``icon(name)`` as an image."""
    text = "\n".join([stylesheet("colours.css"), *map(_read, names)])
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
    folder = resources.files("vellum_nb.widgets").joinpath("static")
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


ALERT = icon("alert")


def name_html(name: object) -> str:
    """Return a name as safe HTML, with visible bidirectional controls."""
    return escape(visible_name(str(name)))


def short_line(text: str) -> str:
    """Return the beginning of a text on one line."""
    return one_line(text[: 4 * _MAX_LINE_CHARS], _MAX_LINE_CHARS)


def table_html(css: str, names: Sequence[str], rows: str) -> str:
    """Return a table with headings; `rows` is HTML."""
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    head = f"<thead><tr>{heads}</tr></thead>"
    return f'<table class="vnb-rows {css}">{head}<tbody>{rows}</tbody></table>'


def page_safe(value: Any) -> Any:
    """Return `value` as strict JSON, with replaced lone surrogates and named NaN and infinity."""
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATES.sub("\ufffd", value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {page_safe(key): page_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(page_safe, value))
    return value


def alert_html(exc: BaseException, *, source: str = "") -> str:
    """Return an exception as an alert for screen readers; unexpected ones include their type."""
    is_ours = isinstance(exc, VellumNBError)
    text = str(exc) if is_ours else f"{_words(exc)} (a fault in the form, please report)"
    where = f"<b><code>{escape(source)}</code></b>: " if source else ""
    return f'<div role="alert" class="vnb-alert">{ALERT}<pre>{where}{escape(text)}</pre></div>'


def _words(exc: BaseException) -> str:
    try:
        return f"{type(exc).__name__}: {exc}"
    except Exception:  # noqa: BLE001 - an exception may fail to say what it is
        return type(exc).__name__

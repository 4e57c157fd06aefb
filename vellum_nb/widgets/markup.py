"""Assets, icons, names and states as HTML, for widgets and for static pages alike."""

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
_EXPORT = re.compile(r"^export (?=(async )?(const|class|function) )", re.MULTILINE)
_MASK = re.compile(r"icon\(([\w-]+)\)")
_SURROGATES = re.compile("[\ud800-\udfff]")
_LONGEST = 160
_SHORT = 24  # characters of a value that is shown before the long ones


def asset(*names: str) -> str:
    """Return the common style and that of ``static/``; ``icon(name)`` becomes an image in it."""
    text = "\n".join([stylesheet("colours.css"), *map(_read, names)])
    return _MASK.sub(lambda found: _mask(found[1]), text)


def script(name: str) -> str:
    """Return an ES module of ``static/`` with the modules that it imports inside.

    Text, not a path: anywidget keeps every widget alive whose source is a path, and a widget's
    script has no address from which it could import another.
    """

    def inline(found: re.Match[str]) -> str:
        body = _EXPORT.sub("", script(found[2]))
        return f"const {found[1]} = (() => {{\n{body}\nreturn {found[1]};\n}})();"

    return _IMPORT.sub(inline, _read(name))


def _read(name: str) -> str:
    folder = resources.files("vellum_nb.widgets").joinpath("static")
    return folder.joinpath(name).read_text("utf-8")


def _read_icons() -> dict[str, str]:
    text = _read("icons.js")
    found: dict[str, str] = json.loads(text[text.index("{") : text.rindex("}") + 1])
    return found


_ICONS = _read_icons()


def _mask(name: str) -> str:
    """Return an icon as a CSS image, to be used as a mask over the colour of the text."""
    path = f"<path d='{_ICONS[name]}'/>"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'>{path}</svg>"
    return f'url("data:image/svg+xml,{svg.replace("<", "%3C").replace(">", "%3E")}")'


def icon(name: str, kind: str = "vnb-glyph", size: int = 16) -> str:
    """Return an icon as inline SVG; the word beside it says the same."""
    return (
        f'<svg class="{kind}" viewBox="0 0 24 24" width="{size}" height="{size}" '
        f'aria-hidden="true"><path fill="currentColor" d="{_ICONS[name]}"/></svg>'
    )


ALERT = icon("alert")


def name_html(name: object) -> str:
    """Return a name as safe HTML, characters that reorder text written out."""
    return escape(visible_name(str(name)))


def short_line(text: str) -> str:
    """Return the beginning of a text in one line."""
    return one_line(text[: 4 * _LONGEST], _LONGEST)


def is_short(value: object) -> bool:
    """Whether a value can stand in a line with others."""
    if isinstance(value, str):
        return len(value) <= _SHORT and "\n" not in value
    return value is None or isinstance(value, int | float)


def table_html(css: str, names: Sequence[str], rows: str) -> str:
    """Return `rows`, which are HTML, as a table with headings."""
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    head = f"<thead><tr>{heads}</tr></thead>"
    return f'<table class="vnb-rows {css}">{head}<tbody>{rows}</tbody></table>'


def page_safe(value: Any) -> Any:
    r"""Return `value` as a page can take it: strict JSON in UTF-8.

    NaN and infinity become their names, half of a surrogate pair a replacement character.
    """
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATES.sub("\ufffd", value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {page_safe(key): page_safe(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(page_safe, value))
    return value


def alert_html(exc: BaseException, *, what: str = "") -> str:
    """Return an exception as a line that is read out; one that is not ours names its type."""
    known = isinstance(exc, VellumNBError)
    text = str(exc) if known else f"{_words(exc)} (a fault in the form, please report)"
    where = f"<b><code>{escape(what)}</code></b>: " if what else ""
    return f'<div role="alert" class="vnb-alert">{ALERT}<pre>{where}{escape(text)}</pre></div>'


def _words(exc: BaseException) -> str:
    try:
        return f"{type(exc).__name__}: {exc}"
    except Exception:  # noqa: BLE001 - an exception may fail to say what it is
        return type(exc).__name__

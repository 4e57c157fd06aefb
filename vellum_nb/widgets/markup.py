"""Names, tables and alerts as HTML, for widgets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from vellum_nb.errors import VellumNBError
from vellum_nb.rendering.format import one_line, visible_name
from vellum_nb.rendering.html import icon

_SURROGATES = re.compile("[\ud800-\udfff]")
_MAX_LINE_CHARS = 160


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

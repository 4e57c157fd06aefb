"""The few icons of the widgets: inline SVG in the colour of the text around them."""

from __future__ import annotations

__all__ = ["ALERT", "WARN", "mask"]


def _svg(path: str) -> str:
    return (
        '<svg class="vnb-glyph" viewBox="0 0 24 24" width="16" height="16" aria-hidden="true">'
        f'<path fill="currentColor" d="{path}"/></svg>'
    )


_PATHS = {
    "alert": "M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20zm1 15h-2v-2h2v2zm0-4h-2V7h2v6z",
    "warn": "M1 21h22L12 2 1 21zm12-3h-2v-2h2v2zm0-4h-2v-4h2v4z",
    "check": "M9 16.2 4.8 12l-1.4 1.4L9 19 21 7l-1.4-1.4z",
    "chevron": "M10 6 8.6 7.4 13.2 12l-4.6 4.6L10 18l6-6z",
    "down": "M16.6 8.6 12 13.2 7.4 8.6 6 10l6 6 6-6z",
    "play": "M7 4v16l13-8z",
    "stop": "M6 6h12v12H6z",
    "up-arrow": "m4 12 1.4 1.4L11 7.8V20h2V7.8l5.6 5.6L20 12l-8-8z",
    "down-arrow": "m20 12-1.4-1.4L13 16.2V4h-2v12.2l-5.6-5.6L4 12l8 8z",
    "close": "M19 6.4 17.6 5 12 10.6 6.4 5 5 6.4 10.6 12 5 17.6 6.4 19 12 13.4 17.6 19 19 17.6"
    " 13.4 12z",
    "plus": "M19 13h-6v6h-2v-6H5v-2h6V5h2v6h6z",
    "copy": "M16 1H4C2.9 1 2 1.9 2 3v14h2V3h12V1zm3 4H8C6.9 5 6 5.9 6 7v14c0 1.1.9 2 2 2h11c1.1 0"
    " 2-.9 2-2V7c0-1.1-.9-2-2-2zm0 16H8V7h11v14z",
    "thumb-up": "M1 21h4V9H1v12zm22-11c0-1.1-.9-2-2-2h-6.3l1-4.6v-.3c0-.4-.2-.8-.5-1.1L14.2 1 7.6"
    " 7.6C7.2 8 7 8.5 7 9v10c0 1.1.9 2 2 2h9c.8 0 1.5-.5 1.8-1.2l3-7.1c.1-.2.2-.5.2-.7z",
    "thumb-down": "M15 3H6c-.8 0-1.5.5-1.8 1.2l-3 7.1c-.1.2-.2.5-.2.7v2c0 1.1.9 2 2 2h6.3l-1 4.6v.3"
    "c0 .4.2.8.5 1.1l1 1 6.6-6.6c.4-.4.6-.9.6-1.4V5c0-1.1-.9-2-2-2zm4 0v12h4V3h-4z",
    "upload": "M5 20h14v-2H5v2zm0-10h4v6h6v-6h4l-7-7z",
}

ALERT = _svg(_PATHS["alert"])
WARN = _svg(_PATHS["warn"])


def mask(name: str) -> str:
    """Return an icon as a CSS image, to be used as a mask over the colour of the text."""
    path = _PATHS[name].replace("\n", "")
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'><path d='{path}'/></svg>"
    return f'url("data:image/svg+xml,{svg.replace("<", "%3C").replace(">", "%3E")}")'

"""Assets, icons, names and states as HTML, for widgets and for static pages alike."""

from __future__ import annotations

import re
from html import escape
from importlib import resources

from vellum_nb.errors import VellumNBError
from vellum_nb.models import Run

__all__ = [
    "ALERT",
    "WARN",
    "alert_html",
    "asset",
    "error_html",
    "icon",
    "mask",
    "shown_name",
    "state_html",
]


def asset(*names: str) -> str:
    """Return files of ``static/`` as one text.

    Text, not a path: anywidget keeps every widget alive whose source is a path.

    Examples
    --------
    >>> "export default" in asset("hearing.js", "form.js")
    True
    """
    folder = resources.files("vellum_nb.widgets").joinpath("static")
    return "\n".join(folder.joinpath(name).read_text("utf-8") for name in names)


def _svg(path: str) -> str:
    return (
        '<svg class="vnb-glyph" viewBox="0 0 24 24" width="16" height="16" aria-hidden="true">'
        f'<path fill="currentColor" d="{path}"/></svg>'
    )


_GLYPHS = {
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

ALERT = _svg(_GLYPHS["alert"])
WARN = _svg(_GLYPHS["warn"])


def mask(name: str) -> str:
    """Return an icon as a CSS image, to be used as a mask over the colour of the text."""
    path = _GLYPHS[name].replace("\n", "")
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'><path d='{path}'/></svg>"
    return f'url("data:image/svg+xml,{svg.replace("<", "%3C").replace(">", "%3E")}")'


# Bidirectional controls: they turn round what stands after them, beyond the name itself.
_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def shown_name(name: str) -> str:
    r"""Return `name` with the characters that turn text round written out.

    Examples
    --------
    >>> shown_name("v1\u202e2v")
    'v1[U+202E]2v'
    """
    return _TURNS.sub(lambda found: f"[U+{ord(found[0]):04X}]", name)


_ICONS = {
    "ok": "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1m3.6 5.2-4.3 4.6-2.6-2.5 1-1 1.6 1.5 3.3-3.5z",
    "bad": ("M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1m3 9-1 1-2-2-2 2-1-1 2-2-2-2 1-1 2 2 2-2 1 1-2 2z"),
    "failed": "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1m.9 10.8H7.1V10h1.8zm0-3H7.1V4.2h1.8z",
    "stopped": "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1m2.8 9.8H5.2V5.2h5.6z",
    "waiting": (
        "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1m0 12.6A5.6 5.6 0 1 1 8 2.4a5.6 5.6 0 0 1 0 11.2"
        "M8.6 4.2H7.4v4.2l3 2.2.7-1-2.5-1.8z"
    ),
    "missing": (
        "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1M2.4 8a5.6 5.6 0 0 1 9-4.4l-7.8 7.8A5.5 5.5 0 0 1 2.4 8"
        "M8 13.6c-1.3 0-2.5-.4-3.4-1.2l7.8-7.8A5.6 5.6 0 0 1 8 13.6"
    ),
    "pin": "M10 1v1l-.7.6.5 4 1.7 1.6V9.5H8.6V14L8 15l-.6-1V9.5H4.5V8.2l1.7-1.6.5-4L6 2V1z",
}
_STATES = {
    "FULFILLED": "ok",
    "REJECTED": "bad",
    "FAILED": "failed",
    "CANCELLED": "stopped",
    "STARTED": "waiting",
}
_MEANINGS = {
    "NODE_EXECUTION": "A step of the workflow failed.",
    "NODE_TIMEOUT": "A step of the workflow took too long.",
    "NODE_CANCELLED": "A step of the workflow was cancelled.",
    "NODE_EXECUTION_COUNT_LIMIT_REACHED": "The workflow went round too often.",
    "WORKFLOW_TIMEOUT": "The workflow took too long.",
    "WORKFLOW_CANCELLED": "The workflow was cancelled on the server.",
    "WORKFLOW_INITIALIZATION": "The workflow could not be started.",
    "USER_DEFINED_ERROR": "The workflow refused these inputs.",
    "INVALID_INPUTS": "The workflow cannot use these inputs.",
    "INVALID_TEMPLATE": "A template in the workflow is wrong.",
    "LLM_PROVIDER": "The model's provider failed.",
    "PROVIDER_QUOTA_EXCEEDED": "The quota at the model's provider is used up.",
    "PROVIDER_CREDENTIALS_UNAVAILABLE": "The credentials for the model's provider are missing.",
    "INTEGRATION_CREDENTIALS_UNAVAILABLE": "The credentials for an integration are missing.",
    "INTERNAL_SERVER_ERROR": "The server failed.",
}
_BY_STATE = {
    "REJECTED": "The workflow ended with an error.",
    "FAILED": "No usable answer came.",
    "CANCELLED": "Cancelled before an answer came; the workflow may have run all the same.",
    "STARTED": "Recorded, no answer yet.",
}


def icon(name: str) -> str:
    """Return the icon `name` as inline SVG; the word beside it says the same."""
    return (
        f'<svg class="vnb-icon vnb-icon-{name}" viewBox="0 0 16 16" width="14" height="14" '
        f'aria-hidden="true" focusable="false"><path fill="currentColor" fill-rule="evenodd" '
        f'd="{_ICONS[name]}"/></svg>'
    )


def state_html(run: Run) -> str:
    """Return the icon and the word for the state of `run`."""
    return f'{icon(_STATES[run.state])} <span class="vnb-state">{run.state}</span>'


def error_html(run: Run) -> str:
    """Return why `run` has no outputs, in plain words; nothing for one that is fulfilled.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> run = Run(
    ...     id="1",
    ...     deployment="d",
    ...     release_tag="v1",
    ...     timestamp=datetime.now(UTC),
    ...     inputs={},
    ...     case_id="c",
    ...     state="CANCELLED",
    ... )
    >>> "may have run" in error_html(run)
    True
    """
    if run.state == "FULFILLED":
        return ""
    code = run.error.code if run.error else ""
    meaning = _BY_STATE[run.state]
    if run.state == "REJECTED":
        meaning = _MEANINGS.get(code, meaning)
    tone = "vnb-error" if run.state in {"REJECTED", "FAILED"} else "vnb-quiet"
    detail = _detail(code, run.error.message if run.error else "", state=run.state)
    return f'<div class="{tone}">{meaning}{detail}</div>'


def _detail(code: str, message: str, *, state: str) -> str:
    if not code or code == state:
        return ""
    text = f'<pre class="vnb-text">{escape(message[:5000])}</pre>' if message else ""
    return f" <code>{escape(code)}</code>{text}"


def alert_html(exc: BaseException, *, what: str = "") -> str:
    """Return an exception as a line that is read out; one that is not ours names its type.

    Examples
    --------
    >>> "ZeroDivisionError: division by zero" in alert_html(ZeroDivisionError("division by zero"))
    True
    """
    known = isinstance(exc, VellumNBError)
    text = str(exc) if known else f"{_words(exc)} (a fault in the form, please report)"
    where = f"<b><code>{escape(what)}</code></b>: " if what else ""
    return f'<div role="alert" class="vnb-alert">{ALERT}<pre>{where}{escape(text)}</pre></div>'


def _words(exc: BaseException) -> str:
    try:
        return f"{type(exc).__name__}: {exc}"
    except Exception:  # noqa: BLE001 - an exception may fail to say what it is
        return type(exc).__name__

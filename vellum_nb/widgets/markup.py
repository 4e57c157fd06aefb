"""Assets, icons, names and states as HTML, for widgets and for static pages alike."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from html import escape
from importlib import resources
from typing import Any

from vellum_nb.errors import VellumNBError
from vellum_nb.models import Run

__all__ = [
    "ALERT",
    "NO_MATH",
    "WARN",
    "alert_html",
    "asset",
    "error_html",
    "icon",
    "page_safe",
    "script",
    "shown_name",
    "state_html",
]

NO_MATH = "tex2jax_ignore mathjax_ignore"
"""Classes of HTML in which JupyterLab typesets no mathematics: "$5 and $6" is no formula."""

_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./([\w.]+)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(async )?(const|class|function) )", re.MULTILINE)
_MASK = re.compile(r"icon\(([\w-]+)\)")
_SURROGATES = re.compile("[\ud800-\udfff]")


def asset(*names: str) -> str:
    """Return style sheets of ``static/`` as one text; ``icon(name)`` becomes an image in it."""
    return _MASK.sub(lambda found: _mask(found[1]), "\n".join(map(_read, names)))


def script(name: str) -> str:
    """Return an ES module of ``static/`` with the modules that it imports inside.

    Text, not a path: anywidget keeps every widget alive whose source is a path, and a widget's
    script has no address from which it could import another.

    Examples
    --------
    >>> "export default" in script("upload.js")
    True
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


def _svg(name: str) -> str:
    return (
        '<svg class="vnb-glyph" viewBox="0 0 24 24" width="16" height="16" aria-hidden="true">'
        f'<path fill="currentColor" d="{_ICONS[name]}"/></svg>'
    )


ALERT = _svg("alert")
WARN = _svg("warn")


def page_safe(value: Any) -> Any:
    r"""Return `value` as a page can take it: strict JSON in UTF-8.

    NaN and infinity become their names, half of a surrogate pair a replacement character.

    Examples
    --------
    >>> page_safe({"score": float("nan"), "reply": "cut \ud83d"})
    {'score': 'NaN', 'reply': 'cut \ufffd'}
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


_STATES = {
    "FULFILLED": "ok",
    "REJECTED": "bad",
    "FAILED": "failed",
    "CANCELLED": "stopped",
    "STARTED": "waiting",
}
_OF_STATES = {
    "ok": "FULFILLED",
    "bad": "REJECTED",
    "failed": "alert",
    "stopped": "CANCELLED",
    "waiting": "STARTED",
    "missing": "CANCELLED",
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
    """Return the icon of a state as inline SVG; the word beside it says the same."""
    path = _ICONS[_OF_STATES.get(name, name)]
    return (
        f'<svg class="vnb-icon vnb-icon-{name}" viewBox="0 0 24 24" width="14" height="14" '
        f'aria-hidden="true" focusable="false"><path fill="currentColor" d="{path}"/></svg>'
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

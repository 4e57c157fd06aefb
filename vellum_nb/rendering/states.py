"""The state of a run as HTML: an icon, the word, and a sentence for what went wrong."""

from __future__ import annotations

from html import escape

from vellum_nb.models import Run

__all__ = ["icon", "error_html", "state_html"]

_PATHS = {
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
        f'd="{_PATHS[name]}"/></svg>'
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

"""A run: its request, its cancellation, and the execution stored in the history."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from html import escape
from typing import Any, Literal

from pydantic import Field

from vellum_nb.escaping import printed
from vellum_nb.models.base import Model, canonical_json
from vellum_nb.models.trace import NodeRun

RunState = Literal["STARTED", "FULFILLED", "REJECTED", "FAILED", "CANCELLED"]
DoubtKind = Literal["SENT", "EXECUTED"]
"""Reason for the doubt about a run without a recorded answer: sent, or known to be executed."""

_RATING = re.compile(r"rating@(.+):(0(?:\.\d+)?|1(?:\.0+)?)", re.DOTALL)


def case_id(inputs: Mapping[str, Any], previous_execution_id: str | None = None) -> str:
    """Return the identity of a case: 16 hex digits of a hash of its inputs.

    The same inputs in another conversation, which continues another execution, are another case.

    Examples
    --------
    >>> case_id({"ticket": "hello"})
    '875e347316f5d7a3'
    >>> case_id({"ticket": "hello"}, "1c7a") == case_id({"ticket": "hello"})
    False
    """
    return continued_case_id(_digest(canonical_json(inputs)), previous_execution_id)


def continued_case_id(first: str, previous_execution_id: str | None) -> str:
    """Return the id of the case `first` that continues an execution."""
    return _digest(f"{first}/{previous_execution_id}") if previous_execution_id else first


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def with_rating(tags: Sequence[str], author: str, quality: float | None) -> list[str]:
    """Replace the rating by `author` in `tags`; None removes it."""
    matches = ((tag, _RATING.fullmatch(tag)) for tag in tags)
    other_tags = [tag for tag, match in matches if match is None or match[1] != author]
    return (
        other_tags if quality is None else [*other_tags, f"rating@{author}:{round(quality, 4):g}"]
    )


def new_run_id() -> str:
    """Return a new id for a run."""
    return str(uuid.uuid4())


class RunRequest(Model):
    """Request for a run of one case on one release tag.

    `inputs` are all values of the case. Those in `not_sent` are stored with the run, but not sent;
    None selects all that the release does not have. `case_id` identifies a case by more than its
    inputs, such as its mocks or the conversation of which it is a turn.
    """

    deployment: str
    inputs: Mapping[str, Any]
    release_tag: str = "LATEST"
    not_sent: tuple[str, ...] | None = ()
    external_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    previous_execution_id: str | None = None
    case_id: str | None = None
    conversation_id: str | None = None
    turn: int | None = None


class Cancellation:
    """Cancels the calls that it is passed to.

    `cancel()` can be called from any thread, and ends all of these calls at once, even if they
    wait for an answer. It cannot be undone.

    Parameters
    ----------
    may_send : callable, optional
        Called immediately before a request is sent; if it returns False, nothing is sent.

    Examples
    --------
    >>> cancel = Cancellation()
    >>> cancel.add_callback(lambda: print("cut off"))
    >>> cancel.cancel()
    cut off
    >>> cancel.cancelled
    True
    """

    def __init__(self, may_send: Callable[[], bool] = lambda: True) -> None:
        self.may_send = may_send
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: dict[Callable[[], object], None] = {}

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Cancel the calls and run every registered callback, once."""
        with self._lock:
            callbacks = [] if self._event.is_set() else list(self._callbacks)
            self._event.set()
        for callback in callbacks:
            with suppress(OSError):
                callback()

    def wait(self, seconds: float) -> bool:
        """Wait for `seconds` or the cancellation; return `cancelled`."""
        return self._event.wait(seconds)

    def add_callback(self, callback: Callable[[], object]) -> None:
        """Run `callback` on `cancel`, or now if already cancelled."""
        with self._lock:
            self._callbacks[callback] = None
            cancelled = self._event.is_set()
        if cancelled:
            with suppress(OSError):
                callback()

    def remove_callback(self, callback: Callable[[], object]) -> None:
        """Remove a callback."""
        with self._lock:
            self._callbacks.pop(callback, None)


class RunError(Model):
    """Error of a run.

    `code` is Vellum's, or one of CONNECTION, TIMEOUT, HTTP_404, BAD_RESPONSE and CANCELLED.
    """

    code: str
    message: str = ""


class Run(Model):
    """One execution, as stored in the history.

    A rejected run is a value, not an exception: see `state` and `error`.

    Attributes
    ----------
    id : str
        Primary key of the history.
    execution_id : str or None
        Id on the server; None before its answer.
    timestamp, finished_at : datetime
        UTC; when the request was sent, when its answer arrived.
    latency_s : float or None
        Seconds between the two, by a monotonic clock.
    state : {"STARTED", "FULFILLED", "REJECTED", "FAILED", "CANCELLED"}
        STARTED: recorded, no answer yet. FAILED: no usable answer.
    inputs, outputs : dict
        Name to Python value (plain JSON values).
    output_types : dict
        Output name to Vellum's type, for display.
    not_sent : tuple of str
        Inputs of the case that this release does not know; stored, not sent.
    tag_moved : bool
        Whether the release tag pointed at another release after the call than before.
    desired : dict or None
        Output name to the desired value, from a rating.
    nodes : tuple of NodeRun
        The trace, after `vellum_nb.Workspace.trace` has fetched it.
    conversation_id, turn : str, int or None
        The conversation that the run belongs to, and its turn, starting at 1.
    author : str or None
        ``VELLUM_NB_AUTHOR``, or the user name on this machine for a history on a server.
    doubt : {"SENT", "EXECUTED"} or None
        Reason to expect a later answer: the run was sent, or the server is known to execute it.
        `vellum_nb.Workspace.sync` and `resume_pending` complete such runs.
    """

    id: str
    execution_id: str | None = None
    external_id: str | None = None
    deployment: str
    release_tag: str
    release_id: str | None = None
    environment: str | None = None
    timestamp: datetime
    finished_at: datetime | None = None
    latency_s: float | None = None
    state: RunState = "STARTED"
    inputs: dict[str, Any]
    outputs: dict[str, Any] = Field(default_factory=dict)
    output_types: dict[str, str] = Field(default_factory=dict)
    not_sent: tuple[str, ...] = ()
    error: RunError | None = None
    case_id: str
    sweep_id: str | None = None
    repeat: int = 0
    conversation_id: str | None = None
    turn: int | None = None
    metadata: dict[str, Any] | None = None
    previous_execution_id: str | None = None
    quality: float | None = None
    note: str | None = None
    tags: tuple[str, ...] = ()
    cost_usd: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    model: str | None = None
    tag_moved: bool = False
    desired: dict[str, Any] | None = None
    nodes: tuple[NodeRun, ...] = ()
    author: str | None = None
    doubt: DoubtKind | None = None

    @property
    def in_doubt(self) -> bool:
        """True if the run was or may have been sent, and its answer is not recorded."""
        return self.state == "STARTED" or self.doubt is not None

    @property
    def ratings(self) -> dict[str, float]:
        """Quality by author, from the ratings in `tags`."""
        matches = [_RATING.fullmatch(tag) for tag in self.tags]
        return {match[1]: float(match[2]) for match in reversed(matches) if match}

    @printed
    def __repr__(self) -> str:
        result = self.error.code if self.error else ", ".join(self.outputs)
        return f"<Run {self.deployment} {self.release_tag}: {self.state} ({result})>"

    __str__ = __repr__

    @printed
    def _repr_html_(self) -> str:
        rows = [("error", f"{self.error.code}: {self.error.message}")] if self.error else []
        rows += [
            (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            for name, value in self.outputs.items()
        ]
        # Jupyter aligns tables to the right and breaks code within words, on another background;
        # other front ends do not wrap it.
        cell = '<td style="text-align: left">'
        wrapped = "white-space: pre-wrap; overflow-wrap: anywhere; word-break: normal"
        plain = f' style="background: none; {wrapped}"'
        body = "".join(
            f"<tr><th>{escape(name)}</th>{cell}<pre{plain}>{escape(text)}</pre></td></tr>"
            for name, text in rows
        )
        head = f"{self.deployment} · {self.release_tag} · {self.state}"
        return f'<table><caption style="text-align: left">{escape(head)}</caption>{body}</table>'

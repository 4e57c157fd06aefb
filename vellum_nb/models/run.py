"""A run: its request, what cancels it, and one execution as the history keeps it."""

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
"""Why a run without a recorded answer may have been executed: it was sent, or is known to run."""

_RATING = re.compile(r"rating@(.+):(0(?:\.\d+)?|1)", re.DOTALL)


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
    """Return the id of the case `first` where it continues an execution."""
    return _digest(f"{first}/{previous_execution_id}") if previous_execution_id else first


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def with_rating(tags: Sequence[str], author: str, quality: float | None) -> list[str]:
    """Return tags with what `author` rates, in the place of an earlier rating; None: nothing."""
    found = ((tag, _RATING.fullmatch(tag)) for tag in tags)
    others = [tag for tag, match in found if match is None or match[1] != author]
    return others if quality is None else [*others, f"rating@{author}:{round(quality, 4):g}"]


def new_run_id() -> str:
    """Return a new id for a run."""
    return str(uuid.uuid4())


class RunRequest(Model):
    """What is to be run: one case on one release tag.

    `inputs` is the whole case in natural Python values; `not_sent` names those that are stored
    with the run and not sent, None all that the release does not know.
    """

    deployment: str
    inputs: Mapping[str, Any]
    release_tag: str = "LATEST"
    not_sent: tuple[str, ...] | None = ()
    external_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    previous_execution_id: str | None = None


class Cancellation:
    """Ends the calls that it is passed to.

    Pass one to any number of calls; `cancel()` from any thread ends them all at once, those that
    wait for an answer too. It stays cancelled.

    Parameters
    ----------
    may_send : callable, optional
        Asked immediately before a request leaves; if it returns False, the request is not sent.

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
        """Cancel; runs every callback that is registered. Calling it again does nothing."""
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            callbacks = list(self._callbacks)
        for callback in callbacks:
            with suppress(OSError):
                callback()

    def wait(self, seconds: float) -> bool:
        """Sleep for `seconds`, or until it is cancelled; return `cancelled`."""
        return self._event.wait(seconds)

    def add_callback(self, callback: Callable[[], object]) -> None:
        """Have `callback` run on `cancel`; at once if it is cancelled already."""
        with self._lock:
            self._callbacks[callback] = None
            cancelled = self._event.is_set()
        if cancelled:
            with suppress(OSError):
                callback()

    def remove_callback(self, callback: Callable[[], object]) -> None:
        """Forget a callback."""
        with self._lock:
            self._callbacks.pop(callback, None)


class RunError(Model):
    """Why a run has no outputs.

    `code` is Vellum's, or one of ours: CONNECTION, TIMEOUT, HTTP_404, BAD_RESPONSE, CANCELLED.
    """

    code: str
    message: str = ""


class Run(Model):
    """One execution, as the history stores it.

    A rejected run is a value, not an exception: see `state` and `error`.

    Attributes
    ----------
    id : str
        Ours; the history's primary key.
    execution_id : str or None
        Vellum's; None while no answer came.
    timestamp, finished_at : datetime
        UTC; when the request was sent, when its answer arrived.
    latency_s : float or None
        Seconds between them, by a monotonic clock.
    state : {"STARTED", "FULFILLED", "REJECTED", "FAILED", "CANCELLED"}
        STARTED: recorded, no answer yet. FAILED: no usable answer came.
    inputs, outputs : dict
        Name to Python value (plain JSON values).
    output_types : dict
        Output name to Vellum's type, for display.
    not_sent : tuple of str
        Inputs of the case that this release does not know; stored, not sent.
    tag_moved : bool
        Whether the release tag pointed at another release after the call than before.
    desired : dict or None
        Output name to what it should have been, as rated.
    nodes : tuple of NodeRun
        The trace, where it was read: `vellum_nb.Workspace.trace` reads it.
    author : str or None
        Who ran it: ``VELLUM_NB_AUTHOR``, else, in a history on a server, the user's name here.
    doubt : {"SENT", "EXECUTED"} or None
        Why a run without an answer may still get one: it was sent, or the server is known to
        execute it. `vellum_nb.Workspace.sync` and `resume_pending` complete such runs.
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
        """True if the run was sent, or may be, and has no recorded answer."""
        return self.state == "STARTED" or self.doubt is not None

    @property
    def ratings(self) -> dict[str, float]:
        """Author to quality, of the ratings that have an author; `tags` hold them."""
        found = [_RATING.fullmatch(tag) for tag in self.tags]
        return {each[1]: float(each[2]) for each in reversed(found) if each}

    @printed
    def __repr__(self) -> str:
        what = self.error.code if self.error else ", ".join(self.outputs)
        return f"<Run {self.deployment} {self.release_tag}: {self.state} ({what})>"

    __str__ = __repr__

    @printed
    def _repr_html_(self) -> str:
        rows = [("error", f"{self.error.code}: {self.error.message}")] if self.error else []
        rows += [
            (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            for name, value in self.outputs.items()
        ]
        # Jupyter sets tables right-aligned, code on a ground of its own and broken within words;
        # other front ends do not wrap it at all.
        cell = '<td style="text-align: left">'
        wrapped = "white-space: pre-wrap; overflow-wrap: anywhere; word-break: normal"
        plain = f' style="background: none; {wrapped}"'
        body = "".join(
            f"<tr><th>{escape(name)}</th>{cell}<pre{plain}>{escape(text)}</pre></td></tr>"
            for name, text in rows
        )
        head = f"{self.deployment} · {self.release_tag} · {self.state}"
        return f'<table><caption style="text-align: left">{escape(head)}</caption>{body}</table>'

"""One node of a run: when it ran, how it ended, what it cost."""

from __future__ import annotations

from datetime import datetime

from vellum_nb.models.base import Model

__all__ = ["NodeRun"]


class NodeRun(Model):
    """One execution of one node.

    Attributes
    ----------
    name : str
        The node's name.
    span_id, parent_span_id : str or None
        Its own span, and the span of what it ran in: the workflow, or a node with nodes inside.
    state : str
        INITIATED (it has not ended), STREAMING, FULFILLED or REJECTED.
    start, end : datetime or None
        UTC.
    error : str or None
        Why it was rejected.
    model, tokens_in, tokens_out, cost_usd
        Of a prompt node; None where the server does not tell.
    """

    name: str
    span_id: str | None = None
    parent_span_id: str | None = None
    kind: str = ""
    state: str = "INITIATED"
    start: datetime | None = None
    end: datetime | None = None
    error: str | None = None
    model: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end; None while one of the two is unknown."""
        if self.start is None or self.end is None:
            return None
        return (self.end - self.start).total_seconds()

"""What the models used, by the span of the node that asked them."""

from __future__ import annotations

import threading
from collections import OrderedDict

from vellum_nb.local.engine.events import Usage

__all__ = ["UsageLog"]

_KEPT = 10_000  # nodes; a node asks right after it used a model


class UsageLog:
    """Remembers what was used for the latest nodes; threads may share it.

    Examples
    --------
    >>> log = UsageLog()
    >>> log.add("span-1", Usage(model="tiny", tokens_in=3, tokens_out=5))
    >>> [usage.tokens_out for usage in log.of("span-1")]
    [5]
    >>> log.of("span-2")
    ()
    """

    def __init__(self, *, kept: int = _KEPT) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._used: OrderedDict[str, tuple[Usage, ...]] = OrderedDict()

    def add(self, span_id: str, usage: Usage) -> None:
        """Note one call of a model."""
        with self._lock:
            self._used[span_id] = (*self._used.get(span_id, ()), usage)
            self._used.move_to_end(span_id)
            while len(self._used) > self._kept:
                self._used.popitem(last=False)

    def of(self, span_id: str) -> tuple[Usage, ...]:
        """Return what the node with this span used, call by call."""
        with self._lock:
            return self._used.get(span_id, ())

"""From ticked release tags to known releases, without holding up the kernel."""

from __future__ import annotations

import threading
from collections.abc import Callable

from vellum_nb.widgets.edge import Edge
from vellum_nb.widgets.releases import Releases
from vellum_nb.widgets.tags import TagBar

__all__ = ["Ticking"]


class Ticking:
    """Takes up ticks at once, or, where a release is not known yet, reads it in a thread first.

    Parameters
    ----------
    tags, releases, edge : TagBar, Releases, Edge
        The chips, what is known, and where faults are shown.
    lock : lock
        Held while the form changes.
    reading : callable
        Called when a thread starts to read.
    take : callable
        Called with the ticked tags when all their releases were read, or with None when that
        went wrong.
    """

    def __init__(
        self,
        tags: TagBar,
        releases: Releases,
        *,
        edge: Edge,
        lock: threading.RLock,
        reading: Callable[[], None],
        take: Callable[[list[str] | None], None],
    ) -> None:
        self._tags = tags
        self._releases = releases
        self._edge = edge
        self._lock = lock
        self._reading = reading
        self._take = take
        self._is_reading = False
        self._then: Callable[[], None] | None = None

    def clicked(self) -> None:
        """Take up the ticks."""
        with self._lock:
            if self._is_reading:
                return  # the thread sees the new ticks
            if self._releases.knows(self._tags.ticked):
                self._take(self._tags.ticked)
                return
            self._is_reading = True
            self._reading()
            read = self._edge.guarded(self._read)
            threading.Thread(target=read, name="vellum-nb-release", daemon=True).start()

    def postpone(self, call: Callable[[], None]) -> bool:
        """Have `call` called when the reading is over; return False when there is none."""
        with self._lock:
            if self._is_reading:
                self._then = call
            return self._is_reading

    def _read(self) -> None:
        ticked: list[str] | None = None
        try:
            while ticked != self._tags.ticked:  # one may go on ticking meanwhile
                ticked = self._tags.ticked
                self._releases.read(ticked)
        except BaseException:
            self._settle(None)
            raise
        then = self._settle(ticked)
        if then is not None:
            then()

    def _settle(self, ticked: list[str] | None) -> Callable[[], None] | None:
        with self._lock:
            self._is_reading = False
            then, self._then = self._then, None
            self._take(ticked)
            return then if ticked is not None else None

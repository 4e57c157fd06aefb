"""Release tags looked at while a sweep runs: a tag that moves is noticed, and its runs marked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from vellum_nb.errors import APIError, HistoryError
from vellum_nb.models import WorkflowDeploymentRelease

_EVERY = 5.0  # seconds
_LAST = 10.0  # seconds that the last look may take

Release = WorkflowDeploymentRelease


class TagWatch:
    """Knows which release each tag points at, from a look every few seconds and one at the end.

    Parameters
    ----------
    releases : mapping
        Tag to release, as looked up just now; None where the key may not read it.
    look_up : callable
        Returns the release that a tag points at.
    mark : callable
        Called as ``mark(tag, run_ids)`` with the runs that may have run on either release.
    """

    def __init__(
        self,
        releases: Mapping[str, Release | None],
        look_up: Callable[[str], Release | None],
        mark: Callable[[str, Sequence[str]], None],
        *,
        every: float = _EVERY,
    ) -> None:
        self._releases = dict(releases)
        self._look_up = look_up
        self._mark = mark
        self._every = every
        self._lock = threading.Lock()
        self._begun: dict[str, list[str]] = {tag: [] for tag in releases}
        self._moved: dict[str, None] = {}
        self._to_mark: dict[str, list[str]] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def moved(self) -> tuple[str, ...]:
        """The tags that moved."""
        return tuple(self._moved)

    def begins(self, tag: str, run_id: str) -> Release | None:
        """Return the release that `tag` points at, as far as is known, for a run that begins."""
        with self._lock:
            self._begun[tag].append(run_id)
            return self._releases[tag]

    def start(self) -> None:
        """Look every few seconds, in a thread, until `stop`."""
        self._stop = threading.Event()
        watch = threading.Thread(
            target=self._watch, args=(self._stop,), name="vellum-nb-tags", daemon=True
        )
        self._thread = watch
        watch.start()

    def stop(self) -> None:
        """Look once more, and no longer."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_LAST)
            self._thread = None

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(self._every):
            self._look()
        self._look()

    def _look(self) -> None:
        for tag in self._releases:
            with self._lock:
                sure, self._begun[tag] = self._begun[tag], []
            try:
                self._compare(tag, sure)
            except (APIError, HistoryError):  # the next look tells
                with self._lock:
                    self._begun[tag] = sure + self._begun[tag]

    def _compare(self, tag: str, before: Sequence[str]) -> None:
        """Compare what `tag` points at with what it did; `before`: the runs since the last look."""
        known = self._releases[tag]
        now = self._look_up(tag)
        if now is not None and known is not None and now.id != known.id:
            with self._lock:
                self._releases[tag] = now
                self._moved[tag] = None
                self._to_mark.setdefault(tag, []).extend([*before, *self._begun[tag]])
                self._begun[tag] = []
        if tag in self._to_mark:
            self._mark(tag, self._to_mark[tag])
            del self._to_mark[tag]

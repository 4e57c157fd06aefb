"""Runs that are to be tried again, and how long trouble is put up with. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from vellum_nb.experiments.sweep.work import Again, Task

__all__ = ["Patience", "Retries"]

_PATIENCE = 60.0  # seconds of nothing but trouble, until a sweep gives up
_LONGEST = 10.0  # seconds between two tries, where the server does not say


class Retries:
    """Runs that wait to be tried again, by when they are due.

    Parameters
    ----------
    tasks : iterable of Task
        Those that are due at once.
    """

    def __init__(self, tasks: Iterable[Task] = ()) -> None:
        self._heap: list[tuple[float, int, Task]] = []
        self._number = 0
        self.put_back(tasks)

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def first(self) -> float:
        """When the first one is due."""
        return self._heap[0][0]

    def put(self, again: Again, now: float) -> None:
        """Have it wait: as long as the server wishes, or longer every time."""
        wait = again.wait
        if wait is None:
            wait = min(0.25 * 2 ** min(again.task.tries, 10), _LONGEST)
        self._push(now + wait, again.task)

    def put_back(self, tasks: Iterable[Task]) -> None:
        """Take tasks that are due at once."""
        for task in tasks:
            self._push(0.0, task)

    def due(self, now: float, most: int) -> list[Task]:
        """Take out at most so many that are due."""
        found: list[Task] = []
        while len(found) < most and self._heap and self._heap[0][0] <= now:
            found.append(heapq.heappop(self._heap)[2])
        return found

    def all(self) -> list[Task]:
        """Take out all of them."""
        found = [task for _, _, task in self._heap]
        self._heap.clear()
        return found

    def _push(self, when: float, task: Task) -> None:
        self._number += 1
        heapq.heappush(self._heap, (when, self._number, task))


class Patience:
    """Ends when for a minute there was nothing but trouble, waiting at the server's wish left out.

    Examples
    --------
    >>> patience = Patience()
    >>> patience.is_over(0.0), patience.is_over(59.0), patience.is_over(61.0)
    (False, False, True)
    >>> patience.renew()
    >>> patience.is_over(62.0)
    False
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def renew(self) -> None:
        """Forget the trouble: something went well."""
        self._since = None

    def is_over(self, now: float, *, not_before: float = 0.0, oldest: float | None = None) -> bool:
        """Note trouble, and return whether that was too much.

        `not_before`: until when the server wished us to wait. `oldest`: when the oldest call began
        that is under way; one from before the trouble may simply be slow.
        """
        if self._since is None:
            self._since = now
        since = max(self._since, not_before)
        return now - since > _PATIENCE and (oldest is None or oldest >= since)

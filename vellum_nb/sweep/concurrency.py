"""How many calls at once: more while that helps, fewer when the server is busy. Pure."""

from __future__ import annotations

from math import ceil

FIRST = 16
"""How many calls begin at once, where that is not fixed."""
_LESS = 0.7
_MORE = 1.5
_MORE_AFTER_TROUBLE = 1.25
_WORTH = 0.3  # of what more at once would bring, were the server not to notice
_FULL = 0.7
_REST = 8  # rounds, at most


def rounds(calls: int, *, first: int, most: int) -> float:
    """Return how many calls follow one another where the server takes all of them well.

    Examples
    --------
    >>> rounds(100, first=10, most=10)
    10.0
    >>> rounds(100, first=16, most=128)  # 16, 24, 36, and 24 of 54
    3.44...
    """
    done, limit, left = 0, first, calls
    while limit < min(most, left):
        done, left, limit = done + 1, left - limit, min(most, ceil(limit * _MORE))
    return done + left / limit


class AdaptiveConcurrency:
    """Decides how many calls may be under way, from how earlier ones fared.

    A round is as many calls as may be under way, all begun since that was last changed. After a
    round without trouble the limit grows by half. It stays there when that brought more calls a
    second, by Little's law: calls under way / seconds that one takes. Otherwise it steps back, and
    tries again some rounds later. When the server is busy it shrinks, at most once a round, and
    nothing starts before the time that the server asked for.

    Parameters
    ----------
    concurrency : int, optional
        A fixed limit; then only the waiting is left.
    most : int
        The limit that is never passed.

    Attributes
    ----------
    limit : int
        How many calls may be under way.
    not_before : float
        When the next one may start.
    """

    def __init__(self, concurrency: int | None = None, *, most: int = 128) -> None:
        self.fixed = concurrency is not None
        self.most = concurrency if concurrency is not None else most
        self.limit = min(FIRST, most) if concurrency is None else concurrency
        self.not_before = 0.0
        self._more = _MORE
        self._base: tuple[int, float] | None = None
        self._resting, self._rest = 0, 1
        self._restart(0.0)

    def room(self, at_once: int, now: float) -> int:
        """Return how many calls may start now."""
        return 0 if now < self.not_before else max(0, self.limit - at_once)

    def ended(self, began: float, now: float, at_once: int) -> None:
        """Note a call that ended well, one of `at_once` that were under way."""
        if self.fixed or began < self._since:
            return
        self._calls += 1
        self._took += now - began
        self._at_once += at_once
        if self._calls >= max(self.limit, 8):
            average = self._at_once / self._calls
            if average >= _FULL * self.limit:  # otherwise there was not enough to do
                self._judge(self._at_once / max(self._took, 1e-9))
            self._restart(now)

    def busy(self, began: float, now: float, wait: float | None) -> bool:
        """Note that the server has too much to do, and may ask everybody to wait.

        Returns whether `limit` was lowered.
        """
        self.not_before = max(self.not_before, now + (wait or 0.0))
        if self.fixed or began < self._since:
            return False
        self.limit = max(1, int(self.limit * _LESS))
        self._more, self._base, self._resting = _MORE_AFTER_TROUBLE, None, 0
        self._restart(now)
        return True

    def _restart(self, now: float) -> None:
        self._since = now
        self._calls, self._took, self._at_once = 0, 0.0, 0

    def _judge(self, rate: float) -> None:
        """Grow, or step back, by the calls a second that this limit brings."""
        if self._resting:
            self._resting -= 1
        elif self._base is None or rate > self._worth_more(self._base):
            self._base, self._rest = (self.limit, rate), 1
            self.limit = min(self.most, ceil(self.limit * self._more))
        else:
            self.limit, self._base, self._resting = self._base[0], None, self._rest
            self._rest = min(2 * self._rest, _REST)

    def _worth_more(self, base: tuple[int, float]) -> float:
        limit, rate = base
        return rate * (1 + _WORTH * (self.limit / limit - 1))

"""How many calls at once: more while that helps, fewer when the server is busy. Pure."""

from __future__ import annotations

__all__ = ["Pace"]

_FIRST = 16
_LESS = 0.7
_MORE = 1.5
_SLOWER = 1.5
_CALM = 5.0


class Pace:
    """Decides how many calls may be under way, from how earlier ones fared.

    After a round of `limit` calls without trouble the limit grows by half, as long as that brought
    more calls a second than before. When the server is busy it shrinks, at most once a
    round, and nothing starts before the time that the server asked for.

    Parameters
    ----------
    concurrency : int, optional
        A fixed limit; then only the waiting is left.
    most : int
        The limit that is never passed.
    """

    def __init__(self, concurrency: int | None = None, *, most: int = 128) -> None:
        self.fixed = concurrency is not None
        self.most = concurrency if concurrency is not None else most
        self.limit = concurrency if concurrency is not None else min(_FIRST, most)
        self.not_before = 0.0
        self.lowered: str | None = None
        self._calm_until = 0.0
        self._round = 0
        self._began: float | None = None
        self._rate = 0.0
        self._settled = False

    def room(self, flying: int, now: float) -> int:
        """Return how many calls may start now."""
        return 0 if now < self.not_before else max(0, self.limit - flying)

    def ended(self, now: float) -> None:
        """Note a call that ended well."""
        if self.fixed:
            return
        if self._began is None:
            self._began = now
        self._round += 1
        if self._round < max(2 * self.limit, 8):
            return
        rate = self._round / max(now - self._began, 1e-6)
        self._grow(rate, now)
        self._round, self._began = 0, now

    def busy(self, now: float, wait: float | None, why: str) -> None:
        """Note that the server has too much to do; it may ask everybody to wait."""
        self.not_before = max(self.not_before, now + (wait if wait is not None else 0.0))
        if self.fixed or now < self._calm_until:
            return
        self.limit = max(1, int(self.limit * _LESS))
        self.lowered = why
        self._calm_until = max(self.not_before, now) + 1.0
        self._rate, self._round, self._began = 0.0, 0, None
        self._settled = False

    def _grow(self, rate: float, now: float) -> None:
        if now < self._calm_until:
            return
        if self._settled:
            if rate > self._rate * _SLOWER:
                self._settled = False
            return
        if self._rate and rate < self._rate * 1.1:
            self._settled = True  # more at once brought no more a second
            return
        self._rate = rate
        self.limit = min(self.most, max(self.limit + 1, int(self.limit * _MORE)))

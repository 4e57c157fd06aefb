"""What a grid hears of its runs from elsewhere: another grid, the form, `ws.rate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock

from vellum_nb.experiments import Comparison
from vellum_nb.models import Run
from vellum_nb.widgets.pump import Pump

__all__ = ["Hearing", "Subscribe"]

Subscribe = Callable[[Callable[[Run], None]], Callable[[], None]]
"""Takes what is called with each run that changes; returns how to stop that."""

_LEAST_S = 0.2


class Hearing:
    """Collects runs of a comparison that were rated elsewhere, and hands them over now and then.

    Whoever wrote the rating is not kept waiting.

    Parameters
    ----------
    comparison : Comparison
        Only its runs matter.
    subscribe : callable
        As `History.subscribe`.
    take : callable
        Called with the runs that changed, each as it is now, from a thread of its own.
    """

    def __init__(
        self, comparison: Comparison, subscribe: Subscribe, take: Callable[[Iterable[Run]], None]
    ) -> None:
        self._ids = {
            each.id for case in comparison.cases for tries in case.tries.values() for each in tries
        }
        self._take = take
        self._heard: dict[str, Run] = {}
        self._lock = Lock()
        self._pump = Pump(self._hand_over, name="vellum-nb-grid-hearing", least=_LEAST_S)
        self._unsubscribe = subscribe(self._hear)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until what was heard is handed over; return whether that is so."""
        return self._pump.wait(timeout)

    def close(self) -> None:
        """Hear nothing any more."""
        self._unsubscribe()
        self._pump.close()

    def _hear(self, run: Run) -> None:
        if run.id not in self._ids:
            return
        with self._lock:
            self._heard[run.id] = run
        self._pump.poke()

    def _hand_over(self) -> None:
        with self._lock:
            heard, self._heard = self._heard, {}
        self._take(heard.values())

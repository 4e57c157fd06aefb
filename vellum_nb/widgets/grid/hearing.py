"""What a grid hears of its runs from elsewhere: another grid, the form, `ws.rate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from threading import Lock

from vellum_nb.errors import HistoryError
from vellum_nb.experiments import Comparison
from vellum_nb.history.reading.records import Record
from vellum_nb.models import Run
from vellum_nb.widgets.base import Debouncer
from vellum_nb.widgets.grid.hands import Hands

__all__ = ["Hearing", "gone_told"]

_LEAST_S = 0.2


class Hearing:
    """Collects what happens to runs of a comparison, and hands it over now and then.

    Whoever wrote is not kept waiting.

    Parameters
    ----------
    comparison : Comparison
        Only its runs matter.
    hands : Hands
        With `subscribe`, and with `again` where runs may go.
    take : callable
        Called with the runs that changed, each as it is now, from a thread of its own.
    recall : callable
        Called likewise, after some may have gone or come back: id to the run, None where it went.
    """

    def __init__(
        self,
        comparison: Comparison,
        hands: Hands,
        take: Callable[[Iterable[Run]], None],
        recall: Callable[[Mapping[str, Record | None]], None],
    ) -> None:
        self._comparison = comparison
        self._ids = self._known()
        self._take, self._recall, self._again = take, recall, hands.again
        self._are_many = False
        self._heard: dict[str, Run] = {}
        self._lock = Lock()
        self._pump = Debouncer(self._hand_over, name="vellum-nb-grid-hearing", least=_LEAST_S)
        assert hands.subscribe is not None  # noqa: S101  (who has none hears nothing)
        self._unsubscribe = hands.subscribe(self._hear, many=self.look)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until what was heard is handed over; return whether that is so."""
        return self._pump.wait(timeout)

    def look(self) -> None:
        """Look soon which runs there are: many changed, or one is missed."""
        with self._lock:
            self._are_many = True
        self._pump.poke()

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
            are_many, self._are_many = self._are_many, False
        if are_many and self._again is not None:
            self._ids |= self._known()  # some were run from the grid since
            with suppress(HistoryError):  # closed since; who asks for a case next is told
                there = {each.id: each for each in self._again(self._ids)}
                self._recall({run_id: there.get(run_id) for run_id in self._ids})
        self._take(heard.values())

    def _known(self) -> set[str]:
        cases = self._comparison.cases
        return {each.id for case in cases for tries in [*case.tries.values()] for each in tries}


def gone_told(number: int) -> str:
    """Return what is said of so many runs of a comparison that are not there any more."""
    if not number:
        return "All runs that were compared are there again"
    runs = "1 run" if number == 1 else f"{number:,} runs"
    return f"Deleted of what was compared: {runs}, see history.deletions()"

"""The progress of a sweep in a terminal: one line on standard error."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from vellum_nb.experiments.sweep.progress import Progress
from vellum_nb.experiments.sweep.telling import duration, money, speed
from vellum_nb.history.exporting.export_progress import terminal_line

__all__ = ["terminal_bar"]

_EVERY = 0.1  # seconds
_LINE = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"


class Watched(Protocol):
    """What the line asks of a sweep."""

    def progress(self) -> Progress:
        """Return how far it is."""

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` at every change; return how to end that."""


@contextmanager
def terminal_bar(sweep: Watched, *, title: str, file: TextIO | None = None) -> Iterator[None]:
    """Show how far `sweep` is while the context is open, ten times a second at most.

    Parameters
    ----------
    sweep : Sweep
        Tells how far it is, from its own thread.
    title : str
        What stands before the bar.
    file : file, optional
        Where to write; standard error.
    """
    now = sweep.progress()
    line = terminal_line(
        total=now.planned,
        initial=now.ended,
        desc=title,
        file=file or sys.stderr,
        bar_format=_LINE,
        dynamic_ncols=True,
    )
    lock, shown_at = threading.Lock(), [0.0]

    def show(*, last: bool = False) -> None:
        with lock:
            if not last and time.monotonic() - shown_at[0] < _EVERY:
                return
            now = sweep.progress()
            line.n = now.ended
            line.set_postfix_str(facts(now), refresh=False)
            line.refresh()
            shown_at[0] = time.monotonic()

    unsubscribe = sweep.subscribe(show)
    try:
        yield
    finally:
        unsubscribe()
        show(last=True)
        line.close()


def facts(now: Progress) -> str:
    """Return what stands behind the bar.

    Examples
    --------
    >>> from vellum_nb.experiments.sweep.progress import TagProgress
    >>> facts(Progress("running", (TagProgress("v1", 360, 285, 3, 12, 2.3, 0.92),), rate=4.3))
    '4.3 runs/s, about 17 s left, 3 failed, $0.92'
    """
    parts = []
    if now.state == "running":
        parts.append(speed(now.rate))
        if now.left_s is not None:
            parts.append(f"about {duration(now.left_s)} left")
    elif now.state != "done":
        parts.append(f"{now.state}: {now.reason}" if now.reason else now.state)
    if now.failed:
        parts.append(f"{now.failed:,} failed")
    if now.cost_usd is not None:
        parts.append(money(now.cost_usd))
    if now.untold:
        parts.append(now.untold)
    return ", ".join(parts)

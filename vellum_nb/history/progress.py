"""A progress line on standard error, in a terminal and in a notebook."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["progress_line", "search_progress", "terminal_line"]

_LONG = 100_000  # rows; fewer are done before anybody wonders
_LINE = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"
_PATIENCE_S = 1.0


@contextmanager
def progress_line(title: str, total: int, *, show: bool | None) -> Iterator[Callable[[int], Any]]:
    """Yield a function to call with the number of rows of each batch.

    `show` is whether the line is shown; None: when `total` is large.
    """
    if not (total >= _LONG if show is None else show):
        yield lambda _: None
        return
    line = terminal_line(total=total, desc=title, file=sys.stderr, bar_format=_LINE)
    try:
        yield line.update
    finally:
        line.close()


@contextmanager
def search_progress() -> Iterator[Callable[[int, int], None]]:
    """Yield an `on_progress(done, total)` that shows a line when indexing takes long."""
    started, lines = time.monotonic(), list[Any]()

    def on_progress(done: int, total: int) -> None:
        if not lines and done < total and time.monotonic() - started > _PATIENCE_S:
            title = "Indexing runs for the search"
            lines.append(terminal_line(total=total, desc=title, file=sys.stderr, bar_format=_LINE))
        for line in lines:
            line.total = total
            line.update(done - line.n)

    try:
        yield on_progress
    finally:
        for line in lines:
            line.close()


def terminal_line(**options: Any) -> Any:
    """Return a line of tqdm without the thread and the locks that a bar of processes needs."""
    from tqdm import tqdm

    class Line(tqdm):  # type: ignore[type-arg]
        """Without a monitor."""

        monitor_interval = 0

    Line.set_lock(threading.RLock())
    return Line(**options)

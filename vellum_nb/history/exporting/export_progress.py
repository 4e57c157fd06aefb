"""How far an export is: one line on standard error, in a terminal and in a notebook."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["progress_line", "terminal_line"]

_LONG = 100_000  # rows to read; fewer are done before anybody wonders
_LINE = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"


@contextmanager
def progress_line(
    title: str,
    total: int,
    progress: bool | None,  # noqa: FBT001  (as the exports are given it)
) -> Iterator[Callable[[int], object]]:
    """Yield what is told of each batch of rows how many they are.

    `progress` is whether the line is shown; None: where `total` rows take long.
    """
    if not (total >= _LONG if progress is None else progress):
        yield _nobody
        return
    line = terminal_line(total=total, desc=title, file=sys.stderr, bar_format=_LINE)
    try:
        yield line.update
    finally:
        line.close()


def terminal_line(**options: Any) -> Any:
    """Return a line of tqdm without the thread and the locks that a bar of processes needs."""
    from tqdm import tqdm

    class Line(tqdm):  # type: ignore[type-arg]
        """Without a monitor."""

        monitor_interval = 0

    Line.set_lock(threading.RLock())
    return Line(**options)


def _nobody(_: int) -> None:
    """Tell nobody."""

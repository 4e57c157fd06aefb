"""Progress lines on standard error, in a terminal and in a notebook."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

_LINE = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"
_PATIENCE_S = 1.5  # what takes less needs no line


@contextmanager
def progress_line(title: str, total: int | None, *, show: bool | None = None) -> Iterator[Any]:
    """Yield a line of tqdm; `show` is whether to display it, None: when it takes long."""
    options = {"disable": show is False, "delay": 0 if show else _PATIENCE_S}
    line = terminal_line(total=total, desc=title, file=sys.stderr, bar_format=_LINE, **options)
    with closing(line):
        yield line


def terminal_line(**options: Any) -> Any:
    """Return a line of tqdm without the thread and the locks that a bar of processes needs."""
    from tqdm import tqdm

    class Line(tqdm):  # type: ignore[type-arg]
        """Without a monitor."""

        monitor_interval = 0

    Line.set_lock(threading.RLock())
    return Line(**options)

"""Progress bars on standard error, in a terminal and in a notebook."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

_LINE = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"
_DELAY_S = 1.5  # short operations show no progress bar


@contextmanager
def progress_line(title: str, total: int | None, *, show: bool | None = None) -> Iterator[Any]:
    """Yield a tqdm bar; by default it is shown only if the operation takes long."""
    options: dict[str, Any] = (
        {"disable": True} if show is False else {"delay": 0 if show else _DELAY_S}
    )
    line = terminal_line(total=total, desc=title, bar_format=_LINE, **options)
    with closing(line):
        yield line


def terminal_line(**options: Any) -> Any:
    """Return a tqdm bar without monitor thread and process locks."""
    from tqdm import tqdm

    class Line(tqdm):  # type: ignore[type-arg]
        """tqdm bar without the monitor thread."""

        monitor_interval = 0

    Line.set_lock(threading.RLock())
    return Line(**options)

"""Notices a client that hangs up before it has its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.types import Receive

__all__ = ["watched"]

_SHORT = 0.02  # seconds: what ends within them is not worth cancelling


@contextmanager
def watched(receive: Receive, hung_up: Callable[[], object]) -> Iterator[None]:
    """Call `hung_up` if the client hangs up while the block runs; its body has been received."""
    watches: list[asyncio.Task[object]] = []

    def watch() -> None:
        watches.append(asyncio.ensure_future(receive()))
        watches[0].add_done_callback(lambda task: None if task.cancelled() else hung_up())

    timer = asyncio.get_running_loop().call_later(_SHORT, watch)
    try:
        yield
    finally:
        timer.cancel()
        for task in watches:
            task.cancel()

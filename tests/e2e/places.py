"""Where a part of the page stands, once it stands still."""

from __future__ import annotations

import time

from playwright.sync_api import FloatRect, Locator

__all__ = ["settled"]


def settled(part: Locator, *, seconds: float = 20) -> FloatRect:
    """Return the box of `part` when it has stood there for a tenth of a second.

    A node that is drawn anew while it is asked has no box at all.
    """
    deadline = time.monotonic() + seconds
    before = None
    while (now := part.bounding_box()) is None or now != before:
        if time.monotonic() > deadline:
            msg = f"{part} does not stand still: {before}, then {now}"
            raise AssertionError(msg)
        before = now
        part.page.wait_for_timeout(100)
    return now

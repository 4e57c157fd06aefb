"""What becomes of an open store in a forked process: it gets connections of its own."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["renew_in_forks"]


class Renewable(Protocol):
    """A store that can start anew."""

    def after_fork(self) -> object:
        """Start anew; return what came through the fork, to be neither used nor closed."""


_OPEN: weakref.WeakSet[Renewable] = weakref.WeakSet()
_INHERITED: list[object] = []


def renew_in_forks(store: Renewable) -> None:
    """Let `store` start anew in every process that is forked off while it is there."""
    _OPEN.add(store)


def _renew() -> None:
    _INHERITED.extend(store.after_fork() for store in list(_OPEN))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)

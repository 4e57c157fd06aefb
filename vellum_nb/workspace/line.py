"""The client of this process for runs that were handed to it by another."""

from __future__ import annotations

import atexit
import os
import threading
from typing import NamedTuple

from vellum_nb.client import Client, ClientSettings
from vellum_nb.workspace.uploads import Uploads

__all__ = ["Line", "line_of", "new_line"]


class Line(NamedTuple):
    """A client, and the files that it has uploaded."""

    client: Client
    uploads: Uploads


_LINES: dict[ClientSettings, Line] = {}
_LOCK = threading.Lock()


def new_line(settings: ClientSettings) -> Line:
    """Return a client with connections of its own; the caller closes it."""
    client = Client.of(settings)
    return Line(client, Uploads(client))


def line_of(settings: ClientSettings) -> Line:
    """Return this process's client for `settings`; it is closed when the process ends."""
    with _LOCK:
        line = _LINES.get(settings)
        if line is None:
            line = _LINES[settings] = new_line(settings)
        return line


def _close_all() -> None:
    with _LOCK:
        for line in _LINES.values():
            line.client.close()
        _LINES.clear()


def _forget() -> None:
    """Begin anew in a child: connections stay with their process, and a lock with its thread."""
    global _LOCK  # noqa: PLW0603  (the old one may be held for ever)
    _LOCK = threading.Lock()
    _LINES.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

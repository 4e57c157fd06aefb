"""Widgets that threads change, and whose script may come late to the page."""

from __future__ import annotations

import threading
from typing import Any

import anywidget

__all__ = ["LateWidget"]


class LateWidget(anywidget.AnyWidget):
    """Sends its state in one piece, so that nothing older than it comes after something newer.

    A page that was late (see ``static/hearing.js``) asks for the whole state, and the kernel
    answers in one thread while another goes on changing it.
    """

    def __init__(self, **traits: Any) -> None:
        self._sending = threading.RLock()
        super().__init__(**traits)

    def send_state(self, key: Any = None) -> None:
        """Send the whole state, or that of some traits."""
        with self._sending:
            super().send_state(key)

"""What a comparison is handed to act with: it knows no server itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vellum_nb.models.secret import stands_in

__all__ = ["Tools"]


@dataclass(frozen=True, slots=True)
class Tools:
    """What whoever makes a comparison hands to it.

    Attributes
    ----------
    sweep : callable or None
        Runs cases: called with the deployment's name, rows as of stored runs, and the options of
        `vellum_nb.Workspace.sweep`; returns the sweep.
    leaks : callable or None
        Returns whether the API key stands in a text.
    """

    sweep: Callable[[str, Any, Mapping[str, Any]], Any] | None = None
    leaks: Callable[[str], bool] | None = None

    def holds_key(self, text: str) -> bool:
        """Whether the API key stands in `text`, or that of ``VELLUM_API_KEY``."""
        if self.leaks is not None and self.leaks(text):
            return True
        return stands_in(os.environ.get("VELLUM_API_KEY", ""), text)

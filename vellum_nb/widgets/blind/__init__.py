"""Rating two releases in the notebook without knowing which is which."""

from __future__ import annotations

from vellum_nb.widgets.blind.view import BlindView

__all__ = ["BlindView"]

"""A part of a form that is folded away until it is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import ipywidgets as ipw

from vellum_nb.widgets.field import close_tree, note

__all__ = ["Fold"]


class Fold:
    """A heading that opens and closes what is under it; closed at first.

    Parameters
    ----------
    title, hint : str
        The heading, and what stands beside it.
    parts : sequence of widgets
        What is folded away.
    late : bool
        Whether the page gets them only when it is opened first.

    Attributes
    ----------
    widget : ipywidgets.Widget
        To be shown.

    Examples
    --------
    >>> fold = Fold("More options", "metadata", [])
    >>> fold.open()
    >>> fold.is_open
    True
    """

    def __init__(self, title: str, hint: str, parts: Sequence[Any], *, late: bool = False) -> None:
        self._parts = tuple(parts)
        self._toggle = ipw.ToggleButton(description=title)
        self._toggle.add_class("vnb-fold")
        head = ipw.Box([self._toggle, note(escape(hint), "vnb-hint")])
        head.add_class("vnb-fold-head")
        self._body = ipw.Box(() if late else self._parts)
        self._body.add_class("vnb-fields")
        self._body.add_class("vnb-folded")
        self._toggle.observe(self._turned, "value")
        self.widget = ipw.VBox([head, self._body])
        self.widget.add_class("vnb-options")

    @property
    def is_open(self) -> bool:
        """Whether it is unfolded."""
        return bool(self._toggle.value)

    def open(self) -> None:
        """Unfold it."""
        self._toggle.value = True

    def close(self) -> None:
        """Close its widgets and all parts."""
        for widget in (self.widget, *self._parts):
            close_tree(widget)

    def _turned(self, change: Any) -> None:
        if change["new"]:
            self._body.children = self._parts
            self._body.remove_class("vnb-folded")
            self._toggle.add_class("vnb-open")
        else:
            self._body.add_class("vnb-folded")
            self._toggle.remove_class("vnb-open")

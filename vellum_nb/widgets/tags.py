"""The release tags to run on, as chips with check boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import ipywidgets as ipw

from vellum_nb.rendering.format import visible_name
from vellum_nb.widgets.field import close_tree, note
from vellum_nb.widgets.spec import TagChoice

__all__ = ["TagBar"]

_SHOWN = 12


class TagBar:
    """One chip a release; all tags on it stand in the chip.

    Parameters
    ----------
    choices : sequence of TagChoice
        Oldest first.
    changed : callable
        Called after each change by hand.
    css : str
        The class of the whole bar.
    """

    def __init__(
        self, choices: Sequence[TagChoice], changed: Callable[[], None], *, css: str = "vnb-tags"
    ) -> None:
        self._changed = changed
        self._quiet = False
        self._boxes = {choice.tag: _box(choice.tag) for choice in choices}
        self._chips = [_chip(self._boxes[choice.tag], choice) for choice in choices]
        for box in self._boxes.values():
            box.observe(self._clicked, "value")
        self._more = ipw.Button()
        self._more.add_class("vnb-link")
        self._more.on_click(self._unfold)
        label = note('<span class="vnb-label">Run on</span>')
        hidden = len(choices) - _SHOWN
        self._more.description = f"{hidden} older…"
        shown = self._chips[-_SHOWN:]
        self.widget = ipw.Box([label, *shown, *([self._more] if hidden > 0 else [])])
        self.widget.add_class(css)

    @property
    def ticked(self) -> list[str]:
        """The tags of the ticked chips, oldest first."""
        return [tag for tag, box in self._boxes.items() if box.value]

    @ticked.setter
    def ticked(self, tags: Sequence[str]) -> None:
        self._quiet = True
        try:
            for tag, box in self._boxes.items():
                box.value = tag in tags
        finally:
            self._quiet = False
        if any(tag in tags for tag in list(self._boxes)[:-_SHOWN]):
            self._unfold()

    def _clicked(self, _: object) -> None:
        if not self._quiet:
            self._changed()

    def _unfold(self, _: object = None) -> None:
        self.widget.children = (self.widget.children[0], *self._chips)

    def close(self) -> None:
        """Close what the bar made, also chips that are not shown."""
        for widget in (*self._chips, self._more):
            if widget not in self.widget.children:
                close_tree(widget)


def _box(tag: str) -> ipw.Checkbox:
    box = ipw.Checkbox(description=visible_name(tag), indent=False)
    box.add_class("vnb-check")
    return box


def _chip(box: ipw.Checkbox, choice: TagChoice) -> ipw.Box:
    others = "".join(f" = {escape(visible_name(name))}" for name in choice.names[1:])
    parts = [box, note(others, "vnb-others")] if others else [box]
    chip = ipw.Box(parts)
    chip.add_class("vnb-chip")
    return chip

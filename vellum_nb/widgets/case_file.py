"""Choosing a file of cases: uploaded, or a path where the kernel runs."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import ipywidgets as ipw

from vellum_nb.rendering.format import visible_name
from vellum_nb.sweep.cases import SUFFIXES, CaseFile
from vellum_nb.widgets.field import close_tree, note
from vellum_nb.widgets.upload import Uploader, size_text

__all__ = ["FileChoice"]


class FileChoice:
    """Upload or path, whichever is chosen; what the other way holds is kept.

    Parameters
    ----------
    changed : callable
        Called after every change.

    Attributes
    ----------
    widget : ipywidgets.Widget
        To be shown.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._uploaded: CaseFile | None = None
        self._how = ipw.RadioButtons(options=["Upload", "Path"], description="File of cases")
        self._how.add_class("vnb-how")
        self._uploader = Uploader(
            self._received,
            accept=",".join(SUFFIXES),
            name="the cases",
            instead="Give its path, where the kernel runs, instead.",
        )
        self._path = ipw.Text(
            description="File of cases: path",
            placeholder="a file on the kernel's machine, e.g. data/cases.csv",
            continuous_update=False,
        )
        self._path.add_class("vnb-unlabelled")
        self._facts = note("", "vnb-facts")
        self._remove = ipw.Button(description="Remove", tooltip="Remove the file of cases")
        self._remove.add_class("vnb-plain")
        self._remove.on_click(self._removed)
        self._row = ipw.Box()
        self._row.add_class("vnb-media-row")
        self.widget = ipw.VBox([self._how, self._row])
        self.widget.add_class("vnb-case-file")
        self._how.observe(self._touched, "value")
        self._path.observe(self._touched, "value")
        self._arrange()

    @property
    def value(self) -> CaseFile | str | None:
        """The file, or its path; None where there is none yet."""
        if self._how.value == "Upload":
            return self._uploaded
        return str(self._path.value).strip() or None

    def close(self) -> None:
        """Close every widget, also those that are not shown."""
        for widget in (self._uploader, self._path, self._facts, self._remove):
            close_tree(widget)
        close_tree(self.widget)

    def _received(self, name: str, _mime: str, content: bytes) -> None:
        self._uploaded = CaseFile(name, content)
        self._touched()

    def _removed(self, _: object) -> None:
        self._uploaded = None
        self._touched()

    def _touched(self, *_: object) -> None:
        self._arrange()
        self._changed()

    def _arrange(self) -> None:
        if self._how.value == "Path":
            self._row.children = (self._path,)
        elif self._uploaded is None:
            self._row.children = (self._uploader,)
        else:
            name, size = visible_name(self._uploaded.name), len(self._uploaded.content)
            self._facts.value = f"<code>{escape(name)}</code> {size_text(size)}"
            self._row.children = (self._uploader, self._facts, self._remove)

"""The form's manners in the browser: focus and screen readers."""

from __future__ import annotations

from importlib import resources

import anywidget
import traitlets

__all__ = ["Manners"]


class Manners(anywidget.AnyWidget):
    """Shows nothing; keeps the focus inside the form and tells screen readers its states."""

    _esm = traitlets.Unicode(
        resources.files("vellum_nb.widgets").joinpath("static/form.js").read_text("utf-8")
    ).tag(sync=True)

"""The form's manners in the browser: focus and screen readers."""

from __future__ import annotations

import anywidget
import traitlets

from vellum_nb.widgets.assets import asset

__all__ = ["Manners"]


class Manners(anywidget.AnyWidget):
    """Shows nothing; keeps the focus inside the form and tells screen readers its states."""

    _esm = traitlets.Unicode(asset("form.js")).tag(sync=True)

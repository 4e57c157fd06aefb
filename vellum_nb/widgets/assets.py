"""The scripts and styles that widgets bring into the page.

``colours.css`` has the colours of all views: Jupyter's own variables; the values after the commas
are JupyterLab's light theme, for pages that have no such variables.
"""

from __future__ import annotations

from importlib import resources

__all__ = ["asset"]


def asset(*names: str) -> str:
    """Return files of ``static/`` as one text.

    Text, not a path: anywidget keeps every widget alive whose source is a path.

    Examples
    --------
    >>> "export default" in asset("hearing.js", "form.js")
    True
    """
    folder = resources.files("vellum_nb.widgets").joinpath("static")
    return "\n".join(folder.joinpath(name).read_text("utf-8") for name in names)

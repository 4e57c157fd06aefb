"""Widgets that can be read without a kernel: as text, and as static HTML."""

from __future__ import annotations

from typing import Any

import ipywidgets as ipw

__all__ = ["Readable", "static_html"]


class Readable(ipw.DOMWidget):  # type: ignore[misc]  # no types are published for ipywidgets
    """A widget that goes into a notebook with its text and its HTML, see `_html`."""

    def _html(self) -> str:
        """Return what stands in place of the widget where there is no kernel."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if isinstance(data, dict):
            data["text/plain"] = repr(self)
            data["text/html"] = self._html()
        return bundle


def static_html(widget: Any) -> str:
    """Return the HTML that stands in place of `widget` where there is no kernel."""
    bundle = widget._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    return str((data or {}).get("text/html", ""))

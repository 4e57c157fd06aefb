"""What is typed reaches the kernel before the click that follows it."""

from __future__ import annotations

from typing import Any

__all__ = ["keep_order"]

_ROUTE = "_reply_subshell_for"


def keep_order(widget: Any) -> None:
    """Have one thread hear `widget` and all its children, also later ones, in turn.

    ipykernel 7.4 hands what a widget says to the thread that last wrote to this widget, so that
    in a busy kernel a click on Run overtakes the text typed before it. JupyterLab asks for one
    thread for all widgets; here it gets it. Other kernels do so by themselves.
    """
    comm = getattr(widget, "comm", None)
    if getattr(comm, _ROUTE, _as_asked) is _as_asked:
        return
    setattr(comm, _ROUTE, _as_asked)
    if widget.has_trait("children"):
        widget.observe(_keep_children, "children")
        for child in widget.children:
            keep_order(child)


def _keep_children(change: Any) -> None:
    for child in change["new"]:
        keep_order(child)


def _as_asked(_data: object, subshell_id: str | None) -> str | None:
    return subshell_id

"""Where a front end's callbacks end: what goes wrong inside is shown, for nobody else would."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from vellum_nb.widgets.field import note
from vellum_nb.widgets.results import alert_html

__all__ = ["Edge"]


class Edge:
    """Shows exceptions of callbacks: Jupyter hides them in the log.

    Use it as a context manager, or wrap callbacks with `guarded`. The exception goes on its way.

    Attributes
    ----------
    widget : ipywidgets.HTML
        Where they are shown.
    """

    def __init__(self) -> None:
        self.widget = note("", "vnb-trouble")

    def guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Return `callback` with its exceptions shown."""

        def call(*args: object) -> None:
            with self:
                callback(*args)

        return call

    def clear(self) -> None:
        """Show nothing any more."""
        self.widget.value = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc, Exception):
            self.widget.value = alert_html(exc)

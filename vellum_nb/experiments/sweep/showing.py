"""How a sweep is shown: by a viewer and a watch that it is handed. Knows no widget."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = ["Shown"]


class Shown:
    """What a sweep shows of itself.

    Attributes
    ----------
    viewer : callable or None
        Makes the live view of a sweep.
    watch : callable or None
        Returns a context in which the progress is shown, while somebody waits for the end.
    """

    viewer: Callable[[Any], Any] | None = None
    watch: Callable[[Any], AbstractContextManager[None]] | None = None
    _view: Any = None

    def view(self) -> Any:
        """Return the live view: counts per release tag, rate, latest outputs, Pause and Stop.

        A cell that ends in the sweep shows it too. It is the same one every time, so that it may
        stand in several cells.
        """
        if self._view is None and self.viewer is not None:
            self._view = self.viewer(self)
        return self._view

    def _watched(self) -> AbstractContextManager[None]:
        return nullcontext() if self.watch is None else self.watch(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        view = self.view()
        if view is None:
            return {"text/plain": repr(self)}, {}
        return view.bundle_of(repr(self), **kwargs)

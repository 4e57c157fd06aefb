"""`SweepView`: a sweep while it runs, with Pause, Resume and Stop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import traitlets

from vellum_nb.errors import VellumNBError
from vellum_nb.sweep.sweep import Sweep
from vellum_nb.widgets.assets import asset
from vellum_nb.widgets.late import LateWidget
from vellum_nb.widgets.pump import Pump
from vellum_nb.widgets.sweep_html import plan_html, sweep_html
from vellum_nb.widgets.sweep_told import ACTIVE, told

__all__ = ["SweepView"]


class SweepView(LateWidget):
    """The live view of a sweep; `Sweep.view` makes it.

    It follows the sweep by itself, a few times a second at most, also when it is resumed.

    Parameters
    ----------
    sweep : Sweep
        What is seen and held.
    same : mapping, optional
        Release tag to the other tags that are on the same release.
    numbers : mapping, optional
        Case id to the number of the case.

    Attributes
    ----------
    sweep : Sweep
        As given.
    hint : str
        What stands in place of the buttons while they cannot be heard; a trait.
    error : str
        What went wrong when a button was pressed; a trait.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> sweep = ws.sweep("ticket-triage", [{"ticket": "I was charged twice"}], progress=False)
    >>> sweep.view()
    SweepView(ticket-triage on LATEST: 1 run)
    """

    _esm = traitlets.Unicode(asset("hearing.js", "sweep.js")).tag(sync=True)
    _css = traitlets.Unicode(asset("colours.css", "sweep.css")).tag(sync=True)

    hint = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    _told = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        sweep: Sweep,
        *,
        same: Mapping[str, tuple[str, ...]] | None = None,
        numbers: Mapping[str, int] | None = None,
    ) -> None:
        self.sweep = sweep
        self._same = same or {}
        self._numbers = numbers or {}
        self._cell: int | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._pump = Pump(self._show, name="vellum-nb-sweep-view")
        super().__init__(_told=self._now())
        self._acts: dict[str, Callable[[], object]] = {
            "pause": sweep.pause,
            "resume": lambda: sweep.resume(background=True),
            "stop": sweep.stop,
            "cut": sweep.cut,
        }
        self.on_msg(self._on_message)
        self._unsubscribe = sweep.subscribe(self._pump.poke)
        self._pump.poke()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the sweep has come to an end and that is shown; return whether it is."""
        return self._pump.wait(timeout)

    def close(self) -> None:
        """Close the view; the sweep goes on."""
        self._unsubscribe()
        self._unsubscribe = lambda: None
        self._pump.close()
        super().close()

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take nothing from the browser: it sends messages."""

    def stands_here(self, *, here: bool = False) -> bool:
        """Return whether it was shown by the cell that runs now; with `here`, note that it is."""
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        cell = getattr(shell, "execution_count", None)
        if here:
            self._cell = cell
        return cell is not None and cell == self._cell

    def bundle_of(self, text: str, **kwargs: Any) -> Any:
        """Return what a cell that ends in the sweep shows; `text` alone where the view stands."""
        if self.stands_here():
            return {"text/plain": text}, {}
        return self._bundle(text, sweep_html(self.sweep, self._same), **kwargs)

    def _now(self) -> dict[str, Any]:
        sweep = self.sweep
        return told(sweep.record, sweep.progress(), same=self._same, numbers=self._numbers)

    def _show(self) -> bool:
        """Show what is so now; return whether there is more to come."""
        now = self._now()
        self._told = now
        return now["state"] in ACTIVE

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        kind = content.get("kind") if isinstance(content, dict) else None
        act = self._acts.get(kind) if isinstance(kind, str) else None
        if act is None:
            return
        self.send({"kind": "heard"})
        try:
            act()
        except VellumNBError as exc:
            self.error = str(exc)
        except Exception as exc:
            self.error = f"{type(exc).__name__}: {exc}"
            raise
        else:
            self.error = ""
        self._pump.poke()

    def __repr__(self) -> str:
        record = self.sweep.record
        runs = "1 run" if record.planned == 1 else f"{record.planned:,} runs"
        return f"SweepView({record.deployment} on {', '.join(record.release_tags)}: {runs})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self._bundle(repr(self), plan_html(self.sweep.record), **kwargs)

    def _bundle(self, text: str, html: str, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is not None:
            bundle[0]["text/plain"] = text
            bundle[0]["text/html"] = html
        return bundle

"""Run, Cancel, how far it is, and why nothing can be sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

import ipywidgets as ipw

from vellum_nb.rendering.format import visible_name
from vellum_nb.widgets.field import close_tree, note
from vellum_nb.widgets.icons import ALERT
from vellum_nb.widgets.job import Progress

__all__ = ["RunBar"]

_SHORTEST = 0.1  # seconds


class RunBar:
    """The buttons of a form and what they are doing.

    Parameters
    ----------
    run, cancel : callable
        Called on a click.
    mend : callable
        Called with the name of the field that the user wants to mend.

    Attributes
    ----------
    stream : ipywidgets.Checkbox
        The switch.
    """

    def __init__(
        self,
        *,
        run: Callable[[], None],
        cancel: Callable[[], None],
        mend: Callable[[str], None],
    ) -> None:
        self._run = _button("Run", "vnb-run", run)
        self._cancel = _button("Cancel", "vnb-cancel", cancel)
        self._cancel.disabled = True
        self._count = 0
        self._is_running = False
        self._first = ""
        self._progress = note("", "vnb-progress")
        self._why = note("", "vnb-why")
        self._link = _button("", "vnb-link", lambda: mend(self._first))
        self._others = note("", "vnb-why")
        self._mend = ipw.Box([])
        self._mend.add_class("vnb-mend")
        self.stream = ipw.Checkbox(description="Stream", indent=False)
        self.stream.tooltip = "Show the text of the answers while it grows"
        self.stream.add_class("vnb-check")
        self.stream.add_class("vnb-stream")
        self.widget = ipw.Box([self._run, self._cancel, self._progress, self._mend])
        self.widget.add_class("vnb-runbar")

    def offer_stream(self) -> None:
        """Show the Stream switch."""
        self.widget.children = (*self.widget.children, self.stream)

    def ready(self, count: int) -> None:
        """Stand ready to run on `count` releases."""
        self._count = count
        if not self._is_running:
            self._run.description = f"Run on {count}" if count else "Run"
            self._run.disabled = not count

    def reading(self) -> None:
        """Show that the inputs of a release are being read."""
        self._run.disabled = True
        self._run.description = "Reading…"

    def running(self) -> None:
        """Show that runs are under way."""
        self._is_running = True
        self._cancel.disabled = False  # first, so that the focus has somewhere to go
        self._run.disabled = True
        self._run.description = "Running…"

    def cancelling(self) -> None:
        """Show that a cancel was heard."""
        self._cancel.description = "Cancelling…"

    def stopped(self) -> None:
        """Show that nothing is under way any more."""
        self._is_running = False
        self.ready(self._count)
        self._cancel.disabled = True
        self._cancel.description = "Cancel"

    def progress(self, progress: Progress, node: str = "") -> None:
        """Show how far the runs are, and which node is at work if that is known."""
        done, count = progress.done, len(progress.outcomes)
        share = round(100 * done / count) if count else 100
        busy = "" if progress.finished else " vnb-busy"
        elapsed = f"{progress.elapsed:.1f} s" if progress.elapsed >= _SHORTEST else "<0.1 s"
        far = node if node and not progress.finished else f"{done} of {count}"
        words = f"{escape(far)} · {escape(elapsed)}"
        if progress.cancelled:
            words = f"cancelled · {words}"
        self._progress.value = (
            f'<div class="vnb-bar{busy}" role="progressbar" aria-label="runs" aria-valuemin="0"'
            f' aria-valuemax="{count}" aria-valuenow="{done}">'
            f'<div style="width:{share}%"></div></div><span>{words}</span>'
        )

    def mend(self, problems: Mapping[str, str], *, empty: Mapping[str, bool], tried: bool) -> None:
        """Say which fields keep Run from sending anything."""
        if not problems:
            if self._mend.children:
                self._mend.children = ()
            return
        names = list(problems)
        only_empty = all(empty[name] for name in names)
        verb = "to fill" if only_empty else "to mend"
        fields = "1 field" if len(names) == 1 else f"{len(names)} fields"
        calm = only_empty and not tried
        icon = "" if calm else ALERT
        tone = "vnb-calm" if calm else "vnb-loud"
        role = "" if calm else ' role="alert"'
        self._why.value = f'<span class="{tone}"{role}>{icon}{fields} {verb}:</span>'
        self._first = names[0]
        self._link.description = visible_name(names[0])
        more = "".join(f", {escape(visible_name(name))}" for name in names[1:4])
        self._others.value = f"{more}{' …' if len(names) > 4 else ''}"  # noqa: PLR2004
        if not self._mend.children:
            self._mend.children = (self._why, self._link, self._others)

    def close(self) -> None:
        """Close what is not shown at the moment."""
        if not self._mend.children:
            for widget in (self._why, self._link, self._others):
                close_tree(widget)
        if self.stream not in self.widget.children:
            close_tree(self.stream)


def _button(text: str, name: str, clicked: Callable[[], None]) -> ipw.Button:
    button = ipw.Button(description=text)
    button.add_class(name)
    button.on_click(lambda _: clicked())
    return button

"""`BlindView`: two answers beside each other, and which is better; not which is which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import traitlets

from vellum_nb.comparison.blind import BlindSession
from vellum_nb.errors import VellumNBError
from vellum_nb.models import Run
from vellum_nb.rendering.format import visible_name
from vellum_nb.widgets.assets import asset
from vellum_nb.widgets.blind.result import result_html
from vellum_nb.widgets.blind.told import told
from vellum_nb.widgets.errands import Errands
from vellum_nb.widgets.late import LateWidget
from vellum_nb.widgets.outputs_style import OUTPUT_CSS

__all__ = ["BlindView"]

_MANY = 3  # problems that are told in full
Rate = Callable[[Run, float, Mapping[str, Any]], object]


class BlindView(LateWidget):
    """The blind rating of two releases; ``cmp.view(blind=True)`` makes it.

    Parameters
    ----------
    session : BlindSession
        What is rated.
    rate : callable, optional
        Called with a run, a quality from 0 to 1 and what is kept with it; sends an actual.

    Attributes
    ----------
    session : BlindSession
        As given.
    error : str
        What went wrong; a trait.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> for tag in ("v1", "v2"):
    ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
    >>> ws.compare("ticket-triage").view(blind=True)
    BlindView(ticket-triage: 0 of 1 rated)
    """

    _esm = traitlets.Unicode(asset("hearing.js", "blind.js")).tag(sync=True)
    _css = traitlets.Unicode(OUTPUT_CSS + asset("blind.css")).tag(sync=True)

    error = traitlets.Unicode("").tag(sync=True)
    sending = traitlets.Unicode("").tag(sync=True)
    _told = traitlets.Dict().tag(sync=True)

    def __init__(self, session: BlindSession, *, rate: Rate | None = None) -> None:
        self.session = session
        self._rate = rate
        self._step = 0
        self._errands = Errands("vellum-nb-blind")
        self._acts: dict[str, Callable[[Mapping[str, Any]], object]] = {
            "rate": self._rated,
            "undo": self._undone,
            "again": lambda _: self.session.ask_skipped(),
            "finish": self._finished,
        }
        super().__init__(_told=self._now())
        self.on_msg(self._on_message)

    def send_actuals(self) -> int:
        """Send the ratings to Vellum as actuals, once each; return how many were sent.

        The better answer gets quality 1, the other 0, both one half where it was a tie; in the
        history, too.

        Raises
        ------
        InputError
            The rating has not ended.
        """
        if self._rate is None:
            self.error = "There is no workspace to send actuals with: compare by ws.compare(...)"
            return 0
        self.sending = "sending…"
        try:
            sent, problems = self.session.send(self._rate)
        finally:
            self.sending = ""
        self.error = _problems(problems, self.session.unsent)
        self.sending = f"{sent:,} sent" if sent else ""
        self._show()
        return sent

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is being sent; return whether that is so."""
        return self._errands.wait(timeout)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take nothing from the browser: it sends messages."""

    def _now(self) -> dict[str, Any]:
        self._step += 1
        kept = self.session.is_kept
        found = told(self.session, kept=kept, can_send=self._rate is not None)
        return found | {"step": self._step}

    def _show(self) -> None:
        self._told = self._now()

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        if not isinstance(content, dict):
            return
        kind = content.get("kind")
        if kind == "actuals":
            self._errands.do(self._send_all)
            return
        act = self._acts.get(kind) if isinstance(kind, str) else None
        if act is None or content.get("step") != self._step:  # meant for what stood there before
            self._show()
            return
        try:
            self.error = ""
            act(content)
        except VellumNBError as exc:
            self.error = str(exc)
        finally:
            self._show()

    def _rated(self, content: Mapping[str, Any]) -> None:
        note = content.get("note")
        said: Any = content.get("said")
        if not self.session.rate(said, note=note if isinstance(note, str) else ""):
            over = self.session.state == "ended"
            what = "The rating was ended" if over else "This case was rated"
            stands = "yours came too late to count" if over else "that rating stands"
            self.error = f"{what} elsewhere meanwhile; {stands}."

    def _undone(self, _: Mapping[str, Any]) -> None:
        had = self.session.last
        if not self.session.undo() and had:
            self.error = "It was taken back, or the rating ended, elsewhere meanwhile."

    def _send_all(self) -> None:
        self.send_actuals()

    def _finished(self, _: Mapping[str, Any]) -> None:
        if self.session.state == "ready":
            self.session.finish()

    def __repr__(self) -> str:
        session = self.session
        return (
            f"BlindView({session.record.deployment}: {session.rated:,} of {session.total:,} rated)"
        )

    def _html(self) -> str:
        session = self.session
        head = (
            f"<p><b>Blind rating</b> of {escape(visible_name(session.record.deployment))}: "
            f"{session.rated:,} of {session.total:,} rated</p>"
        )
        return head + (result_html(session) if session.state == "ended" else "")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is not None:
            bundle[0]["text/plain"] = repr(self)
            bundle[0]["text/html"] = self._html()
        return bundle


def _problems(problems: list[str], unsent: int) -> str:
    if not problems:
        return ""
    told_first = "; ".join(each.rstrip(".") for each in dict.fromkeys(problems[:_MANY]))
    more = len(problems) - _MANY
    rest = f" and {more:,} more" if more > 0 else ""
    return f"{unsent:,} could not be sent: {told_first}{rest}. Send again tries just those."

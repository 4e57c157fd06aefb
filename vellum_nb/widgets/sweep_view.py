"""`SweepView`: live view of a sweep with Pause, Resume and Stop, and its static form."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import traitlets

from vellum_nb.errors import VellumNBError
from vellum_nb.escaping import printed
from vellum_nb.models import Run
from vellum_nb.models.sweeps import SweepRecord
from vellum_nb.rendering.assets import asset, icon, script
from vellum_nb.rendering.format import duration, is_short, money, plural, value_text, visible_name
from vellum_nb.rendering.html import render
from vellum_nb.sweep.progress import Progress, speed
from vellum_nb.sweep.sweep import Sweep, control_of
from vellum_nb.widgets.base import Debouncer, ThreadSafeWidget
from vellum_nb.widgets.markup import short_line

ACTIVE = frozenset({"running", "paused", "stopping"})
_MAX_SHORT_OUTPUTS = 3
_NO_OUTPUTS = {"REJECTED": "rejected", "FAILED": "no answer", "CANCELLED": "cancelled"}
_UNKNOWN = "—"
_LATEST_ROWS = 5  # outputs shown
Names = Mapping[str, tuple[str, ...]]  # other tags on the same release, by release tag


def sweep_view_model(
    record: SweepRecord,
    now: Progress,
    *,
    aliases: Names,
    numbers: Mapping[str, int],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the state of the view.

    `aliases` are the other names of each release tag, `numbers` maps case ids to case numbers, and
    `notes` are those of the plan.
    """
    ending = "Ended" if now.is_decided else "Stopped"
    notices = [f"{ending}: {short_line(now.reason)}"] if now.reason else []
    if now.moved:
        moved = ", ".join(map(visible_name, now.moved))
        notices.append(f"Moved to another release since: {moved}. Each run names its release.")
    tags = [
        {
            "tag": short_line(tag.release_tag),
            "note": short_line(_tag_note(record, tag.release_tag, aliases)),
            "planned": tag.planned,
            "done": tag.done,
            "failed": tag.failed,
            "running": tag.running,
            "to_go": tag.to_go,
            "median": _UNKNOWN if tag.median_s is None else f"{tag.median_s:.2f}",
            "cost": _UNKNOWN if tag.cost_usd is None else money(tag.cost_usd)[1:],
        }
        for tag in now.tags
    ]
    spent, most = now.cost_usd, now.max_cost_usd
    share = spent / most if most and spent is not None else None
    return {
        "state": now.state,
        "title": short_line(record.deployment),
        "runs": plural(now.planned, "run"),
        "began": now.began.isoformat() if now.began else None,
        "resumed": _resumed(record, now),
        "lost": now.lost.isoformat() if now.lost else None,
        "notice": " · ".join(notices),
        "notes": [short_line(visible_name(note)) for note in notes],
        "decided": now.is_decided,
        "plan": _plan_text(record),
        "tags": tags,
        "sums": _sums(now),
        "cost": None if share is None else round(min(1.0, share), 3),
        "latest": [_latest(run, numbers.get(run.case_id)) for run in now.latest],
        "status": _status(now),
    }


def figures_html(model: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts of the view that contain figures, as safe HTML."""
    parts = ("resumed", "notes", "tags", "figures")
    options = {"now": model, "icon": icon, "rows": _LATEST_ROWS}
    return {part: render("sweep.html.j2", part=part, **options) for part in parts}


def _plan_text(record: SweepRecord) -> str:
    repeats = f" \u00d7 {record.repeats:,} repeats" if record.repeats > 1 else ""
    return plural(record.cases, "case") + repeats


def _tag_note(record: SweepRecord, tag: str, aliases: Names) -> str:
    """Return the label next to a release tag: baseline and aliases."""
    is_baseline = tag == record.release_tags[0] and len(record.release_tags) > 1
    names = " ".join(f"= {visible_name(name)}" for name in aliases.get(tag, ()))
    return " · ".join(filter(None, ("baseline" if is_baseline else "", names)))


def _resumed(record: SweepRecord, now: Progress) -> list[tuple[str, bool]]:
    """Return texts about reused runs and runs in doubt, each bold or not."""
    goes_on = bool(now.earlier or now.lost)
    runs = "run" if now.earlier == 1 else "runs"
    them = "it" if now.resent == 1 else "them"
    counts = [
        (now.earlier, goes_on, f"{runs} kept" if record.round else f"{runs} found in the history"),
        (now.reused, now.reused, f"run{'s' * (now.reused != 1)} reused from earlier ones"),
        (now.adopted, now.adopted, "looked up and already executed"),
        (now.resent, now.resent, f"sent again: the server knew no execution of {them}"),
        (0, goes_on and now.began and not now.resent, "sent twice"),
    ]
    lead = "failed runs that run again: " if record.round else "resumed: "
    texts: list[tuple[str, bool]] = []
    for count, applies, words in counts:
        if applies:
            before = ", " if texts else lead if goes_on and now.began else ""
            texts += [(before, False), (f"{count:,}", True), (f" {words}", False)]
    return texts


def _sums(now: Progress) -> list[dict[str, str]]:
    to_go = sum(tag.to_go for tag in now.tags)
    running = sum(tag.running for tag in now.tags)
    fresh = max(0, now.ended - now.earlier - now.reused)
    remaining = _UNKNOWN if now.state != "done" else "none"
    if now.state == "running" and now.left_s is not None:
        remaining = f"about {duration(now.left_s)}"
    limit = now.note or (f"at most {now.most:,}" if now.most > now.limit else "")
    cost, cost_note = _UNKNOWN, "not reported yet"
    if now.cost_usd is not None:
        cost, cost_note = money(now.cost_usd), ""
        if now.state != "done" and now.ended:  # assumes that the remaining runs cost the same
            cost_note = f"≈ {money(now.cost_usd / now.ended * now.planned)} at the end"
    max_cost = "" if now.max_cost_usd is None else f"of {money(now.max_cost_usd)} limit"
    ended = f"{now.ended:,} of {now.planned:,}"
    took = f"{fresh:,} in {duration(now.seconds)}" if fresh else ""
    rows = [
        ("all", ended, "", f"{now.done:,} done · {now.failed:,} failed"),
        ("rate", speed(now.rate) if fresh else _UNKNOWN, "", took),
        ("time left", remaining, "", f"{to_go:,} to go, {running:,} running"),
        ("at once", f"{now.at_once:,}", f"of {now.limit:,}" if now.limit else "", limit),
        ("cost", cost, max_cost, cost_note),
    ]
    return [
        dict(zip(("label", "value", "unit", "below"), map(short_line, row), strict=True))
        for row in rows
    ]


def _latest(run: Run, number: int | None) -> dict[str, str]:
    """Return a finished run with its short outputs and its first long one."""
    if run.state == "FULFILLED":
        values = [value for value in run.outputs.values() if value is not None]
        texts = [value_text(value, "JSON") for value in values]
        shorts = [text for value, text in zip(values, texts, strict=True) if is_short(value)]
        short = " · ".join(shorts[:_MAX_SHORT_OUTPUTS])
        text = next((text for text in texts if text not in shorts), "")
    else:
        short = _NO_OUTPUTS.get(run.state, run.state)
        text = (run.error.message or run.error.code) if run.error else ""
    return {
        "id": run.id,
        "time": (run.finished_at or run.timestamp).isoformat(),
        "tag": short_line(visible_name(run.release_tag)),
        "state": run.state,
        "seconds": _UNKNOWN if run.latency_s is None else f"{run.latency_s:.2f}",
        "case": "" if number is None else f"case {number:,}",
        "short": short_line(short),
        "text": short_line(text),
    }


def _status(now: Progress) -> str:
    """Describe the state without changing figures, for screen readers."""
    limit = now.limit_reached  # Resume requires a higher limit if a limit of the sweep was reached
    advice = "resume continues from here"
    if now.is_decided:
        advice = "ws.open_sweep(…, stop_when=None).resume() runs the rest"
    elif limit:
        advice = f"it continues with a higher {limit}, or none"
    sentence = {
        "ready": "not started",
        "running": "a run without an answer is looked up before it is sent again",
        "paused": "paused: no new runs start",
        "stopping": "stopping: running calls end first",
        "stopped": f"stopped at {now.ended:,} of {now.planned:,}; {advice}",
        "done": f"done: {now.done:,} fulfilled, {now.failed:,} failed",
    }[now.state]
    if now.state in {"paused", "stopping"} and not any(tag.running for tag in now.tags):
        return sentence.partition(":")[0]
    return sentence


def plan_html(sweep: Sweep) -> str:
    """Return the planned runs as the static form of the view."""
    record, notes = control_of(sweep).record, {"notes": sweep.notes}
    plan = render("sweep.html.j2", part="plan", record=record, plan=_plan_text(record))
    return plan + render("sweep.html.j2", part="notes", now=notes)


def sweep_html(sweep: Sweep, aliases: Names) -> str:
    """Return the progress of a sweep as a table."""
    control = control_of(sweep)
    record, now = control.record, control.progress()
    notes = {tag.release_tag: _tag_note(record, tag.release_tag, aliases) for tag in now.tags}
    texts = {"plan": _plan_text(record), "notes": notes}
    table = render("sweep.html.j2", part="table", record=record, now=now, **texts)
    return table + render("sweep.html.j2", part="notes", now={"notes": sweep.notes})


class SweepView(ThreadSafeWidget):
    """Live view of a sweep; created by `Sweep.view`.

    The view is updated a few times per second at most, also after the sweep is resumed.

    Parameters
    ----------
    sweep : Sweep
        The sweep to display, pause and stop.
    aliases, numbers : mapping, optional
        Other tags on the same release by release tag; case numbers by case id.

    Attributes
    ----------
    hint, error : str
        The text in place of the buttons while the kernel is busy; the error of a button; traits.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> sweep = ws.sweep("ticket-triage", [{"ticket": "I was charged twice"}], progress=False)
    >>> sweep.view()
    SweepView(ticket-triage on LATEST: 1 run)
    """

    _esm = traitlets.Unicode(script("sweep.js")).tag(sync=True)
    _css = traitlets.Unicode(asset("panel.css", "sweep.css")).tag(sync=True)

    hint = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    view_model = traitlets.Dict().tag(sync=True)
    parts = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        sweep: Sweep,
        *,
        aliases: Names | None = None,
        numbers: Mapping[str, int] | None = None,
    ) -> None:
        self.sweep = sweep
        self._aliases = aliases or {}
        self._numbers = numbers or {}
        self._cell: int | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._debouncer = Debouncer(self._show, name="vellum-nb-sweep-view")
        super().__init__()
        self._show()
        self._acts: dict[object, Callable[[], object]] = {
            "pause": sweep.pause,
            "resume": lambda: sweep.resume(background=True),
            "stop": sweep.stop,
            "cut": lambda: sweep.stop(now=True),
        }
        self.on_msg(self._on_message)
        self._unsubscribe = control_of(sweep).subscribe(self._debouncer.poke)
        self._debouncer.poke()

    @property
    def busy(self) -> bool:
        """True until the sweep has ended."""
        return self.sweep.state in ACTIVE

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the sweep has ended and the view is updated; return False on a timeout."""
        return self._debouncer.wait(timeout)

    def close(self) -> None:
        """Close the view; the sweep continues."""
        self._unsubscribe()
        self._unsubscribe = lambda: None
        self._debouncer.close()
        super().close()

    def stands_here(self, *, displayed: bool = False) -> bool:
        """Return whether the running cell displayed the view; `displayed` records that it does."""
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        cell = getattr(shell, "execution_count", None)
        if displayed:
            self._cell = cell
        return cell is not None and cell == self._cell

    def bundle_of(self, text: str, **kwargs: Any) -> Any:
        """Return what a cell displays for the sweep; only `text` below its live view."""
        if self.stands_here():
            return {"text/plain": text}, {}
        return self._bundle(text, sweep_html(self.sweep, self._aliases), **kwargs)

    def _show(self) -> bool:
        """Update the view; return whether the sweep is still running."""
        control = control_of(self.sweep)
        now = control.progress()
        model = sweep_view_model(
            control.record,
            now,
            aliases=self._aliases,
            numbers=self._numbers,
            notes=self.sweep.notes,
        )
        with self.hold_trait_notifications():
            self.view_model, self.parts = model, figures_html(model)
        return now.state in ACTIVE

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        kind = content.get("kind") if isinstance(content, dict) else None
        act = self._acts.get(kind) if isinstance(kind, str) else None
        if act is None:
            return
        self.send({"kind": "received"})
        self.error = ""
        try:
            act()
        except Exception as exc:
            is_ours = isinstance(exc, VellumNBError)
            self.error = str(exc) if is_ours else f"{type(exc).__name__}: {exc}"
            if not is_ours:
                raise
        self._debouncer.poke()

    @printed
    def __repr__(self) -> str:
        record = control_of(self.sweep).record
        runs = plural(record.planned, "run")
        return f"SweepView({record.deployment} on {', '.join(record.release_tags)}: {runs})"

    def _html(self) -> str:
        return plan_html(self.sweep)

"""`SweepView`: live view of a sweep with Pause, Resume and Stop, and its static form."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from html import escape
from typing import Any

import ipywidgets as ipw
import traitlets

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.decisions import Decision, rounded_cases
from vellum_nb.comparison.report import release_counts
from vellum_nb.errors import HistoryError, VellumNBError
from vellum_nb.escaping import printed
from vellum_nb.history import Sweeps
from vellum_nb.models import Run
from vellum_nb.models.sweeps import SweepRecord
from vellum_nb.rendering.format import (
    duration,
    interval_digits,
    is_short,
    money,
    plural,
    signed,
    value_text,
    visible_name,
)
from vellum_nb.rendering.html import asset, icon, render, script
from vellum_nb.sweep.progress import Progress, speed
from vellum_nb.sweep.sweep import Sweep, SweepControl, control_of
from vellum_nb.widgets.base import (
    Debouncer,
    Readable,
    SerialExecutor,
    ThreadSafeWidget,
    running_shell,
)
from vellum_nb.widgets.grid_cases import MoreCases, summary_by_release, verdicts_html
from vellum_nb.widgets.markup import name_html, short_line

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
    deleted: int = 0,
) -> dict[str, Any]:
    """Return the state of the view.

    `aliases` are the other names of each release tag, `numbers` maps case ids to case numbers,
    `notes` are those of the plan, and `deleted` is the number of runs deleted from the history.
    """
    ending = "Ended" if now.is_decided else "Stopped"
    compare = "Compare" if len(record.release_tags) > 1 else "Open results"
    is_ended = now.state == "done" or (now.state == "stopped" and now.is_decided)
    is_finished = bool(now.planned) and is_ended
    notices = [f"{ending}: {short_line(now.reason)}"] if now.reason else []
    if not now.planned:
        notices.append("No cases: nothing was replayed")
    if deleted:
        notices.append(f"Deleted since: {plural(deleted, 'run')}, see history.deletions()")
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
        "facts": _facts(record, now, is_finished=is_finished),
        "compare": compare if is_finished else "",  # the button that takes the place of Pause
        "compared": False,  # whether the comparison is open
        "results": None,
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
        "latest": _latest_rows(now, numbers),
        "status": _status(now),
    }


def figures_html(model: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts of the view that contain figures, as safe HTML."""
    parts = ("facts", "legend", "resumed", "notes", "tags", "figures")
    options = {"now": model, "icon": icon, "rows": _LATEST_ROWS}
    return {part: render("sweep.html.j2", part=part, **options) for part in parts}


def _plan_text(record: SweepRecord) -> str:
    if not record.cases:
        return "no cases, so nothing was replayed"
    repeats = f" \u00d7 {record.repeats:,} repeats" if record.repeats > 1 else ""
    return plural(record.cases, "case") + repeats


def _facts(record: SweepRecord, now: Progress, *, is_finished: bool) -> str:
    """Return what the heading says about a sweep."""
    facts = [short_line(record.deployment), plural(now.planned, "run")]
    if is_finished:
        facts[1] = plural(now.ended, "run")
        facts[1] += f" in {duration(now.seconds)}" if now.ended > now.found else ""
        facts += [_plan_text(record), *([] if now.cost_usd is None else [money(now.cost_usd)])]
    return " · ".join(facts)


def results_model(comparison: Comparison, tags: Sequence[str]) -> dict[str, Any] | None:
    """Return the counts of cases and the difference of each release tag; None for moved tags."""
    figures, baseline = comparison.figures, comparison.baseline
    if {baseline, *figures.others} != set(tags):  # releases of a moved tag have their own columns
        return None
    metric = comparison.metrics[0].name if comparison.metrics else None
    changes = {} if metric is None else {t: figures.result(t, metric).delta for t in tags}
    ends = [{"low": change.low, "high": change.high} for change in changes.values() if change]
    digits = interval_digits(ends, "low", "high")
    rows = []
    for tag in tags:
        counts = release_counts(figures, tag, metric)
        words = " · ".join(counts.get("words", ("the others are compared with it",)))
        row = {"parts": counts.get("parts", ()), "words": words, "delta": "", "interval": ""}
        change = changes.get(tag)
        if change is not None and not math.isnan(change.mean):
            row["delta"] = signed(change.mean, digits=digits)
        if change is not None and not math.isnan(change.low):
            row["interval"] = " to ".join(
                signed(e, digits=digits) for e in (change.low, change.high)
            )
        rows.append(row)
    kinds = "" if metric is None else ": better · same · worse"
    difference = "" if metric is None else f"difference in {short_line(metric)}, {figures.level}"
    return {
        "head": f"{plural(len(comparison.cases), 'case')}{kinds}",
        "difference": difference,
        "rows": rows,
    }


def more_cases(
    decision: Decision, record: SweepRecord, now: Progress, remaining: int, turns: float = 1.0
) -> MoreCases | None:
    """Return the button for the cases that would decide, with calls and cost on all release tags.

    `remaining` is the number of cases in the file that have not run, `turns` the mean number of
    turns of a case. None for releases of a moved tag.
    """
    tags = now.tags
    if not {decision.release, decision.baseline} <= {tag.release_tag for tag in tags}:
        return None
    cases = _cases_to_add(decision, remaining)
    calls = round(cases * turns) * record.repeats
    costs = [calls * t.cost_usd / t.ended for t in tags if t.cost_usd is not None and t.ended]
    text = f"{'' if turns == 1 else 'up to '}{plural(len(tags) * calls, 'call')}"
    text = f"{text} · about {money(sum(costs))}" if len(costs) == len(tags) else text
    return MoreCases(f"Run {cases:,} more" if remaining else "Add cases…", text)


def _cases_to_add(decision: Decision, remaining: int) -> int:
    """Return the number of cases in the sentence of a decision, at most the `remaining` ones."""
    cases = rounded_cases(decision.more or 0)
    return min(cases, remaining) if remaining else cases


def adding_html(record: SweepRecord) -> str:
    """Return the call that runs added cases and reuses the stored runs of the others."""
    if "conversation" in record.options:
        return (
            "Run further conversations alone with <code>ws.sweep</code>, and compare all of them "
            f"with <code>{name_html(f'ws.compare({record.deployment!r})')}</code>."
        )
    repeats = f"repeats={record.repeats}, " if record.repeats > 1 else ""
    call = (
        f"ws.sweep({record.deployment!r}, cases, release_tags={list(record.release_tags)}, "
        f"{repeats}existing='reuse')"
    )
    return (
        f"Add them to your <code>cases</code>, and run <code>{name_html(call)}</code>. It reuses "
        "the stored runs and sends only the new cases."
    )


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
        ("all", ended, "", f"{now.done:,} done · {_not_done(now)}"),
        ("rate", speed(now.rate) if fresh else _UNKNOWN, "", took),
        ("time left", remaining, "", f"{to_go:,} to go, {running:,} running"),
        ("at once", f"{now.at_once:,}", f"of {now.limit:,}" if now.limit else "", limit),
        ("cost", cost, max_cost, cost_note),
    ]
    return [
        dict(zip(("label", "value", "unit", "below"), map(short_line, row), strict=True))
        for row in rows
    ]


def _not_done(now: Progress, separator: str = " · ") -> str:
    """Return the numbers of failed runs, and of turns that were not sent."""
    unsent = f"{separator}{now.unsent:,} not sent" if now.unsent else ""
    return f"{now.failed:,} failed{unsent}"


def _latest_rows(now: Progress, numbers: Mapping[str, int]) -> list[dict[str, str]]:
    """Return the runs that ended last; those with one and the same error are one row."""
    rows = [_latest(run, numbers.get(run.case_id)) for run in now.latest]
    if now.same_error > 1:
        one = rows[0] | {"case": "", "seconds": "", "short": f"{now.same_error:,} runs: same error"}
        rows[: now.same_error] = [one]
    return rows


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
        "done": f"done: {now.done:,} fulfilled, {_not_done(now, ', ')}",
    }[now.state]
    if now.state in {"paused", "stopping"} and not any(tag.running for tag in now.tags):
        return sentence.partition(":")[0]
    return sentence


def plan_html(sweep: Sweep, columns: str = "") -> str:
    """Return the planned runs and the `columns` of the cases as the static form of the view."""
    record, notes = control_of(sweep).record, {"notes": sweep.notes}
    plan = render("sweep.html.j2", part="plan", record=record, plan=_plan_text(record))
    return plan + columns + render("sweep.html.j2", part="notes", now=notes)


def sweep_html(sweep: Sweep, aliases: Names) -> str:
    """Return the progress of a sweep as a table."""
    control = control_of(sweep)
    record, now = control.record, control.progress()
    notes = {tag.release_tag: _tag_note(record, tag.release_tag, aliases) for tag in now.tags}
    texts = {"plan": _plan_text(record), "notes": notes}
    table = render("sweep.html.j2", part="table", record=record, now=now, **texts)
    return table + render("sweep.html.j2", part="notes", now={"notes": sweep.notes})


class SweepPanel(ThreadSafeWidget):
    """Figures of a sweep, its buttons and the verdicts on its releases.

    Traits: `hint`, the text in place of the buttons while the kernel is busy; `error`, that of a
    button; the state of the page, and its tables as HTML.
    """

    _esm = traitlets.Unicode(script("sweep.js")).tag(sync=True)
    _css = traitlets.Unicode(asset("panel.css", "view.css", "sweep.css")).tag(sync=True)

    hint = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    view_model = traitlets.Dict().tag(sync=True)
    parts = traitlets.Dict().tag(sync=True)


class SweepView(Readable, ipw.VBox):  # type: ignore[misc]  # no types are published for ipywidgets
    """Live view of a sweep, and the comparison of its releases; created by `Sweep.view`.

    The view is updated a few times per second at most, also after the sweep is resumed. When the
    sweep is finished, it shows the verdict on each release, which a thread computes, and the button
    Compare, which opens the grid below.

    Parameters
    ----------
    sweep : Sweep
        The sweep to display, pause, stop and compare.
    aliases, numbers : mapping, optional
        Other tags on the same release by release tag; case numbers by case id.
    columns : str, optional
        Columns of the cases by role, as safe HTML.

    Attributes
    ----------
    panel : Widget
        The widget of the figures.
    comparison_view : ComparisonView or None
        The grid, or None if it is not open.
    add_cases : callable or None
        Action of *Run … more* and *Add cases…*; it is called with the number of cases. By default,
        the view shows the call that runs more cases.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> sweep = ws.sweep("ticket-triage", [{"ticket": "I was charged twice"}], progress=False)
    >>> sweep.view()
    SweepView(ticket-triage on LATEST: 1 run)
    """

    def __init__(
        self,
        sweep: Sweep,
        *,
        aliases: Names | None = None,
        numbers: Mapping[str, int] | None = None,
        columns: str = "",
    ) -> None:
        self.sweep = sweep
        self.comparison_view: Any = None
        self.add_cases: Callable[[int], None] | None = None
        self._columns = columns
        self._aliases = aliases or {}
        self._numbers = numbers or {}
        self._cell: int | None = None
        self._unsubscribes: list[Callable[[], None]] = []
        self._debouncer = Debouncer(self._show, name="vellum-nb-sweep-view")
        self._executor = SerialExecutor("vellum-nb-sweep-verdict")
        self._lock = threading.Lock()  # of the next four
        self._finished: object = None  # session, counts and deleted runs of the comparison
        self._comparison: Comparison | None = None
        self._verdicts = ""
        self._results: dict[str, Any] | None = None
        self._step: object = None  # the message that opened the comparison on some cases
        self._shows_call = False  # that adds cases
        self.panel = SweepPanel()
        super().__init__([self.panel])
        self._show()
        self._acts: dict[object, Callable[[Mapping[str, Any]], object]] = {
            "pause": lambda _: sweep.pause(),
            "resume": lambda _: sweep.resume(background=True),
            "stop": lambda _: sweep.stop(),
            "cut": lambda _: sweep.stop(now=True),
            "compare": self._on_compare,
        }
        self.panel.on_msg(self._on_message)
        self._unsubscribes.append(control_of(sweep).subscribe(self._debouncer.poke))
        self._debouncer.poke()

    @property
    def busy(self) -> bool:
        """True until the sweep has ended."""
        return self.sweep.state in ACTIVE

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the sweep has ended and the view is updated; return False on a timeout."""
        waits = (self._debouncer.wait, self._executor.wait, self._debouncer.wait)
        return all(wait(timeout) for wait in waits)

    def close(self) -> None:
        """Close the view; the sweep continues."""
        self._debouncer.close()
        while self._unsubscribes:
            self._unsubscribes.pop()()
        self._show_comparison(None)
        for part in (self.panel, self.layout):
            part.close()
        super().close()

    def stands_here(self, *, displayed: bool = False) -> bool:
        """Return whether the running cell displayed the view; `displayed` records that it does."""
        cell = getattr(running_shell(), "execution_count", None)
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
        history = deleted, _ = (0, ()) if now.state in ACTIVE else self._in_history(control)
        model = sweep_view_model(
            control.record,
            now,
            aliases=self._aliases,
            numbers=self._numbers,
            notes=self.sweep.notes,
            deleted=deleted,
        )
        finished = (now.began, now.done, now.failed, *history) if model["compare"] else None
        with self._lock:
            is_new, self._finished = finished != self._finished, finished
            if is_new:
                self._comparison, self._verdicts, self._results = None, "", None
        if is_new and finished is not None and len(control.record.release_tags) > 1:
            self._executor.submit(partial(self._decide, finished))
        model |= {"compared": self.comparison_view is not None, "results": self._results}
        with self.panel.hold_trait_notifications():
            parts = figures_html(model) | {"verdicts": self._verdicts}
            shows_call = self._shows_call and self._verdicts
            parts["adding"] = adding_html(control.record) if shows_call else ""
            self.panel.parts = parts | {"notes": self._columns + parts["notes"]}
            self.panel.view_model = model
        if (view := self.comparison_view) is not None:
            view.table.adding = parts["adding"]
        return now.state in ACTIVE

    def _in_history(self, control: SweepControl) -> tuple[int, tuple[str, ...]]:
        """Return the number of deleted runs and the open blind ratings, and follow both."""
        if len(self._unsubscribes) == 1:  # of the sweep itself
            follow = control.history.subscribe(None, on_bulk_change=self._debouncer.poke)
            self._unsubscribes.append(follow)
        with suppress(HistoryError):  # the history may be closed
            ratings = control.history.blind_ratings.open(control.record.deployment)
            deleted = Sweeps(control.history).deleted(control.record.id)
            return deleted, tuple(rating.id for rating in ratings)
        return 0, ()

    def _decide(self, finished: object) -> None:
        """Compare the releases of the finished sweep, without calling judges."""
        if finished != self._finished or self.is_closed:
            return
        control = control_of(self.sweep)
        with suppress(VellumNBError):  # the history may be closed
            comparison = self.sweep.compare(max_calls=0, progress=False)
            results, rating = None, comparison.open_rating
            if rating is None:
                rows = summary_by_release(comparison)
                verdicts = verdicts_html(comparison, rows, can_rate=True, more=self._more_cases)
                results = results_model(comparison, control.record.release_tags)
            else:
                verdicts = f'<div class="vnb-verdict">{escape(rating.hidden_note)}</div>'
            with self._lock:
                if finished == self._finished:
                    self._comparison, self._verdicts, self._results = comparison, verdicts, results
            self._debouncer.poke()

    def _more_cases(self, decision: Decision) -> MoreCases | None:
        control = control_of(self.sweep)
        record, remaining = control.record, self._remaining()
        turns = record.cases / len(self._numbers) if "conversation" in record.options else 1.0
        return more_cases(decision, record, control.progress(), remaining, turns)

    def _remaining(self) -> int:
        """Return the number of cases in the file of a form that have not run."""
        plan = control_of(self.sweep).plan
        return 0 if plan is None or self.add_cases is None else plan.omitted

    def _on_compare(self, message: Mapping[str, Any]) -> None:
        """Open the comparison, on the cases that a verdict names, or close it."""
        if message.get("show") == "add":
            self._on_add(str(message.get("release")))
            return
        if self.comparison_view is not None and not message.get("show"):
            self._show_comparison(None)
            return
        self._executor.submit(partial(self._open, dict(message)))

    def _on_add(self, release: str) -> None:
        """Add the cases that would decide on `release`, or show the call that does, or hide it."""
        if self.add_cases is not None:
            view, made = self.comparison_view, self._comparison
            comparison = made if view is None else view.comparison
            if comparison and (decision := comparison.figures.all_decisions.get(release)):
                self.add_cases(_cases_to_add(decision, self._remaining()))
        else:
            self._shows_call = not self._shows_call
            self._debouncer.poke()

    def _open(self, message: Mapping[str, Any]) -> None:
        try:
            view = self.comparison_view
            if view is None:
                made = self._comparison or self.sweep.compare(max_calls=0, progress=False)
                self._comparison = None  # opened again, it has the ratings that are given now
                view = made.view()
                view.offer_cases(self._more_cases, self._on_add)
            # Before the page has the grid, which requests the first rows; not for a second click.
            if message.get("show") and message != self._step:
                view.show_cases(message)
                self._step = message
            if view is not self.comparison_view:
                self._show_comparison(view)
        except VellumNBError as exc:
            self.panel.error = str(exc)
        self._debouncer.poke()

    def _show_comparison(self, view: Any) -> None:
        former, self.comparison_view = self.comparison_view, view
        self._step = None if view is None else self._step
        self.children = (self.panel, *([] if view is None else [view]))
        if former is not None:
            former.close()
        if view is not None and self.is_closed:
            view.close()

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        message = content if isinstance(content, dict) else {}
        kind, panel = message.get("kind"), self.panel
        act = self._acts.get(kind) if isinstance(kind, str) else None
        if act is None:
            return
        panel.send({"kind": "received"})
        panel.error = ""
        try:
            act(message)
        except VellumNBError as exc:
            panel.error = str(exc)
        except Exception as exc:
            panel.error = f"{type(exc).__name__}: {exc}"
            raise
        self._debouncer.poke()

    def _display_(self) -> Any:
        return self.panel  # marimo displays the figures without the grid

    @printed
    def __repr__(self) -> str:
        record = control_of(self.sweep).record
        runs = plural(record.planned, "run")
        return f"SweepView({record.deployment} on {', '.join(record.release_tags)}: {runs})"

    def _html(self) -> str:
        return plan_html(self.sweep, self._columns)

"""`SweepView`: a sweep while it runs, with Pause, Resume and Stop; and its static form."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import traitlets

from vellum_nb.errors import VellumNBError
from vellum_nb.models import Run
from vellum_nb.models.sweeps import SweepRecord
from vellum_nb.rendering.format import duration, money, plural, visible_name
from vellum_nb.rendering.values import value_text
from vellum_nb.sweep.progress import Progress, TagProgress, speed
from vellum_nb.sweep.sweep import Sweep
from vellum_nb.widgets.base import Debouncer, ThreadSafeWidget
from vellum_nb.widgets.markup import asset, script

__all__ = [
    "ACTIVE",
    "SweepView",
    "plan_html",
    "plan_text",
    "sweep_html",
    "sweep_view_model",
    "tag_note",
]

ACTIVE = frozenset({"running", "paused", "stopping"})
_LONGEST = 160
_SHORT = 24
_SHORT_ONES = 3
_TIMES = "\u00d7"
_NO_OUTPUTS = {"REJECTED": "rejected", "FAILED": "no answer", "CANCELLED": "cancelled"}
Parts = list[tuple[str, bool]]  # texts, and whether each is bold


def sweep_view_model(
    record: SweepRecord,
    now: Progress,
    *,
    same: Mapping[str, tuple[str, ...]],
    numbers: Mapping[str, int],
) -> dict[str, Any]:
    """Return what the view shows of a sweep at this moment.

    Parameters
    ----------
    record, now : SweepRecord, Progress
        The plan, and how far it is.
    same : mapping
        Release tag to the other tags on the same release.
    numbers : mapping
        Case id to the number of the case.
    """
    return {
        "state": now.state,
        "title": _cut(record.deployment),
        "runs": plural(now.planned, "run"),
        "began": now.began.isoformat() if now.began else None,
        "resumed": _resumed(record, now),
        "lost": now.lost.isoformat() if now.lost else None,
        "notice": _notice(now),
        "plan": plan_text(record),
        "tags": [_tag(record, tag, same) for tag in now.tags],
        "sums": _sums(now),
        "cost": _cost_share(now),
        "latest": [_latest(run, numbers) for run in now.latest],
        "status": _status(now),
    }


def plan_text(record: SweepRecord) -> str:
    """Return what is multiplied.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> plan_text(
    ...     SweepRecord(
    ...         id="1",
    ...         deployment="d",
    ...         release_tags=("v1",),
    ...         cases=40,
    ...         signature="",
    ...         created=datetime.now(UTC),
    ...     )
    ... )
    '40 cases'
    """
    cases = "1 case" if record.cases == 1 else f"{record.cases:,} cases"
    return cases if record.repeats == 1 else f"{cases} {_TIMES} {record.repeats:,} repeats"


def tag_note(record: SweepRecord, tag: str, same: Mapping[str, tuple[str, ...]]) -> str:
    """Return what stands beside a release tag: whether it is the baseline, its other names."""
    baseline = tag == record.release_tags[0] and len(record.release_tags) > 1
    names = " ".join(f"= {visible_name(name)}" for name in same.get(tag, ()))
    return " · ".join(part for part in ("baseline" if baseline else "", names) if part)


def _resumed(record: SweepRecord, now: Progress) -> Parts:
    """Return what was there already, and what became of runs in doubt, each with its count."""
    goes_on = bool(now.kept or now.lost)
    retries = bool(record.round)
    counts = [
        (now.kept, goes_on, f"{_runs(now.kept)} kept" if retries else _found(now.kept)),
        (now.reused, now.reused, f"{_runs(now.reused)} taken over from earlier ones"),
        (now.adopted, now.adopted, "looked up, and had run"),
        (now.resent, now.resent, _sent_again(now.resent)),
        (0, goes_on and now.began and not now.resent, "sent twice"),
    ]
    parts: Parts = []
    for count, applies, words in counts:
        if applies:
            parts += [
                (", " if parts else "", False),
                (f"{count:,}", True),
                (f" {words}", False),
            ]
    if parts:
        lead = "failed runs are run again: " if retries else "resumed: "
        parts[0] = (lead if goes_on and now.began else "", False)
    return parts


def _runs(count: int) -> str:
    return "run" if count == 1 else "runs"


def _found(count: int) -> str:
    return f"{_runs(count)} found in the history"


def _sent_again(count: int) -> str:
    return f"sent again: the server knew no execution of {'it' if count == 1 else 'them'}"


def _notice(now: Progress) -> str:
    """Return why it stopped by itself, what the user did needs no notice; and which tags moved."""
    parts = []
    if now.reason:
        parts.append(f"Stopped: {_cut(now.reason)}")
    if now.moved:
        tags = ", ".join(map(visible_name, now.moved))
        parts.append(f"Moved to another release meanwhile: {tags}. Each run says which it was on.")
    return " · ".join(parts)


def _tag(record: SweepRecord, tag: TagProgress, same: Mapping[str, tuple[str, ...]]) -> Any:
    return {
        "tag": _cut(tag.release_tag),
        "note": _cut(tag_note(record, tag.release_tag, same)),
        "planned": tag.planned,
        "done": tag.done,
        "failed": tag.failed,
        "running": tag.running,
        "to_go": tag.to_go,
        "median": "—" if tag.median_s is None else f"{tag.median_s:.2f}",
        "cost": "—" if tag.cost_usd is None else money(tag.cost_usd)[1:],
    }


def _sums(now: Progress) -> list[dict[str, str]]:
    to_go = sum(tag.to_go for tag in now.tags)
    running = sum(tag.running for tag in now.tags)
    fresh = max(0, now.ended - now.kept - now.reused)
    below = f"{fresh:,} in {duration(now.seconds)}" if now.began else ""
    return [
        _sum(
            "all",
            f"{now.ended:,} of {now.planned:,}",
            below=f"{now.done:,} done · {now.failed:,} failed",
        ),
        _sum("rate", speed(now.rate), below=below),
        _sum("time left", _left(now), below=f"{to_go:,} to go, {running:,} running"),
        _sum("at once", f"{now.at_once:,}", f"of {now.limit:,}" if now.limit else "", _limit(now)),
        _cost(now),
    ]


def _sum(label: str, value: str, unit: str = "", below: str = "") -> dict[str, str]:
    return {"label": label, "value": value, "unit": unit, "below": _cut(below)}


def _left(now: Progress) -> str:
    if now.state == "done":
        return "none"
    if now.state != "running" or now.left_s is None:
        return "—"
    return f"about {duration(now.left_s)}"


def _limit(now: Progress) -> str:
    if now.note:
        return now.note
    return f"at most {now.most:,}" if now.most > now.limit else ""


def _cost(now: Progress) -> dict[str, str]:
    limit = "" if now.max_cost_usd is None else f"of {money(now.max_cost_usd)} limit"
    if now.cost_usd is None:
        return _sum("cost", "—", limit, "not reported yet")
    end = _cost_at_the_end(now)
    below = "" if end is None else f"≈ {money(end)} at the end"
    return _sum("cost", money(now.cost_usd), limit, below)


def _cost_at_the_end(now: Progress) -> float | None:
    """Return what it will cost if the rest costs as much a run as the runs so far did."""
    if now.state == "done" or not now.ended or now.cost_usd is None:
        return None
    return now.cost_usd / now.ended * now.planned


def _cost_share(now: Progress) -> float | None:
    """Return how much of the limit is used, from 0 to 1."""
    if not now.max_cost_usd or now.cost_usd is None:
        return None
    return round(min(1.0, now.cost_usd / now.max_cost_usd), 3)


def _latest(run: Run, numbers: Mapping[str, int]) -> dict[str, str]:
    number = numbers.get(run.case_id)
    short, text = _excerpt(run)
    ended = run.finished_at or run.timestamp
    return {
        "id": run.id,
        "time": ended.isoformat(),
        "tag": _cut(visible_name(run.release_tag)),
        "state": run.state,
        "seconds": "—" if run.latency_s is None else f"{run.latency_s:.2f}",
        "case": "" if number is None else f"case {number:,}",
        "short": short,
        "text": text,
    }


def _excerpt(run: Run) -> tuple[str, str]:
    """Return the short outputs of a run together, and the first long one."""
    if run.state != "FULFILLED":
        message = (run.error.message or run.error.code) if run.error else ""
        return _NO_OUTPUTS.get(run.state, run.state), _cut(message)
    values = [value for value in run.outputs.values() if value is not None]
    texts = [value_text(value, "JSON") for value in values]
    plain = [text for value, text in zip(values, texts, strict=True) if _is_short(value)]
    short = plain[:_SHORT_ONES]
    long = next((text for text in texts if text not in plain), "")
    return _cut(" · ".join(short)), _cut(long)


def _is_short(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _SHORT and "\n" not in value
    return isinstance(value, int | float)


def _status(now: Progress) -> str:
    """Return the state in a sentence without figures that change all the time: it is read out."""
    running = sum(tag.running for tag in now.tags)
    sentences = {
        "ready": "not started",
        "running": "a run without an answer is looked up before it is sent again",
        "paused": "paused: nothing new begins",
        "stopping": "stopping: what runs ends first",
        "stopped": f"stopped at {now.ended:,} of {now.planned:,}; {_how_on(now)}",
        "done": f"done: {now.done:,} fulfilled, {now.failed:,} failed",
    }
    if now.state in {"paused", "stopping"} and not running:
        return sentences[now.state].partition(":")[0]
    return sentences[now.state]


def _cut(text: str) -> str:
    line = " ".join(text[: 4 * _LONGEST].split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _how_on(now: Progress) -> str:
    """Return what makes it go on; Resume alone does not where a limit of the sweep is reached."""
    limit = now.limit_reached
    return f"with more, or no, {limit} it goes on" if limit else "resume goes on from here"


_COLUMNS = ("release tag", "done", "failed", "running", "to go")


def plan_html(record: SweepRecord) -> str:
    """Return what is to be run: what stands in a stored notebook for a view that was live."""
    tags = ", ".join(f"<code>{_name(tag)}</code>" for tag in record.release_tags)
    return (
        f"<p><b>Sweep</b> of {_name(record.deployment)} on {tags}: "
        f"{plan_text(record)}, {plural(record.planned, 'run')}</p>"
    )


def sweep_html(sweep: Sweep, same: Mapping[str, tuple[str, ...]]) -> str:
    """Return how far a sweep is, as a table."""
    record, now = sweep.record, sweep.progress()
    why = f" ({escape(now.reason)})" if now.reason else ""
    head = "".join(
        f'<th scope="col" style="text-align: {"right" if at else "left"};">{name}</th>'
        for at, name in enumerate(_COLUMNS)
    )
    rows = "".join(_static_row(record, tag, same) for tag in now.tags)
    return (
        f"<p><b>Sweep</b> of {_name(record.deployment)}: {plan_text(record)}, "
        f"{now.state}{why}, {now.ended:,} of {plural(now.planned, 'run')}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _static_row(record: SweepRecord, tag: TagProgress, same: Mapping[str, tuple[str, ...]]) -> str:
    note = escape(tag_note(record, tag.release_tag, same))
    figures = "".join(
        f'<td style="text-align: right;">{count:,}</td>'
        for count in (tag.done, tag.failed, tag.running, tag.to_go)
    )
    name = f"<code>{_name(tag.release_tag)}</code>"
    return f'<tr><th scope="row" style="text-align: left;">{name} {note}</th>{figures}</tr>'


def _name(name: str) -> str:
    return escape(visible_name(name))


class SweepView(ThreadSafeWidget):
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

    _esm = traitlets.Unicode(script("sweep.js")).tag(sync=True)
    _css = traitlets.Unicode(asset("colours.css", "sweep.css")).tag(sync=True)

    hint = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    view_model = traitlets.Dict().tag(sync=True)

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
        self._debouncer = Debouncer(self._show, name="vellum-nb-sweep-view")
        super().__init__(view_model=self._now())
        self._acts: dict[str, Callable[[], object]] = {
            "pause": sweep.pause,
            "resume": lambda: sweep.resume(background=True),
            "stop": sweep.stop,
            "cut": sweep.cut,
        }
        self.on_msg(self._on_message)
        self._unsubscribe = sweep.subscribe(self._debouncer.poke)
        self._debouncer.poke()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the sweep has come to an end and that is shown; return whether it is."""
        return self._debouncer.wait(timeout)

    def close(self) -> None:
        """Close the view; the sweep goes on."""
        self._unsubscribe()
        self._unsubscribe = lambda: None
        self._debouncer.close()
        super().close()

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
        return sweep_view_model(
            sweep.record, sweep.progress(), same=self._same, numbers=self._numbers
        )

    def _show(self) -> bool:
        """Show what is so now; return whether there is more to come."""
        now = self._now()
        self.view_model = now
        return now["state"] in ACTIVE

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        kind = content.get("kind") if isinstance(content, dict) else None
        act = self._acts.get(kind) if isinstance(kind, str) else None
        if act is None:
            return
        self.send({"kind": "received"})
        try:
            act()
        except VellumNBError as exc:
            self.error = str(exc)
        except Exception as exc:
            self.error = f"{type(exc).__name__}: {exc}"
            raise
        else:
            self.error = ""
        self._debouncer.poke()

    def __repr__(self) -> str:
        record = self.sweep.record
        runs = "1 run" if record.planned == 1 else f"{record.planned:,} runs"
        return f"SweepView({record.deployment} on {', '.join(record.release_tags)}: {runs})"

    def _html(self) -> str:
        return plan_html(self.sweep.record)

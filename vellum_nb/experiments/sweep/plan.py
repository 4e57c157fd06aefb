"""What a sweep is going to do, before it does anything: calls, time, cost, what goes not where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

from vellum_nb.experiments.sweep.pace import FIRST, rounds

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SweepPlan", "TagPlan", "counted", "lasting", "money"]

_TIMES = "\N{MULTIPLICATION SIGN}"
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


@dataclass(frozen=True, slots=True)
class TagPlan:
    """What is planned on one release tag.

    Attributes
    ----------
    calls : int
        Runs to be sent.
    found : int
        Runs of this sweep that the history has already.
    reused : int
        Runs that are taken over from the history.
    doubtful : int
        Runs that were begun, and are looked up first.
    median_s, cost_usd : float or None
        What one call takes and costs, as past runs tell.
    """

    release_tag: str
    release_id: str | None
    calls: int
    found: int = 0
    reused: int = 0
    doubtful: int = 0
    median_s: float | None = None
    cost_usd: float | None = None

    @property
    def planned(self) -> int:
        """How many runs there are to be."""
        return self.calls + self.found + self.reused + self.doubtful


@dataclass(frozen=True, slots=True, repr=False)
class SweepPlan:
    """What `vellum_nb.Workspace.sweep` is going to do; it returns one with ``dry_run=True``.

    Attributes
    ----------
    deployment : str
        The deployment's name.
    cases, repeats : int
        How many cases there are, and how often each is run on each release tag.
    tags : tuple of TagPlan
        One for each release tag.
    at_once : int
        How many calls may be under way.
    fixed : bool
        Whether so many are from the start; otherwise it grows to that while the server bears it.
    notes : tuple of str
        What is worth knowing: inputs that a release does not know, columns that look mistyped,
        the sweep that is resumed.
    resumes : str or None
        The id of the unfinished sweep that this goes on with.
    last_seen : datetime or None
        When that one last got on.

    Examples
    --------
    >>> SweepPlan("ticket-triage", cases=4, repeats=1, tags=(TagPlan("v1", None, calls=4),))
    <SweepPlan of ticket-triage: 4 cases x 1 release tag = 4 calls>
    """

    deployment: str
    cases: int
    repeats: int
    tags: tuple[TagPlan, ...]
    at_once: int = 1
    fixed: bool = False
    notes: tuple[str, ...] = ()
    resumes: str | None = None
    last_seen: datetime | None = None

    @property
    def planned(self) -> int:
        """How many runs there are to be."""
        return sum(tag.planned for tag in self.tags)

    @property
    def calls(self) -> int:
        """How many of them are to be sent."""
        return sum(tag.calls for tag in self.tags)

    @property
    def found(self) -> int:
        """How many are in the history already."""
        return sum(tag.found + tag.reused for tag in self.tags)

    @property
    def seconds(self) -> float | None:
        """About how long that takes; None where no past run tells."""
        tags = [tag for tag in self.tags if tag.calls]
        medians = [tag.median_s for tag in tags if tag.median_s is not None]
        if not medians or len(medians) < len(tags):
            return None
        all_of_it = sum(tag.calls * (tag.median_s or 0.0) for tag in tags)
        first = self.at_once if self.fixed else min(FIRST, self.at_once)
        in_turn = rounds(self.calls, first=first, most=max(1, self.at_once))
        return max(all_of_it / self.calls * in_turn, *medians)

    @property
    def cost_usd(self) -> float | None:
        """About what that costs; None where no past run tells, or not for every release tag."""
        tags = [tag for tag in self.tags if tag.calls]
        if not tags or any(tag.cost_usd is None for tag in tags):
            return None
        return sum(tag.calls * (tag.cost_usd or 0.0) for tag in tags)

    @property
    def headline(self) -> str:
        """What is multiplied, what is left of it, and what that takes, in one line."""
        return self._line(_TIMES)

    def frame(self) -> pd.DataFrame:
        """Return one row a release tag: what is planned, found, and expected of it."""
        import pandas as pd

        columns = (
            "release_tag",
            "release_id",
            "planned",
            "found",
            "reused",
            "doubtful",
            "calls",
            "median_s",
            "cost_usd",
        )
        rows = [[getattr(tag, name) for name in columns] for tag in self.tags]
        frame = pd.DataFrame(rows, columns=list(columns))
        return frame.astype({"median_s": "float64", "cost_usd": "float64"})

    def __str__(self) -> str:
        return "\n".join([self.headline, *(f"  - {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return f"<SweepPlan of {self.deployment}: {self._line('x')}>"

    def _repr_html_(self) -> str:
        head = f"{self.deployment}: {self.headline}"
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        table = self.frame()
        empty = [name for name in table.columns if not table[name].fillna(0).any()]
        table = table.drop(columns=empty)
        html: str = table.to_html(escape=True, index=False, border=0, float_format="{:.4g}".format)
        return f"<p><b>Plan</b> {escape(head)}</p>{html}" + (f"<ul>{notes}</ul>" if notes else "")

    def _line(self, times: str) -> str:
        factors = [counted(self.cases, "case"), counted(len(self.tags), "release tag")]
        if self.repeats > 1:
            factors.append(counted(self.repeats, "repeat"))
        what = f" {times} ".join(factors)
        if self.calls == self.planned:
            return f"{what} = {counted(self.calls, 'call')}{self._expected()}"
        parts = [f"{self.found:,} found"] if self.found else []
        doubtful = sum(tag.doubtful for tag in self.tags)
        if doubtful:
            parts.append(f"{doubtful:,} to be looked up")
        parts.append(f"{self.calls:,} to be sent")
        return f"{what} = {counted(self.planned, 'run')}: {', '.join(parts)}{self._expected()}"

    def _expected(self) -> str:
        seconds, cost = self.seconds, self.cost_usd
        at_once = f"{'' if self.fixed else 'up to '}{self.at_once} at once"
        took = "" if seconds is None else f", about {lasting(seconds)} at {at_once}"
        return took + ("" if cost is None else f", about {money(cost)}")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> counted(1_200, "run")
    '1,200 runs'
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def lasting(seconds: float) -> str:
    """Return a length of time in the unit that fits it.

    Examples
    --------
    >>> lasting(0.2), lasting(17.4), lasting(260), lasting(9_000)
    ('1 s', '17 s', '4 min', '2.5 h')
    """
    if seconds < 2 * _MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < 2 * _HOUR:
        return f"{round(seconds / _MINUTE)} min"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.1f} h"
    return f"{seconds / _DAY:.1f} days"


def money(usd: float) -> str:
    """Return an amount with two figures at least.

    Examples
    --------
    >>> money(1.239), money(0.00042)
    ('$1.24', '$0.00042')
    """
    return f"${usd:,.2f}" if usd >= 0.1 or not usd else f"${usd:.2g}"  # noqa: PLR2004


def named(names: Sequence[str]) -> str:
    """Return names joined as in a sentence.

    Examples
    --------
    >>> named(["v1", "v2", "v3"])
    'v1, v2 and v3'
    """
    if len(names) <= 1:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"

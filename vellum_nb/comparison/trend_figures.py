"""The figures of a trend: its points, their intervals, and one sentence per release tag."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from vellum_nb.comparison.frames import NOT_ENOUGH
from vellum_nb.comparison.statistics import NO_ESTIMATE, Estimate
from vellum_nb.escaping import printable
from vellum_nb.rendering.format import interval_digits, plural, signed

Period = Literal["sweep", "day", "week", "month"]

_FORMATS = {"sweep": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m"}


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """Figures of a release tag in one period, on one release."""

    time: datetime  # of the first run
    release_tag: str
    release: str
    release_id: str | None
    cases: frozenset[str]  # ids
    mean: float  # of all cases
    n: int = 0  # cases in common with the previous point of the line; all cases of the first
    level: float = math.nan
    change: Estimate = NO_ESTIMATE  # since the first point of the line
    release_changed: bool = False
    added: int = 0  # cases, since the previous point
    removed: int = 0
    period: object = None  # day, week, month or sweep

    @property
    def is_known(self) -> bool:
        """Whether there is enough data."""
        return not math.isnan(self.level)


@dataclass(frozen=True, eq=False, repr=False)
class TrendFigures:
    """The points of a trend, by release tag."""

    deployment: str
    metric: str
    by: Period
    release_tags: tuple[str, ...]
    points: tuple[TrendPoint, ...]
    bounds: tuple[float, float]  # of the metric
    sign: int
    alpha: float

    def of_tag(self, release_tag: str) -> list[TrendPoint]:
        """Return the points of a release tag, oldest first."""
        return [point for point in self.points if point.release_tag == release_tag]

    @property
    def sentences(self) -> dict[str, str]:
        """One sentence per release tag: whether its last point differs from its first."""
        return {tag: printable(self._sentence(tag)) for tag in self.release_tags}

    def _sentence(self, tag: str) -> str:
        line = [point for point in self.of_tag(tag) if point.is_known]
        if len(line) < 2:  # noqa: PLR2004
            return f"{tag}: {NOT_ENOUGH}, a trend needs two points with six common cases"
        first, last = line[0], line[-1]
        change, since = last.change, self.date(first.time)
        found = f"no change shown since {since}"
        if change.p is not None and change.p <= self.alpha and change.mean:
            found = f"{'better' if self.sign * change.mean > 0 else 'worse'} than on {since}"
        ends = {"low": change.low, "high": change.high}
        digits = interval_digits([] if math.isnan(change.low) else [ends], "low", "high")
        low, high = (signed(end, digits=digits) for end in ends.values())
        interval = "no interval" if math.isnan(change.low) else f"{low} to {high}, 95 %"
        figures = f"{signed(change.mean, digits=digits)} ({interval})"
        moved = f"; {first.release} then, {last.release} now"
        return (
            f"{tag}: {found}: {self.metric} {figures} on {plural(change.n, 'common case')}"
            f"{moved if first.release_id != last.release_id else ''}"
        )

    def ends(self, point: TrendPoint) -> tuple[float, float]:
        """Return the interval of the change since the first point, around its level."""
        if math.isnan(point.change.low):
            return math.nan, math.nan
        start, change = point.level - point.change.mean, point.change
        low, high = min(self.bounds[0], point.level), max(self.bounds[1], point.level)
        return max(start + change.low, low), min(start + change.high, high)

    def date(self, time: datetime) -> str:
        """Return the time of a point as text."""
        return time.strftime(_FORMATS[self.by])

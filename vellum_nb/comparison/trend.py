"""`Trend`: figures of release tags over time, on the cases that neighbouring points share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any, get_args

from vellum_nb.clock import micros
from vellum_nb.comparison import statistics as stats
from vellum_nb.comparison.compare import scored_runs
from vellum_nb.comparison.duels import charts_required
from vellum_nb.comparison.frames import NOT_ENOUGH
from vellum_nb.comparison.metrics import One
from vellum_nb.comparison.pairs import ERROR_RATE, Scored
from vellum_nb.comparison.statistics import NO_ESTIMATE, Estimate
from vellum_nb.comparison.trend_chart import trend_svg, trend_text
from vellum_nb.comparison.trend_figures import Period, TrendFigures, TrendPoint
from vellum_nb.errors import InputError
from vellum_nb.escaping import printable, printed
from vellum_nb.history import frame_of_records
from vellum_nb.lazy import Bools, Floats, Ints, np, pd
from vellum_nb.models import Run
from vellum_nb.models.checks import refuse

if TYPE_CHECKING:
    from vellum_nb.comparison.charts import Picture

_COLUMNS = {
    "time": "time",
    "release_tag": "text",
    "release": "text",
    "release_id": "text",
    **dict.fromkeys(("cases", "n"), "int"),
    **dict.fromkeys(("mean", "level", "low", "high", "change", "p"), "float"),
    "release_changed": None,
    "added": "int",
    "removed": "int",
    "note": "text",
}
_ID_CHARS = 8  # of an abridged release id


@dataclass(frozen=True, slots=True)
class Measurement:
    """A run that a sweep executed or reused."""

    run: Run
    release_tag: str
    sweep_id: str
    time: datetime
    period: object = None  # sweep, day, week (from Monday) or month

    def by(self, period: Period) -> Measurement:
        """Return the measurement with its period."""
        time = self.time
        periods = {
            "sweep": self.sweep_id,
            "day": time.date(),
            "week": tuple(time.isocalendar())[:2],
            "month": (time.year, time.month),
        }
        return replace(self, period=periods[period])


@dataclass(frozen=True, eq=False, repr=False)
class Trend(TrendFigures):
    """Figures of release tags over time. Made by ``ws.trend(...)``.

    Attributes
    ----------
    deployment, metric, by : str
        The deployment, the metric's name, and the period of one point.
    release_tags : tuple of str
        The release tags; each has a line.
    """

    def frame(self) -> pd.DataFrame:
        """Return one row per point, by release tag and time.

        Columns: ``time`` of its first run (UTC), ``release_tag``, ``release`` and ``release_id``
        behind the tag, ``cases`` with runs, ``n`` cases in common with the previous point (of the
        first point: with a figure), ``mean`` of all cases, ``level`` of the line, ``low`` and
        ``high`` (95 % interval of the change since the first point, around its level), ``change``
        since the first point with ``p``, ``release_changed``, the numbers of cases ``added`` and
        ``removed`` since the previous point, and ``note``: "not enough data" with fewer than six
        common cases, else empty.
        """
        return frame_of_records(_COLUMNS, list(self._rows()))

    def chart(self) -> Picture:
        """Return the chart as a picture, to save as PNG or SVG. Requires the extra ``charts``.

        A dotted segment is a change between two releases of a tag. At most four tags are drawn.

        Raises
        ------
        InputError
            No line has two points, or Altair is not installed.
        """
        with charts_required():
            from vellum_nb.comparison.charts import Picture
        if not trend_svg(self):
            msg = f"no line has two points to draw. {'. '.join(self.sentences.values())}"
            raise InputError(msg)
        return Picture(None, printable(trend_text(self)), partial(trend_svg, self))

    @printed
    def __repr__(self) -> str:
        return f"<Trend of {self.deployment} by {self.by}. {'. '.join(self.sentences.values())}>"

    @printed
    def _repr_html_(self) -> str:
        sentences = "".join(f"<p>{escape(text)}.</p>" for text in self.sentences.values())
        return sentences + trend_svg(self)

    def _rows(self) -> Iterator[dict[str, object]]:
        """Yield the rows of the frame."""
        for point in (point for tag in self.release_tags for point in self.of_tag(tag)):
            change, (low, high) = point.change, self.ends(point)
            yield {
                **{name: getattr(point, name) for name in _COLUMNS if hasattr(point, name)},
                "time": micros(point.time),
                "release_id": point.release_id or "",
                "cases": len(point.cases),
                "low": low,
                "high": high,
                "change": change.mean,
                "p": math.nan if change.p is None else change.p,
                "note": "" if point.is_known else NOT_ENOUGH,
            }


def trend_of(
    measured: Iterable[Measurement],
    *,
    deployment: str,
    release_tags: Sequence[str],
    metric: One = "score",
    by: Period = "week",
    only: Iterable[str] | None = None,
    names: Mapping[str, str] | None = None,
    **options: Any,
) -> Trend:
    """Return the trend of measurements. `names` are names of releases by id.

    `only` selects cases by id. The other options are those of `scored_runs`.
    """
    if by not in get_args(Period):
        refuse("by", by, "'sweep', 'day', 'week' or 'month'")
    only = None if only is None else frozenset(only)
    groups = _grouped(m.by(by) for m in measured if only is None or m.run.case_id in only)
    if not groups:
        msg = (
            f"no sweep of {deployment} has runs of these cases on {', '.join(release_tags)}: run "
            "one with ws.sweep(...); a trend ignores other runs"
        )
        raise InputError(msg)
    placed = [(one.run, str(at)) for at, group in enumerate(groups) for one in group]
    figures, scored = scored_runs(placed, metric, deployment=deployment, only=only, **options)
    chosen = scored.metric
    if not scored.count.any():
        msg = f"no run has a figure of {chosen.name}: give expected outputs or another metric="
        raise InputError(msg)
    points: list[TrendPoint] = []
    for tag in release_tags:
        columns = [at for at, group in enumerate(groups) if group[0].release_tag == tag]
        of_tag, values = [groups[at] for at in columns], scored.counted[:, columns]
        points += _line(of_tag, values, scored, figures.clusters, partial(_name, names or {}))
    return Trend(
        deployment=deployment,
        metric=chosen.name,
        by=by,
        release_tags=tuple(release_tags),
        points=tuple(points),
        bounds=scored.bounds or chosen.bounds or (-math.inf, math.inf),
        sign=chosen.sign,
        alpha=ERROR_RATE,
    )


def _grouped(measured: Iterable[Measurement]) -> list[list[Measurement]]:
    """Return the runs of each point, oldest first; of each case, those of its newest sweep.

    A period in which a tag moved has a point per release.
    """
    newest: dict[object, str] = {}
    groups: dict[object, list[Measurement]] = {}
    for one in sorted(measured, key=lambda each: each.time, reverse=True):
        run = one.run
        key = one.release_tag, one.period, run.environment, run.release_id
        if newest.setdefault((key, run.case_id), one.sweep_id) == one.sweep_id:
            groups.setdefault(key, []).append(one)
    return sorted((group[::-1] for group in groups.values()), key=lambda group: group[0].time)


def _name(names: Mapping[str, str], release_id: str | None) -> str:
    if release_id is None:
        return "release unknown"
    return names.get(release_id, release_id[:_ID_CHARS])


def _line(
    groups: Sequence[Sequence[Measurement]],
    values: Floats,
    scored: Scored,
    clusters: Ints | None,
    name_of: Callable[[str | None], str],
) -> Iterator[TrendPoint]:
    """Yield the points of one tag, whose figures are columns of `values`."""
    of_point = dict(levels(values, scored, clusters))
    before: tuple[frozenset[str], str | None] | None = None
    for at, group in enumerate(groups):
        first = group[0]
        release_id = first.run.release_id
        ids, has = frozenset(one.run.case_id for one in group), ~np.isnan(values[:, at])
        old_ids, old_release = before or (ids, release_id)
        n, level, change = of_point.get(at, (0, math.nan, NO_ESTIMATE))
        yield TrendPoint(
            time=first.time,
            release_tag=first.release_tag,
            release=name_of(release_id),
            release_id=release_id,
            cases=ids,
            mean=float(values[has, at].mean()) if has.any() else math.nan,
            n=n,
            level=level,
            change=change,
            release_changed=release_id != old_release,
            added=len(ids - old_ids),
            removed=len(old_ids - ids),
            period=first.period,
        )
        before = ids, release_id


def _linked(has: Bools) -> list[int]:
    """Return the points of the line: each shares six cases with the next, up to the newest."""
    linked: list[int] = []
    for at in reversed(range(has.shape[1])):
        common = has[:, at] & has[:, linked[-1]] if linked else has[:, at]
        if common.sum() >= stats.LEAST_UNITS:
            linked.append(at)
    return linked[::-1]


def levels(
    values: Floats, scored: Scored, clusters: Ints | None
) -> list[tuple[int, tuple[int, float, Estimate]]]:
    """Return n, level and change of each point of the line, from the differences on common cases.

    The level of the last point is its mean. A change is a sum of means over different cases: the
    influence of each case on it takes the place of its paired difference. If all points have the
    same cases, it is the paired difference.
    """
    has = ~np.isnan(values)
    linked = _linked(has)
    if not linked:
        return []
    influence, moved = np.zeros(len(values)), np.zeros(len(values))
    used, change = np.zeros(len(values), dtype=np.bool_), 0.0
    made = [(linked[0], int(has[:, linked[0]].sum()), NO_ESTIMATE)]
    for before, at in pairwise(linked):
        common = has[:, before] & has[:, at]
        differences = values[common, at] - values[common, before]
        change += float(differences.mean())
        influence[common] += (differences - differences.mean()) / len(differences)
        moved[common] += differences
        used |= common
        of = None if clusters is None else clusters[used]
        units = used.sum() * influence[used] + change
        made.append((at, int(common.sum()), _change(units, moved[used], scored, of)))
    end = float(values[has[:, linked[-1]], linked[-1]].mean()) - change
    return [(at, (n, end + (e.mean if e.n else 0.0), e)) for at, n, e in made]


def _change(units: Floats, moved: Floats, scored: Scored, clusters: Ints | None) -> Estimate:
    """Return the mean of `units`; `moved` are the changes of each case."""
    is_paired = bool(np.allclose(units, moved))
    estimate = stats.paired(
        moved if is_paired else units, clusters=clusters, is_share=is_paired and scored.passes
    )
    unequal = sum(stats.unequal_units(moved, clusters))
    if unequal >= stats.LEAST_UNEQUAL:
        return estimate
    unknown = Estimate(estimate.mean, math.nan, math.nan, stats.sign_test(unequal, 0), estimate.n)
    if scored.bounds is None or not (scored.passes or clusters is None):
        return unknown
    return stats.bounded(unknown, moved, clusters, scored.bounds)

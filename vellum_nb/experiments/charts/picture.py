"""Which chart: metric by release, latency, wins, baseline against candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import get_args

from vellum_nb.errors import InputError
from vellum_nb.experiments.charts.figures import latency_rows, metric_rows, wins_rows
from vellum_nb.experiments.charts.model import Chart, Ink, Picture, Point
from vellum_nb.experiments.charts.scatter import points_of
from vellum_nb.experiments.comparison.base import BaseComparison

__all__ = ["Chart", "Ink", "Picture", "Point", "picture"]


def picture(
    comparison: BaseComparison,
    what: Chart,
    *,
    metric: str | None = None,
    release: str | None = None,
) -> Picture:
    """Return one of the charts.

    Raises
    ------
    InputError
        There is no such chart, metric or release, nothing to draw, or Altair is missing.
    """
    if not all(map(find_spec, ("altair", "vl_convert"))):
        msg = "charts need Altair and vl-convert: pip install 'vellum-nb[charts]', then try again"
        raise InputError(msg)
    if what not in _MAKERS:
        known = ", ".join(map(repr, get_args(Chart)))
        msg = f"there is no chart {what!r}; there are: {known}"
        raise InputError(msg)
    return _MAKERS[what](comparison, metric, release)


def _metric(comparison: BaseComparison, metric: str | None, release: str | None) -> Picture:
    from vellum_nb.experiments.charts import drawing

    name = comparison._metric(metric).name  # noqa: SLF001  (of this room)
    releases = _chosen(comparison, release, comparison.releases)
    rows = metric_rows(comparison, releases, name)
    _needed(rows, f"no run has a figure of {name}")
    text = f"{name} by release: the mean over cases with its 95 % interval"
    return Picture(lambda ink: drawing.metric(rows, releases, name, ink, text), text)


def _latency(comparison: BaseComparison, metric: str | None, release: str | None) -> Picture:
    from vellum_nb.experiments.charts import drawing

    del metric  # it is one itself
    releases = _chosen(comparison, release, comparison.releases)
    rows = latency_rows(comparison, releases)
    _needed(rows, "no run has a latency")
    text = "latency by release: the median, the middle half, and from 5 % to 95 %"
    return Picture(lambda ink: drawing.latency(rows, releases, ink, text), text)


def _wins(comparison: BaseComparison, metric: str | None, release: str | None) -> Picture:
    from vellum_nb.experiments.charts import drawing

    name = comparison._metric(metric).name  # noqa: SLF001  (of this room)
    releases = _chosen(comparison, release, comparison.others)
    rows = wins_rows(comparison, releases, name)
    _needed(rows, "there is no case")
    title = f"against {comparison.baseline}, by {name}"
    text = f"cases that are better, tied and worse {title}"
    return Picture(lambda ink: drawing.wins(rows, releases, title, ink, text), text)


def _scatter(comparison: BaseComparison, metric: str | None, release: str | None) -> Picture:
    from vellum_nb.experiments.charts import drawing

    name = comparison._metric(metric).name  # noqa: SLF001  (of this room)
    candidate = _chosen(comparison, release, comparison.others)[0]
    points = points_of(comparison, candidate, name)
    base = comparison.baseline
    _needed(points, f"no case has a figure of {name} on {base} and {candidate}")
    text = f"{name} of each case: on {base} across, on {candidate} upwards"
    names = drawing.Names(name, base, candidate)
    return Picture(lambda ink: drawing.scatter(points, names, ink, text), text, tuple(points))


_MAKERS: dict[str, Callable[[BaseComparison, str | None, str | None], Picture]] = {
    "metric": _metric,
    "latency": _latency,
    "wins": _wins,
    "scatter": _scatter,
}


def _chosen(comparison: BaseComparison, release: str | None, known: Sequence[str]) -> Sequence[str]:
    if release is not None:
        comparison._column(release)  # noqa: SLF001  (of this room)
        if release not in known:
            others = ", ".join(known) or "none"
            msg = f"{release} is the baseline, which is held against itself; others are: {others}"
            raise InputError(msg)
        return (release,)
    _needed(known, "there is one release only, and none to hold against it")
    return known


def _needed(rows: Sequence[object], without: str) -> None:
    if not rows:
        msg = f"{without}, so there is nothing to draw"
        raise InputError(msg)

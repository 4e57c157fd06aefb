"""Differences by the value of a label, tested with one correction."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from vellum_nb.comparison import statistics as stats
from vellum_nb.comparison.cases import case_values
from vellum_nb.comparison.figures import ComparisonFigures, release_finding
from vellum_nb.comparison.lines import grouped_by_text
from vellum_nb.errors import InputError
from vellum_nb.escaping import printable
from vellum_nb.history import frame_of_cells
from vellum_nb.lazy import pd

NOT_ENOUGH = "not enough data"
_COLUMNS = (
    *("release", "value", "cases", "n", "mean", "mean_low", "mean_high"),
    *("delta", "delta_low", "delta_high", "p", "finding"),
)


def slice_frame(
    figures: ComparisonFigures, by: str, metric: str | None, release: str | None
) -> pd.DataFrame:
    """Return the frame documented in `Comparison.slices`."""
    name, releases = figures.metric_name(metric), figures.others_of(release)
    figures.check_others()
    if figures.is_stopped:
        msg = (
            "slices() needs all cases, because intervals by slice are invalid after an early stop; "
            "run the remaining cases with sweep.resume()"
        )
        raise InputError(msg)
    groups = grouped_by_text(case_values(figures.cases, "by", by))
    rows = [row for one in releases for row in _rows(figures, groups, name, one)]
    rows.sort(key=lambda row: row.pop("order"))
    frame = frame_of_cells({column: [row[column] for row in rows] for column in _COLUMNS})
    figures_of = [column for column in _COLUMNS if column.startswith(("mean", "delta", "p"))]
    return frame.astype(dict.fromkeys(figures_of, "float64"))


def _rows(
    figures: ComparisonFigures, groups: dict[str, list[int]], metric: str, release: str
) -> Iterator[dict[str, Any]]:
    """Yield one row per slice of a release, with p corrected over its slices."""
    made = [figures.against_on(cases, release, metric) for cases in groups.values()]
    corrected = stats.holm([one.change.p for one in made])
    tested = sum(one.change.n > 0 for one in made)
    sign = figures.scored[metric].metric.sign
    for (value, cases), one, p in zip(groups.items(), made, corrected, strict=True):
        finding: str = release_finding(one, p, sign, figures.alpha)
        if finding == "undecided" and one.shortage(figures.alpha / tested):
            finding = NOT_ENOUGH
        change = one.change
        gain = sign * change.mean if change.n else math.inf
        yield {
            "release": printable(release),
            "value": value,
            "cases": len(cases),
            "n": change.n,
            **figures.estimate(metric, release, cases).columns("mean"),
            **change.columns("delta"),
            "p": math.nan if p is None else p,
            "finding": finding,
            "order": (finding in {NOT_ENOUGH, "missing"}, gain),
        }

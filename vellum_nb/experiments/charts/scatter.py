"""Where the cases stand in a scatter of two releases."""

from __future__ import annotations

import math

from vellum_nb.experiments.charts.figures import KINDS
from vellum_nb.experiments.charts.model import Point
from vellum_nb.experiments.comparison.base import BaseComparison
from vellum_nb.experiments.comparison.verdicts import VERDICTS

__all__ = ["points_of"]

_STEPS = 60  # places along an axis


def points_of(comparison: BaseComparison, release: str, name: str) -> list[Point]:
    """Return the places in which cases stand: near ones are one place, so that all can be seen."""
    meant = comparison._metric(name)  # noqa: SLF001  (of this room)
    codes = comparison.against(release, name).codes
    mean = comparison.answers.scored(meant).mean
    columns = [comparison.releases.index(each) for each in (comparison.baseline, release)]
    rows = mean[:, columns].tolist()
    known = [row for row, values in enumerate(rows) if not any(map(math.isnan, values))]
    if not known:
        return []
    values = [value for row in known for value in rows[row]]
    low = min(values)
    step = (max(values) - low) / _STEPS or 1.0
    kinds = {verdict: kind for kind, own in KINDS.items() for verdict in own}
    places: dict[tuple[int, int, str], list[int]] = {}
    for row in known:
        x, y = (round((value - low) / step) for value in rows[row])
        places.setdefault((x, y, kinds[VERDICTS[int(codes[row])]]), []).append(row)
    return [
        Point(
            sum(rows[row][0] for row in own) / len(own),
            sum(rows[row][1] for row in own) / len(own),
            kind,
            tuple(comparison.cases[row].case_id for row in own),
        )
        for (_, _, kind), own in places.items()
    ]

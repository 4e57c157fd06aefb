"""Metrics: how good a run is, as a figure. `vellum_nb.metrics`.

Each function makes a `vellum_nb.Metric`; those without required arguments may be handed over
uncalled: ``metrics=[vnb.metrics.exact, vnb.metrics.latency_s]``.
"""

from __future__ import annotations

from vellum_nb.experiments.metrics.expected import exact, numeric_close, score, similarity
from vellum_nb.experiments.metrics.judges import judge
from vellum_nb.experiments.metrics.own import (
    contains,
    cost_usd,
    json_schema,
    json_valid,
    latency_s,
    length,
    quality,
    regex,
)

__all__ = [
    "contains",
    "cost_usd",
    "exact",
    "json_schema",
    "json_valid",
    "judge",
    "latency_s",
    "length",
    "numeric_close",
    "quality",
    "regex",
    "score",
    "similarity",
]


def __dir__() -> list[str]:
    return __all__

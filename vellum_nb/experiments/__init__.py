"""Many runs held against each other: differences, comparisons. Knows no HTTP and no widgets."""

from __future__ import annotations

from vellum_nb.experiments import metrics
from vellum_nb.experiments.comparison import Comparison
from vellum_nb.experiments.metrics.metric import Metric

__all__ = ["Comparison", "Metric", "metrics"]


def __dir__() -> list[str]:
    return __all__

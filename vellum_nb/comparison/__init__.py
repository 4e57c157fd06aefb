"""Releases side by side over stored runs: figures, verdicts and reports."""

from __future__ import annotations

from vellum_nb.comparison import metrics
from vellum_nb.comparison.compare import compare_runs
from vellum_nb.comparison.comparison import Comparison
from vellum_nb.comparison.decisions import Decision, Decisions
from vellum_nb.comparison.eval_files import read_evals
from vellum_nb.comparison.figures import ReleaseResult
from vellum_nb.comparison.metrics import Metric

__all__ = [
    "Comparison",
    "Decision",
    "Decisions",
    "Metric",
    "ReleaseResult",
    "compare_runs",
    "metrics",
    "read_evals",
]


def __dir__() -> list[str]:
    return __all__

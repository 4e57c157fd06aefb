"""Releases side by side over stored runs: alignment, figures, verdicts, frames."""

from __future__ import annotations

from vellum_nb.experiments.comparison.comparison import Comparison

__all__ = ["Comparison"]


def __dir__() -> list[str]:
    return __all__

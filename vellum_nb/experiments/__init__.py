"""Many runs held against each other: differences, comparisons. Knows no HTTP and no widgets."""

from __future__ import annotations

from vellum_nb.experiments.compare import Comparison

__all__ = ["Comparison"]


def __dir__() -> list[str]:
    return __all__

"""Bisection over releases. Knows no server: it is handed what returns runs of a case."""

from __future__ import annotations

from vellum_nb.experiments.bisection.result import Bisection, Candidate
from vellum_nb.experiments.bisection.search import Check, bisected

__all__ = ["Bisection", "Candidate", "Check", "bisected"]


def __dir__() -> list[str]:
    return __all__

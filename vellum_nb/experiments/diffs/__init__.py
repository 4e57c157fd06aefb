"""How two values differ, by Vellum's types; found, told and shown. Knows nothing of runs."""

from __future__ import annotations

from vellum_nb.experiments.diffs.difference import Difference, difference
from vellum_nb.experiments.diffs.marks import diff_html, printable
from vellum_nb.experiments.diffs.model import MISSING, Change
from vellum_nb.experiments.diffs.words import Op, word_diff

__all__ = [
    "MISSING",
    "Change",
    "Difference",
    "Op",
    "diff_html",
    "difference",
    "printable",
    "word_diff",
]


def __dir__() -> list[str]:
    return __all__

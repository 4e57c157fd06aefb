"""What a large grid shows before its figures are there: the cases as they were given."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any

from vellum_nb.comparison import Comparison
from vellum_nb.widgets.grid.hands import Hands
from vellum_nb.widgets.grid.head import outline
from vellum_nb.widgets.grid.shelf import Shelf
from vellum_nb.widgets.grid.summary import named

__all__ = ["Unranked", "early_head", "is_large"]

_LARGE = 2_000  # answers; the figures of fewer are there in a moment
_WAITING = "comparing…"


def is_large(comparison: Comparison) -> bool:
    """Return whether the figures of `comparison` take longer than a reader likes to wait."""
    return len(comparison.cases) * len(comparison.releases) > _LARGE


class Unranked(Shelf):
    """The cases in the order in which they were given; nothing is known of them yet."""

    @cached_property
    def order(self) -> list[int]:
        """All cases."""
        return list(range(len(self.comparison.cases)))

    @cached_property
    def labels(self) -> dict[str, Counter[str]]:
        """No label; they are counted later."""
        return {}

    def count(self, state: str) -> int:  # noqa: ARG002
        """Return 0: nothing is in any state yet."""
        return 0


def early_head(comparison: Comparison, metric: str | None, hands: Hands) -> dict[str, Any]:
    """Return what the page must know beside the rows, with figures that are to come."""
    return outline(comparison, metric, hands) | {
        "filters": [],
        "labels": [],
        "summary": _summary(comparison, hands),
        "order": "as given, the worst first in a moment",
        "foot": "the figures are being worked out",
    }


def _summary(comparison: Comparison, hands: Hands) -> dict[str, Any]:
    texts = [
        "counts",
        "remark",
        "p",
        "p_told",
        "mean",
        "mean_delta",
        "cost",
        "cost_delta",
        "latency",
        "latency_delta",
    ]
    blank: dict[str, Any] = dict.fromkeys(texts, "")
    blank |= {"parts": [], "interval": None, "worse": 0, "words": _WAITING}
    columns = (comparison.baseline, *comparison.others)
    return {
        "metric": "",
        "axis": None,
        "band": None,
        "cases": len(comparison.cases),
        "releases": [blank | named(comparison, each, hands) for each in columns],
        "notes": [],
    }

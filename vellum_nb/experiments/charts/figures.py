"""The figures of charts by release, made here: a chart of 100,000 runs is as light as of 40."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vellum_nb.experiments.comparison.base import BaseComparison
from vellum_nb.experiments.comparison.summary import summary_frame
from vellum_nb.experiments.comparison.verdicts import Verdict

__all__ = ["KINDS", "latency_rows", "metric_rows", "wins_rows"]

KINDS: dict[str, tuple[Verdict, ...]] = {
    "better": ("better",),
    "tie": ("same", "noise"),
    "worse": ("worse",),
    "not told": ("missing", "unscored", "error"),
}
"""What a bar shows of the verdicts, in the order in which it does."""

_ROOM = 0.15  # of a bar: as much as a word needs


def metric_rows(
    comparison: BaseComparison, releases: Sequence[str], name: str
) -> list[dict[str, Any]]:
    """Return the mean of each release with its interval."""
    head = f"metric.{name}"
    return [
        {
            "release": row["release"],
            "mean": float(row[head]),
            "low": _number(row[f"{head}.low"]),
            "high": _number(row[f"{head}.high"]),
            "text": f"{row[head]:.3g}",
            "cases": int(row[f"{head}.n"]),
            "kind": "baseline" if row["release"] == comparison.baseline else "release",
        }
        for row in summary_frame(comparison).to_dict("records")
        if row["release"] in releases and not math.isnan(row[head])
    ]


def latency_rows(comparison: BaseComparison, releases: Sequence[str]) -> list[dict[str, Any]]:
    """Return of each release how its latencies are spread."""
    import numpy as np

    rows: list[dict[str, Any]] = []
    for release in releases:
        found = [run.latency_s for case in comparison.cases for run in case.answers(release)]
        seconds = [value for value in found if value is not None]
        if seconds:
            names = ("p5", "p25", "p50", "p75", "p95")
            values = np.quantile(seconds, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()
            row = {"release": release, "runs": len(seconds), "text": f"{values[2]:.3g} s"}
            rows.append(row | dict(zip(names, values, strict=True)))
    return rows


def wins_rows(
    comparison: BaseComparison, releases: Sequence[str], name: str
) -> list[dict[str, Any]]:
    """Return of each release how many cases are better, tied and worse, one after the other."""
    rows: list[dict[str, Any]] = []
    total = len(comparison.cases)
    for release in releases:
        counts, at = comparison.against(release, name).counts, 0
        for kind, verdicts in KINDS.items():
            count = sum(counts[verdict] for verdict in verdicts)
            if count:
                row = {"release": release, "verdict": kind, "cases": count}
                row |= {"from": at, "to": at + count, "middle": at + count / 2}
                word = "ties" if kind == "tie" and count > 1 else kind
                row["text"] = f"{count:,} {word}" if count > _ROOM * total else f"{count:,}"
                rows.append(row)
            at += count
    return rows


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)

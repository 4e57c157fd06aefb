"""Runs side by side in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from vellum_nb.escaping import printable
from vellum_nb.models import Run
from vellum_nb.rendering.answer import AnswerCell
from vellum_nb.rendering.format import duration


def side_by_side_text(runs: Sequence[Run], *, width: int = 100) -> str:
    """Return `runs` as columns of text, with the words that differ from the first run marked."""
    names = list(dict.fromkeys(name for run in runs for name in run.outputs))
    label = max([len(name) for name in names] + [5]) + 2
    column = max(20, (width - label) // len(runs) - 2)
    latencies = ["" if r.latency_s is None else f" · {duration(r.latency_s)}" for r in runs]
    heads = zip(runs, latencies, strict=True)
    rows = [("", [f"{run.release_tag} · {run.state}{latency}" for run, latency in heads])]
    if any(run.error for run in runs):
        problems = map(AnswerCell.of_problem, runs)
        rows.append(("error", [cell.to_text() if cell else "" for cell in problems]))
    rows += (
        (name, [AnswerCell.of(name, run, runs[0]).to_text() for run in runs]) for name in names
    )
    lines = []
    for name, cells in rows:
        wrapped = [
            [part for line in printable(cell).splitlines() or [""]
             for part in textwrap.wrap(line, column) or [""]]
            for cell in cells
        ]  # fmt: skip
        for number, parts in enumerate(zip_longest(*wrapped, fillvalue="")):
            head = printable(name) if number == 0 else ""
            line = head.ljust(label) + "  ".join(part.ljust(column) for part in parts)
            lines.append(line.rstrip())
    return "\n".join(lines)

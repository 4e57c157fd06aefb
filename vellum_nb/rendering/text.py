"""Runs side by side as plain text, for terminals and mail."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from vellum_nb.models import Run
from vellum_nb.rendering.diff import MISSING, difference
from vellum_nb.rendering.format import duration, printable
from vellum_nb.rendering.values import json_text, output_kind


def side_by_side_text(runs: Sequence[Run], *, width: int = 100) -> str:
    """Return `runs` as columns of text, differences against the first marked word by word."""
    names = list(dict.fromkeys(name for run in runs for name in run.outputs))
    label = max([len(name) for name in names] + [5]) + 2
    column = max(20, (width - label) // len(runs) - 2)
    latencies = ["" if r.latency_s is None else f" · {duration(r.latency_s)}" for r in runs]
    heads = zip(runs, latencies, strict=True)
    rows = [("", [f"{run.release_tag} · {run.state}{latency}" for run, latency in heads])]
    if any(run.error for run in runs):
        errors = [f"{run.error.code}: {run.error.message}" if run.error else "" for run in runs]
        rows.append(("error", errors))
    rows += [(name, [_cell(name, run, runs[0]) for run in runs]) for name in names]
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


def _cell(name: str, run: Run, first: Run) -> str:
    """Return an output, with its differences against the first run's."""
    if name not in run.outputs:
        return "(missing)"
    value = run.outputs[name]
    text = value if isinstance(value, str) else json_text(value)
    if run is first or not first.outputs:
        return text
    old = first.outputs.get(name, MISSING)
    kinds = [output_kind(v, r.output_types.get(name)) for v, r in ((old, first), (value, run))]
    return difference(old, value, kinds[1], old_kind=kinds[0]).to_text() or text

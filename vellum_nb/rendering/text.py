"""Runs side by side as plain text, for terminals and mail."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from vellum_nb.models import Run
from vellum_nb.rendering.diff import MISSING, difference
from vellum_nb.rendering.format import duration, printable
from vellum_nb.rendering.values import json_text, output_kind

__all__ = ["side_by_side_text"]


def side_by_side_text(runs: Sequence[Run], *, width: int = 100) -> str:
    """Return `runs` as columns of text, differences against the first marked word by word."""
    names = list(dict.fromkeys(name for run in runs for name in run.outputs))
    label = max([len(name) for name in names] + [5]) + 2
    column = max(20, (width - label) // len(runs) - 2)
    rows = [("", [_head(run) for run in runs])]
    if any(run.error for run in runs):
        errors = [f"{run.error.code}: {run.error.message}" if run.error else "" for run in runs]
        rows.append(("error", errors))
    rows += [(name, [_cell(name, run, runs[0]) for run in runs]) for name in names]
    lines = [
        line
        for name, cells in rows
        for line in _lines(printable(name), [printable(cell) for cell in cells], label, column)
    ]
    return "\n".join(line.rstrip() for line in lines)


def _head(run: Run) -> str:
    latency = "" if run.latency_s is None else f" · {duration(run.latency_s)}"
    return f"{run.release_tag} · {run.state}{latency}"


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


def _lines(name: str, cells: Sequence[str], label: int, column: int) -> list[str]:
    wrapped = [
        [part for line in cell.splitlines() or [""] for part in textwrap.wrap(line, column) or [""]]
        for cell in cells
    ]
    lines = []
    for number, parts in enumerate(zip_longest(*wrapped, fillvalue="")):
        head = name if number == 0 else ""
        lines.append(head.ljust(label) + "  ".join(part.ljust(column) for part in parts))
    return lines

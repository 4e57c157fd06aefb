"""Runs side by side as plain text, for terminals and mail."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from vellum_nb.experiments.diffs import MISSING, difference, printable
from vellum_nb.models import Run

__all__ = ["printable", "side_by_side_text"]


def side_by_side_text(runs: Sequence[Run], *, width: int = 100) -> str:
    """Return `runs` as columns of text, differences against the first marked word by word.

    Parameters
    ----------
    runs : sequence of Run
        At least one.
    width : int, default 100
        Characters a line; a column is never narrower than 20.

    Returns
    -------
    str
        What differs is told by type; a deleted word reads ``[-word-]``, an inserted one
        ``{+word+}``.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.outputs))
    label = max([len(name) for name in names] + [5]) + 2
    column = max(20, (width - label) // len(runs) - 2)
    rows = [("", [_head(run) for run in runs])]
    if any(run.error for run in runs):
        rows.append(("error", [_error(run) for run in runs]))
    rows += [(name, _cells(name, runs)) for name in names]
    lines = [
        line
        for name, cells in rows
        for line in _lines(printable(name), [printable(cell) for cell in cells], label, column)
    ]
    return "\n".join(line.rstrip() for line in lines)


def _head(run: Run) -> str:
    latency = "" if run.latency_s is None else f" · {run.latency_s * 1000:.0f} ms"
    return f"{run.release_tag} · {run.state}{latency}"


def _error(run: Run) -> str:
    return f"{run.error.code}: {run.error.message}" if run.error else ""


def _cells(name: str, runs: Sequence[Run]) -> list[str]:
    first = runs[0]
    return [_text(first, name), *(_against(first, run, name) for run in runs[1:])]


def _against(first: Run, run: Run, name: str) -> str:
    """Return an output with its differences against the first run's."""
    if not first.outputs or name not in run.outputs:
        return _text(run, name)
    found = difference(
        first.outputs.get(name, MISSING),
        run.outputs[name],
        _kind(run, name),
        old_kind=_kind(first, name),
    )
    return found.to_text() or _text(run, name)


def _kind(run: Run, name: str) -> str:
    guess = "STRING" if isinstance(run.outputs.get(name), str) else "JSON"
    return run.output_types.get(name, guess)


def _text(run: Run, name: str) -> str:
    if name not in run.outputs:
        return "(missing)"
    value = run.outputs[name]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


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

"""Runs side by side as plain text, for terminals and mail."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from vellum_nb.experiments.diff import word_diff
from vellum_nb.models import Run

__all__ = ["printable", "side_by_side_text"]

_MARKS = {"equal": ("", ""), "delete": ("[-", "-]"), "insert": ("{+", "+}")}


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
        A deleted word reads ``[-word-]``, an inserted one ``{+word+}``.
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
    first = _text(runs[0], name)
    cells = [first]
    for run in runs[1:]:
        text = _text(run, name)
        if runs[0].outputs and run.outputs and text != first:
            text = "".join(
                _MARKS[op.kind][0] + op.text + _MARKS[op.kind][1] for op in word_diff(first, text)
            )
        cells.append(text)
    return cells


def _text(run: Run, name: str) -> str:
    if name not in run.outputs:
        return "(missing)"
    value = run.outputs[name]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def printable(text: str) -> str:
    """Take out what would drive the terminal: what a server says is not to be trusted."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


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

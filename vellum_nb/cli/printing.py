"""Printing: data to stdout, messages to stderr; runs side by side."""

from __future__ import annotations

import io
import sys
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from vellum_nb.models import Run


def let_any_text_through() -> None:
    """Escape characters that the encoding of the terminal does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def data() -> TextIO:
    """Return stdout for data: UTF-8 and line feeds, as in exported files."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    return sys.stdout


def print_safely(text: str, file: TextIO | None = None) -> None:
    """Print text with control characters escaped."""
    from vellum_nb.escaping import printable

    print(printable(text), file=file)


def say(text: str) -> None:
    """Write a message to stderr."""
    print_safely(text, sys.stderr)


def side_by_side_text(runs: Sequence[Run], *, width: int = 100) -> str:
    """Return `runs` as columns of text, with the words that differ from the first run marked."""
    from vellum_nb.escaping import printable
    from vellum_nb.rendering.answer import AnswerCell
    from vellum_nb.rendering.format import duration

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

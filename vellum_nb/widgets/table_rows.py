"""Columns, cells and excerpts of the history table, and its static form.

Pure functions from runs to plain values. Long texts are truncated here and escaped when HTML is
built.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from vellum_nb.history import COLUMN_KINDS, OPTIONAL_COLUMNS
from vellum_nb.models import Run
from vellum_nb.rendering.format import doubt_text
from vellum_nb.rendering.html import render
from vellum_nb.search_text import Search

TEXT_LIMIT = 160
NOTHING = Search(())
JOINED = {"inputs", "outputs"}  # columns of several values, which cannot be sorted

_MIN_CHARS = 5
_MAX_INT = 2**53  # larger integers lose digits in the browser
_MAX_CHARS = 90_000  # characters of the rows of one message
_SEARCHED = ("input", "output", "error_", "note", "tags")
_CODES = ("execution_id", "case_id", "sweep_id", "external_id", "release_id")
_SPECIAL = {
    **dict.fromkeys((*_CODES, "previous_execution_id", "id"), "code"),
    **dict.fromkeys(("repeat", "cost_usd", "tokens_in", "tokens_out"), "number"),
    "latency_s": "seconds",
    "quality": "quality",
    "outputs": "outputs",
}
_KINDS = COLUMN_KINDS | _SPECIAL
_HEAD = [*COLUMN_KINDS].index("latency_s") + 1  # followed by inputs and outputs

Cell = str | float | int | bool | list[str] | None


def known_columns(
    inputs: Iterable[str], outputs: Iterable[str], *, optional: Collection[str] = ()
) -> list[str]:
    """Return the names of all columns, with those of the `optional` ones that contain values."""
    values = [f"input.{name}" for name in inputs], [f"output.{name}" for name in outputs]
    left_out = OPTIONAL_COLUMNS.difference(optional)
    names = [name for name in COLUMN_KINDS if name not in left_out]
    return [*names[:_HEAD], "inputs", *values[0], "outputs", *values[1], *names[_HEAD:]]


def default_columns(columns: Sequence[str], *, mixed: bool = False) -> list[str]:
    """Return the columns shown by default; `mixed` if there are several deployments."""
    last = ["outputs", "quality", *(["author"] if "author" in columns else [])]
    if mixed:
        return ["state", "deployment", "release_tag", "timestamp", "inputs", *last]
    inputs = [name for name in columns if name.startswith("input.")][:1]
    return ["state", "release_tag", "timestamp", "latency_s", *inputs, *last]


def column_kind(name: str) -> str:
    """Return the type of the cells of a column."""
    return _KINDS.get(name, "text")


def fitting_rows(
    runs: Sequence[Run], columns: Sequence[str], *, search: str = ""
) -> list[dict[str, Any]]:
    """Return the rows of a message, with shorter texts and finally no marks if they are many."""
    limit, looking = TEXT_LIMIT, Search.of(search)
    while True:
        marked = looking if limit > _MIN_CHARS else NOTHING
        rows = [
            {"id": run.id, "state": run.state, "moved": run.tag_moved}
            | {"doubt": run.doubt is not None, "open": run.in_doubt}
            | {"cells": cells(run, columns, search=marked, limit=limit)}
            for run in runs
        ]
        if limit <= _MIN_CHARS or len(json.dumps(rows)) <= _MAX_CHARS:
            return rows
        limit = max(limit // 4, _MIN_CHARS)


def cells(
    run: Run, columns: Sequence[str], *, search: Search = NOTHING, limit: int = TEXT_LIMIT
) -> list[Cell]:
    """Return the cells of one run: texts of about `limit` characters, times as ISO 8601 in UTC.

    A text with matches of `search` is a list in which every second item is a match.
    """
    return [
        _cell(_value(run, name), search if name.startswith(_SEARCHED) else NOTHING, limit)
        for name in columns
    ]


def _value(run: Run, name: str) -> Any:
    if name == "outputs":
        return _outputs(run)
    if name == "inputs":
        return _joined(run.inputs)
    room, _, key = name.partition(".")
    if room in {"input", "output"} and key:
        return (run.inputs if room == "input" else run.outputs).get(key)
    if name in {"error_code", "error_message"}:
        return getattr(run.error, name.removeprefix("error_")) if run.error else None
    return (", ".join(run.tags) or None) if name == "tags" else getattr(run, name)


def _cell(value: Any, search: Search, limit: int) -> Cell:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and -_MAX_INT <= value <= _MAX_INT:
        return value
    return _excerpt(_text(value), search, limit)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _outputs(run: Run) -> str:
    error = None if run.state == "CANCELLED" and run.doubt else run.error
    if doubt := doubt_text(run):
        return doubt if error is None else f"{doubt}: {error.message or error.code}"
    if error is not None:
        code, message = error.code, error.message
        # the server's codes are specific; ours repeat the state
        return f"{code}: {message}" if message and run.state == "REJECTED" else message or code
    return "no answer yet" if run.state == "STARTED" else _joined(run.outputs)


def _joined(values: Mapping[str, Any]) -> str:
    return " · ".join(map(_text, values.values()))


def _excerpt(text: str, search: Search, limit: int) -> str | list[str]:
    """Return one line that begins near the first match."""
    # Search only the beginning of a large text.
    start = (search.first(text[: 400 * TEXT_LIMIT]) or 0) if search.terms else 0
    lead = 6  # a column displays about 25 characters
    begin = start - lead if start > 2 * lead else 0
    piece = " ".join(text[begin : begin + 2 * limit].split())
    cut = len(piece) > limit or begin + 2 * limit < len(text)
    visible = ("…" if begin else "") + piece[:limit].rstrip() + ("…" if cut else "")
    marks = search.spans(visible) if search.terms else []
    edges = [0, *(edge for mark in marks for edge in mark), len(visible)]
    return [visible[a:b] for a, b in pairwise(edges)] if marks else visible


def static_html(runs: Sequence[Run], total: str, columns: Sequence[str]) -> str:
    """Return a plain table for output without widgets."""
    if not runs:
        return "<p>History: no runs.</p>"

    def plain(name: str, cell: Cell) -> Cell:
        if cell is None:
            return None
        if column_kind(name) == "time":
            return f"{str(cell)[:19].replace('T', ' ')} UTC"
        return f"{cell:.3f}" if column_kind(name) == "seconds" else cell

    return render(
        "history_table.html.j2",
        columns=columns,
        rows=[list(map(plain, columns, cells(run, columns))) for run in runs],
        kind=column_kind,
        total=total,
        more=total.split(maxsplit=1)[0] != str(len(runs)),
    ).strip()

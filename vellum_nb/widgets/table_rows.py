"""What the history table shows of a run: columns, cells, excerpts, and the static form.

Pure: runs in, plain values out. Texts are cut here, so that a long output is never sent whole;
they are escaped where HTML is made of them.
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
JOINED = {"inputs", "outputs"}  # columns of many values, with no order of their own

_SHORTEST = 5
_EXACT = 2**53  # larger integers are other ones in the browser
_MOST_BYTES = 90_000  # of the rows of one message
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
_HEAD = [*COLUMN_KINDS].index("latency_s") + 1  # inputs and outputs stand behind it

Cell = str | float | int | bool | list[str] | None


def known_columns(
    inputs: Iterable[str], outputs: Iterable[str], *, optional: Collection[str] = ()
) -> list[str]:
    """Return the names of all columns: those of the history frame, and two for all values.

    `optional` are those of the optional columns of the frame in which a run has a value.
    """
    values = [f"input.{name}" for name in inputs], [f"output.{name}" for name in outputs]
    left_out = OPTIONAL_COLUMNS.difference(optional)
    names = [name for name in COLUMN_KINDS if name not in left_out]
    return [*names[:_HEAD], "inputs", *values[0], "outputs", *values[1], *names[_HEAD:]]


def default_columns(known: Sequence[str], *, mixed: bool = False) -> list[str]:
    """Return the columns that are shown until others are chosen; `mixed`: of many deployments."""
    if mixed:
        return ["state", "deployment", "release_tag", "timestamp", "inputs", "outputs", "quality"]
    inputs = [name for name in known if name.startswith("input.")][:1]
    return ["state", "release_tag", "timestamp", "latency_s", *inputs, "outputs", "quality"]


def column_kind(name: str) -> str:
    """Return how the cells of a column are shown."""
    return _KINDS.get(name, "text")


def fitting_rows(
    runs: Sequence[Run], columns: Sequence[str], *, search: str = ""
) -> list[dict[str, Any]]:
    """Return what travels to the browser: the more there is to show, the shorter its texts.

    Where they are the shortest nothing is marked in them.
    """
    limit, looking = TEXT_LIMIT, Search.of(search)
    while True:
        marked = looking if limit > _SHORTEST else NOTHING
        rows = [
            {"id": run.id, "state": run.state, "moved": run.tag_moved}
            | {"doubt": run.doubt is not None, "open": run.in_doubt}
            | {"cells": cells(run, columns, search=marked, limit=limit)}
            for run in runs
        ]
        if limit <= _SHORTEST or len(json.dumps(rows)) <= _MOST_BYTES:
            return rows
        limit = max(limit // 4, _SHORTEST)


def cells(
    run: Run, columns: Sequence[str], *, search: Search = NOTHING, limit: int = TEXT_LIMIT
) -> list[Cell]:
    """Return the cells of one run: texts cut to about `limit`, times as ISO 8601 in UTC.

    A text in which `search` finds something is a list: what is at odd places was found.
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
    if isinstance(value, int) and not isinstance(value, bool) and -_EXACT <= value <= _EXACT:
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
        # The server's codes say most; ours only repeat the state.
        return f"{code}: {message}" if message and run.state == "REJECTED" else message or code
    return "no answer yet" if run.state == "STARTED" else _joined(run.outputs)


def _joined(values: Mapping[str, Any]) -> str:
    return " · ".join(map(_text, values.values()))


def _excerpt(text: str, search: Search, limit: int) -> str | list[str]:
    """Return one line that begins near the first match, so that the match can be seen."""
    # Of a text of megabytes only this much is looked at.
    start = (search.first(text[: 400 * TEXT_LIMIT]) or 0) if search.terms else 0
    lead = 6  # a column shows some 25 signs; the match has to be among the first
    begin = start - lead if start > 2 * lead else 0
    piece = " ".join(text[begin : begin + 2 * limit].split())
    cut = len(piece) > limit or begin + 2 * limit < len(text)
    visible = ("…" if begin else "") + piece[:limit].rstrip() + ("…" if cut else "")
    marks = search.spans(visible) if search.terms else []
    edges = [0, *(edge for mark in marks for edge in mark), len(visible)]
    return [visible[a:b] for a, b in pairwise(edges)] if marks else visible


def static_html(runs: Sequence[Run], total: str, columns: Sequence[str]) -> str:
    """Return a plain table for where no widget can live: the same text for the same runs."""
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

"""Columns of a run, from which rows, frames, exports, merges and migrations derive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from vellum_nb.errors import InputError
from vellum_nb.models.checks import refuse

Kind = Literal["text", "time", "float", "int", "count", "tag", "state", "flag"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of frames and of the table `runs`, named after a field of `Run`."""

    kind: Kind  # a "flag" is not part of a frame
    set_by: Literal["begin", "finish", "annotate"] = "begin"
    is_late: bool = False  # a merge fills in missing values of ended runs
    is_optional: bool = False  # frames omit the column if no run has a value
    is_payload: bool = False  # stored in the table `payloads`, as JSON text
    is_short: bool = False  # part of ``frame(columns="short")``
    version: int = 1  # of the schema that added the column


# The order is that of a frame, with inputs, outputs and desired outputs after `latency_s`.
COLUMNS: Mapping[str, Column] = {
    "release_tag": Column("tag", is_short=True),
    "timestamp": Column("time", is_short=True),
    "deployment": Column("text", is_short=True),
    "state": Column("state", "finish", is_short=True),
    "latency_s": Column("float", "finish", is_short=True),
    "error_code": Column("text", "finish"),
    "error_message": Column("text", "finish", is_short=True),
    "doubt": Column("text", "finish", is_optional=True, version=2, is_short=True),
    "quality": Column("float", "annotate", is_short=True),
    "note": Column("text", "annotate", is_short=True),
    "tags": Column("text", "annotate"),
    "cost_usd": Column("float", "finish", is_late=True, is_short=True),
    "tokens_in": Column("count", "finish", is_late=True),
    "tokens_out": Column("count", "finish", is_late=True),
    "model": Column("text", "finish", is_late=True),
    "environment": Column("text", "finish"),
    "finished_at": Column("time", "finish"),
    "repeat": Column("int", is_short=True),
    "turn": Column("count", is_optional=True, version=4, is_short=True),
    "author": Column("text", is_late=True, is_optional=True),
    "metadata": Column("text", is_payload=True),
    "case_id": Column("text", is_short=True),
    "sweep_id": Column("text"),
    "conversation_id": Column("text", is_optional=True, version=4),
    "release_id": Column("text", "finish"),
    "external_id": Column("text"),
    "execution_id": Column("text", "finish", is_late=True),
    "previous_execution_id": Column("text"),
    "id": Column("text", is_short=True),
    "tag_moved": Column("flag"),
}
FRAMED = ("inputs", "outputs", "metadata", "desired")
"""Payload columns that a frame shows."""
PAYLOADS = (*FRAMED, "output_types", "not_sent", "nodes")
"""Columns of the table `payloads`, in which a run has JSON text."""
SCALARS = ("id", *(n for n, c in COLUMNS.items() if n != "id" and not c.is_payload))
WHOLE = (*SCALARS, *PAYLOADS)
ENDED = tuple(name for name, column in COLUMNS.items() if column.set_by == "finish")
"""Columns that finishing a run sets."""
COLUMN_KINDS: dict[str, str] = {n: c.kind for n, c in COLUMNS.items() if c.kind != "flag"}
"""Kinds of the columns that every frame has, without inputs and outputs, in their order."""
OPTIONAL_COLUMNS = frozenset(name for name, column in COLUMNS.items() if column.is_optional)
"""Columns that a frame omits if no run has a value."""
HEAD = tuple(COLUMN_KINDS)[: tuple(COLUMN_KINDS).index("latency_s") + 1]
"""Columns of a frame in front of inputs and outputs."""
FIRST_ID = "case_id"
"""Column of a frame from which on all columns are ids."""

FrameView = Literal["short", "all"]
"""Columns of a frame: all, or those to read on a screen."""


def check_view(columns: object) -> None:
    """Raise an error for an unknown view of a frame."""
    if columns not in get_args(FrameView):
        refuse("columns", columns, "'short' or 'all'")


def refuse_short_view(columns: Iterable[object], name: str) -> None:
    """Raise if a table of runs is a short view, which lacks conversations and releases."""
    present = {str(column) for column in columns}
    short = {name for name, one in COLUMNS.items() if one.is_short and not one.is_optional}
    if short <= present and not present & {"execution_id", "previous_execution_id", "release_id"}:
        msg = f"{name} has runs without the ids of executions and releases: give columns='all'"
        raise InputError(msg)

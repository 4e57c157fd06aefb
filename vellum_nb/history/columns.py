"""Columns of a run, from which rows, frames, exports, merges and migrations derive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "time", "float", "int", "count", "tag", "state", "flag"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of frames and of the table `runs`, named after a field of `Run`."""

    kind: Kind  # a "flag" is not part of a frame
    set_by: Literal["begin", "finish", "annotate"] = "begin"
    is_late: bool = False  # a merge fills in missing values of ended runs
    is_optional: bool = False  # frames omit the column if no run has a value
    is_payload: bool = False  # stored in the table `payloads`, as JSON text
    version: int = 1  # of the schema that added the column


# The order is that of a frame; inputs, outputs and desired outputs follow `latency_s`.
COLUMNS: Mapping[str, Column] = {
    "execution_id": Column("text", "finish", is_late=True),
    "release_tag": Column("tag"),
    "timestamp": Column("time"),
    "deployment": Column("text"),
    "state": Column("state", "finish"),
    "latency_s": Column("float", "finish"),
    "error_code": Column("text", "finish"),
    "error_message": Column("text", "finish"),
    "doubt": Column("text", "finish", is_optional=True, version=2),
    "quality": Column("float", "annotate"),
    "note": Column("text", "annotate"),
    "tags": Column("text", "annotate"),
    "case_id": Column("text"),
    "sweep_id": Column("text"),
    "repeat": Column("int"),
    "external_id": Column("text"),
    "release_id": Column("text", "finish"),
    "environment": Column("text", "finish"),
    "finished_at": Column("time", "finish"),
    "metadata": Column("text", is_payload=True),
    "previous_execution_id": Column("text"),
    "cost_usd": Column("float", "finish", is_late=True),
    "tokens_in": Column("count", "finish", is_late=True),
    "tokens_out": Column("count", "finish", is_late=True),
    "model": Column("text", "finish", is_late=True),
    "author": Column("text", is_late=True, is_optional=True),
    "id": Column("text"),
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

"""The history: runs in SQLite or PostgreSQL, as `Run` objects, DataFrames and files.

This package owns sqlite3, psycopg and all files on disk, and is independent of client and server.
Other packages import from here only; `vellum_nb` exports the public names.
"""

from __future__ import annotations

from vellum_nb.history.backends import parse_location
from vellum_nb.history.blind import BlindRatings
from vellum_nb.history.case_sets import CaseSets
from vellum_nb.history.check import check_history
from vellum_nb.history.export import write_parquet_frame
from vellum_nb.history.frames import (
    column,
    frame_of_cells,
    frame_of_records,
    short_view,
    trace_frame,
    unguarded,
    write_csv_frame,
)
from vellum_nb.history.history import (
    History,
    case_sets_of,
    connected,
    index_for_search,
    ordered_runs,
    recorded_tags,
    set_execution_id,
    set_nodes,
)
from vellum_nb.history.leases import LeaseHeldError, LeaseLostError
from vellum_nb.history.merge import SyncReport
from vellum_nb.history.plans import PastRun, SweepLease, Sweeps
from vellum_nb.history.progress import terminal_line
from vellum_nb.history.query import RATINGS, Filters, OrderedRuns, collection_paused, moment
from vellum_nb.history.read_files import (
    csv_table,
    json_objects,
    read_csv,
    read_jsonl,
    read_parquet,
    typed,
)
from vellum_nb.history.rows import cell, clean
from vellum_nb.history.schema import (
    COLUMN_KINDS,
    FIRST_ID,
    OPTIONAL_COLUMNS,
    FrameView,
    check_view,
    refuse_short_view,
)
from vellum_nb.history.store import DatabaseUrl
from vellum_nb.history.writes import format_bytes

__all__ = [
    "COLUMN_KINDS",
    "FIRST_ID",
    "OPTIONAL_COLUMNS",
    "RATINGS",
    "BlindRatings",
    "CaseSets",
    "DatabaseUrl",
    "Filters",
    "History",
    "LeaseHeldError",
    "LeaseLostError",
    "OrderedRuns",
    "PastRun",
    "SweepLease",
    "Sweeps",
    "SyncReport",
    "FrameView",
    "case_sets_of",
    "cell",
    "check_history",
    "check_view",
    "clean",
    "collection_paused",
    "column",
    "connected",
    "csv_table",
    "format_bytes",
    "frame_of_cells",
    "frame_of_records",
    "index_for_search",
    "json_objects",
    "moment",
    "ordered_runs",
    "parse_location",
    "read_csv",
    "read_jsonl",
    "read_parquet",
    "recorded_tags",
    "refuse_short_view",
    "set_execution_id",
    "set_nodes",
    "short_view",
    "terminal_line",
    "trace_frame",
    "typed",
    "unguarded",
    "write_csv_frame",
    "write_parquet_frame",
]

"""The history: every run in SQLite or PostgreSQL, as runs, as a DataFrame, and as files.

Owns sqlite3, psycopg and what is written to disk. Knows neither client nor server.
"""

from __future__ import annotations

from vellum_nb.history.exporting.reading import read_csv, read_jsonl, read_parquet
from vellum_nb.history.history import History
from vellum_nb.history.joining.merge import SyncReport
from vellum_nb.history.repairing.check import HistoryCheck, check_history
from vellum_nb.history.repairing.repair import RepairedHistory, repair_history
from vellum_nb.history.rows.traces import trace_frame

__all__ = [
    "History",
    "HistoryCheck",
    "RepairedHistory",
    "SyncReport",
    "check_history",
    "read_csv",
    "read_jsonl",
    "read_parquet",
    "repair_history",
    "trace_frame",
]

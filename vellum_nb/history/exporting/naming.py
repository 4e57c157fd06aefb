"""The ending of a file's name, which tells its readers what is in it."""

from __future__ import annotations

from pathlib import Path

from vellum_nb.errors import HistoryError

__all__ = ["refuse_misnamed"]

_WRITERS = {".csv": "to_csv", ".jsonl": "to_jsonl", ".parquet": "to_parquet"}


def refuse_misnamed(path: str | Path, writer: str) -> None:
    """Refuse to let the method `writer` write a file that is named after what another writes."""
    ending = Path(path).suffix.lower()
    other = _WRITERS.get(ending, writer)
    if other != writer:
        msg = (
            f"{writer} does not write what {path} is named after; use {other}, or give the file "
            f"another ending than {ending}"
        )
        raise HistoryError(msg)

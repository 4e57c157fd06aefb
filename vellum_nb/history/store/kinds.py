"""What a file is, as its own bytes tell: some hold what nobody could make once more."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["ARCHIVE", "PARQUET", "lasting"]

PARQUET = b"PAR1"
"""What a Parquet file begins and ends with."""
ARCHIVE = "columns"
"""What the note in an archive tells first that no export has: the columns, from ``seq`` on."""
_SQLITE = b"SQLite format 3\0"
_ARCHIVE = f'"{ARCHIVE}": ["seq", '.encode()


def lasting(path: Path) -> str | None:
    """Return what a file is that must not be written over; None where it may be.

    Archives are told by the end of a Parquet file, which needs no pyarrow.
    """
    with path.open("rb") as file:
        head = file.read(len(_SQLITE))
        if head == _SQLITE:
            return "a history, or another SQLite file,"
        if not head.startswith(PARQUET):
            return None
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - 8 - length))
        return "an archive of a history" if _ARCHIVE in file.read(length) else None

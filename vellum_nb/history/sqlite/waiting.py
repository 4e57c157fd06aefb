"""Waiting for a file that others hold: for minutes, with a word about whom.

A `VACUUM` of some GB, or the copy before a migration, holds up every other process for as long as
it takes; what they are to write is the answer to a paid call, and must not be lost for that.
"""

from __future__ import annotations

import random
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vellum_nb.history.sqlite.holders import writers

__all__ = ["PATIENCE_S", "code_of", "held_by", "patiently"]

PATIENCE_S = 600.0
_TOLD_AFTER_S = 5.0

T = TypeVar("T")


def patiently(call: Callable[[], T], path: Path | str) -> T:
    """Return `call()`, tried again for `PATIENCE_S` seconds while the file at `path` is locked.

    SQLite's own waiting sleeps longer and longer, so that one of several writers starves; short
    random waits share the file evenly. What takes longer is told on stderr, once.
    """
    began = 0.0
    told = False
    while True:
        try:
            return call()
        except UnicodeDecodeError as exc:  # of SQLite's complaint, which quotes a damaged name
            msg = "Could not decode to UTF-8 what SQLite says of it"
            raise sqlite3.DatabaseError(msg) from exc
        except sqlite3.OperationalError as exc:
            busy = code_of(exc) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
            began = began or time.monotonic()
            waited = time.monotonic() - began
            if not busy or waited > PATIENCE_S:
                raise
            if not told and waited > _TOLD_AFTER_S:
                told = True
                _tell(path)
        time.sleep(random.uniform(0.0005, 0.005))  # noqa: S311  (no secret depends on it)


def code_of(exc: sqlite3.Error) -> int:
    """Return SQLite's primary result code; connections refused by Python have none."""
    code: int = getattr(exc, "sqlite_errorcode", None) or 0
    return code & 0xFF


def held_by(path: Path | str) -> str:
    """Return which other processes write to the file, where the system tells; else nothing."""
    return ", ".join(writers(path)) if isinstance(path, Path) else ""


def _tell(path: Path | str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(
            f"The history {path} is locked by {held_by(path) or 'another program'}, perhaps "
            f"for a vacuum; waiting for it, {PATIENCE_S / 60:.0f} minutes at most\n"
        )

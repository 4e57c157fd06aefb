"""Holds a data folder for one running server."""

from __future__ import annotations

import sqlite3
import weakref
from pathlib import Path

from vellum_nb.errors import VellumNBError

__all__ = ["Hold"]


class Hold:
    """A lock on a folder. The system lets go of it when the process ends, however it ends.

    Raises
    ------
    VellumNBError
        When another server has it, or its lock cannot be had.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> hold = Hold(Path(folder.name))
    >>> hold.release()
    >>> Hold(Path(folder.name)).release()
    >>> folder.cleanup()
    """

    def __init__(self, folder: Path) -> None:
        db = sqlite3.connect(
            folder / "server.lock", timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as exc:
            db.close()
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                msg = f"The folder {folder} cannot be held for this server ({exc}: server.lock)"
                raise VellumNBError(msg) from exc
            msg = (
                f"The folder {folder} is served by another server ({exc}); "
                "stop that one, or give this one a folder of its own"
            )
            raise VellumNBError(msg) from exc
        except BaseException:  # an interrupt, whose traceback would keep it
            db.close()
            raise
        self._release = weakref.finalize(self, db.close)

    def release(self) -> None:
        """Let go of the folder."""
        self._release()

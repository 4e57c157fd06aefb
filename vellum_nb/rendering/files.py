"""Reports as files: refused while the API key stands in them, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vellum_nb.errors import HistoryError, VellumNBError
from vellum_nb.files import refuse_other_ending, replacing
from vellum_nb.history import write_csv_frame, write_parquet_frame
from vellum_nb.models.secret import stands_in

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Leaks", "holds_key", "refuse_existing", "refuse_key", "save_frame", "save_text"]

Leaks = Callable[[str], bool]
"""Whether the API key stands in a text."""


def holds_key(text: str, leaks: Leaks | None = None) -> bool:
    """Return whether the key that `leaks` knows, or that of ``VELLUM_API_KEY``, is in `text`."""
    if leaks is not None and leaks(text):
        return True
    return stands_in(os.environ.get("VELLUM_API_KEY", ""), text)


def refuse_key(
    what: str, leaks: Leaks | None, frames: Iterable[pd.DataFrame], text: str = ""
) -> None:
    """Refuse to write `what` where the API key stands in what it is made of.

    Raises
    ------
    VellumNBError
        It does; the message names the column and the case, and not the key.
    """
    for frame in frames:
        for name in frame.columns:
            if holds_key(str(name), leaks):
                msg = f"{what} was not written: the API key stands in the name of a column"
                raise VellumNBError(msg)
            row = _row_with_key(frame[name], leaks)
            if row is not None:
                case = f" of case {frame['case_id'].iloc[row]}" if "case_id" in frame else ""
                msg = (
                    f"{what} was not written: the API key stands in {name}{case}. Delete the run "
                    "that holds it with ws.history.delete(...), and use another key"
                )
                raise VellumNBError(msg)
    if holds_key(text, leaks):
        msg = f"{what} was not written: the API key stands in it"
        raise VellumNBError(msg)


def _row_with_key(column: pd.Series[Any], leaks: Leaks | None) -> int | None:
    """Return the first row with the key; columns are searched whole, rows only then."""
    values = [value if isinstance(value, str) else "" for value in column.tolist()]
    if not holds_key("\n".join(values), leaks):
        return None
    return next((at for at, value in enumerate(values) if holds_key(value, leaks)), None)


def refuse_existing(paths: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse to replace files unless `overwrite`.

    Raises
    ------
    HistoryError
        One of `paths` exists; the message names those that do. Nothing was written.
    """
    there = [] if overwrite else [str(path) for path in paths if path.is_file()]
    if there:
        msg = (
            f"Nothing was written: {' and '.join(there)} exist{'s' if len(there) == 1 else ''} "
            "already. Choose another name, or give overwrite=True"
        )
        raise HistoryError(msg)


def save_text(path: str | Path, text: str) -> Path:
    """Write `text`; the old file stays if it fails.

    Raises
    ------
    HistoryError
        The file cannot be written.
    """
    with replacing(path) as file:
        file.write(text.encode("utf-8", "replace").decode("utf-8"))
    return Path(path)


def save_frame(path: str | Path, frame: pd.DataFrame, form: Literal["csv", "parquet"]) -> Path:
    """Write `frame`; as `save_text`."""
    refuse_other_ending(path, f"to_{form}")
    if form == "parquet":
        return write_parquet_frame(frame, path)
    with replacing(path) as file:
        write_csv_frame(frame, file)
    return Path(path)

"""How a report gets into a file: searched for the API key first, and whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vellum_nb.errors import VellumNBError
from vellum_nb.history.exporting.export import write_csv
from vellum_nb.history.exporting.naming import refuse_misnamed
from vellum_nb.history.exporting.parquet import write_parquet
from vellum_nb.history.store.replacing import replacing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Leaks", "refuse_key", "save_frame", "save_text"]

Leaks = Callable[[str], bool]
"""Whether the API key stands in a text."""


def refuse_key(what: str, leaks: Leaks, frames: Iterable[pd.DataFrame], text: str = "") -> None:
    """Refuse to write `what` where the API key stands in what it is made of.

    Raises
    ------
    VellumNBError
        It does; the message names the column and the case, and not the key.
    """
    for frame in frames:
        for name in frame.columns:
            column = frame[name]
            where = _row_with_key(column, leaks)
            if leaks(str(name)):
                msg = f"{what} was not written: the API key stands in the name of a column"
                raise VellumNBError(msg)
            if where is not None:
                case = f" of case {frame['case_id'].iloc[where]}" if "case_id" in frame else ""
                msg = (
                    f"{what} was not written: the API key stands in {name}{case}. Delete the run "
                    "that holds it with ws.history.delete(...), and take another key"
                )
                raise VellumNBError(msg)
    if leaks(text):
        msg = f"{what} was not written: the API key stands in it"
        raise VellumNBError(msg)


def _row_with_key(column: pd.Series[Any], leaks: Leaks) -> int | None:
    """Return the first row in which it stands; columns are searched whole, rows only then."""
    values = [value if isinstance(value, str) else "" for value in column.tolist()]
    if not leaks("\n".join(values)):
        return None
    return next((at for at, value in enumerate(values) if leaks(value)), None)


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
    refuse_misnamed(path, f"to_{form}")
    if form == "parquet":
        return write_parquet(frame, Path(path))
    with replacing(path) as file:
        write_csv(frame, file)
    return Path(path)

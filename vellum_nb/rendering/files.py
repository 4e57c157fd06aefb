"""Reports as files: refused while the API key stands in them, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vellum_nb.errors import HistoryError, VellumNBError
from vellum_nb.files import refuse_other_ending, replacing
from vellum_nb.history import write_csv_frame, write_parquet_frame
from vellum_nb.models.base import stands_in

if TYPE_CHECKING:
    import pandas as pd


Leaks = Callable[[str], bool]
"""Whether the API key stands in a text."""


def refuse_key(
    what: str, leaks: Leaks | None, frames: Iterable[pd.DataFrame], text: str = ""
) -> None:
    """Refuse to write `what` where the API key stands in what it is made of.

    That is the key that `leaks` knows, or that of ``VELLUM_API_KEY``. The `VellumNBError` names the
    column and the case, and not the key.
    """

    def holds(part: str) -> bool:
        known = leaks is not None and leaks(part)
        return known or stands_in(os.environ.get("VELLUM_API_KEY", ""), part)

    place = ""
    for frame in frames:
        for name in frame.columns:
            if holds(str(name)):
                place = "the name of a column"
            values = [value if isinstance(value, str) else "" for value in frame[name].tolist()]
            if not place and holds("\n".join(values)):  # rows are searched only then
                row = next(at for at, value in enumerate(values) if holds(value))
                case = f" of case {frame['case_id'].iloc[row]}" if "case_id" in frame else ""
                advice = "Delete the run that holds it with ws.history.delete(...), and use"
                place = f"{name}{case}. {advice} another key"
    if place or holds(text):
        msg = f"{what} was not written: the API key stands in {place or 'it'}"
        raise VellumNBError(msg)


def refuse_existing(paths: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse to replace files unless `overwrite`; the `HistoryError` names those that exist."""
    there = [] if overwrite else [str(path) for path in paths if path.is_file()]
    if there:
        msg = (
            f"Nothing was written: {' and '.join(there)} exist{'s' if len(there) == 1 else ''} "
            "already. Choose another name, or give overwrite=True"
        )
        raise HistoryError(msg)


def save_text(path: str | Path, text: str) -> Path:
    """Write `text`; the old file stays if it fails, with a `HistoryError`."""
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

"""A blind rating as a DataFrame, one row a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vellum_nb.history.rows.frames import column, frame_of_cells
from vellum_nb.history.rows.rows import micros
from vellum_nb.models.blind import BlindPair, BlindRating, BlindRecord, a_is_first

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["case_rows"]

_TOLD_LATE = ("preferred", "release_a", "release_b")


def case_rows(
    record: BlindRecord, pairs: Sequence[BlindPair], said: Mapping[int, BlindRating]
) -> pd.DataFrame:
    """Return one row a case; which release it was is missing until the rating has ended."""
    rows = [_row(record, pair, said.get(pair.position)) for pair in pairs]
    names = ("case_id", "choice", *_TOLD_LATE, "note")
    frame = frame_of_cells({name: [row[name] for row in rows] for name in names})
    times = [micros(each.rated) if (each := said.get(pair.position)) else None for pair in pairs]
    frame["rated"] = column(times, "time")
    return frame


def _row(record: BlindRecord, pair: BlindPair, rating: BlindRating | None) -> dict[str, Any]:
    first_is_a = a_is_first(record.seed, pair.case_id)
    row: dict[str, Any] = dict.fromkeys(_TOLD_LATE) | {
        "case_id": pair.case_id,
        "choice": "same outputs" if pair.same else _letter(rating),
        "note": (rating.note if rating else "") or None,
    }
    if record.ended is not None and not pair.same:
        a, b = (record.first, record.second) if first_is_a else (record.second, record.first)
        row |= {"release_a": a, "release_b": b}
        row["preferred"] = {"A": a, "B": b}.get(row["choice"] or "")
    return row


def _letter(rating: BlindRating | None) -> str | None:
    if rating is None or rating.choice in {"tie", "skip"}:
        return None if rating is None else rating.choice
    return "A" if (rating.choice == "first") == rating.a_first else "B"

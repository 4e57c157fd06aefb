"""What the view of a sweep says, from plain values."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vellum_nb.models.sweeps import SweepRecord
from vellum_nb.sweep.progress import Progress, TagProgress
from vellum_nb.widgets.sweep_view import sweep_view_model

AGAIN = "1 sent again: the server knew no execution of"
LOST = datetime(2026, 11, 25, 15, 48, 39, tzinfo=UTC)


def line(*, again: int = 0, done: int = 300, **counts) -> str:
    return "".join(part for part, _ in said(again=again, done=done, **counts)["resumed"])


def said(*, again: int = 0, done: int = 300, **counts) -> dict:
    record = SweepRecord(
        id="1",
        deployment="ticket-triage",
        release_tags=("v1",),
        repeats=3,
        cases=120,
        signature="",
        created=LOST,
        round=again,
    )
    counts = {"began": LOST} | counts
    now = Progress("running", (TagProgress("v1", 360, done, 0, 12, 2.3, None),), **counts)
    return sweep_view_model(record, now, same={}, numbers={})


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, ""),
        ({"found": 214}, "resumed: 214 runs found in the history, 0 sent twice"),
        (
            {"found": 4, "adopted": 3},
            "resumed: 1 run found in the history, 3 looked up, and had run, 0 sent twice",
        ),
        (
            {"found": 2, "resent": 1},
            f"resumed: 2 runs found in the history, {AGAIN} it",
        ),
        ({"lost": LOST}, "resumed: 0 runs found in the history, 0 sent twice"),
        ({"found": 9, "reused": 9}, "9 runs reused from earlier ones"),
        ({"found": 2, "adopted": 2}, "2 looked up, and had run"),
        ({"resent": 3}, f"{AGAIN} them".replace("1", "3")),
        ({"found": 5, "began": None}, "5 runs found in the history"),
        ({"found": 5, "again": 1}, "failed runs are run again: 5 runs kept, 0 sent twice"),
    ],
)
def test_what_was_there_and_what_was_in_doubt_are_counted_apart(counts, expected):
    assert line(**counts) == expected


def test_the_rate_counts_what_ended_since_it_went_on():
    now = said(found=220, reused=20, adopted=6, began=LOST, seconds=17.0, rate=4.3)
    rate = next(each for each in now["sums"] if each["label"] == "rate")
    assert rate["below"] == "86 in 17.0 s"


def test_when_the_process_was_lost_is_told_as_a_moment():
    assert said(lost=LOST)["lost"] == LOST.isoformat()
    assert said(found=3)["lost"] is None

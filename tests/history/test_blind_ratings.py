"""Blind ratings in a history: they read back as they were, and count once."""

from __future__ import annotations

from datetime import UTC, datetime

from vellum_nb.history import History
from vellum_nb.models.blind import BlindPair, BlindRecord

RECORD = BlindRecord(
    id="b1",
    deployment="triage",
    first="v1",
    second="v2",
    seed=-5,
    question="Which?",
    signature="s",
    created=datetime(2026, 11, 25, tzinfo=UTC),
)
PAIRS = [
    BlindPair(0, 1, "c1", "run-1", "run-2", same=False),
    BlindPair(1, 3, "c3", "run-3", "run-4", same=True),
]


def test_a_blind_rating_reads_back_as_it_was(place):
    with History(place) as history:
        history.blind_ratings.add(RECORD, PAIRS)
        assert history.blind_ratings.rate(
            "b1", 0, "second", a_first=True, note="half \ud83d a pair"
        )
    with History(place) as history:
        ratings = history.blind_ratings
        assert ratings.newest("s") == RECORD
        assert ratings.pairs("b1") == PAIRS
        (rating,) = ratings.ratings("b1")
        assert (rating.choice, rating.a_first) == ("second", True)
        assert ratings.frame()["choice"].tolist() == ["B"]
        assert ratings.frame("triage")["preferred"].isna().all()
        assert ratings.frame("other").empty
        ratings.end("b1")
        ratings.mark_sent([rating.seq])
        frame = ratings.frame()
        assert frame["preferred"].tolist() == ["v2"]
        assert frame["run_b"].tolist() == ["run-2"]
        assert frame["seed"].tolist() == [-5]
        assert frame["sent"].notna().all()


def test_a_rating_counts_once_and_not_after_the_end(history):
    history.blind_ratings.add(RECORD, PAIRS)
    assert history.blind_ratings.rate("b1", 0, "tie", a_first=True, note="")
    assert not history.blind_ratings.rate("b1", 0, "first", a_first=True, note="")
    assert history.blind_ratings.undo("b1", 1).choice == "tie"
    assert history.blind_ratings.rate("b1", 0, "first", a_first=False, note="")
    history.blind_ratings.end("b1")
    ended = history.blind_ratings.get("b1").ended
    history.blind_ratings.end("b1")
    assert history.blind_ratings.get("b1").ended == ended
    assert history.blind_ratings.undo("b1", 2) is None
    assert not history.blind_ratings.rate("b1", 1, "first", a_first=False, note="")
    assert history.blind_ratings.frame()["choice"].tolist() == ["B", "tie"]


def test_a_history_without_any_has_the_same_columns(history):
    empty = history.blind_ratings.frame()
    assert empty.empty
    history.blind_ratings.add(RECORD, PAIRS)
    history.blind_ratings.rate("b1", 0, "tie", a_first=True, note="")
    assert list(empty.columns) == list(history.blind_ratings.frame().columns)
    assert empty["rated"].dtype == history.blind_ratings.frame()["rated"].dtype
